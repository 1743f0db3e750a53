"""Records of shards read without their images, with the place of each, so that single samples can be fetched after."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.files import parquet
from unimedvl.data.record import Record, parse_record
from unimedvl.data.shards import group_lengths, read_shard
from unimedvl.data.source import Sample

# The stages of a build in the order in which they run. Those of records, which are the first and the last, leave
# shards; those between leave pages of what they decided.
STAGES = ("read", "duplicates", "measures", "alignment", "splits", "shards")


@dataclass(frozen=True)
class Place:
    """Where a sample lies: its shard, and its row in it from 0."""

    file: Path
    row: int

    def __str__(self) -> str:
        return f"{self.file}: row {self.row}"


def stage_folders(build: Path) -> list[Path]:
    """The folders of a build's stages, in order; none where it is no build's folder, which has the first of them."""
    return [build / name for name in STAGES if (build / name).is_dir()] if (build / STAGES[0]).is_dir() else []


def shard_files(paths: Iterable[Path]) -> list[Path]:
    """Shards by name; a folder stands for all `*.parquet` in it and below, in order of their names.

    A build's folder stands for the shards of its last stage, or of its first as long as that is all there is.

    Raises:
        DataError: there is no such file or folder, or a folder without shards.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        path = next((f for f in reversed(stage_folders(path)) if next(f.rglob("*.parquet"), None)), path)
        inside = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        if not inside:
            raise DataError(f"{path}: no shards in this folder; expected *.parquet")
        if not path.exists():
            raise DataError(f"{path}: no such file or folder; expected shards (*.parquet)")
        found += inside
    return list(dict.fromkeys(found))


def count_rows(files: Iterable[Path]) -> int:
    """How many records some shards have, from their footers alone. Raises DataError where one is no shard."""
    return sum(sum(group_lengths(file)) for file in files)


def scan(files: Iterable[Path]) -> Iterator[tuple[Place, Record]]:
    """Every record and its place, without the images.

    Raises:
        DataError: no shard, or a record in it that is wrong; it names file, row and field.
    """
    for file in files:
        for row, (where, values) in enumerate(parquet(file, columns=["record"])):
            line = values.get("record") if isinstance(values, dict) else None
            if not isinstance(line, str):
                raise DataError(f"{file}: no shard of records: expected a column `record` with JSON lines")
            yield Place(Path(file), row), parse_record(line, where)


def fetch(places: Iterable[Place]) -> Iterator[Sample]:
    """The samples at some places, in the order given, with their images. Only their row groups are read.

    Places that follow one another in a shard are read in one go; a shard is slow to open.
    Raises:
        DataError: as `read_shard`, or there is no such row.
    """
    run: list[Place] = []
    for place in places:
        if run and (place.file != run[-1].file or place.row <= run[-1].row):
            yield from _fetched(run)
            run = []
        run.append(place)
    yield from _fetched(run)


def _fetched(run: list[Place]) -> Iterator[Sample]:
    """Those of rising rows of one shard."""
    if not run:
        return
    lengths = group_lengths(run[0].file)
    starts = list(accumulate(lengths, initial=0))
    if run[-1].row >= starts[-1]:
        raise DataError(f"{run[-1]}: no such row; the shard has {starts[-1]}")
    groups = list(dict.fromkeys(bisect_right(starts, place.row) - 1 for place in run))
    rows = (row for group in groups for row in range(starts[group], starts[group + 1]))
    wanted = {place.row for place in run}
    for row, sample in zip(rows, read_shard(run[0].file, groups), strict=True):
        if row in wanted:
            yield sample
