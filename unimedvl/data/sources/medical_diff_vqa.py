"""Medical-Diff-VQA (Hu et al., KDD 2023): questions on MIMIC-CXR images, and on what has changed between two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.files import table
from unimedvl.data.record import Record
from unimedvl.data.reports import split_named
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
from unimedvl.data.sources.mimic_cxr import LICENCE, identity, release, study_path

_QUESTIONS, _STUDIES = "mimic_pair_questions.csv", "mimic_all.csv"
# The answers speak of a main image and a reference image, so the question must say which is which.
_ORDER = "The first image is the reference image, the second is the main image."


@dataclass(frozen=True)
class _Frontal:
    """The one frontal image of a study that the questions are about. image: its path from the release."""

    subject: str
    image: str
    view: str
    split: str


def read(root: Path) -> Iterator[Item]:
    """The questions in their order; the images are those of MIMIC-CXR-JPG, in the same folder or `mimic-cxr-jpg`."""
    folder = release(root, "medical-diff-vqa", _QUESTIONS)
    jpg = release(root, "mimic-cxr-jpg", "files")
    studies: dict[str, _Frontal] = {}
    yield from samples(table(need(folder, _STUDIES)), lambda row: _collect(row, studies))
    for number, (where, row) in enumerate(table(folder / _QUESTIONS), 1):
        yield from samples([(where, row)], lambda row, n=number: _record(row, n, studies, root, jpg))


def _collect(row: dict, studies: dict[str, _Frontal]) -> None:
    subject, study = identity(row)
    image = f"{study_path(subject, study)}/{required(row, 'dicom_id')}.jpg"
    studies[study] = _Frontal(subject, image, words(row, "view"), words(row, "split"))


def _frontal(row: dict, studies: dict[str, _Frontal], column: str) -> _Frontal:
    subject, study = identity(row, column)
    if study not in studies:
        raise DataError(f"{column}: {study} is not in {_STUDIES}")
    if studies[study].subject != subject:
        raise DataError(f"{column}: {study} is of subject {studies[study].subject} in {_STUDIES}, of {subject} here")
    return studies[study]


def _record(row: dict, number: int, studies: dict[str, _Frontal], root: Path, jpg: Path) -> Sample:
    main, kind = _frontal(row, studies, "study_id"), required(row, "question_type")
    asked, images = required(row, "question"), (main,)
    # Every row names a reference, and only these ask about it.
    if kind == "difference":
        asked, images = f"{_ORDER} {asked}", (_frontal(row, studies, "ref_id"), main)
    files = [jpg / frontal.image for frontal in images]
    told = {
        "question_type": kind,
        "reference_study": words(row, "ref_id") if kind == "difference" else "",
        "views": ", ".join(frontal.view or "unknown" for frontal in images),
        # The split of the questions is not that of the images.
        "mimic_split": main.split,
    }
    record = Record(
        main_task_type="understanding",
        sub_task_type="difference_vqa" if kind == "difference" else "vqa",
        modality="cxr",
        dataset="medical-diff-vqa",
        input_img=pictures([file.relative_to(root).as_posix() for file in files]),
        message=(question(asked, len(files)), answer(required(row, "answer"))),
        id=f"{words(row, 'study_id')}-{number}",
        licence=LICENCE,
        patient=main.subject,
        study=words(row, "study_id"),
        split=split_named(required(row, "split")),
        attributes={key: text for key, text in told.items() if text},
    )
    return Sample(record, tuple(map(file_bytes, files)))


SOURCE = Source(
    name="medical-diff-vqa",
    title="Medical-Diff-VQA",
    home="https://physionet.org/content/medical-diff-vqa/",
    licence=LICENCE,
    access="credentialed",
    modalities=("cxr",),
    expected={"train": None, "validation": None, "test": None},
    read=read,
    notes="700,703 questions, 164,324 of them on two images. Its split is not that of MIMIC-CXR, which has the "
    "images: attributes hold both.",
    tasks=("vqa", "difference_vqa"),
)
