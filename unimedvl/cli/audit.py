"""`unimedvl audit`: who asked the server for what."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer import Option

from unimedvl.cli.command import command
from unimedvl.cli.options import OutputOptions
from unimedvl.cli.terminal import Terminal

if TYPE_CHECKING:
    from unimedvl.serving.audit import AuditLine

Url = Annotated[
    str,
    Option("--url", envvar="UNIMEDVL_SERVE_AUDIT", metavar="URL",
           help="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME; better in the environment than here."),
]  # fmt: skip
Since = Annotated[str | None, Option(help="From then on: 2026-11-01, 2026-11-01T08:30, or 7d, 12h, 30m ago.")]
Until = Annotated[str | None, Option(help="Before then; as --since.")]
Who = Annotated[str | None, Option(help="Of one key's owner.")]

_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="What the server was asked: show, export.", no_args_is_help=True)
    command(group)(show)
    command(group)(export)
    app.add_typer(group, name="audit")


def show(
    output: OutputOptions,
    url: Url,
    since: Since = None,
    until: Until = None,
    who: Who = None,
    last: Annotated[int, Option(min=1, help="So many of the newest.")] = 20,
) -> None:
    """Show the newest lines: when, who, task, outcome, seconds, id of the request."""
    terminal = Terminal(output)
    from unimedvl.serving.audit_table import read_lines

    lines = list(read_lines(url, since=moment(since, "--since"), until=moment(until, "--until"), who=who, last=last))
    if output.json:
        terminal.document([plain(line) for line in lines])
        return
    for line in lines:
        at = line.at.strftime("%Y-%m-%d %H:%M:%S")
        terminal.line(f"{at}  {line.who or '-':16} {line.task or '-':14} {line.outcome:14} {line.seconds:8.3f} s  "
                      f"{line.request or '-'}")  # fmt: skip
    if not lines:
        terminal.note("no lines")


def export(
    output: OutputOptions,
    url: Url,
    since: Since = None,
    until: Until = None,
    who: Who = None,
    form: Annotated[Literal["jsonl", "csv"], Option("--format", help="JSON a line, or a table.")] = "jsonl",
    out: Annotated[Path | None, Option("--out", "-o", metavar="FILE", help="Standard output where left out.")] = None,
) -> None:
    """Write all lines with all that they hold, hashes too. --json is JSON lines."""
    from unimedvl.data.whole import written_whole
    from unimedvl.serving.audit_table import read_lines

    lines = read_lines(url, since=moment(since, "--since"), until=moment(until, "--until"), who=who)
    rows = as_csv(lines) if form == "csv" and not output.json else as_json(lines)
    if out is None:
        sys.stdout.writelines(rows)
        sys.stdout.flush()
        return
    if out.exists():
        raise ValueError(f"{out}: exists; give another name with --out")
    with written_whole(out) as part, part.open("w", newline="") as stream:
        stream.writelines(rows)


def plain(line: AuditLine) -> dict[str, Any]:
    """A line as JSON has it."""
    return asdict(line) | {"at": line.at.isoformat(), "input_sha256s": list(line.input_sha256s)}


def as_json(lines: Iterable[AuditLine]) -> Iterator[str]:
    for line in lines:
        yield json.dumps(plain(line), ensure_ascii=False) + "\n"


def as_csv(lines: Iterable[AuditLine]) -> Iterator[str]:
    """A table with its heads, several hashes in one cell parted by spaces."""
    from dataclasses import fields

    from unimedvl.serving.audit import AuditLine

    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [field.name for field in fields(AuditLine)], lineterminator="\n")
    writer.writeheader()
    for line in lines:
        yield from _taken(buffer)
        row = plain(line) | {"input_sha256s": " ".join(line.input_sha256s)}
        writer.writerow({key: _no_formula(value) for key, value in row.items()})
    yield from _taken(buffer)


def _taken(buffer: io.StringIO) -> Iterator[str]:
    yield buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()


def _no_formula(value: Any) -> Any:
    """A text that a spreadsheet would compute is marked as text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value


def moment(given: str | None, option: str) -> datetime | None:
    """A time as typed; of one without a zone, that of this machine. Raises ValueError."""
    if given is None:
        return None
    ago = re.fullmatch(r"(\d{1,6})([dhm])", given.strip())
    if ago:
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        return datetime.fromisoformat(given.strip()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{option} {given}: no time; give 2026-11-01, 2026-11-01T08:30 or 7d") from error
