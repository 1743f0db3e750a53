"""An endless stream of simulated images for the autoencoder."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from unimedvl.phantoms import SIMULATORS
from unimedvl.phantoms.examples import to_pixels
from unimedvl.phantoms.study import FIRST_TRAINING_SEED


class ImageStream(IterableDataset):
    """Batches [B, 3, crop, crop] in [-1, 1] of all modalities and views.

    Rendering is slower than training on small crops, so `reservoir` images are kept, new ones
    replace old ones at random, and each image is used several times in different crops.
    """

    def __init__(self, batch: int, crop: int, size: int = 128, seed: int = 0, reservoir: int = 3000) -> None:
        self.batch, self.crop, self.size, self.seed, self.reservoir = batch, crop, size, seed, reservoir

    def __iter__(self) -> Iterator[Tensor]:
        worker = torch.utils.data.get_worker_info()
        if worker:
            torch.set_num_threads(1)
        stream = (self.seed, worker.id if worker else 0)
        rng = np.random.default_rng(stream)
        images: list[np.ndarray] = []
        modalities = list(SIMULATORS)
        while True:
            for modality in modalities if len(images) < 100 else [modalities[rng.integers(len(modalities))]]:
                self._render(modality, rng, images)
            yield torch.stack([self._crop(images[rng.integers(len(images))], rng) for _ in range(self.batch)])

    def _render(self, modality: str, rng: np.random.Generator, images: list[np.ndarray]) -> None:
        simulator = SIMULATORS[modality]
        study = simulator.render(simulator.sample(FIRST_TRAINING_SEED + int(rng.integers(10**9))), self.size)
        new = list(study.images.values())
        masks = list(study.masks.values())
        if rng.random() < 0.3:
            new.append(masks[rng.integers(len(masks))])
        for image in new:
            if len(images) < self.reservoir:
                images.append(image)
            else:
                images[rng.integers(self.reservoir)] = image

    def _crop(self, image: np.ndarray, rng: np.random.Generator) -> Tensor:
        y, x = (int(rng.integers(self.size - self.crop + 1)) for _ in range(2))
        return to_pixels(image[y : y + self.crop, x : x + self.crop])
