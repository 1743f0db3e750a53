"""MedXpertQA (Zuo et al., ICML 2025): questions of multiple choice of specialists' examinations, for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from unimedvl.data.archives import image_store
from unimedvl.data.choices import multiple_choice
from unimedvl.data.error import DataError
from unimedvl.data.files import json_lines
from unimedvl.data.record import Record
from unimedvl.data.source import Item, Load, Sample, Source, need, pictures, required, samples, value, words

_LICENCE = "MIT"
# The first part has images. A split's few examples for prompts are its validation.
_FILES = {
    "MM/dev.jsonl": ("mm", "validation"),
    "MM/test.jsonl": ("mm", "test"),
    "Text/dev.jsonl": ("text", "validation"),
    "Text/test.jsonl": ("text", "test"),
}
# The same questions in the authors' code, in another layout.
_INPUTS = {"medxpertqa_mm_input.jsonl": ("mm", "test"), "medxpertqa_text_input.jsonl": ("text", "test")}
_TOLD = ("medical_task", "body_system", "question_type")
_CHOICES = "\nAnswer Choices:"


def read(root: Path) -> Iterator[Item]:
    """The files of Hugging Face that are there; without any, those of the authors' code, at any depth."""
    there = [(root / name, *kind) for name, kind in _FILES.items() if (root / name).exists()]
    if not there:
        there = [(file, *kind) for name, kind in _INPUTS.items() for file in sorted(root.rglob(name))[:1]]
    if not there:
        need(root, *_FILES, *_INPUTS)
    # Only what has images needs them.
    pictured = any(part == "mm" for _, part, _ in there)
    store = image_store(root, ("images",), "images.zip") if pictured else None
    for file, part, split in there:
        make = store if part == "mm" else None
        yield from samples(json_lines(file), lambda row, sp=split, st=make: _record(row, sp, st))


def _record(row: dict, split: str, store: Callable[[str], Load] | None) -> Sample:
    """store: of the images; None in the part that has none."""
    images = _images(value(row, "images")) if store else []
    options, letter = _options(value(row, "options")), _letter(value(row, "label"))
    turns, told = multiple_choice(_asked(required(row, "question")), options, letter, len(images))
    told |= {key: words(row, key) for key in _TOLD if key in row}
    record = Record(
        main_task_type="understanding",
        sub_task_type="vqa" if store else "text_qa",
        modality="mixed" if store else "text",
        dataset="medxpertqa",
        input_img=pictures(f"images/{name}" for name in images),
        message=turns,
        id=f"{split}-{required(row, 'id')}",
        licence=_LICENCE,
        split=split,
        attributes={key: text for key, text in told.items() if text},
    )
    return Sample(record, tuple(map(store, images)) if store else ())


def _asked(text: str) -> str:
    """The question without the options, which it ends with in a form of its own."""
    before, _, after = text.rpartition(_CHOICES)
    return before if before.strip() and after.lstrip().startswith("(A)") else text


def _images(found: object) -> list[str]:
    """File names, out of a list of names or of objects with a path.

    Raises:
        DataError: it is no such list, or is empty.
    """
    if not isinstance(found, list) or not found:
        raise DataError("images: expected a list of one or more file names")
    names = [entry.get("image_path") if isinstance(entry, dict) else entry for entry in found]
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise DataError("images: expected file names, or objects with an image_path")
    return [name.strip().rpartition("/")[2] for name in names]


def _options(found: object) -> dict[str, str]:
    """Text by letter, out of an object or of a list of objects with letter and content.

    Raises:
        DataError: it is neither, or a letter is there twice.
    """
    if isinstance(found, dict):
        return {letter: words(found, letter) for letter in found}
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise DataError("options: expected an object, or a list of objects with letter and content")
    options = {required(entry, "letter"): words(entry, "content") for entry in found}
    if len(options) != len(found):
        raise DataError("options: a letter is there twice")
    return options


def _letter(found: object) -> str:
    """A letter, alone or in a list of one.

    Raises:
        DataError: it is neither.
    """
    letter = found[0] if isinstance(found, list) and len(found) == 1 else found
    if not isinstance(letter, str):
        raise DataError(f"label: expected one letter, found {found!r}")
    return letter


SOURCE = Source(
    name="medxpertqa",
    title="MedXpertQA",
    home="https://huggingface.co/datasets/TsinghuaC3I/MedXpertQA",
    licence=_LICENCE,
    access="open",
    modalities=("mixed", "text"),
    expected={"validation": 5 + 5, "test": 2000 + 2450},
    read=read,
    notes="For evaluation; the few examples of dev are read as validation. Questions of MM have 1 to 6 images and 5 "
    "options, those of Text no image and 10.",
    tasks=("vqa", "text_qa"),
)
