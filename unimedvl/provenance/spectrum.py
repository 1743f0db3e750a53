"""The low frequencies of a whole picture, numbered so that they stay in place when it is resized.

The discrete cosine transform (DCT-II) of a picture counts half waves per side. A picture and its copy at half the size
have the same number of half waves of a shape, so coefficient (v, u) means the same in both; divided by the square
root of the number of pixels it has the same value too, but for what the resampling filter takes away.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

# Half waves per side that are looked at; a picture needs as many pixels to have them.
SIDE = 28
# ITU-R BT.601, as in JPEG and in Pillow's mode L.
_LUMA = np.array([0.299, 0.587, 0.114])


def luminance(pixels: np.ndarray) -> np.ndarray:
    """[H, W, 3] uint8 to [H, W] float64 from 0 to 255."""
    return pixels.astype(np.float64) @ _LUMA


def coefficients(picture: np.ndarray) -> np.ndarray:
    """[H, W] to [SIDE, SIDE]: coefficient (v, u) in grey levels; 0 where the picture is too small to have it."""
    height, width = picture.shape
    found = _waves(height) @ picture @ _waves(width).T / np.sqrt(picture.size)
    return np.pad(found, ((0, SIDE - found.shape[0]), (0, SIDE - found.shape[1])))


def picture(found: np.ndarray, height: int, width: int) -> np.ndarray:
    """The picture [height, width] that has these coefficients and no others."""
    down, across = _waves(height), _waves(width)
    return down.T @ found[: len(down), : len(across)] @ across * np.sqrt(height * width)


@lru_cache(maxsize=16)
def _waves(length: int) -> np.ndarray:
    """[up to SIDE, length]: the orthonormal cosines of so many pixels."""
    number = np.arange(min(SIDE, length))[:, None]
    waves = np.cos(np.pi * number * (2 * np.arange(length) + 1) / (2 * length)) * np.sqrt(2 / length)
    waves[0] /= np.sqrt(2)
    waves.flags.writeable = False
    return waves
