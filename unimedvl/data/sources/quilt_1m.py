"""Quilt-1M (Ikezogwo et al., NeurIPS 2023): histopathology out of videos and other public sources, with captions."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from unimedvl.data.archives import image_store
from unimedvl.data.error import DataError
from unimedvl.data.files import Rows, table
from unimedvl.data.record import Record
from unimedvl.data.reports import split_named
from unimedvl.data.source import (
    Item,
    Load,
    Sample,
    Source,
    described,
    need,
    pictures,
    required,
    samples,
    words,
)

_LICENCE = "restricted research use, by agreement with the authors"
_TABLE, _FOLDER = "quilt_1M_lookup.csv", "quilt_1m"
# Columns that are Python lists written out.
_LISTS = ("pathology", "roi_text", "corrected_text", "med_umls_ids")
# Two of the later columns, which are 0 or 1.
_MARKS = ("single_wsi", "not_histology")
_MISSING = ("", "nan", "None")


def read(root: Path) -> Iterator[Item]:
    """A record for each row: an image has one for each of its texts."""
    rows = _numbered(table(need(root, _TABLE)))
    store = image_store(root, (_FOLDER, "images"), "images_part_*.zip")
    yield from samples(rows, lambda row: _record(row, store))


def _numbered(rows: Rows) -> Rows:
    """Rows with their number where the table's first column, which has no name, doesn't have it."""
    for number, (where, row) in enumerate(rows):
        yield where, row if isinstance(row, DataError) or row.get("") else row | {"": str(number)}


def _record(row: dict, store: Callable[[str], Load]) -> Sample:
    image, subset = required(row, "image_path"), words(row, "subset")
    split, other = words(row, "split"), _mark(row, "not_histology") == "yes"
    told = {name: _listed(row, name) for name in _LISTS} | {name: _mark(row, name) for name in _MARKS}
    told |= {"subset": subset, "magnification": words(row, "magnification")}
    video = re.fullmatch(r"(.+)_image_[^_]+", image.rpartition(".")[0])
    record = Record(
        main_task_type="understanding",
        sub_task_type="caption",
        modality="mixed" if other else "his",
        dataset="quilt-1m",
        input_img=pictures([f"{_FOLDER}/{image}"]),
        message=described(required(row, "caption")),
        id=required(row, ""),
        licence=_LICENCE,
        study=video.group(1) if video else "",
        split=None if split in _MISSING else split_named(split),
        attributes={key: text for key, text in told.items() if text not in _MISSING},
    )
    return Sample(record, (store(image),))


def _listed(row: dict, name: str) -> str:
    """A list's entries, joined by semicolons. What is no list counts as one entry.

    Raises:
        DataError: it begins as a list and isn't one.
    """
    text = words(row, name) if name in row else ""
    if not text.startswith("["):
        return text
    try:
        # Reads literals only, and runs nothing.
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise DataError(f"{name}: expected a list as Python writes it, found {text[:60]!r}") from None
    return "; ".join(str(entry).strip() for entry in found)


def _mark(row: dict, name: str) -> str:
    """`yes` for 1; empty for 0, and where nothing is said.

    Raises:
        DataError: it is something else.
    """
    text = words(row, name) if name in row else ""
    known = {"1": "yes", "1.0": "yes", "0": "", "0.0": ""} | dict.fromkeys(_MISSING, "")
    if text not in known:
        raise DataError(f"{name}: expected 0 or 1, found {text!r}")
    return known[text]


SOURCE = Source(
    name="quilt-1m",
    title="Quilt-1M",
    home="https://doi.org/10.5281/zenodo.8239942",
    licence=_LICENCE,
    access="gated",
    modalities=("his", "mixed"),
    expected={"train": None, "validation": None},
    read=read,
    notes="About 1.02 million rows; an image repeats over them. The study of a record is its video, where it has one. "
    "What is marked as not histology has the modality mixed. Part of it is of PubMed Central.",
    tasks=("caption",),
)
