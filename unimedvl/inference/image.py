"""Drawing: from noise along the flow to images, several at once, every branch in one pass."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import torch
from torch import Tensor

from unimedvl.inference.context import Context, settle
from unimedvl.model.flow import guided, time_grid
from unimedvl.model.unified import Canvas, UnifiedModel
from unimedvl.tasks import Drawing


class Cancelled(Exception):
    """The caller asked for a drawing to stop."""


@dataclass(frozen=True)
class Step:
    """Where a drawing stands: step `number` of `total`; `preview()` decodes what the images look to become.

    preview returns one [H, W, 3] uint8 tensor per image and costs a pass of the decoder each.
    """

    number: int
    total: int
    preview: Callable[[], list[Tensor]]


def grid_for(model: UnifiedModel, width: int, height: int) -> tuple[int, int]:
    """Rows and columns of latent tokens for a size in pixels.

    Raises:
        ValueError: a side that is no multiple of the stride, or beyond the latent grid.
    """
    stride, side = model.config.latent_stride, model.config.max_latent_size
    if width % stride or height % stride or not (0 < width <= side * stride and 0 < height <= side * stride):
        raise ValueError(
            f"an image of {width} x {height} can't be drawn; sides must be multiples of {stride}, "
            f"at most {side * stride}"
        )
    return height // stride, width // stride


def draw(
    contexts: Seq[Context],
    shapes: Seq[tuple[int, int]],
    drawing: Drawing,
    seeds: Seq[int],
    on_step: Callable[[Step], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Tensor]:
    """Draw one image in each context: [H, W, 3] uint8 tensors on the CPU.

    shapes: rows and columns of tokens, see `grid_for`. seeds: one per image; noise is made on the
    CPU, so an image depends on its own seed alone.

    Raises:
        Cancelled: `cancelled()` became true between two steps.
    """
    model = contexts[0].model
    settle(contexts)
    guidance = drawing.guidance
    branches = [c.branches(guidance) for c in contexts]
    plain = model.canvas([[b[0]] for b in branches], shapes)
    full = model.canvas(branches, shapes) if len(branches[0]) > 1 else plain
    sizes = [h * w for h, w in shapes]
    x = torch.cat([_noise(model, n, seed) for n, seed in zip(sizes, seeds, strict=True)])
    times = time_grid(drawing.steps, drawing.shift)
    for number, (t, following) in enumerate(zip(times, times[1:], strict=False), 1):
        if cancelled():
            raise Cancelled(f"stopped at step {number} of {len(times) - 1}")
        if guidance.active(t):
            v = _guided(model, full, x, t, sizes, len(branches[0]), drawing)
        else:
            v = model.velocity(plain, x, t)
        if on_step is not None:
            ends = x - t * v  # where the flow would arrive from here in a straight line
            on_step(Step(number, len(times) - 1, lambda ends=ends: _decode(model, ends, shapes)))
        x = x - (t - following) * v
    return _decode(model, x, shapes)


def _noise(model: UnifiedModel, tokens: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tokens, model.config.latent_token_dim, generator=generator).to(model.device)


def _guided(
    model: UnifiedModel, canvas: Canvas, x: Tensor, t: float, sizes: list[int], branches: int, drawing: Drawing
) -> Tensor:
    """The guided velocity of every image; norms are taken image by image."""
    out = []
    per_image = model.velocity(canvas, x, t).split([n * branches for n in sizes])
    for v, n in zip(per_image, sizes, strict=True):
        parts = v.unflatten(0, (branches, 1, n))
        without_image = parts[2] if branches == 3 else None
        out.append(guided(parts[0], parts[1], without_image, drawing.guidance)[0])
    return torch.cat(out)


def _decode(model: UnifiedModel, x: Tensor, shapes: Seq[tuple[int, int]]) -> list[Tensor]:
    images = []
    for tokens, shape in zip(x.split([h * w for h, w in shapes]), shapes, strict=True):
        pixels = model.pixels(tokens, shape)
        # Truncated, not rounded, as in the published code.
        images.append(((pixels * 0.5 + 0.5).clamp(0, 1) * 255).to(torch.uint8).permute(1, 2, 0).cpu())
    return images
