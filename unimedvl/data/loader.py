"""Shards as one endless, shuffled, weighted stream, in which every place is known beforehand.

What stands at a position of the stream follows from the seed and the position alone. So ranks and workers take
positions in turn, and a run that stopped after n samples goes on at position n with any number of either,
without repeating or skipping one. Used with `torch.utils.data.DataLoader`:

    DataLoader(mixture, batch_size=None, sampler=positions(done, total, rank, ranks), num_workers=4)

Shuffling is in windows: an epoch takes the row groups of a part in a random order, and mixes the records of some
that follow each other. So each row group is read once for an epoch and a reader, and few are held at a time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from unimedvl.data.error import DataError
from unimedvl.data.record import Record
from unimedvl.data.shards import group_lengths, read_records, read_rows
from unimedvl.data.source import Sample

# Positions whose parts are drawn at once, and row groups whose records are mixed.
_BLOCK, _WINDOW = 4096, 32


@dataclass(frozen=True)
class Part:
    """Records that are drawn alike, such as those of one source and task. weight: relative to other parts.

    rows: by file, which rows of each of its row groups are of this part; all where None.
    """

    name: str
    files: tuple[Path, ...]
    weight: float = 1.0
    rows: Mapping[Path, Sequence[Sequence[int]]] | None = None

    def group_rows(self, file: Path) -> list[Sequence[int]]:
        """The part's rows of each row group of a file."""
        return [range(n) for n in group_lengths(file)] if self.rows is None else list(self.rows[file])


@dataclass(frozen=True)
class Place:
    """Where the sample of a position lies. row: within the row group."""

    part: str
    epoch: int
    file: Path
    group: int
    row: int


def positions(start: int, stop: int, rank: int = 0, ranks: int = 1) -> range:
    """The positions from `start` to before `stop` that a rank takes."""
    if not 0 <= rank < ranks:
        raise DataError(f"rank is {rank}; it must be 0 to {ranks - 1}")
    return range(start + rank, stop, ranks)


class Mixture(Dataset):
    """The stream: `mixture[position]` is a Sample, for any position from 0 on."""

    def __init__(self, parts: Sequence[Part], seed: int = 0, window: int = _WINDOW) -> None:
        """window: row groups whose records are mixed; as many are held for each part.

        Raises:
            DataError: no part, a part of no records, a weight that is not over 0, or no shard.
        """
        if not parts:
            raise DataError("a mixture needs one part or more")
        self.seed = seed
        weights = np.array([p.weight for p in parts], dtype=np.float64)
        for part in parts:
            if not part.weight > 0:
                raise DataError(f"{part.name}: weight is {part.weight}; it must be over 0")
        self._weights = weights / weights.sum()
        self._parts = [_Shuffled(part, number, seed, window) for number, part in enumerate(parts)]
        self._before = [np.zeros(len(parts), dtype=np.int64)]  # samples of each part before each block
        self._block: tuple[int, np.ndarray, np.ndarray] | None = None

    def __getitem__(self, position: int) -> Sample:
        part, number = self._drawn(position)
        return self._parts[part].sample(number)

    def record(self, position: int) -> Record:
        """The record of a position, whose images are not read."""
        part, number = self._drawn(position)
        return self._parts[part].record(number)

    def place(self, position: int) -> Place:
        """Where the sample of a position lies, without reading it."""
        part, number = self._drawn(position)
        return self._parts[part].place(number)

    def _drawn(self, position: int) -> tuple[int, int]:
        """The part of a position, and how many samples of that part come before it."""
        block, within = divmod(position, _BLOCK)
        if self._block is None or self._block[0] != block:
            while len(self._before) <= block:
                counts = np.bincount(self._draw(len(self._before) - 1), minlength=len(self._parts))
                self._before.append(self._before[-1] + counts)
            drawn = self._draw(block)
            numbers = np.empty(_BLOCK, dtype=np.int64)
            for part, before in enumerate(self._before[block]):
                where = np.flatnonzero(drawn == part)
                numbers[where] = before + np.arange(len(where))
            self._block = (block, drawn, numbers)
        return int(self._block[1][within]), int(self._block[2][within])

    def _draw(self, block: int) -> np.ndarray:
        rng = np.random.default_rng((self.seed, 0, block))
        return rng.choice(len(self._weights), _BLOCK, p=self._weights)


class _Shuffled:
    """The endless stream of one part: epoch after epoch, each in an order of its own."""

    def __init__(self, part: Part, number: int, seed: int, window: int) -> None:
        self.part, self.number, self.seed, self.window = part, number, seed, window
        found = [(file, g, rows) for file in part.files for g, rows in enumerate(part.group_rows(file)) if len(rows)]
        self.groups = [(file, g) for file, g, _ in found]
        self.rows = [rows for *_, rows in found]
        self.counts = np.array([len(rows) for rows in self.rows], dtype=np.int64)
        self.size = int(self.counts.sum())
        if not self.size:
            raise DataError(f"{part.name}: its {len(part.files)} shards hold no record")
        self._epoch: tuple[int, np.ndarray, np.ndarray] | None = None
        self._mixed: tuple[tuple[int, int], np.ndarray] | None = None
        self._held: OrderedDict[int, list[Sample]] = OrderedDict()
        self._records: OrderedDict[int, list[Record]] = OrderedDict()

    def place(self, number: int) -> Place:
        epoch, group, row = self._find(number)
        return Place(self.part.name, epoch, *self.groups[group], int(self.rows[group][row]))

    def sample(self, number: int) -> Sample:
        _, group, row = self._find(number)
        return self._recent(self._held, group, read_rows)[row]

    def record(self, number: int) -> Record:
        _, group, row = self._find(number)
        return self._recent(self._records, group, read_records)[row]

    def _recent(self, held: OrderedDict[int, list], group: int, read: Callable) -> list:
        """The part's rows of a row group; as many groups are held as are mixed."""
        if group not in held:
            held[group] = list(read(*self.groups[group], self.rows[group]))
            if len(held) > self.window:
                held.popitem(last=False)
        return held[group]

    def _find(self, number: int) -> tuple[int, int, int]:
        """Epoch, row group and row of the part's n-th sample."""
        epoch, at = divmod(number, self.size)
        order, ends = self._order(epoch)
        window = int(np.searchsorted(ends, at, side="right"))
        start = int(ends[window - 1]) if window else 0
        groups = order[window * self.window : (window + 1) * self.window]
        record = int(self._mix(epoch, window, int(ends[window]) - start)[at - start])
        inside = np.cumsum(self.counts[groups])
        which = int(np.searchsorted(inside, record, side="right"))
        return epoch, int(groups[which]), record - (int(inside[which - 1]) if which else 0)

    def _order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The row groups of an epoch in order, and the number of records up to the end of each window."""
        if self._epoch is None or self._epoch[0] != epoch:
            order = np.random.default_rng((self.seed, 1, self.number, epoch)).permutation(len(self.groups))
            ends = np.cumsum(np.add.reduceat(self.counts[order], np.arange(0, len(order), self.window)))
            self._epoch = (epoch, order, ends)
        return self._epoch[1:]

    def _mix(self, epoch: int, window: int, records: int) -> np.ndarray:
        if self._mixed is None or self._mixed[0] != (epoch, window):
            rng = np.random.default_rng((self.seed, 2, self.number, epoch, window))
            self._mixed = ((epoch, window), rng.permutation(records))
        return self._mixed[1]
