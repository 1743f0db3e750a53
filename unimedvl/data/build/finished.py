"""The last stage: what is kept, as shards of each split, with every decision in the records and the images inside.

The records of a split stand in the order in which they were read, and shards are filled one after another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from unimedvl.data.build.chunks import read_json, write_json
from unimedvl.data.build.decisions import ORDER, decided
from unimedvl.data.build.lock import lane_of
from unimedvl.data.build.parted import split_names
from unimedvl.data.build.recipe import BuildRecipe
from unimedvl.data.build.rows import Part, Rows, samples_of
from unimedvl.data.duplicates.prints import SPLITS
from unimedvl.data.shards import write_shard
from unimedvl.data.source import Sample

# Where finished shards go.
FOLDER = "shards"


@dataclass(frozen=True)
class Shard:
    """A shard that is to be. places: chunk and row of each record."""

    file: Path
    split: str
    places: tuple[tuple[Part, int], ...]

    @property
    def page(self) -> Path:
        return self.file.with_suffix(".json")


def planned(recipe: BuildRecipe, rows: Rows) -> Iterator[Shard]:
    """The shards, as the records fill them; the last of each split has what is left."""
    filling: dict[str, list[tuple[Part, int]]] = {split: [] for split in SPLITS if split}
    numbers = dict.fromkeys(filling, 0)

    def shard(split: str) -> Shard:
        file = recipe.folder / FOLDER / f"{split}-{numbers[split]:05d}.parquet"
        full = Shard(file, split, tuple(filling[split]))
        filling[split] = []
        numbers[split] += 1
        return full

    for part in rows.input_parts:
        for row, split in enumerate(split_names(recipe, part)):
            if split is None:
                continue
            filling[split].append((part, row))
            if len(filling[split]) == recipe.shard:
                yield shard(split)
    for split, left in list(filling.items()):
        if left:
            yield shard(split)


def done(recipe: BuildRecipe, rows: Rows) -> bool:
    """Whether every shard is there."""
    return all(shard.page.is_file() for shard in planned(recipe, rows))


def shard_lane(recipe: BuildRecipe, lane: int, lanes: int) -> Iterator[int]:
    """Write every `lanes`-th shard, but those that are done. Yields records, as they are written.

    Raises:
        DataError: a chunk was changed from outside, or a shard can't be written.
    """
    with lane_of(recipe.folder):
        (recipe.folder / FOLDER).mkdir(exist_ok=True)
        for number, shard in enumerate(planned(recipe, Rows(recipe))):
            if number % lanes != lane:
                continue
            if not shard.page.is_file():
                count = write_shard(shard.file, _samples(recipe, shard))
                with shard.file.open("rb") as written:
                    digest = hashlib.file_digest(written, "sha256").hexdigest()
                told = {"file": f"{FOLDER}/{shard.file.name}", "split": shard.split}
                write_json(shard.page, told | {"records": count, "sha256": digest})
            yield len(shard.places)


def _samples(recipe: BuildRecipe, shard: Shard) -> Iterator[Sample]:
    for part, places in groupby(shard.places, key=lambda place: place[0]):
        rows = [row for _, row in places]
        decisions = decided(recipe, ORDER, part)
        for row, sample in zip(rows, samples_of(part, rows), strict=True):
            record = sample.record
            update = {"split": shard.split, "decisions": (*record.decisions, *decisions[row])}
            yield Sample(record.model_copy(update=update), sample.images)


def pages(recipe: BuildRecipe, rows: Rows) -> list[dict]:
    """Of each shard its file, split, number of records and SHA-256."""
    return [read_json(shard.page) for shard in sorted(planned(recipe, rows), key=lambda s: s.file.name)]
