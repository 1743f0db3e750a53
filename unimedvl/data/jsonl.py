"""Records as JSON lines, one a line, as the published set has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.record import Record, parse_record
from unimedvl.data.whole import written_whole


def read_jsonl(file: Path) -> Iterator[Record]:
    """The records of a file, a line at a time; blank lines are passed over.

    Raises:
        DataError: the file can't be read, or a line is no record; it names file, line and field.
    """
    try:
        with Path(file).open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield parse_record(line, f"{file}: line {number}")
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 at byte {error.start}") from error


def write_jsonl(file: Path, records: Iterable[Record]) -> int:
    """Write a file whole or not at all; returns the number of records.

    Raises:
        DataError: the file can't be written.
    """
    count = 0
    with written_whole(Path(file)) as part, part.open("w", encoding="utf-8") as out:
        for record in records:
            out.write(record.to_json() + "\n")
            count += 1
    return count
