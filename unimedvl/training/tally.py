"""What is told of the steps since the last line: losses by task, tokens, fill, waiting, and how much of the machine."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from unimedvl.model.config import ModelConfig
from unimedvl.tasks import TASKS
from unimedvl.training.batches import TrainingBatch
from unimedvl.training.flops import flops_of
from unimedvl.training.footprint import frozen_of
from unimedvl.training.parallel import World
from unimedvl.training.recipe import Recipe, Stage

NAMES = tuple(TASKS)
T = TypeVar("T")


class Tally:
    """Sums over the steps of a line; `line` gives their means over all ranks and begins anew.

    peak: what a device could do, in floating-point operations a second.
    """

    def __init__(self, world: World, config: ModelConfig, stage: Stage, recipe: Recipe, peak: float) -> None:
        self.world, self.config, self.stage, self.recipe, self.peak = world, config, stage, recipe, peak
        self.frozen = frozen_of(stage)
        self._begin()

    def _begin(self) -> None:
        # Rows: next-token losses and their number, flow losses and their number; a column for each task.
        self._by_task = torch.zeros(4, len(NAMES), dtype=torch.float64, device=self.world.device)
        self._sums: dict[str, float] = {}
        self._steps = self._packs = 0
        self._tokens = self._flops = self._waited = 0.0
        self._started = time.perf_counter()

    def waited(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches; how long each was waited for is noted."""
        source = iter(batches)
        while True:
            started = time.perf_counter()
            try:
                batch = next(source)
            except StopIteration:
                return
            self._waited += time.perf_counter() - started
            yield batch

    def step(self, tokens: float, packs: int) -> None:
        """A step of so many tokens over all ranks, and of so many packs of this one."""
        self._steps += 1
        self._packs += packs
        self._tokens += tokens

    def work(self, batch: TrainingBatch) -> None:
        """The operations of a batch that is still in the CPU's memory: a GPU would have to be waited for."""
        self._flops += flops_of(batch.batch, self.config, self.frozen, False, self.recipe.lora)

    def losses(self, batch: TrainingBatch, ce: Tensor, mse: Tensor) -> None:
        """The losses of a batch: of each label [n], and of each target token [m] before it is weighed."""
        for row, tasks, values in ((0, batch.label_tasks, ce), (2, batch.target_tasks, mse)):
            self._by_task[row].index_add_(0, tasks, values.double())
            self._by_task[row + 1].index_add_(0, tasks, torch.ones_like(values, dtype=torch.float64))

    def add(self, **values: float) -> None:
        """Values of a step, to be averaged."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def line(self, stage: str) -> dict[str, float | str]:
        """The means since the last line. All ranks must call this together."""
        sums = self.world.sum_tensor(self._by_task).tolist()
        taken = time.perf_counter() - self._started
        flops, waited, ranks = self.world.sum([self._flops, self._waited, 1.0])
        steps = max(1, self._steps)
        line: dict[str, float | str] = {"stage": stage}
        for name, row in (("ce", 0), ("mse", 2)):
            total, count = sum(sums[row]), sum(sums[row + 1])
            if count:
                line[name] = total / count
            line |= {f"{name}/{t}": s / n for t, s, n in zip(NAMES, sums[row], sums[row + 1], strict=True) if n}
        line |= {name: value / steps for name, value in self._sums.items()}
        line["tokens"] = self._tokens / steps
        line["fill"] = self._tokens / (steps * self.stage.packs * self.stage.tokens)
        line["tokens/s"] = self._tokens / taken
        line["mfu"] = flops / taken / (self.peak * ranks)
        line["loader wait"] = waited / ranks / taken
        line["step seconds"] = taken / steps
        self._begin()
        return line
