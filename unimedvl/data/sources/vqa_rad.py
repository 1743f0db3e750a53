"""VQA-RAD (Lau et al., Scientific Data 2018): questions of clinicians on radiology images of MedPix."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from unimedvl.data.archives import embedded
from unimedvl.data.files import json_list, parquet
from unimedvl.data.record import Record
from unimedvl.data.source import (
    Item,
    Sample,
    Source,
    answer,
    file_bytes,
    need,
    pictures,
    question,
    required,
    samples,
    words,
)

_JSON, _FOLDER = "VQA_RAD Dataset Public.json", "VQA_RAD Image Folder"
_LICENCE = "CC0-1.0"
# Organs of the data set as the modality that its images of them have; the head's are CT or MRI.
_MODALITY = {"CHEST": "cxr", "ABD": "ct", "HEAD": "mixed"}


def read(root: Path) -> Iterator[Item]:
    """The OSF form, or the Parquet form of Hugging Face, whichever is there."""
    if (root / "data").is_dir():
        for split, pattern in (("train", "train-*.parquet"), ("test", "test-*.parquet")):
            files = sorted((root / "data").glob(pattern))
            rows = (row for file in files for row in parquet(file))  # numbered over all files of the split
            for number, row in enumerate(rows):
                yield from samples([row], partial(_embedded, split=split, name=f"{split}-{number}"))
        return
    folder = root / _FOLDER
    yield from samples(json_list(need(root, _JSON)), lambda row: _record(row, folder))


def _record(row: dict, folder: Path) -> Sample:
    name = required(row, "image_name")
    kind = required(row, "phrase_type")
    record = Record(
        main_task_type="understanding",
        sub_task_type="vqa",
        modality=_MODALITY.get(words(row, "image_organ"), "mixed"),
        dataset="vqa-rad",
        input_img=pictures([f"{_FOLDER}/{name}"]),
        message=(question(required(row, "question")), answer(required(row, "answer"))),
        id=required(row, "qid"),
        licence=_LICENCE,
        study=_text(row, "image_case_url"),
        split="test" if kind.startswith("test_") else "train",
        attributes={
            "answer_type": words(row, "answer_type").lower(),
            "question_type": words(row, "question_type"),
            "rephrased": _text(row, "question_rephrase"),
        },
    )
    return Sample(record, (file_bytes(folder / name),))


def _text(row: dict, name: str) -> str:
    """A text that may be missing, or be the word NULL."""
    found = words(row, name) if name in row else ""
    return "" if found == "NULL" else found


def _embedded(row: dict, split: str, name: str) -> Sample:
    said = required(row, "answer")
    record = Record(
        main_task_type="understanding", sub_task_type="vqa", modality="mixed", dataset="vqa-rad",
        input_img=pictures([f"{name}.jpg"]), message=(question(required(row, "question")), answer(said)),
        id=name, licence=_LICENCE, split=split,
        attributes={"answer_type": "closed" if said.lower() in ("yes", "no") else "open"},
    )  # fmt: skip
    return Sample(record, (embedded(row),))


SOURCE = Source(
    name="vqa-rad",
    title="VQA-RAD",
    home="https://osf.io/89kps",
    licence=_LICENCE,
    access="open",
    modalities=("cxr", "ct", "mri"),
    expected={"train": 1797, "test": 451},
    read=read,
    notes="202 of the 203 test images are also in train. The Parquet form has 1,793 and 451 records.",
)
