"""From text and images to segments: what the tokenizer and the two image encoders want to be given.

Training, inference and benchmarks prepare their input here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unimedvl.imaging.eight_bit import resize_planes
from unimedvl.imaging.resize import fit, resize
from unimedvl.model.config import ModelConfig
from unimedvl.sequence import Latent, Seen, Text
from unimedvl.tokenizer import Tokenizer


@dataclass(frozen=True)
class SizeRule:
    """The published resize rule: sides on `stride`, between `min_size` and `max_size`, area bounded."""

    max_size: int
    min_size: int
    stride: int
    max_pixels: int = 14 * 14 * 9 * 1024

    def __call__(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) in pixels that an image of this size is brought to."""
        return fit(
            width,
            height,
            max_size=self.max_size,
            min_size=self.min_size,
            stride=self.stride,
            max_pixels=self.max_pixels,
        )


# Sides as published for inference: ViT 378 to 980, VAE 512 to 1024.
PUBLISHED_SIZES = {"vit": (980, 378), "vae": (1024, 512)}


@dataclass(frozen=True)
class Prepare:
    """Makes segments of texts and images for one model.

    Images are [3, H, W] of any size, float32 in [-1, 1], or uint8 as they were decoded, of which 255 is 1; to resize
    those takes scipy. Segments have floats.
    """

    tokenizer: Tokenizer
    vit: SizeRule
    vae: SizeRule

    @classmethod
    def for_model(
        cls, config: ModelConfig, tokenizer: Tokenizer, sizes: dict[str, tuple[int, int]] | None = None
    ) -> Prepare:
        """The rules for a geometry. sizes: (max, min) side for "vit" and "vae"; the published where None."""
        sizes = {**PUBLISHED_SIZES, **(sizes or {})}
        limit = min(config.latent_stride * config.max_latent_size, sizes["vae"][0])
        return cls(
            tokenizer,
            SizeRule(*sizes["vit"], config.vit.patch_size),
            SizeRule(limit, min(sizes["vae"][1], limit), config.latent_stride),
        )

    def text(self, text: str, predict: bool = False, droppable: bool = False) -> Text:
        return Text(self.tokenizer.encode(text), predict, droppable)

    def seen(self, image: Tensor, droppable: bool = False) -> Seen:
        return Seen(_resized(image, self.vit), droppable)

    def latent(self, image: Tensor, predict: bool = False, droppable: bool = False) -> Latent:
        return Latent(_resized(image, self.vae), predict, droppable)


def _resized(image: Tensor, rule: SizeRule) -> Tensor:
    size = width, height = rule(image.shape[2], image.shape[1])
    same, whole = (height, width) == tuple(image.shape[1:]), image.dtype == torch.uint8
    if image.is_meta:  # only how large it gets is asked for
        return image.new_empty(3, height, width)
    if same:
        return image.float() / 127.5 - 1 if whole else image
    if whole:
        return torch.from_numpy(resize_planes(image.numpy(), size)).mul_(2).sub_(1)
    out = resize((image.permute(1, 2, 0).numpy() + 1) / 2, size)
    return torch.from_numpy(out).permute(2, 0, 1).contiguous() * 2 - 1
