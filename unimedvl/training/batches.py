"""Packs as batches: made by worker processes, of this rank's share, in the order in which steps take them.

A step takes the next so many packs of the stream, and rank r every n-th of them. What is packed is worked out in this
process, from records alone; workers read images, of their own rank's packs.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unimedvl.model.config import ModelConfig
from unimedvl.sequence import Latent, PackedBatch, Seen, Segment, Text, latent_grid, pack
from unimedvl.tasks import TASKS
from unimedvl.training.packing import Pack, Waiting, packs
from unimedvl.training.samples import Samples

try:
    import resource
except ImportError:  # Windows, which has no such limit
    resource = None

_PLACES = {name: place for place, name in enumerate(TASKS)}


@dataclass
class TrainingBatch:
    """A packed batch, and of which task each label and each target token is, as its place in `tasks.TASKS`.

    label_tasks [n], target_tasks [m]. labels, targets: how many of each count in the loss; those of filling don't.
    tokens: without what was filled in.
    """

    batch: PackedBatch
    label_tasks: Tensor
    target_tasks: Tensor
    labels: int
    targets: int
    tokens: int

    def to(self, device: torch.device | str) -> TrainingBatch:
        moved = {name: getattr(self, name).to(device, non_blocking=True) for name in ("label_tasks", "target_tasks")}
        return replace(self, batch=self.batch.to(device), **moved)


class PackedSamples(Dataset):
    """Batches by their packs: ``data[step, number, pack]``. Times and noise follow from the seed, step and number."""

    def __init__(self, samples: Samples, seed: int) -> None:
        self.samples, self.seed = samples, seed

    def __getitem__(self, place: tuple[int, int, Pack]) -> TrainingBatch:
        step, number, planned = place
        sequences: list[list[Segment]] = []
        tasks: list[str] = []
        for position in planned.positions:
            task, own = self.samples.sequences(position)
            sequences += own
            tasks += [task] * len(own)
        generator = torch.Generator().manual_seed(seed_of(self.seed, step, number))
        return training_batch(sequences, tasks, planned.tokens, self.samples.config, generator)


def seed_of(*numbers: int) -> int:
    """One seed of several numbers."""
    import numpy as np

    return int(np.random.SeedSequence((len(numbers), *numbers)).generate_state(1, np.uint64)[0] >> 1)


def training_batch(
    sequences: list[list[Segment]], tasks: list[str], tokens: int, config: ModelConfig, generator: torch.Generator
) -> TrainingBatch:
    """Pack sequences, each of a task. Where they lack images, texts or targets a small filling that counts nothing
    has them: every weight takes part in every batch, so that ranks which share weights never wait for each other.
    """
    filled = [*sequences, *_filling(sequences, config)]
    rows = [_PLACES[task] for task in tasks]
    label_tasks = [row for row, s in zip(rows, sequences, strict=True) for _ in range(_labels(s))]
    target_tasks = [row for row, s in zip(rows, sequences, strict=True) for _ in range(_targets(s, config))]
    batch = pack(filled, config, generator)
    return TrainingBatch(
        batch, torch.tensor(label_tasks, dtype=torch.long), torch.tensor(target_tasks, dtype=torch.long),
        len(label_tasks), len(target_tasks), tokens,
    )  # fmt: skip


def _labels(sequence: Sequence[Segment]) -> int:
    return sum(len(s.ids) + 1 for s in sequence if isinstance(s, Text) and s.predict)


def _targets(sequence: Sequence[Segment], config: ModelConfig) -> int:
    grids = [latent_grid(s, config) for s in sequence if isinstance(s, Latent) and s.predict]
    return sum(rows * columns for rows, columns in grids)


def _filling(sequences: Sequence[Sequence[Segment]], config: ModelConfig) -> list[list[Segment]]:
    """The smallest sequence with what the others lack, if they lack anything."""
    there = {(type(s), getattr(s, "predict", False)) for sequence in sequences for s in sequence}
    patch, side = config.vit.patch_size, config.latent_stride
    smallest: dict[tuple[type, bool], Segment] = {
        (Seen, False): Seen(torch.zeros(3, patch, patch)),
        (Text, True): Text([], predict=True),
        (Latent, True): Latent(torch.zeros(3, side, side), predict=True),
    }
    lacking = [segment for kind, segment in smallest.items() if kind not in there]
    return [lacking] if lacking else []


class StepBatches:
    """This rank's batches, step by step, from where a run stands.

    packs: of a step over all ranks, a multiple of `ranks`.
    """

    def __init__(
        self, samples: Samples, waiting: Waiting, *, first: int, steps: int, packs: int, budget: int, lookahead: int,
        rank: int, ranks: int, workers: int, seed: int,
    ) -> None:  # fmt: skip
        self.samples, self.steps, self.packs, self.budget, self.lookahead = samples, steps, packs, budget, lookahead
        self.first, self.rank, self.ranks, self.workers, self.seed = first, rank, ranks, workers, seed
        self._ahead = waiting.copy()
        self._after: deque[Waiting] = deque()
        self._batches: Iterator[TrainingBatch] | None = None
        self.waiting = waiting.copy()  # as it stands after the step that was last given

    def start(self) -> None:
        """Start the workers. Processes that are started later take along what this one holds by then."""
        allow_many_files()
        ahead = {"prefetch_factor": 2 * max(1, self.packs // self.ranks)} if self.workers else {}
        data = PackedSamples(self.samples, self.seed)
        loader = DataLoader(data, batch_size=None, sampler=self._places(), num_workers=self.workers,
                            worker_init_fn=_leave_group, **ahead)  # fmt: skip
        self._batches = iter(loader)

    def __iter__(self) -> Iterator[list[TrainingBatch]]:
        if self._batches is None:
            self.start()
        for _ in range(self.first, self.steps):
            mine = [next(self._batches) for _ in range(self.packs // self.ranks)]
            self.waiting = self._after.popleft()
            yield mine

    def _places(self) -> Iterator[tuple[int, int, Pack]]:
        stream = packs(self.samples.tokens, self.budget, self.lookahead, self._ahead)
        for step in range(self.first, self.steps):
            planned = [next(stream) for _ in range(self.packs)]
            self._after.append(self._ahead.copy())
            for number in range(self.rank, self.packs, self.ranks):
                yield step, number, planned[number]


def allow_many_files() -> None:
    """Each tensor of a batch that waits is an open file, and the usual limit is meant to be raised by who needs it."""
    if resource is not None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _leave_group(worker: int) -> None:
    """A terminal and most schedulers signal a whole group; the trainer saves first, and then ends its workers."""
    if hasattr(os, "setsid"):
        os.setsid()
