"""MedMNIST+ in miniature: sets of grey and of coloured images, of one label and of fourteen, in two sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unimedvl.data.miniatures.paint import picture

# File, simulated modality, whether it has colours, and labels of train, val and test. In BreastMNIST 0 is malignant.
_SETS = (
    ("pathmnist_128", "his", True, ([8, 0, 3], [6], [7])),
    ("breastmnist_128", "mri", False, ([0, 1], [1], [0])),
    ("retinamnist", "cfp", True, ([4], [0], [2])),
    ("chestmnist_128", "cxr", False, ([[1, 13], []], [[0, 2, 12]], [[6]])),
)


def write(root: Path) -> None:
    for name, modality, coloured, labels in _SETS:
        arrays = {}
        for number, (split, values) in enumerate(zip(("train", "val", "test"), labels, strict=True)):
            seeds, side = range(10 * number, 10 * number + len(values)), 128 if "_" in name else 28
            images = [image(modality, seed, coloured, side) for seed in seeds]
            arrays[f"{split}_images"] = np.stack(images)
            arrays[f"{split}_labels"] = _several(values) if name.startswith("chest") else np.uint8([values]).T
        np.savez_compressed(root / f"{name}.npz", **arrays)


def image(modality: str, seed: int, coloured: bool, side: int) -> np.ndarray:
    """[side, side, 3] uint8, or [side, side] of one channel."""
    whole = picture(modality, seed)
    # Every few pixels, which for a miniature are as good as averages.
    step = 128 // side
    small = whole[::step, ::step][:side, :side]
    return small if coloured else small[..., 0]


def _several(values: list[list[int]]) -> np.ndarray:
    """Findings by number as rows of 14 zeros and ones."""
    return np.array([[int(i in found) for i in range(14)] for found in values], np.uint8)
