"""The first stage: every item of every source is read, its images opened, and the coarse rules applied.

Each item ends in one of three ways, and a chunk's page counts them: kept (in the chunk's shard, with what was
decided), dropped by a rule (named with its reason), or quarantined (it can't be used, with the reason).
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from PIL import Image

from unimedvl.data.build.chunks import Chunk, chunks_of, cut
from unimedvl.data.build.recipe import BuildRecipe
from unimedvl.data.error import DataError
from unimedvl.data.quality import coarse
from unimedvl.data.record import Record
from unimedvl.data.shards import embed
from unimedvl.data.source import Fault, Item, Sample
from unimedvl.data.sources import source


def folder_of(recipe: BuildRecipe, name: str) -> Path:
    """Where the stage keeps what it read of a source."""
    return recipe.folder / "read" / name


def read_lane(recipe: BuildRecipe, lane: int, lanes: int, told: Callable[[int], None]) -> None:
    """Read every `lanes`-th chunk of each source, but those that are done. told: is given items, as they are done.

    Raises:
        DataError: a source's folder is not what it should be, or a chunk can't be written.
    """
    for entry in recipe.inputs:
        items = islice(source(entry.name).read(entry.folder), entry.limit)
        for number, part in enumerate(cut(items, recipe.chunk)):
            if number % lanes != lane:
                continue
            chunk = Chunk(folder_of(recipe, entry.name), number)
            if not chunk.done:
                outcome = _judge(part, recipe)
                chunk.write(outcome.kept, outcome.page())
            told(len(part))


@dataclass
class _Outcome:
    """What became of a chunk's items."""

    kept: list[Sample] = field(default_factory=list)
    dropped: list[dict] = field(default_factory=list)
    quarantined: list[dict] = field(default_factory=list)

    def page(self) -> dict:
        read = len(self.kept) + len(self.dropped) + len(self.quarantined)
        counts = {"read": read, "kept": len(self.kept)}
        return counts | {"dropped": self.dropped, "quarantined": self.quarantined}


def _judge(items: list[Item], recipe: BuildRecipe) -> _Outcome:
    out = _Outcome()
    for item in items:
        if isinstance(item, Fault):
            out.quarantined.append({"where": item.where, "reason": item.reason})
            continue
        where = f"{item.record.dataset} {item.record.id}"
        try:
            record, images = _opened(item, recipe.largest_image)
            decisions = coarse.decide(record, images, recipe.coarse)
        except DataError as error:
            out.quarantined.append({"where": where, "reason": str(error)})
            continue
        for decision in decisions:
            record = record.decided(decision)
        if record.kept:
            out.kept.append(Sample(record, tuple(partial(bytes, image) for image in images)))
        else:
            failed = next(d for d in record.decisions if not d.kept)
            out.dropped.append({"where": where, "rule": failed.rule, "reason": failed.reason})
    return out


def _opened(sample: Sample, largest: int) -> tuple[Record, list[bytes]]:
    """The record with hash and size of each image, and the images, each decoded once to see that it is whole.

    Raises:
        DataError: an image can't be loaded, is larger than `largest` bytes, or can't be decoded.
    """
    record, images = embed(sample)
    sizes = []
    for picture, data in zip(record.pictures, images, strict=True):
        if len(data) > largest:
            raise DataError(f"{picture.path}: {len(data):,} bytes; at most {largest:,} are taken")
        sizes.append(_decoded_size(data, picture.path))
    known = [p.model_copy(update={"width": w, "height": h}) for p, (w, h) in zip(record.pictures, sizes, strict=True)]
    inputs = len(record.input_img)
    update = {"input_img": tuple(known[:inputs]), "output_img": tuple(known[inputs:])}
    return record.model_copy(update=update), images


def _decoded_size(data: bytes, name: str) -> tuple[int, int]:
    size = coarse.image_size(data, name)
    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()
    # A damaged file raises nearly anything, by format.
    except (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError) as error:
        raise DataError(f"{name}: damaged: {error}") from error
    return size


def counts(recipe: BuildRecipe) -> dict[str, dict[str, int]]:
    """By source: items read, kept, dropped by each rule (`dropped: <rule>`) and quarantined."""
    return {entry.name: dict(sorted(_counted(recipe, entry.name).items())) for entry in recipe.inputs}


def _counted(recipe: BuildRecipe, name: str) -> Counter:
    found: Counter = Counter(read=0, kept=0, quarantined=0)
    for page in pages(recipe, name):
        found["read"] += page["read"]
        found["kept"] += page["kept"]
        found["quarantined"] += len(page["quarantined"])
        found.update(f"dropped: {item['rule']}" for item in page["dropped"])
    return found


def pages(recipe: BuildRecipe, name: str) -> Iterator[dict]:
    for chunk in chunks_of(folder_of(recipe, name)):
        yield chunk.read_page()
