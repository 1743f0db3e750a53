"""The records that the first stage kept, numbered through: inputs first, then evaluation sets, in their order.

A record's number is its place in the prints. A row group of a shard is what is read at once, so that any record is
found again without holding the others.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from pathlib import Path

import numpy as np

from unimedvl.data.build.chunks import Chunk, chunks_of
from unimedvl.data.build.read import folder_of
from unimedvl.data.build.recipe import BuildRecipe, Evaluation, Input
from unimedvl.data.build.thumbnails import need_thumbnails, read_thumbnail
from unimedvl.data.duplicates.prints import EVALUATION, Prints, RecordPrint
from unimedvl.data.error import DataError
from unimedvl.data.shards import group_lengths, read_shard
from unimedvl.data.source import Sample

# Row groups whose texts are in memory.
_TEXT_GROUPS = 1024
_FOOTERS = 1024


@dataclass(frozen=True)
class Part:
    """One chunk of an input. first: the number of its first record. count: records that were kept."""

    entry: Input
    chunk: Chunk
    first: int
    count: int


class Rows:
    """Where each record lies. inputs: how many records are of the inputs; the others are of evaluation sets."""

    def __init__(self, recipe: BuildRecipe) -> None:
        self._recipe = recipe
        self.parts: list[Part] = []
        first = 0
        for entry in (*recipe.inputs, *recipe.evaluation):
            for chunk in chunks_of(folder_of(recipe, entry)):
                count = sum(group_lengths(chunk.shard))
                self.parts.append(Part(entry, chunk, first, count))
                first += count
        self.count = first
        self.inputs = sum(p.count for p in self.parts if not isinstance(p.entry, Evaluation))
        self._texts = lru_cache(maxsize=_TEXT_GROUPS)(_texts)
        self._lengths = lru_cache(maxsize=_FOOTERS)(lambda file: tuple(group_lengths(file)))

    @property
    def input_parts(self) -> list[Part]:
        return [p for p in self.parts if not isinstance(p.entry, Evaluation)]

    def prints(self) -> Iterator[tuple[Input, RecordPrint]]:
        """Every record's print, by number. What an evaluation set calls training is of the set all the same.

        An instruction counts as no words: it is the same text only as an equal one, and no text that training and an
        evaluation set would have in common.
        """
        for part in self.parts:
            page = part.chunk.read_page()
            if len(page["prints"]) != part.count:
                raise DataError(f"{part.chunk.page}: {len(page['prints'])} prints for {part.count} records")
            instructions = set(page["instructions"])
            for row, values in enumerate(page["prints"]):
                one = RecordPrint.model_validate(values)
                if row in instructions:
                    one = one.model_copy(update={"text": one.text.model_copy(update={"words": 0})})
                if isinstance(part.entry, Evaluation) and one.split not in EVALUATION:
                    one = one.model_copy(update={"split": "test"})
                yield part.entry, one

    def text(self, number: int) -> str:
        """The text of a record; its images are not read."""
        file, group, row = self._place(number)
        return self._texts(file, group)[row]

    def loaders(self, prints: Prints):
        """What `group_images` and `group_texts` ask for thumbnails and texts with.

        Raises:
            DataError: a chunk's thumbnails are not those of its images.
        """

        for part in self.parts:
            need_thumbnails(part.chunk, prints.first(part.first + part.count) - prints.first(part.first))

        def look(number: int) -> np.ndarray:
            part = self._part(prints.place(number)[0])
            return read_thumbnail(part.chunk, number - prints.first(part.first))

        return look, self.text

    @cached_property
    def _firsts(self) -> list[int]:
        return [p.first for p in self.parts if p.count]

    @cached_property
    def _filled(self) -> list[Part]:
        return [p for p in self.parts if p.count]

    def _part(self, number: int) -> Part:
        return self._filled[bisect_right(self._firsts, number) - 1]

    def _place(self, number: int) -> tuple[Path, int, int]:
        """Shard, row group and row in it."""
        part = self._part(number)
        ends = list(accumulate(self._lengths(part.chunk.shard)))
        row = number - part.first
        group = bisect_right(ends, row)
        return part.chunk.shard, group, row - (ends[group - 1] if group else 0)


def _texts(file: Path, group: int) -> list[str]:
    import pyarrow.parquet

    from unimedvl.data.record import parse_record

    with pyarrow.parquet.ParquetFile(file) as opened:
        column = opened.read_row_group(group, columns=["record"])["record"]
    return [parse_record(line, f"{file}: group {group}").text for line in column.to_pylist()]


def samples_of(part: Part, rows: Sequence[int]) -> Iterator[Sample]:
    """Some samples of a chunk, by their rows in rising order; row groups without any are not read."""
    lengths = group_lengths(part.chunk.shard)
    ends = list(accumulate(lengths))
    wanted = sorted({bisect_right(ends, row) for row in rows})
    numbers = (n for g in wanted for n in range(ends[g] - lengths[g], ends[g]))
    chosen = set(rows)
    for number, sample in zip(numbers, read_shard(part.chunk.shard, wanted), strict=True):
        if number in chosen:
            yield sample
