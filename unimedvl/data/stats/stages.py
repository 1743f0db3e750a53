"""The stages of a build, or the shards of a set, as streams of records and of what was dropped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.quality.coarse import image_size
from unimedvl.data.record import Picture, Record
from unimedvl.data.scan import STAGES, count_rows, scan, shard_files, stage_folders
from unimedvl.data.shards import group_lengths, read_shard
from unimedvl.data.source import Sample
from unimedvl.data.staged import page_content, staged

QUARANTINE = "quarantined"


@dataclass(frozen=True)
class Dropped:
    """An item that a stage left out, of which no record is kept. rule: `quarantined` where it can't be used."""

    rule: str
    reason: str
    where: str = ""


@dataclass(frozen=True)
class Stage:
    """A name, and what came out of it: records, with their decisions, and what was dropped.

    items: read once. total: how many there are, where that is known beforehand.
    """

    name: str
    items: Iterable[Record | Dropped]
    total: int | None = None


def stages_of(paths: Sequence[Path]) -> list[Stage]:
    """The stages in a build's folder, which is one that has a folder `read`; else one stage of all shards named.

    Of a stage with shards, its records, and of the pages beside the shards (`NNNNNN.json`) what was dropped. Of one
    with pages alone, the records that came to it, each with what this stage decided of it.

    Raises:
        DataError: nothing there, or no shards in it.
    """
    paths = [Path(p) for p in paths]
    if len(paths) == 1 and (folders := stage_folders(paths[0])):
        return [_stage_of_build(paths[0], folder.name) for folder in folders]
    pages = [p for path in paths for p in ([path.with_suffix(".json")] if path.is_file() else _pages(path))]
    return [_stage("shards", shard_files(paths), [p for p in pages if p.is_file()])]


def _stage_of_build(build: Path, name: str) -> Stage:
    shards = sorted((build / name).rglob("*.parquet"))
    if shards or name == STAGES[0]:
        return _stage(name, shards, _pages(build / name))
    read = sorted((build / STAGES[0]).rglob("*.parquet"))
    return Stage(name, _judged(build, name), count_rows(read))


def _pages(folder: Path) -> list[Path]:
    return sorted(folder.rglob("[0-9][0-9][0-9][0-9][0-9][0-9].json"))


def _stage(name: str, shards: list[Path], pages: list[Path]) -> Stage:
    return Stage(name, _items(shards, pages), count_rows(shards))


def _items(shards: list[Path], pages: list[Path]) -> Iterator[Record | Dropped]:
    for shard in shards:
        yield from sized_records(shard)
    for page in pages:
        yield from _dropped(page)


def _judged(build: Path, name: str) -> Iterator[Record]:
    """The records that came to a stage, with its decisions alone; what it has not come to yet is left out."""
    return (record for one in staged(build) if (record := one.at(name)) is not None)


def _dropped(page: Path) -> Iterator[Dropped]:
    """What a page lists under `dropped` and `quarantined`; a page of another form lists nothing."""
    content = page_content(page)
    for name in ("dropped", QUARANTINE):
        entries = content.get(name)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict):
                rule = str(entry.get("rule", name))
                yield Dropped(rule, str(entry.get("reason", "")), str(entry.get("where", "")))


def sized_records(shard: Path) -> Iterator[Record]:
    """A shard's records, each picture with its size; images are only read from where a size isn't stated.

    A picture that can't be opened stays without a size.
    Raises:
        DataError: as `read_shard`.
    """
    records, lengths = (record for _, record in scan([shard])), group_lengths(shard)
    for group, length in enumerate(lengths):
        part = list(islice(records, length))
        if not all(_sized(p) for record in part for p in record.pictures):
            # One whose sizes aren't stated is seldom alone, and a shard is slow to open.
            yield from map(_measured, read_shard(shard, range(group, len(lengths))))
            return
        yield from part


def _sized(picture: Picture) -> bool:
    return picture.width is not None and picture.height is not None


def _measured(sample: Sample) -> Record:
    record = sample.record
    known = [p if _sized(p) else _opened(p, load()) for p, load in zip(record.pictures, sample.images, strict=True)]
    inputs = len(record.input_img)
    return record.model_copy(update={"input_img": tuple(known[:inputs]), "output_img": tuple(known[inputs:])})


def _opened(picture: Picture, data: bytes) -> Picture:
    try:
        width, height = image_size(data, picture.path)
    except DataError:
        return picture
    return picture.model_copy(update={"width": width, "height": height})
