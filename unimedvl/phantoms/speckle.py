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
from scipy.sparse import csr_array


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
            field = blurred(field, spread) * np.float32(gain)
            if steady is not None and part == 0:
                field += blurred(steady, spread)
            total += field * field
    return total / looks


def decibels(power: np.ndarray) -> np.ndarray:
    """10 log10 of a power."""
    return 10.0 * np.log10(np.maximum(power, 1e-12))


def blurred(image: np.ndarray, spread: tuple[float, float]) -> np.ndarray:
    """Gaussian blur of [H, W], down and across, cut at 3 standard deviations; edges are continued.

    For the few taps of a point spread, sums of shifted images are several times as fast as scipy's filters.
    """
    for axis, sigma in enumerate(spread):
        taps = _taps(sigma)
        reach, n = len(taps) - 1, image.shape[axis]
        padded = np.pad(image, [(reach, reach) if k == axis else (0, 0) for k in range(2)], mode="edge")
        rows = padded if axis == 0 else padded.T
        total = rows[reach : reach + n] * taps[0]
        for k in range(1, reach + 1):
            total += (rows[reach - k : reach - k + n] + rows[reach + k : reach + k + n]) * taps[k]
        image = total if axis == 0 else total.T
    return image


@lru_cache(maxsize=16)
def _taps(sigma: float) -> np.ndarray:
    """The middle of a Gaussian kernel and its one side; the whole kernel sums to 1."""
    taps = np.exp(-0.5 * (np.arange(int(3 * sigma + 0.5) + 1) / sigma) ** 2)
    taps = (taps / (2 * taps.sum() - taps[0])).astype(np.float32)
    taps.flags.writeable = False
    return taps


def _energy(sigma: float) -> float:
    """Sum of the squares of the kernel."""
    taps = _taps(sigma)
    return float(2 * (taps**2).sum() - taps[0] ** 2)


def resized(image: np.ndarray, size: int) -> np.ndarray:
    """An [H, W] image at size x size: the mean over each new pixel, or linear where pixels get smaller.

    The products are of sparse matrices, which sum in one order; dense ones sum in another with each number of threads.
    """
    down = _weights(image.shape[0], size) @ image
    return np.ascontiguousarray((_weights(image.shape[1], size) @ down.T).T)


@lru_cache(maxsize=16)
def _weights(old: int, new: int) -> csr_array:
    """Resizing as a matrix [new, old], rows sum to 1."""
    scale = old / new
    centre = (np.arange(new)[:, None] + 0.5) * scale - 0.5
    distance = np.abs(np.arange(old)[None, :] - np.clip(centre, 0, old - 1))
    if scale <= 1:
        weights = np.clip(1 - distance, 0, None)
    else:
        weights = np.clip(scale / 2 + 0.5 - distance, 0, 1)
    return csr_array((weights / weights.sum(1, keepdims=True)).astype(np.float32))
