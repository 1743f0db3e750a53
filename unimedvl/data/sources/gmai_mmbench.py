"""GMAI-MMBench (Chen et al., NeurIPS 2024): questions of multiple choice on images of 284 data sets, for evaluation."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from unimedvl.data.choices import multiple_choice
from unimedvl.data.error import DataError
from unimedvl.data.files import table
from unimedvl.data.record import Record
from unimedvl.data.source import Fault, Item, Sample, Source, need, pictures, required, samples, words
from unimedvl.data.sources.omnimedvqa import modality_named

# The card doesn't say which version.
_LICENCE = "CC BY-NC-SA"
# The same table in its own repository and in that of a tool of evaluation.
_VAL = ("GMAI_mm_bench_VAL.tsv", "GMAI-MMBench_VAL.tsv")
_TEST = re.compile(r"GMAI_mm_bench_TEST_part_(\d+)\.tsv")
# The fifth option where there are four.
_MISSING = ("", "None", "nan")
_TOLD = ("category", "clinical VQA task", "department", "modality", "perceptual granularity")


def read(root: Path) -> Iterator[Item]:
    """The validation table, then the parts of the test table by their numbers, those of them that are there."""
    parts = {int(found[1]): file for file in root.glob("*.tsv") if (found := _TEST.fullmatch(file.name))}
    val = next((root / name for name in _VAL if (root / name).exists()), None)
    if not parts and not val:
        need(root, *_VAL, "GMAI_mm_bench_TEST_part_1.tsv")
    if val:
        yield from samples(table(val, "\t"), partial(_record, split="validation"))
    for _, file in sorted(parts.items()):
        yield from _test(file)


def _test(file: Path) -> Iterator[Item]:
    """Rows of the test table have no answer, or no column of answers, unless someone has put one there."""
    for where, row in table(file, "\t"):
        if isinstance(row, dict) and row.get("answer", "").strip() in _MISSING:
            yield Fault(where, "no answer is published for the test part")
        else:
            yield from samples([(where, row)], partial(_record, split="test"))


def _record(row: dict, split: str) -> Sample:
    # Both tables may count from the same number.
    name = f"{split}-{required(row, 'index')}"
    options = {letter: words(row, letter) for letter in "ABCDE" if letter in row}
    if options.get("E") in _MISSING:
        options["E"] = ""
    turns, told = multiple_choice(required(row, "question"), options, required(row, "answer"), 1)
    told |= {key.replace(" ", "_").lower(): words(row, key) for key in _TOLD if key in row}
    path = f"{name}.png"
    record = Record(
        main_task_type="understanding",
        sub_task_type="vqa",
        modality=modality_named(told.get("modality", "")),
        dataset="gmai-mmbench",
        input_img=pictures([path]),
        message=turns,
        id=name,
        licence=_LICENCE,
        split=split,
        attributes={key: text for key, text in told.items() if text},
    )
    return Sample(record, (partial(_decoded, required(row, "image"), path),))


def _decoded(cell: str, path: str) -> bytes:
    """The image in a cell. Raises DataError where the cell is no base64."""
    try:
        return base64.b64decode(cell, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"{path}: not base64: {error}") from error


SOURCE = Source(
    name="gmai-mmbench",
    title="GMAI-MMBench",
    home="https://huggingface.co/datasets/OpenGVLab/GMAI-MMBench",
    licence=_LICENCE,
    access="open",
    modalities=("ct", "mri", "oct", "us", "cfp", "dermoscopy", "endoscopy", "his", "mixed"),
    expected={"validation": 4550},
    read=read,
    notes="For evaluation. The answers of the test part, 21,281 rows, are not published: each of them is a fault. "
    "Images are inside the tables, in base64. Of public data sets, which trainings may have seen.",
)
