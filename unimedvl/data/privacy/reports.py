"""A table of reports for images that were de-identified: studies by their new UIDs, words as they are."""

from __future__ import annotations

import json
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.files import json_lines, table
from unimedvl.data.privacy.key import Key
from unimedvl.data.source import required
from unimedvl.data.whole import written_whole

NAME = "reports.jsonl"
_READERS = {".csv": table, ".jsonl": json_lines}


def read_reports(file: Path) -> list[tuple[str, str]]:
    """StudyInstanceUID and report of each row of a table (.csv or .jsonl) with columns `study` and `report`.

    Raises:
        DataError: it is no such table; the message names the row.
    """
    if file.suffix not in _READERS:
        raise DataError(f"{file}: expected a table .csv or .jsonl with the columns study and report")
    found = []
    for where, row in _READERS[file.suffix](file):
        try:
            if isinstance(row, DataError):
                raise row
            if not isinstance(row, dict):
                raise DataError(f"expected an object, found {type(row).__name__}")
            found.append((required(row, "study"), required(row, "report")))
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
    return found


def write_reports(reports: list[tuple[str, str]], out: Path, key: Key) -> Path:
    """Write reports beside images that were de-identified with the same key. Their words are not changed.

    Raises:
        DataError: the file can't be written.
    """
    lines = (json.dumps({"study": key.uid(study), "report": text}, ensure_ascii=False) for study, text in reports)
    with written_whole(out / NAME) as part:
        part.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return out / NAME
