"""PMC-VQA (Zhang et al., 2023): questions of multiple choice on figures of PubMed Central, written by a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from unimedvl.data.archives import image_store
from unimedvl.data.choices import multiple_choice
from unimedvl.data.files import table
from unimedvl.data.record import Record
from unimedvl.data.source import (
    Item,
    Load,
    Sample,
    Source,
    need,
    pictures,
    required,
    samples,
    words,
)

# The card doesn't say which version.
_LICENCE = "CC BY-SA"
# What is read, by the archive of its images; in the second release figures are single.
_RELEASES = {
    "images.zip": {"train.csv": "train", "test.csv": "test", "test_clean.csv": "test"},
    "images_2.zip": {"train_2.csv": "train", "test_2.csv": "test"},
}
# Choices begin with their letter.
_LETTER = re.compile(r"^\s*[A-D]\s*:")


def read(root: Path) -> Iterator[Item]:
    """The tables of both releases that are there, in the order in which they came out."""
    need(root, *(name for tables in _RELEASES.values() for name in tables))
    there = [
        (root / name, split, image_store(root, ("figures", "images"), archive))
        for archive, tables in _RELEASES.items()
        for name, split in tables.items()
        if (root / name).exists()
    ]
    for file, split, store in there:
        for number, pair in enumerate(table(file)):
            name = f"{file.stem}-{number}"
            yield from samples([pair], lambda row, n=name, sp=split, st=store: _record(row, n, sp, st))


def _record(row: dict, name: str, split: str, store: Callable[[str], Load]) -> Sample:
    image = required(row, "Figure_path")
    options = {letter: _LETTER.sub("", words(row, f"Choice {letter}")) for letter in "ABCD"}
    # In the first release Answer is the text of the right option; in the second it is the letter.
    letter = required(row, "Answer_label", "Answer")
    turns, told = multiple_choice(required(row, "Question"), options, letter, 1)
    caption = words(row, "Caption") if "Caption" in row else ""
    article = re.match(r"PMC\d+", image)
    record = Record(
        main_task_type="understanding",
        sub_task_type="vqa",
        modality="mixed",
        dataset="pmc-vqa",
        input_img=pictures([f"figures/{image}"]),
        message=turns,
        id=name,
        licence=_LICENCE,
        study=article.group() if article else "",
        split=split,
        attributes=told | ({"caption": caption} if caption else {}),
    )
    return Sample(record, (store(image),))


SOURCE = Source(
    name="pmc-vqa",
    title="PMC-VQA",
    home="https://huggingface.co/datasets/RadGenome/PMC-VQA",
    licence=_LICENCE,
    access="open",
    modalities=("mixed",),
    expected={"train": 176946 + 152603, "test": 50000 + 2000 + 33430},
    read=read,
    notes="Two releases: train.csv, test.csv and test_clean.csv; train_2.csv and test_2.csv, whose figures are single. "
    "test_clean is a checked part of test: use one. The study of a record is its article. PMC-OA, ROCOv2 and the "
    "others of PubMed Central share figures with it.",
)
