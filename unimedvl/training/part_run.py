"""What the trainings of single parts share: the rate's schedule, chance, a log, and states written whole or not at all.

A step's batch and noise follow from the seed and the step alone. So a run that was killed and goes on
from its last state takes the same steps, to the last bit, as one that was never interrupted.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from unimedvl.training.batches import allow_many_files

logger = logging.getLogger(__name__)


def cosine(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up, then half a cosine down to a twentieth of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))


def chance(seed: int, step: int) -> np.random.Generator:
    """What is drawn by chance for a step."""
    return np.random.default_rng((seed, step))


def reseed(seed: int, step: int) -> None:
    """Make what torch draws by chance in a step depend on the seed and the step alone."""
    torch.manual_seed(int(chance(seed, step).integers(2**62)))


def batches_of(steps: range, data: Dataset, workers: int | None = 1) -> Iterator:
    """The batches ``data[step]`` of some steps in order, made by other processes while one is trained on.

    workers: how many processes; where None, one beside a CPU that trains, and beside a GPU all cores.
    """
    if workers is None:
        workers = max(1, (os.cpu_count() or 1) - 1) if device().type == "cuda" else 1
    allow_many_files()
    return iter(DataLoader(data, batch_size=None, sampler=steps, num_workers=workers, prefetch_factor=2 + 2 // workers))


def save_state(file: Path, state: dict) -> None:
    """Write a state so that the last good one stays until the new one is whole."""
    part = file.with_suffix(".part")
    torch.save(state, part)
    part.replace(file)


def device() -> torch.device:
    """Where to train: a GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
