"""Speckle of coherent imaging (ultrasound, optical coherence tomography) and its way to the display.

Each resolution cell sums the echoes of many scatterers at random phases, so the field is a circular complex
Gaussian and its intensity has an exponential distribution (Goodman, "Statistical properties of laser speckle
patterns", 1975; Burckhardt, IEEE Trans Sonics Ultrason 25:1, 1978). The point spread function correlates it.

Scanners detect on a grid of their own and resize for the display. So does this: fields live on a fixed grid,
and an image of any size is resized from it, which makes all sizes show the same speckle.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter


def intensity(rng: np.random.Generator, scattering: np.ndarray, spread: tuple[float, float],
              steady: np.ndarray | None = None, looks: int = 1) -> np.ndarray:
    """Detected intensity [H, W] of scatterers seen through a Gaussian point spread.

    scattering: mean intensity that the scatterers of each grid cell give back, [H, W], 0 or more.
    spread: standard deviations of the point spread, in cells, down and across.
    steady: echoes of one phase, such as of a mirror-like interface, as amplitude [H, W].
    looks: how many independent fields are averaged; their intensity varies by one part in sqrt(looks).

    Where scattering is even, the mean of the answer is the scattering.
    """
    amplitude = np.sqrt(scattering, dtype=np.float32)
    gain = 1.0 / np.sqrt(_energy(spread[0]) * _energy(spread[1]))
    total = np.zeros(amplitude.shape, np.float32)
    for _ in range(looks):
        for part in range(2):
            field = rng.standard_normal(amplitude.shape, dtype=np.float32) * amplitude * np.float32(np.sqrt(0.5))
            field = gaussian_filter(field, spread, mode="nearest", truncate=3.0) * np.float32(gain)
            if steady is not None and part == 0:
                field += gaussian_filter(steady, spread, mode="nearest", truncate=3.0)
            total += field * field
    return total / looks


def decibels(power: np.ndarray) -> np.ndarray:
    """10 log10 of a power."""
    return 10.0 * np.log10(np.maximum(power, 1e-12))


@lru_cache(maxsize=16)
def _energy(sigma: float) -> float:
    """Sum of the squares of the Gaussian kernel that `gaussian_filter` takes."""
    impulse = np.zeros(int(8 * sigma) + 9)
    impulse[len(impulse) // 2] = 1.0
    return float((gaussian_filter(impulse, sigma, truncate=3.0) ** 2).sum())


def resized(image: np.ndarray, size: int) -> np.ndarray:
    """An [H, W] image at size x size: the mean over each new pixel, or linear where pixels get smaller."""
    return _weights(image.shape[0], size) @ image @ _weights(image.shape[1], size).T


@lru_cache(maxsize=16)
def _weights(old: int, new: int) -> np.ndarray:
    """Resizing as a matrix [new, old], rows sum to 1."""
    scale = old / new
    centre = (np.arange(new)[:, None] + 0.5) * scale - 0.5
    distance = np.abs(np.arange(old)[None, :] - np.clip(centre, 0, old - 1))
    if scale <= 1:
        weights = np.clip(1 - distance, 0, None)
    else:
        weights = np.clip(scale / 2 + 0.5 - distance, 0, 1)
    weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    weights.flags.writeable = False
    return weights
