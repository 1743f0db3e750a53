"""Rectified flow: the path, its target, the time grid, and guidance.

Sources: Liu et al., "Flow Straight and Fast" (arXiv 2209.03003) for the path; Esser et al.
(arXiv 2403.03206) for logit-normal times and the shift; BAGEL (arXiv 2505.14683) for two-fold
guidance with renormalisation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Renorm = Literal["global", "channel", "text_channel"]


@dataclass(frozen=True)
class Guidance:
    """How far the drawing is pushed towards its conditions.

    text_scale: 1 turns all guidance off.
    image_scale: over 1, also away from what would be drawn without the images.
    interval: times t with ``interval[0] < t <= interval[1]`` are guided.
    renorm: what the norm is restored over: the whole image (`global`), each token (`channel`), or
        each token after the text step alone (`text_channel`).
    renorm_min: the factor of the restoring is never below this (nor above 1).
    """

    text_scale: float = 4.0
    image_scale: float = 1.0
    interval: tuple[float, float] = (0.4, 1.0)
    renorm: Renorm = "global"
    renorm_min: float = 0.0

    def __post_init__(self) -> None:
        if self.renorm not in ("global", "channel", "text_channel"):
            raise ValueError(f"renorm is {self.renorm!r}; it must be global, channel or text_channel")
        for name in ("text_scale", "image_scale", "renorm_min"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be a number of 0 or more")

    def active(self, t: float) -> bool:
        """Whether time t is guided at all."""
        # in float32, as the grid is made: else the time 0.8 of a grid would lie beyond an end of 0.8
        low, high = torch.tensor(self.interval).tolist()
        return self.text_scale != 1.0 and low < t <= high

    @property
    def uses_image(self) -> bool:
        return self.text_scale != 1.0 and self.image_scale > 1.0


def shift_time(t: Tensor, shift: float) -> Tensor:
    """``shift * t / (1 + (shift - 1) * t)``: more of the steps where there is more noise."""
    return shift * t / (1 + (shift - 1) * t)


def noised(clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """The point of the path at time t: ``(1 - t) * clean + t * noise``. t broadcasts from the left."""
    t = t.reshape(t.shape + (1,) * (clean.dim() - t.dim()))
    return (1 - t) * clean + t * noise


def velocity_target(clean: Tensor, noise: Tensor) -> Tensor:
    """What the model learns along the path: ``noise - clean``."""
    return noise - clean


def time_grid(points: int, shift: float) -> list[float]:
    """`points` times from 1 to 0, shifted; they make ``points - 1`` updates."""
    if points < 2:
        raise ValueError(f"the time grid has {points} points; it needs 2 or more")
    return shift_time(torch.linspace(1, 0, points), shift).tolist()


def guided(
    full: Tensor, without_text: Tensor, without_image: Tensor | None, guidance: Guidance
) -> Tensor:
    """Combine the branches' velocities; all [B, tokens, values], norms per image (row of B).

    ``text = without_text + s_text * (full - without_text)``, then, where `without_image` is given,
    ``without_image + s_image * (text - without_image)``, rescaled to the norm of `full`.
    """
    text = without_text + guidance.text_scale * (full - without_text)
    if guidance.renorm == "text_channel":
        text = text * _norm_ratio(full, text, (-1,), guidance.renorm_min)
    out = text
    if without_image is not None:
        out = without_image + guidance.image_scale * (text - without_image)
    if guidance.renorm == "text_channel":
        return out
    dims = (-1,) if guidance.renorm == "channel" else (-2, -1)
    return out * _norm_ratio(full, out, dims, guidance.renorm_min)


def _norm_ratio(reference: Tensor, value: Tensor, dims: tuple[int, ...], smallest: float) -> Tensor:
    wanted = torch.linalg.vector_norm(reference.float(), dim=dims, keepdim=True)
    found = torch.linalg.vector_norm(value.float(), dim=dims, keepdim=True)
    return (wanted / (found + 1e-8)).clamp(min=smallest, max=1.0).to(value.dtype)
