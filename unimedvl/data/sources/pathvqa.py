"""PathVQA (He et al., 2020): questions on figures of pathology textbooks and a digital library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from unimedvl.data.archives import embedded
from unimedvl.data.error import DataError
from unimedvl.data.files import Rows, parquet, unpickle
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
)

_LICENCE = "MIT; the copyright of images and captions is their publishers'"
_PICKLES = {split: f"qas/{split}/{split}_qa.pkl" for split in ("train", "val", "test")}
_PARQUET = ("train", "validation", "test")


def read(root: Path) -> Iterator[Item]:
    """The authors' pickles, in the folder itself or in `pvqa` or `split`, or the Parquet form of Hugging Face."""
    if (root / "data").is_dir():
        yield from _parquet(root / "data")
        return
    root = next((root / name for name in ("pvqa", "split") if (root / name).is_dir()), root)
    need(root, *_PICKLES.values())
    folder = need(root, "images")
    for split, name in _PICKLES.items():
        if (root / name).exists():
            make = partial(_filed, split=split, folder=folder)
            yield from _numbered(_pickled(root / name), split_named(split), make)


def _pickled(file: Path) -> Rows:
    content = unpickle(file)
    if not isinstance(content, list):
        raise DataError(f"{file}: expected a list, found {type(content).__name__}")
    for number, row in enumerate(content):
        yield f"{file}: entry {number}", row


def _parquet(folder: Path) -> Iterator[Item]:
    files = {split: sorted(folder.glob(f"{split}-*.parquet")) for split in _PARQUET}
    if not any(files.values()):
        wanted = " or ".join(f"{split}-*.parquet" for split in _PARQUET)
        raise DataError(f"{folder}: expected {wanted} in it, found none")
    for split, parts in files.items():
        yield from _numbered(chain.from_iterable(map(parquet, parts)), split, _embedded)


def _numbered(rows: Rows, split: str, make: Callable[[dict, str], tuple[str, Load]]) -> Iterator[Item]:
    """The samples of a split, whose ids are their places in it.

    make: an image's path and load, of a row and its id.
    """
    for number, pair in enumerate(rows):
        name = f"{split}-{number}"
        yield from samples([pair], lambda row, n=name: _sample(row, n, split, *make(row, n)))


def _filed(row: dict, name: str, split: str, folder: Path) -> tuple[str, Load]:
    """An image is named without its suffix; a name that has it is taken as well."""
    image = f"{split}/{required(row, 'image').removesuffix('.jpg')}.jpg"
    return f"images/{image}", file_bytes(folder / image)


def _embedded(row: dict, name: str) -> tuple[str, Load]:
    return f"{name}.jpg", embedded(row)


def _sample(row: dict, name: str, split: str, path: str, load: Load) -> Sample:
    said = required(row, "answer")
    record = Record(
        main_task_type="understanding",
        sub_task_type="vqa",
        modality="mixed",
        dataset="pathvqa",
        input_img=pictures([path]),
        message=(question(required(row, "question")), answer(said)),
        id=name,
        licence=_LICENCE,
        split=split,
        attributes={"answer_type": "closed" if said.lower() in ("yes", "no") else "open"},
    )
    return Sample(record, (load,))


SOURCE = Source(
    name="pathvqa",
    title="PathVQA",
    home="https://github.com/UCSD-AI4H/PathVQA",
    licence=_LICENCE,
    access="open",
    modalities=("mixed",),
    expected={"train": 19755, "validation": 6279, "test": 6761},
    read=read,
    notes="The Parquet form has 19,654, 6,259 and 6,719 records, since repeated ones are removed. An older release is "
    "split otherwise: don't mix. Most images are histopathology, and many are gross; none says which. Whether an "
    "answer is closed follows from its being yes or no.",
)
