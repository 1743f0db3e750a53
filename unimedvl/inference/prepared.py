"""One thing asked, ready for the model: its images read, its words laid out, and what its result will tell."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unimedvl.checkpoint import CheckpointError
from unimedvl.imaging import Image
from unimedvl.inference.image import grid_for
from unimedvl.inference.requests import Request, check_wishes
from unimedvl.inference.results import ImageResult, TextResult
from unimedvl.inference.sampling import Sampling
from unimedvl.inference.text import Spoken
from unimedvl.inference.thought import split_thought
from unimedvl.model.flow import time_grid
from unimedvl.sequence import Segment
from unimedvl.tasks import THINK_FIRST, Drawing, Part, Task, task

if TYPE_CHECKING:
    from unimedvl.inference.unimedvl import UniMedVL

_TAKES_IMAGES = {"seen", "both"}


@dataclass(frozen=True, eq=False)
class Prepared:
    """What the model takes in, the parts that it then produces, and how.

    shape: rows and columns of tokens of the drawing. name, words, settings, images: what provenance tells of it.
    """

    owner: UniMedVL
    segments: list[Segment]
    parts: tuple[Part, ...]
    sampling: Sampling
    drawing: Drawing
    shape: tuple[int, int]
    seed: int
    name: str
    words: str
    settings: dict
    images: tuple[Image, ...]

    @property
    def draws(self) -> bool:
        return "target" in self.parts

    def result(self, spoken: Spoken | None, drawn: Tensor | None) -> TextResult | ImageResult:
        """What was said and drawn ([H, W, 3] uint8), with where it came from."""
        settings = dict(self.settings)
        if spoken is not None:
            settings["sampling"] = self.sampling.to_dict()
        if drawn is not None:
            settings["drawing"] = asdict(self.drawing)
        told: dict = {
            "provenance": self.owner.provenance(self.name, self.words, self.seed, settings, self.images)
        }
        if spoken is not None:
            thought, text = split_thought(spoken.text, self.sampling.thinks)
            told |= dict(text=text, thought=thought, confidence=spoken.confidence, finish=spoken.finish)
            told |= dict(logprobs=tuple(spoken.logprobs), tokens=tuple(spoken.tokens))
        if drawn is None:
            return TextResult(**told)
        return ImageResult(drawn.numpy(), **told, originals=tuple(i.original for i in self.images if i.original))


def prepared(owner: UniMedVL, request: Request, sampling: Sampling | None, drawing: Drawing) -> Prepared:
    """A request of a task, its images read. Raises ValueError, ImagingError, CheckpointError."""
    what = task(request.task)
    if what.draws:
        check_draws(owner, what.name, drawing)
    check_wishes(what, dict(request.wishes))
    if request.images and not _TAKES_IMAGES & set(what.layout):
        raise ValueError(f"{what.name} takes no image, got {len(request.images)}")
    images = tuple(owner.read(x, request.read) for x in request.images)
    words = _words(what, request)
    # A plan is made only where one was asked for.
    planned = request.think or not what.planned
    return Prepared(
        owner,
        segments=what.prompt(tuple(as_pixels(i) for i in images), words, owner.prepare),
        parts=tuple(part for part in what.predicted if planned or part != "answer"),
        sampling=sampling_for(sampling, request.seed, request.think),
        drawing=drawing,
        shape=grid_of(owner, request.size, images, what.enlarges) if what.draws else (0, 0),
        seed=request.seed,
        name=what.name,
        words=words,
        settings={"think": request.think},
        images=images,
    )


def check_draws(owner: UniMedVL, name: str, drawing: Drawing) -> None:
    """Raises CheckpointError where the model was loaded without what makes images, ValueError for too few steps."""
    if not owner.model.generation:
        raise CheckpointError(f"{name} draws, and this model was loaded for understanding only")
    time_grid(drawing.steps, drawing.shift)


def sampling_for(sampling: Sampling | None, seed: int, think: bool) -> Sampling:
    """How text is chosen: greedy where that is not said, with the request's seed where it has none of its own.

    A constraint is on what follows the reasoning.
    """
    sampling = sampling or Sampling()
    if sampling.seed is None:
        sampling = replace(sampling, seed=seed)
    if sampling.constraint is not None and think:
        sampling = replace(sampling, constraint=sampling.constraint.after_thought())
    return sampling


def grid_of(
    owner: UniMedVL, size: tuple[int, int] | None, images: Seq[Image], enlarges: int = 1
) -> tuple[int, int]:
    """The drawing's grid: what was asked for, else the first input's as the model takes it, else its own.

    Raises ValueError for a size that can't be drawn.
    """
    rule = owner.prepare.vae
    if size is not None:
        width, height = size
    elif images:
        width, height = rule(images[0].width * enlarges, images[0].height * enlarges)
    else:
        width = height = min(rule.max_size, 512)
    return grid_for(owner.model, width, height)


def as_pixels(image: Image) -> Tensor:
    """The image as the model's transforms take it: [3, H, W] float32 in [-1, 1]."""
    return torch.from_numpy(image.pixels).permute(2, 0, 1) * 2 - 1


def _words(what: Task, request: Request) -> str:
    try:
        words = request.text or what.request.format(**dict(request.wishes))
    except KeyError as error:
        raise ValueError(f"{what.name} needs words, or the wish {error.args[0]!r}") from None
    if not words:
        raise ValueError(f"{what.name} needs words: a question, a caption or an instruction")
    return f"{THINK_FIRST} {words}" if request.think else words
