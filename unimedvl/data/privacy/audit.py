"""The audit log of a de-identified folder: JSON lines that say what was changed, and never a value.

The first line tells the settings, each other line a file: the hashes of what went in and came out, attributes by tag
with their numbers, and the boxes that were blanked. A hash names the original to whoever has it, and to nobody else.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.privacy.file import Deidentified, Options
from unimedvl.data.privacy.key import Key
from unimedvl.data.privacy.profile import EDITION
from unimedvl.data.whole import append_whole

NAME = "audit.jsonl"
_FORMAT = 1
_FIELDS = {"kind", "status", "input_sha256"}


def settings(key: Key, options: Options) -> dict:
    """The log's first line. `key` is a check that tells whether two runs had one key; it doesn't give it away."""
    return {
        "kind": "settings",
        "format": _FORMAT,
        "profile": f"PS3.15 E basic profile, table {EDITION}",
        "dates": options.dates,
        "text": options.text,
        "key": key.digest("check", "").hex()[:16],
    }


def written(input_hash: str, output_hash: str, output: str, file: Deidentified) -> dict:
    """The line of a file that was written."""
    blanked = file.blanked
    return {
        "kind": "file",
        "status": "written",
        "input_sha256": input_hash,
        "output_sha256": output_hash,
        "output": output,
        "attributes": file.changes.as_dict(),
        "pixels": {
            "text_looked_for": blanked.looked,
            "text_boxes": [[b.top, b.left, b.bottom, b.right] for b in blanked.regions],
            "outside_ultrasound_regions": blanked.outside,
            "share_blanked": round(blanked.share, 6),
        },
    }


def quarantined(input_hash: str, reason: str) -> dict:
    """The line of a file that was left out. `input_hash` is empty for what was not opened."""
    return {"kind": "file", "status": "quarantined", "input_sha256": input_hash, "reason": reason}


class AuditLog:
    """An audit log that is read once and then appended to, each line down to the disk.

    Raises:
        DataError: the log is of other settings or damaged, or can't be written.
    """

    def __init__(self, folder: Path, first: dict) -> None:
        self.file = folder / NAME
        self.written: dict[str, dict] = {}
        self._quarantined: set[tuple[str, str]] = set()
        lines = self._whole_lines()
        if not lines:
            self._append(first)
        elif lines[0] != first:
            names = [n for n in first if lines[0].get(n) != first[n]]
            raise DataError(f"{self.file}: written with another {' and '.join(names)}; give an empty folder with --out")
        for line in lines[1:]:
            self._remember(line)

    def add(self, line: dict) -> None:
        """Append a file's line. What was quarantined for the same reason before is not told again."""
        if line["status"] == "quarantined" and (line["input_sha256"], line["reason"]) in self._quarantined:
            return
        self._append(line)
        self._remember(line)

    def _remember(self, line: dict) -> None:
        if line.get("status") == "written":
            self.written[line["input_sha256"]] = line
        elif line.get("status") == "quarantined" and line["input_sha256"]:
            self._quarantined.add((line["input_sha256"], line["reason"]))

    def _whole_lines(self) -> list[dict]:
        """Lines of an earlier run; one that was cut off by a crash is taken out of the file."""
        try:
            data = self.file.read_bytes() if self.file.exists() else b""
            end = data.rfind(b"\n") + 1
            if end < len(data):
                os.truncate(self.file, end)
            lines = [json.loads(line) for line in data[:end].splitlines()]
            if all(isinstance(line, dict) for line in lines) and all(_FIELDS <= line.keys() for line in lines[1:]):
                return lines
        except OSError as error:
            raise DataError(f"{self.file}: {error.strerror}") from error
        except ValueError as error:
            raise DataError(f"{self.file}: no audit log; give an empty folder with --out") from error
        raise DataError(f"{self.file}: no audit log; give an empty folder with --out")

    def _append(self, line: dict) -> None:
        append_whole(self.file, (json.dumps(line) + "\n").encode())
