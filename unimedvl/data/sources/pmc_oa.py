"""PMC-OA (Lin et al., MICCAI 2023; PMC-CLIP): figures of PubMed Central's open articles, cut up, with captions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from unimedvl.data.archives import image_store
from unimedvl.data.error import DataError
from unimedvl.data.files import json_lines
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

_LICENCE = "not stated for the whole; each article has its own"
# The first of these that is there: with captions cut up as the figures are, or whole; then the first release, by split.
_FILES = (("pmc_oa.jsonl",), ("pmc_oa_beta.jsonl",), ("train.jsonl", "valid.jsonl", "test.jsonl"))


def read(root: Path) -> Iterator[Item]:
    """A record for each line of the first of the published files that is there."""
    need(root, *(name for names in _FILES for name in names))
    files = next(found for names in _FILES if (found := [root / n for n in names if (root / n).exists()]))
    # The archive's own folder has a long name that says how it was made: any will do, but not a download's cache.
    folders = tuple(sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")))
    store = image_store(root, folders or ("images",), "images*.zip")
    seen: set[str] = set()
    for file in files:
        split = None if file.stem.startswith("pmc_oa") else split_named(file.stem)
        yield from samples(json_lines(file), lambda row, s=split: _record(row, s, store, seen))


def _record(row: dict, split: str | None, store: Callable[[str], Load], seen: set[str]) -> Sample:
    image = required(row, "image")
    article = (words(row, "pmcid") if "pmcid" in row else "") or _article(image)
    record = Record(
        main_task_type="understanding",
        sub_task_type="caption",
        modality="mixed",
        dataset="pmc-oa",
        input_img=pictures([f"images/{image}"]),
        message=described(required(row, "caption")),
        id=image.rpartition(".")[0] or image,
        licence=_LICENCE,
        study=article,
        split=split,
    )
    if image in seen:
        raise DataError(f"image: {image} has a caption before")
    seen.add(image)
    return Sample(record, (store(image),))


def _article(image: str) -> str:
    """The article that a figure's name begins with; empty where it doesn't."""
    found = re.match(r"PMC\d+", image)
    return found.group() if found else ""


SOURCE = Source(
    name="pmc-oa",
    title="PMC-OA",
    home="https://huggingface.co/datasets/axiong/pmc_oa",
    licence=_LICENCE,
    access="open",
    modalities=("mixed",),
    expected={"train": 1646592},
    read=read,
    notes="No split in the present release, and the count is a user's. The study of a record is its article. ROCOv2, "
    "PMC-VQA and the others of PubMed Central share figures with it.",
    tasks=("caption",),
)
