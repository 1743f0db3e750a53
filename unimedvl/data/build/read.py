"""The first stage: every item of every source is read, its images opened, and the coarse rules applied.

Each item ends in one of three ways, and a chunk's page counts them: kept (in the chunk's shard, with what was
decided), dropped by a rule (named with its reason), or quarantined (it can't be used, with the reason). The page
has the prints of what is kept as well, for an image is decoded here and nowhere after.
"""

from __future__ import annotations

import io
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from unimedvl.data.build.chunks import Chunk, chunks_of, cut
from unimedvl.data.build.lock import lane_of
from unimedvl.data.build.made import Maker
from unimedvl.data.build.places import input_folder
from unimedvl.data.build.recipe import BuildRecipe, Evaluation, Input
from unimedvl.data.build.thumbnails import write_thumbnails
from unimedvl.data.duplicates.hashes import ImageHash, fixed_form, perceptual_hash, pixel_hash, reduced
from unimedvl.data.duplicates.likeness import thumbnail
from unimedvl.data.duplicates.prints import print_of
from unimedvl.data.error import DataError
from unimedvl.data.quality import coarse
from unimedvl.data.record import Record
from unimedvl.data.shards import embed, write_embedded
from unimedvl.data.source import Fault, Item, Sample
from unimedvl.data.sources import source


def folder_of(recipe: BuildRecipe, entry: Input) -> Path:
    """Where the stage keeps what it read of a source, or of an evaluation set."""
    return recipe.folder / ("evaluation" if isinstance(entry, Evaluation) else "read") / entry.name


def read_lane(recipe: BuildRecipe, lane: int, lanes: int) -> Iterator[int]:
    """Read every `lanes`-th chunk of each source, but those that are done. Yields items, as they are done.

    Raises:
        DataError: a source's folder is not what it should be, a chunk can't be written, or a model or server that the
            recipe names can't be had.
    """
    with lane_of(recipe.folder):
        maker = Maker(recipe)
        for entry in (*recipe.inputs, *recipe.evaluation):
            for number, part in enumerate(cut(_items(recipe, entry), recipe.chunk)):
                if number % lanes != lane:
                    continue
                chunk = Chunk(folder_of(recipe, entry), number)
                if not chunk.done:
                    _read_chunk(chunk, maker.made(part, entry), recipe, isinstance(entry, Evaluation))
                yield len(part)


def _items(recipe: BuildRecipe, entry: Input) -> Iterator[Item]:
    items = islice(source(entry.name).read(input_folder(recipe, entry)), entry.limit)
    wanted = entry.splits if isinstance(entry, Evaluation) else None
    return (i for i in items if not wanted or isinstance(i, Fault) or i.split in wanted)


@dataclass
class _Outcome:
    """What became of a chunk's items. prints: of the kept ones; instructions: which of those have for their text an
    instruction to draw, which says nothing of the image and is the same for many; thumbnails: of their images.
    """

    prints: list[dict] = field(default_factory=list)
    instructions: list[int] = field(default_factory=list)
    thumbnails: list[np.ndarray] = field(default_factory=list)
    dropped: list[dict] = field(default_factory=list)
    quarantined: list[dict] = field(default_factory=list)

    def page(self) -> dict:
        kept = len(self.prints)
        counts = {"read": kept + len(self.dropped) + len(self.quarantined), "kept": kept}
        known = {"prints": self.prints, "instructions": self.instructions}
        return counts | known | {"dropped": self.dropped, "quarantined": self.quarantined}


def _read_chunk(chunk: Chunk, items: Iterable[Item], recipe: BuildRecipe, evaluation: bool) -> None:
    """Write a chunk's shard, a record at a time, then the thumbnails, then its page."""
    out = _Outcome()
    chunk.folder.mkdir(parents=True, exist_ok=True)
    write_embedded(chunk.shard, _kept(items, recipe, evaluation, out))
    write_thumbnails(chunk, out.thumbnails)
    chunk.write_page(out.page())


