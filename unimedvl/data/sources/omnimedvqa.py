"""OmniMedVQA (Hu et al., CVPR 2024): questions of multiple choice on images of many classification data sets.

GMAI-MMBench takes from here how a modality in words is told: `modality_named`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from unimedvl.data.choices import multiple_choice
from unimedvl.data.error import DataError
from unimedvl.data.files import json_list
from unimedvl.data.record import Record
from unimedvl.data.source import Item, Sample, Source, file_bytes, need, pictures, required, samples, words

_LICENCE = "not stated for the whole; each image as in the data set that it is of"
_PARTS = {"Open-access": "open", "Restricted-access": "restricted"}
# Beginnings, since the words are spelled in many ways. Plain X-rays and microscopy may be of anything.
_MODALITY = {
    "ct": "ct",
    "computed tomography": "ct",
    "mr": "mri",
    "magnetic resonance": "mri",
    "oct": "oct",
    "optical coherence tomography": "oct",
    "ultrasound": "us",
    "fundus": "cfp",
    "colour fundus": "cfp",
    "color fundus": "cfp",
    "dermoscopy": "dermoscopy",
    "endoscopy": "endoscopy",
    "histopathology": "his",
}


def modality_named(name: str) -> str:
    """The modality that a text begins with the name of; `mixed` where it is none of those known."""
    return next((known for start, known in _MODALITY.items() if name.lower().startswith(start)), "mixed")


def read(root: Path) -> Iterator[Item]:
    """The files of both parts, or of the one that is there, in the folder itself or in `OmniMedVQA`."""
    root = root / "OmniMedVQA" if (root / "OmniMedVQA").is_dir() else root
    folder = need(root, "QA_information")
    need(folder, *_PARTS)
    files = [(file, kind) for part, kind in _PARTS.items() for file in sorted((folder / part).glob("*.json"))]
    if not files:
        raise DataError(
            f"{folder}: expected {' or '.join(f'{part}/*.json' for part in _PARTS)} in it, found none"
        )
    seen: set[str] = set()
    for file, kind in files:
        yield from samples(json_list(file), lambda row, k=kind: _record(row, k, root, seen))


def _record(row: dict, part: str, root: Path, seen: set[str]) -> Sample:
    name, image = required(row, "question_id"), required(row, "image_path")
    options = {letter: words(row, f"option_{letter}") for letter in "ABCD" if f"option_{letter}" in row}
    letter = _letter(required(row, "gt_answer"), options)
    turns, told = multiple_choice(required(row, "question"), options, letter, 1)
    kind = words(row, "modality_type")
    told |= {"source": required(row, "dataset"), "access": part, "modality": kind}
    told |= {"question_type": words(row, "question_type")}
    record = Record(
        main_task_type="understanding",
        sub_task_type="vqa",
        modality=modality_named(kind),
        dataset="omnimedvqa",
        input_img=pictures([image]),
        message=turns,
        id=name,
        licence=_LICENCE,
        # All of it is for evaluation.
        split="test",
        attributes={key: text for key, text in told.items() if text},
    )
    if name in seen:
        raise DataError(f"question_id: {name} is before it")
    seen.add(name)
    return Sample(record, (file_bytes(root / image),))


def _letter(right: str, options: Mapping[str, str]) -> str:
    """The letter of the option with this text; one that differs in case only counts where none is the same.

    Raises:
        DataError: there is no such option, or more than one.
    """
    same = [letter for letter, text in options.items() if text == right]
    found = same or [letter for letter, text in options.items() if text.casefold() == right.casefold()]
    if len(found) != 1:
        among = f"it is options {' and '.join(found)}" if found else f"they are {', '.join(options.values())}"
        raise DataError(f"gt_answer: expected the text of one option, found {right!r}; {among}")
    return found[0]


SOURCE = Source(
    name="omnimedvqa",
    title="OmniMedVQA",
    home="https://huggingface.co/datasets/foreverbeliever/OmniMedVQA",
    licence=_LICENCE,
    access="open",
    modalities=("ct", "mri", "oct", "us", "cfp", "dermoscopy", "endoscopy", "his", "mixed"),
    expected={"test": 127995},
    read=read,
    notes="No split: all of it is for evaluation, and read as test. 88,996 records are open; the images of the "
    "restricted part come from their owners. Its images are of public data sets, which trainings may have seen.",
)
