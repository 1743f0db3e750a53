"""Any folder of images with a table: CSV or JSON lines whose rows name an image and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from unimedvl.data.error import DataError
from unimedvl.data.files import json_lines, table
from unimedvl.data.record import Record
from unimedvl.data.reports import split_named
from unimedvl.data.source import (
    UNSTATED,
    Item,
    Sample,
    Source,
    answer,
    described,
    file_bytes,
    pictures,
    question,
    required,
    samples,
    words,
)

_READERS = {".csv": table, ".jsonl": json_lines}
# Columns that this reader knows; the others become attributes.
_COLUMNS = ("image", "question", "answer", "caption", "id", "split", "modality", "licence", "patient")


def read(root: Path) -> Iterator[Item]:
    """The rows of every table of the folder, by the tables' names.

    Columns: `image`, a path from the folder; `question` and `answer`, or `caption`; and those that may be left out:
    `id`, by default the table's name and the row's number; `split`, by default the table's name where it is one,
    as of train.csv; `modality`; `licence`; `patient`. Other columns that are text become attributes.
    """
    files = sorted(f for f in root.glob("*") if f.suffix in _READERS)
    if not files:
        raise DataError(f"{root}: expected a table .csv or .jsonl in it, found none")
    taken: set[str] = set()
    for file in files:
        for number, row in enumerate(_READERS[file.suffix](file)):
            yield from samples([row], lambda row, f=file, n=number: _record(row, f, n, taken))


def _record(row: dict, file: Path, number: int, taken: set[str]) -> Sample:
    path = PurePosixPath(required(row, "image"))
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"image: expected a path within the folder, found {str(path)!r}")
    asked = _optional(row, "question")
    if asked:
        task, turns = "vqa", (question(asked), answer(required(row, "answer")))
    elif _optional(row, "caption"):
        task, turns = "caption", described(required(row, "caption"))
    else:
        raise DataError("expected question and answer, or caption; found neither")
    key = _optional(row, "id") or f"{file.stem}-{number}"
    record = Record(
        main_task_type="understanding",
        sub_task_type=task,
        modality=_modality(row),
        dataset="folder",
        input_img=pictures([str(path)]),
        message=turns,
        id=key,
        licence=_optional(row, "licence") or UNSTATED,
        patient=_optional(row, "patient"),
        split=_split(row, file),
        attributes={k: v.strip() for k, v in row.items() if k not in _COLUMNS and isinstance(v, str) and v.strip()},
    )
    if key in taken:
        raise DataError(f"id: {key!r} is there twice")
    taken.add(key)
    return Sample(record, (file_bytes(file.parent / path),))


def _optional(row: dict, name: str) -> str:
    return words(row, name) if name in row else ""


def _modality(row: dict) -> str:
    """The row's modality, in capitals or not; `mixed` where it has none."""
    from unimedvl.tasks import MODALITY_NAMES

    known = (*MODALITY_NAMES, "mixed")
    found = _optional(row, "modality").lower() or "mixed"
    if found not in known:
        raise DataError(f"modality: expected {', '.join(known)}, found {found!r}")
    return found


def _split(row: dict, file: Path) -> str | None:
    """The row's split; else what the table is called, where that is a split."""
    if word := _optional(row, "split"):
        return split_named(word)
    try:
        return split_named(file.stem)
    except DataError:
        return None


SOURCE = Source(
    name="folder",
    title="A folder with a table",
    home="https://www.rfc-editor.org/rfc/rfc4180",
    licence="as each row says",
    access="open",
    modalities=("mixed",),
    expected={"train": None},
    read=read,
    notes="For images of your own. See docs/data.md for the columns.",
    tasks=("vqa", "caption"),
)