def _kept(
    items: Iterable[Item], recipe: BuildRecipe, evaluation: bool, out: _Outcome
) -> Iterator[tuple[Record, list[bytes]]]:
    """The records that pass, with their images; what becomes of every item goes into `out`. No rule is applied to
    an evaluation set, which is compared with as it is.
    """
    for item in items:
        if isinstance(item, Fault):
            out.quarantined.append({"where": item.where, "reason": item.reason})
            continue
        where = f"{item.record.dataset} {item.record.id}"
        try:
            record, images, hashes, thumbnails = _opened(item, recipe.largest_image)
        except DataError as error:
            out.quarantined.append({"where": where, "reason": str(error)})
            continue
        sizes = [(p.width, p.height) for p in record.pictures]
        for decision in () if evaluation else coarse.decide_sizes(record, sizes, recipe.coarse):
            record = record.decided(decision)
        if record.kept:
            if record.main_task_type == "interleaved":
                out.instructions.append(len(out.prints))
            out.prints.append(print_of(record, hashes).model_dump(mode="json"))
            out.thumbnails += thumbnails
            yield record, images
        else:
            failed = next(d for d in record.decisions if not d.kept)
            out.dropped.append({"where": where, "rule": failed.rule, "reason": failed.reason})


def _opened(sample: Sample, largest: int) -> tuple[Record, list[bytes], list[ImageHash], list[np.ndarray]]:
    """The record with hash and size of each image, the images, their hashes and thumbnails; each is decoded once.

    Raises:
        DataError: an image can't be loaded, is larger than `largest` bytes, or can't be decoded.
    """
    record, images = embed(sample)
    known, hashes, thumbnails = [], [], []
    for picture, data in zip(record.pictures, images, strict=True):
        if len(data) > largest:
            raise DataError(f"{picture.path}: {len(data):,} bytes; at most {largest:,} are taken")
        (width, height), image = _decoded(data, picture.path)
        known.append(picture.model_copy(update={"width": width, "height": height}))
        small = reduced(image)
        pixels, perceptual = pixel_hash(image), perceptual_hash(small)
        hashes.append(ImageHash(data=picture.sha256, pixels=pixels, perceptual=perceptual))
        thumbnails.append(thumbnail(small))
    inputs = len(record.input_img)
    update = {"input_img": tuple(known[:inputs]), "output_img": tuple(known[inputs:])}
    return record.model_copy(update=update), images, hashes, thumbnails


def _decoded(data: bytes, name: str) -> tuple[tuple[int, int], Image.Image]:
    """Width and height as the file has them, and the image in the form that is hashed."""
    try:
        opened = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: too large to be opened: {error}") from error
    except Image.UnidentifiedImageError as error:
        raise DataError(f"{name}: no image that can be read ({len(data)} bytes)") from error
    except _DAMAGE as error:
        raise DataError(f"{name}: no image that can be read: {error}") from error
    with opened:
        try:
            return opened.size, fixed_form(opened)
        except _DAMAGE as error:
            raise DataError(f"{name}: damaged: {error}") from error


# A damaged file raises nearly anything, by format.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, struct.error)


def counts(recipe: BuildRecipe, entry: Input) -> dict[str, int]:
    """Items read of a source, kept, dropped by each rule (`dropped: <rule>`) and quarantined."""
    found: Counter = Counter(read=0, kept=0, quarantined=0)
    for page in pages(recipe, entry):
        found["read"] += page["read"]
        found["kept"] += page["kept"]
        found["quarantined"] += len(page["quarantined"])
        found.update(f"dropped: {item['rule']}" for item in page["dropped"])
    return dict(sorted(found.items()))


def pages(recipe: BuildRecipe, entry: Input) -> Iterator[dict]:
    for chunk in chunks_of(folder_of(recipe, entry)):
        yield chunk.read_page()
