"""Every request leaves a line, nothing waits for it, and nobody changes it afterwards. In SQLite."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import stat
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError

from unimedvl.cli.main import main
from unimedvl.serving.audit import Audit, AuditLine
from unimedvl.serving.audit_table import AuditError, read_lines

LINE = AuditLine(
    who="ward-3", task="ask", request_sha256="a" * 64, input_sha256s=("b" * 64, "c" * 64), output_sha256="d" * 64,
    model="nano", weights_sha256="e" * 64, seed=2**63 - 1, outcome="200", seconds=0.25,
    at=datetime(2026, 11, 26, 8, 30, 1, 250_000, UTC), request="req_1",
)  # fmt: skip


def line(**changes) -> AuditLine:
    return AuditLine(**vars(LINE) | changes)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'audit.db'}"


def file_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def test_lines_come_back_as_they_were(url):
    lines = [LINE, line(seed=None, who="", input_sha256s=(), request="req_2", outcome="EngineFailed")]
    lines.append(line(at=LINE.at.astimezone(timezone(timedelta(hours=-5))) + timedelta(minutes=1)))
    with Audit.open(url) as audit:
        for one in lines:
            audit.record(one)
        assert audit.flush() and audit.written == 3
        assert list(read_lines(url)) == lines
    assert list(read_lines(url)) == lines and audit.lost == 0
    assert stat.S_IMODE(file_of(url).stat().st_mode) == 0o600


def test_lines_are_chosen_by_time_owner_and_count(url):
    with Audit.open(url) as audit:
        for n in range(10):
            audit.record(line(request=f"r{n}", who=f"w{n % 2}", at=LINE.at + timedelta(hours=n)))
    found = read_lines(url, since=LINE.at + timedelta(hours=2), until=LINE.at + timedelta(hours=8), who="w0")
    assert [one.request for one in found] == ["r2", "r4", "r6"]
    assert [one.request for one in read_lines(url, last=3)] == ["r7", "r8", "r9"]


def test_closing_writes_what_waits(url):
    audit = Audit.open(url)
    for n in range(2000):
        audit.record(line(request=str(n)))
    audit.close()
    assert [one.request for one in read_lines(url)] == [str(n) for n in range(2000)]
    audit.record(LINE)
    assert audit.lost == 1


def test_many_threads_and_two_processes_worth_of_audits_write_one_file(url):
    audits = [Audit.open(url) for _ in range(2)]
    threads = [threading.Thread(target=lambda a=a: [a.record(LINE) for _ in range(50)]) for a in audits * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for audit in audits:
        audit.close()
    assert sum(1 for _ in read_lines(url)) == 400 == sum(a.written for a in audits)


def test_lines_can_be_added_and_not_changed_or_deleted(url):
    with Audit.open(url) as audit:
        audit.record(LINE)
    with sqlite3.connect(file_of(url)) as connection:
        for statement in ("UPDATE unimedvl_audit SET who = 'x'", "DELETE FROM unimedvl_audit"):
            with pytest.raises(sqlite3.IntegrityError, match="can only be added to"):
                connection.execute(statement)
    assert list(read_lines(url)) == [LINE]


def test_a_full_disk_is_said_once_and_what_waited_is_written_later(url, room, caplog, monkeypatch):
    monkeypatch.setattr("unimedvl.serving.audit._PAUSES", (0.05,))
    with Audit.open(url) as audit:
        audit.record(line(request="before"))
        assert audit.flush()
        with room(1):
            for n in range(5):
                audit.record(line(request=f"during {n}", task="x" * 300))
            until = datetime.now(UTC) + timedelta(seconds=10)
            while not audit.failing and datetime.now(UTC) < until:
                threading.Event().wait(0.02)
            assert audit.failing and audit.written == 1
            with pytest.raises(AuditError, match="can't be written, and it is required"):
                audit.begin(line(request="refused"))
        assert audit.flush() and not audit.failing
        audit.begin(line(request="begun"))
    assert [one.request for one in read_lines(url)] == ["before", *(f"during {n}" for n in range(5)), "begun"]
    said = [record.getMessage() for record in caplog.records]
    assert sum("can't be written" in text for text in said) == 1 and "the audit is written again" in said
    assert audit.lost == 0 and not any("ward-3" in text for text in said)


def failing(audit: Audit, monkeypatch, error: Exception) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("unimedvl.serving.audit._PAUSES", (0.01,))
    monkeypatch.setattr(audit._engine, "begin", fail, raising=False)


def test_what_finds_no_room_is_counted(url, monkeypatch, caplog):
    told: list[int] = []
    audit = Audit.open(url, room=10, told=told.append)
    with monkeypatch.context() as patched:
        failing(audit, patched, OperationalError("insert", {}, Exception("gone")))
        for _ in range(25):
            audit.record(LINE)
        assert audit.lost == 15
    audit.close()
    assert audit.lost == 15 == sum(told) and sum(1 for _ in read_lines(url)) == 10
    assert sum("is full" in record.getMessage() for record in caplog.records) == 1


def test_what_is_unwritten_at_the_end_is_counted(url, monkeypatch):
    audit = Audit.open(url)
    failing(audit, monkeypatch, OperationalError("insert", {}, Exception("gone")))
    for _ in range(7):
        audit.record(LINE)
    audit.close()
    assert audit.lost == 7


def test_a_database_that_hangs_keeps_nobody_waiting(url, monkeypatch):
    audit, hang = Audit.open(url), threading.Event()
    monkeypatch.setattr(audit._engine, "begin", hang.wait, raising=False)
    audit.record(LINE)
    with pytest.raises(AuditError):
        audit.begin(LINE, timeout=0.1)
    audit.close(timeout=0.1)
    assert audit.lost == 2
    hang.set()


def test_one_line_that_the_database_refuses_does_not_keep_the_others(url, monkeypatch):
    audit = Audit.open(url)
    good, begin = threading.Event(), audit._engine.begin
    monkeypatch.setattr(audit._engine, "begin", lambda: good.wait(10) and begin())
    real = AuditLine.row
    monkeypatch.setattr(AuditLine, "row", lambda s: real(s) | ({"who": None} if s.who == "none" else {}))
    for who in ("a", "none", "b"):
        audit.record(line(who=who))
    good.set()
    audit.close()
    assert [one.who for one in read_lines(url)] == ["a", "b"] and (audit.written, audit.lost) == (2, 1)


def test_a_line_that_must_be_written_and_is_refused_is_told(url):
    with Audit.open(url) as audit:
        with sqlite3.connect(file_of(url)) as connection:
            connection.execute("CREATE TRIGGER no BEFORE INSERT ON unimedvl_audit WHEN NEW.who = 'none'"
                               " BEGIN SELECT RAISE(ABORT, 'not here'); END")  # fmt: skip
        audit.begin(line(who="a"))
        with pytest.raises(AuditError, match="can't be written, and it is required"):
            audit.begin(line(who="none"))
        audit.begin(line(who="b"))
    assert [one.who for one in read_lines(url)] == ["a", "b"] and (audit.written, audit.lost) == (2, 1)


@pytest.fixture(scope="module")
def any_audit(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('audit') / 'a.db'}"
    with Audit.open(url) as audit:
        yield url, audit


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(text=st.text(st.characters(codec=None), max_size=600), seed=st.integers(0, 2**63 - 1), seconds=st.floats(0, 1e9))
def test_any_text_is_taken(any_audit, text, seed, seconds):
    url, audit = any_audit
    audit.begin(line(who=text, task=text, outcome=text, seed=seed, seconds=seconds, input_sha256s=(text,)))
    [found] = read_lines(url, last=1)
    assert (found.seed, found.seconds, audit.lost) == (seed, seconds, 0) and len(found.who) <= 400


@pytest.mark.parametrize(("url", "said"), [
    ("", "is of no form"), ("nonsense", "is of no form"), ("mysql://x/y", "is of no form"), ("sqlite://", "no file"),
    ("sqlite:///:memory:", "names no file"), ("sqlite:////nowhere/a.db", "No such file"), ("oracle://", "of no form"),
    ("postgresql://me:secret@127.0.0.1:1/audit", "127.0.0.1"), ("postgresql://a:b@host:port/x", "of no form"),
])  # fmt: skip
def test_what_can_not_be_opened_is_told_without_its_password(url, said):
    with pytest.raises(AuditError) as caught:
        Audit.open(url)
    assert said in str(caught.value) and "secret" not in str(caught.value) and str(caught.value).isprintable()


def test_a_file_that_is_no_database_is_told(tmp_path):
    (tmp_path / "a.db").write_text("this is no database at all, but long enough to be looked at as one" * 20)
    with pytest.raises(AuditError, match="not a database"):
        Audit.open(f"sqlite:///{tmp_path / 'a.db'}")


def test_the_commands_show_and_export(url, capsys, tmp_path, monkeypatch):
    now = datetime.now(UTC)
    with Audit.open(url) as audit:
        for n in range(30):
            audit.record(line(request=f"r{n}", who="=cmd()" if n == 29 else "ward-3", at=now - timedelta(hours=30 - n)))
    assert main(["audit", "show", "--url", url, "--last", "2"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 2 and shown[0].endswith("r28") and "ward-3" in shown[0]
    monkeypatch.setenv("UNIMEDVL_SERVE_AUDIT", url)
    assert main(["audit", "show", "--json", "--since", "90m", "--last", "50"]) == 0
    assert [one["request"] for one in json.loads(capsys.readouterr().out)] == ["r29"]
    assert main(["audit", "export", "--since", (now - timedelta(hours=3, minutes=30)).isoformat()]) == 0
    exported = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [one["request"] for one in exported] == ["r27", "r28", "r29"]
    assert exported[0].keys() == vars(LINE).keys() and exported[0]["input_sha256s"] == list(LINE.input_sha256s)
    table = tmp_path / "audit.csv"
    assert main(["audit", "export", "--format", "csv", "--out", str(table)]) == 0
    with table.open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 30 and rows[29]["who"] == "'=cmd()" and rows[0]["seed"] == str(2**63 - 1)
    assert main(["audit", "export", "--out", str(table)]) == 2
    assert "exists" in capsys.readouterr().err


def test_the_commands_refuse_in_one_line(url, capsys, tmp_path):
    for arguments, said in (
        (["--url", url], "no such file"), (["--url", url, "--since", "yesterday"], "no time; give 2026-11-01"),
        ([], "--url"),
    ):  # fmt: skip
        assert main(["audit", "show", *arguments]) == 2
        captured = capsys.readouterr()
        assert said in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert os.listdir(tmp_path) == []
