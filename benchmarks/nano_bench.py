"""What the embedded model's tasks are measured with: held-out studies, the model in batches, a judge, sheets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.held_out import HeldOut
from benchmarks.judge import Judge
from benchmarks.sheets import contact_sheet
from unimedvl import UniMedVL
from unimedvl.inference.results import ImageResult, TextResult
from unimedvl.inference.text import Sampling
from unimedvl.inference.unimedvl import Request

SHORT, LONG = Sampling(max_tokens=32), Sampling(max_tokens=128)
# How many questions go through the model at once, and how many drawings.
BATCH = 24


@dataclass
class Bench:
    """What a task is measured with.

    sheets: a folder for contact sheets. steps: points of the drawings' time grid; the model's own where
    None. progress: told how many of how many requests of a task are done.
    """

    model: UniMedVL
    held_out: HeldOut = field(default_factory=HeldOut)
    sheets: Path | None = None
    steps: int | None = None
    batch: int = BATCH
    progress: Callable[[int, int], None] = lambda done, total: None

    @cached_property
    def judge(self) -> Judge:
        return Judge.load()

    def run(self, requests: Sequence[Request], sampling: Sampling = SHORT) -> list[TextResult | ImageResult]:
        """All requests of one task, greedily, in batches."""
        results: list[TextResult | ImageResult] = []
        for start in range(0, len(requests), self.batch):
            part = requests[start : start + self.batch]
            results += self.model.run(part, sampling=sampling, steps=self.steps)
            self.progress(len(results), len(requests))
        return results

    def sheet(self, name: str, columns: Sequence[str], rows: Sequence[tuple[Sequence[np.ndarray], str]]) -> None:
        if self.sheets is not None:
            contact_sheet(self.sheets / f"{name}.png", columns, rows)


def grouped(keys: Sequence[str], values: Sequence) -> dict[str, list]:
    """Values by key, keys in the order in which they come."""
    groups: dict[str, list] = defaultdict(list)
    for key, value in zip(keys, values, strict=True):
        groups[key].append(value)
    return dict(groups)


