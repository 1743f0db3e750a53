"""Rendered images as the model has pixels, and what super-resolution starts from."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unimedvl.tasks import UPSCALE_FACTOR


def to_pixels(image: np.ndarray) -> Tensor:
    """[H, W, 3] uint8, or [H, W] bool (a mask, white on black), to [3, H, W] float32 in [-1, 1]."""
    if image.dtype == bool:
        image = np.repeat(image[..., None] * np.uint8(255), 3, axis=2)
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 127.5 - 1


def degrade(pixels: Tensor, factor: int = UPSCALE_FACTOR) -> Tensor:
    """Bicubic down by `factor` (antialiased) and bicubic up again: [3, H, W] to the same."""
    size = pixels.shape[-2:]
    small = F.interpolate(
        pixels[None], size=tuple(s // factor for s in size), mode="bicubic", antialias=True
    )
    return F.interpolate(small, size=size, mode="bicubic")[0].clamp(-1, 1)
