"""Resizing: the published size rule, antialiased bicubic on floats, and pixels made square."""

from __future__ import annotations

import numpy as np
from PIL import Image as PillowImage


def fit(
    width: int, height: int, *, max_size: int, min_size: int, stride: int, max_pixels: int
) -> tuple[int, int]:
    """The size to which an image is brought before it is cut into patches (the rule of BAGEL).

    Scale down until the longer side is at most `max_size`, then up until the shorter side is at
    least `min_size`; round both sides to multiples of `stride`, at least one. Where that leaves
    more than `max_pixels`, scale both sides by ``max_pixels / pixels``; where the longer side is
    then over `max_size`, scale down to it. Rounding is to the nearest, halves to even.

    Args:
        width, height: in pixels, at least 1.

    Returns:
        (width, height), both multiples of `stride`.

    Raises:
        ValueError: a size or a setting below 1.
    """
    if min(width, height, max_size, min_size, stride, max_pixels) < 1:
        raise ValueError(f"cannot fit {width} x {height}: sizes and settings must be at least 1")

    def scaled(width: int, height: int, scale: float) -> tuple[int, int]:
        return tuple(max(stride, round(round(side * scale) / stride) * stride) for side in (width, height))

    scale = max(min(max_size / max(width, height), 1.0), min_size / min(width, height))
    width, height = scaled(width, height, scale)
    if width * height > max_pixels:
        width, height = scaled(width, height, max_pixels / (width * height))
    if max(width, height) > max_size:
        width, height = scaled(width, height, max_size / max(width, height))
    return width, height


def resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bicubic (a = -0.5) with antialiasing, in floating point, so that no grey level is lost.

    Pillow's filter is the one behind the published transforms; on its float mode it works without
    rounding to 8 bits.

    Args:
        pixels: [H, W] or [H, W, C] float in [0, 1].
        size: (width, height), at least 1.

    Returns:
        float32 [height, width] or [height, width, C] in [0, 1].
    """
    if pixels.shape[1::-1] == tuple(size):
        return np.array(pixels, np.float32)
    if pixels.ndim == 2:
        return _resize_channel(pixels, size)
    first = _resize_channel(pixels[..., 0], size)
    grey = pixels.shape[2] > 1 and all(
        np.array_equal(pixels[..., 0], pixels[..., c]) for c in range(1, pixels.shape[2])
    )
    rest = [first if grey else _resize_channel(pixels[..., c], size) for c in range(1, pixels.shape[2])]
    return np.stack([first, *rest], axis=-1)


def _resize_channel(channel: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    image = PillowImage.fromarray(np.ascontiguousarray(channel, np.float32))
    return np.clip(np.asarray(image.resize(tuple(size), PillowImage.Resampling.BICUBIC)), 0.0, 1.0)


def square_size(
    width: int, height: int, row_spacing: float, column_spacing: float
) -> tuple[int, int]:
    """The (width, height) at which pixels are square; the finer spacing is kept, the coarser refined.

    Args:
        row_spacing: distance between the centres of neighbouring rows.
        column_spacing: between neighbouring columns, in the same unit. Both positive and finite.
            Spacings that differ by less than 1 % count as equal; ones that differ fiftyfold or
            more, which no scanner makes, are not believed.
    """
    ratio = max(row_spacing, column_spacing) / min(row_spacing, column_spacing)
    if not 1.01 <= ratio < 50:
        return width, height
    if row_spacing > column_spacing:
        return width, max(1, round(height * row_spacing / column_spacing))
    return max(1, round(width * column_spacing / row_spacing)), height
