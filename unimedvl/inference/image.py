"""Drawing: from noise along the flow to images, several at once, every branch in one pass."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from functools import partial

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
    shown: whether there is one; the engine decodes the steps that it was asked to.
    """

    number: int
    total: int
    preview: Callable[[], list[Tensor]]
    shown: bool = True


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
    settle(contexts)
    easel = Easel(contexts[0].model)
    pictures = [Picture(c, s, drawing, seed) for c, s, seed in zip(contexts, shapes, seeds, strict=True)]
    while not pictures[0].done:
        if cancelled():
            raise Cancelled(f"stopped at step {pictures[0].number + 1} of {pictures[0].total}")
        easel.step(pictures)
        if on_step is not None:
            ends = [p.end for p in pictures]
            show = partial(_decode, easel.model, ends, shapes)
            on_step(Step(pictures[0].number, pictures[0].total, show))
    return _decode(easel.model, [p.x for p in pictures], shapes)


class Picture:
    """An image on its way from noise.

    context: owes nothing. x: its latent tokens now [tokens, values] float32. end: where the flow would arrive from its
    last point in a straight line. number: steps taken, of `total`.
    """

    def __init__(self, context: Context, shape: tuple[int, int], drawing: Drawing, seed: int) -> None:
        self.shape, self.guidance = shape, drawing.guidance
        self.branches = context.branches(drawing.guidance)
        self.times = time_grid(drawing.steps, drawing.shift)
        self.x = self.end = _noise(context.model, shape[0] * shape[1], seed)
        self.number, self.total = 0, len(self.times) - 1

    @property
    def done(self) -> bool:
        return self.number == self.total

    @property
    def time(self) -> float:
        return self.times[self.number]

    @property
    def needed(self) -> int:
        """How many branches the next step takes: all of them where it is guided."""
        return len(self.branches) if self.guidance.active(self.time) else 1

    def moved(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """`x` and `end` after a step along the velocities of the branches, [branches * tokens, values]."""
        if len(v) > len(self.x):
            parts = v.unflatten(0, (-1, 1, len(self.x)))
            v = guided(parts[0], parts[1], parts[2] if len(parts) == 3 else None, self.guidance)[0]
        t, following = self.times[self.number : self.number + 2]
        return self.x - (t - following) * v, self.x - t * v


class Easel:
    """Pictures that share steps, each at its own time, of its own size, under its own guidance."""

    def __init__(self, model: UnifiedModel) -> None:
        self.model = model
        self._canvas: tuple[list[tuple[Picture, int]], Canvas] | None = None

    def step(self, pictures: Seq[Picture]) -> None:
        """One step for each, in one pass; norms are taken image by image."""
        needed = [p.needed for p in pictures]
        sizes = [len(p.x) * n for p, n in zip(pictures, needed, strict=True)]
        times = [p.time for p in pictures]
        t = times if len(set(times)) > 1 else times[0]
        v = self.model.velocity(self._canvas_for(pictures, needed), torch.cat([p.x for p in pictures]), t)
        moved = [picture.moved(part) for picture, part in zip(pictures, v.split(sizes), strict=True)]
        for picture, (x, end) in zip(pictures, moved, strict=True):  # all or, where one fails, none
            picture.x, picture.end = x, end
            picture.number += 1

    def _canvas_for(self, pictures: Seq[Picture], needed: Seq[int]) -> Canvas:
        """The canvas of the last step where nothing has changed since."""
        key = list(zip(pictures, needed, strict=True))
        if self._canvas is None or self._canvas[0] != key:
            branches = [p.branches[:n] for p, n in key]
            self._canvas = (key, self.model.canvas(branches, [p.shape for p in pictures]))
        return self._canvas[1]

    def forget(self) -> None:
        """Let go of the caches of pictures that are done."""
        self._canvas = None


def _noise(model: UnifiedModel, tokens: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tokens, model.config.latent_token_dim, generator=generator).to(model.device)


def _decode(model: UnifiedModel, xs: Seq[Tensor], shapes: Seq[tuple[int, int]]) -> list[Tensor]:
    return [decoded(model, x, shape) for x, shape in zip(xs, shapes, strict=True)]


def decoded(model: UnifiedModel, x: Tensor, shape: tuple[int, int]) -> Tensor:
    """The image of latent tokens: [H, W, 3] uint8 on the CPU."""
    pixels = model.pixels(x, shape)
    # Truncated, not rounded, as in the published code.
    return ((pixels * 0.5 + 0.5).clamp(0, 1) * 255).to(torch.uint8).permute(1, 2, 0).cpu()
