"""Crops of simulated images for the autoencoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unimedvl.phantoms import SIMULATORS
from unimedvl.phantoms.pixels import to_pixels
from unimedvl.phantoms.study import FIRST_TRAINING_SEED
from unimedvl.training.part_run import chance


class Crops(Dataset):
    """Batches [B, 3, crop, crop] in [-1, 1] of all views of some modalities, one for each step.

    Rendering is slower than training on small crops. So step `s` draws from studies `s` to `s + window`
    of a list that the seed gives: each study is rendered once and serves many steps.
    """

    def __init__(
        self, batch: int, crop: int, size: int = 128, seed: int = 0, window: int = 1000,
        modalities: Sequence[str] = tuple(SIMULATORS),
    ) -> None:  # fmt: skip
        self.batch, self.crop, self.size, self.seed, self.window = batch, crop, size, seed, window
        self.modalities = tuple(modalities)
        self.rendered: dict[int, list[np.ndarray]] = {}

    def __getitem__(self, step: int) -> Tensor:
        rng = chance(self.seed, step)
        for passed in [study for study in self.rendered if study < step]:
            del self.rendered[passed]
        return torch.stack([self._crop(rng, step + int(rng.integers(self.window))) for _ in range(self.batch)])

    def _images(self, study: int) -> list[np.ndarray]:
        if study not in self.rendered:
            self.rendered[study] = self._render(np.random.default_rng((self.seed, study, 1)))
        return self.rendered[study]

    def _render(self, rng: np.random.Generator) -> list[np.ndarray]:
        simulator = SIMULATORS[self.modalities[rng.integers(len(self.modalities))]]
        study = simulator.render(simulator.sample(FIRST_TRAINING_SEED + int(rng.integers(10**9))), self.size)
        masks = list(study.masks.values())
        return [*study.images.values(), *([masks[rng.integers(len(masks))]] if rng.random() < 0.3 else [])]

    def _crop(self, rng: np.random.Generator, study: int) -> Tensor:
        images = self._images(study)
        image = images[rng.integers(len(images))]
        y, x = (int(rng.integers(self.size - self.crop + 1)) for _ in range(2))
        return to_pixels(image[y : y + self.crop, x : x + self.crop])
