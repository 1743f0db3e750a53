"""Simulated images for the trainings of parts, which learn faster than a study is rendered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unimedvl.phantoms import SIMULATORS, Study
from unimedvl.phantoms.pixels import to_pixels
from unimedvl.phantoms.study import FIRST_TRAINING_SEED
from unimedvl.training.part_run import chance

T = TypeVar("T")


class Rendered(Generic[T]):
    """What is made of the studies of an endless list, each rendered once and kept as long as it may be asked for.

    Study number n follows from the seed and n alone. make: of a study and the generator that drew it.
    """

    def __init__(
        self, seed: int, modalities: Sequence[str], size: int, make: Callable[[Study, np.random.Generator], T]
    ) -> None:
        self.seed, self.modalities, self.size, self.make = seed, tuple(modalities), size, make
        self.made: dict[int, T] = {}

    def at(self, number: int, first: int) -> T:
        """Study `number`; those before `first` are forgotten."""
        for passed in [n for n in self.made if n < first]:
            del self.made[passed]
        if number not in self.made:
            rng = np.random.default_rng((self.seed, number, 1))
            simulator = SIMULATORS[self.modalities[rng.integers(len(self.modalities))]]
            study = simulator.render(simulator.sample(FIRST_TRAINING_SEED + int(rng.integers(10**9))), self.size)
            self.made[number] = self.make(study, rng)
        return self.made[number]


class Crops(Dataset):
    """Batches [B, 3, crop, crop] in [-1, 1] of all views of some modalities, one for each step.

    Step `s` draws from studies `s` to `s + window` of a list that the seed gives.
    """

    def __init__(
        self, batch: int, crop: int, size: int = 128, seed: int = 0, window: int = 1000,
        modalities: Sequence[str] = tuple(SIMULATORS),
    ) -> None:  # fmt: skip
        self.batch, self.crop, self.size, self.seed, self.window = batch, crop, size, seed, window
        self.rendered = Rendered(seed, modalities, size, _images)

    def __getitem__(self, step: int) -> Tensor:
        rng = chance(self.seed, step)
        return torch.stack([self._crop(rng, step) for _ in range(self.batch)])

    def _crop(self, rng: np.random.Generator, step: int) -> Tensor:
        images = self.rendered.at(step + int(rng.integers(self.window)), step)
        image = images[rng.integers(len(images))]
        y, x = (int(rng.integers(self.size - self.crop + 1)) for _ in range(2))
        return to_pixels(image[y : y + self.crop, x : x + self.crop])


def _images(study: Study, rng: np.random.Generator) -> list[np.ndarray]:
    """All views, and a mask now and then."""
    masks = list(study.masks.values())
    return [*study.images.values(), *([masks[rng.integers(len(masks))]] if rng.random() < 0.3 else [])]
