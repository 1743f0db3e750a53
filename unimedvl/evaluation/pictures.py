"""Encoded images as 8-bit RGB."""

from __future__ import annotations

import numpy as np

from unimedvl.imaging import read_image


def picture(data: bytes) -> np.ndarray:
    """[H, W, 3] uint8 of an encoded image of any kind that is read. Raises ImagingError."""
    return np.rint(read_image(data).pixels * 255).astype(np.uint8)
