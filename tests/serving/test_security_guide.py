"""What docs/security.md says of settings and commands is so. Its shell commands are run with those of other pages."""

from __future__ import annotations

import re
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from unimedvl.serving.audit import Audit, AuditLine
from unimedvl.serving.audit_table import read_lines
from unimedvl.serving.connections import HEADER_SECONDS
from unimedvl.serving.limits import Limits
from unimedvl.serving.settings import ServerSettings

PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


def number(text: str) -> float:
    """Such as ``64 MiB``, ``60 s`` or ``25 million``, in bytes, seconds or as a count."""
    value, _, unit = text.strip().replace(",", "").partition(" ")
    return float(value) * {"": 1, "s": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "million": 10**6}[unit]


def test_the_limits_are_all_there_with_their_defaults():
    table = PAGE.partition("| setting | default | of |")[2].partition("\n\n")[0]
    told: dict[str, float] = {}
    for line in table.splitlines()[2:]:
        names, defaults = line.split("|")[1:3]
        values = re.split(r",\s(?=\d)", defaults.strip())
        found = re.findall(r"`(\w+)`", names)
        told |= dict(zip(found, map(number, values), strict=True))
    assert told == {name: float(value) for name, value in Limits().model_dump().items()}
    assert f"within {HEADER_SECONDS} seconds" in PAGE


def test_settings_are_as_written():
    for block in blocks("yaml"):
        ServerSettings.model_validate(yaml.safe_load(block))
    for name in re.findall(r"`(\w+): ", PAGE):
        assert name in {*ServerSettings.model_fields, "Authorization"}, name


def line(year: int) -> AuditLine:
    return AuditLine(
        who="w", task="ask", request_sha256="", input_sha256s=(), output_sha256="", model="m", weights_sha256="",
        seed=0, outcome="200", seconds=1, at=datetime(year, 6, 1, tzinfo=UTC),
    )  # fmt: skip


def test_old_lines_are_deleted_as_written_and_the_table_is_closed_again(tmp_path):
    url = f"sqlite:///{tmp_path / 'audit.db'}"
    with Audit.open(url) as audit:
        for year in (2024, 2025, 2026):
            audit.record(line(year))
    [script] = blocks("sql")
    with sqlite3.connect(tmp_path / "audit.db") as connection:
        connection.executescript(script)
        with pytest.raises(sqlite3.IntegrityError, match="can only be added to"):
            connection.execute("DELETE FROM unimedvl_audit")
    assert [one.at.year for one in read_lines(url)] == [2026]
