"""SLAKE (Liu et al., ISBI 2021): questions in English and Chinese on radiology images, some about knowledge."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from unimedvl.data.error import DataError
from unimedvl.data.files import json_list
from unimedvl.data.record import Record
from unimedvl.data.reports import split_named
from unimedvl.data.source import (
    Item,
    Load,
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

_LICENCE = "CC-BY-4.0"
# The authors' archive says validate, the repository of Hugging Face says validation.
_FILES = (("train.json",), ("validate.json", "validation.json"), ("test.json",))
_MODALITY = {"ct": "ct", "mri": "mri"}
_TOLD = ("location", "modality", "base_type", "content_type")


def read(root: Path) -> Iterator[Item]:
    """The three files, or those of them that are there, in the folder itself or in `Slake1.0`."""
    root = root / "Slake1.0" if (root / "Slake1.0").is_dir() else root
    need(root, *(name for names in _FILES for name in names))
    store = _images(root)
    seen: set[str] = set()
    for names in _FILES:
        file = next((root / name for name in names if (root / name).exists()), None)
        if file:
            split = split_named(file.stem)
            yield from samples(json_list(file), lambda row, s=split: _record(row, s, store, seen))


def _images(root: Path) -> Callable[[str], Load]:
    """How images are loaded by their path: all have the same name, in folders of their own.

    Raises:
        DataError: there is neither folder nor archive, or the archive is broken.
    """
    place = need(root, "imgs", "imgs.zip")
    if place.is_dir():
        return lambda path: file_bytes(place / path)
    try:
        archive = ZipFile(place)
    except (BadZipFile, OSError) as error:
        raise DataError(f"{place}: no zip archive: {error}") from error
    # Whether the folder itself is packed is not known.
    prefix = "imgs/" if any(name.startswith("imgs/") for name in archive.namelist()) else ""
    return lambda path: partial(_packed, archive, prefix + path)


def _packed(archive: ZipFile, path: str) -> bytes:
    try:
        return archive.read(path)
    except KeyError:
        raise DataError(f"{archive.filename}: no {path} in it") from None
    except (BadZipFile, OSError, zlib.error, EOFError) as error:
        raise DataError(f"{archive.filename}: {path} is broken: {error}") from error


def _record(row: dict, split: str, store: Callable[[str], Load], seen: set[str]) -> Sample:
    name, image = required(row, "qid"), required(row, "img_name")
    told = {"language": required(row, "q_lang"), "answer_type": words(row, "answer_type").lower()}
    told |= {key: words(row, key) for key in _TOLD}
    record = Record(
        main_task_type="understanding",
        sub_task_type="vqa",
        modality=_modality(words(row, "modality"), words(row, "location")),
        dataset="slake",
        input_img=pictures([f"imgs/{image}"]),
        message=(question(required(row, "question")), answer(required(row, "answer"))),
        id=name,
        licence=_LICENCE,
        split=split,
        attributes={key: text for key, text in told.items() if text},
    )
    if name in seen:
        raise DataError(f"qid: {name} is before it")
    seen.add(name)
    return Sample(record, (store(image),))


def _modality(named: str, location: str) -> str:
    """X-rays are of the chest where the place that the question is about is in it."""
    if named.lower() == "x-ray" and location.startswith(("Chest", "Lung")):
        return "cxr"
    return _MODALITY.get(named.lower(), "mixed")


SOURCE = Source(
    name="slake",
    title="SLAKE",
    home="https://www.med-vqa.com/slake",
    licence=_LICENCE,
    access="open",
    modalities=("ct", "mri", "cxr", "mixed"),
    expected={"train": 9835, "validation": 2099, "test": 2094},
    read=read,
    notes="Half of the questions are Chinese: see the attribute language. Images are kept apart within a language "
    "only: 72 of the 96 English test images are in the Chinese train part. Use one language, or split by image.",
)
