"""A batch of requests of one task on its way through the model: read, taken in, answered, drawn."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unimedvl.checkpoint import CheckpointError
from unimedvl.imaging import Image
from unimedvl.inference.context import Context, extend_all
from unimedvl.inference.image import Step, draw, grid_for
from unimedvl.inference.requests import Request, check_wishes
from unimedvl.inference.results import ImageResult, TextResult
from unimedvl.inference.text import Piece, Sampling, Spoken, speak
from unimedvl.inference.thought import ThoughtFilter, split_thought
from unimedvl.tasks import THINK_FIRST, Drawing, task

if TYPE_CHECKING:
    from unimedvl.inference.unimedvl import UniMedVL

_TAKES_IMAGES = {"seen", "both"}


@dataclass(frozen=True)
class Event:
    """Something that happened while a request ran.

    kind: "text" (`text` is new), "thought" (`text` is new reasoning), "step" (`step` of the drawing),
        "result" (the last; `result` is it).
    """

    kind: str
    text: str = ""
    step: Step | None = None
    result: TextResult | ImageResult | None = None


class Job:
    """A batch of requests on its way: contexts, what was said, what was drawn."""

    def __init__(self, owner: UniMedVL, requests: list[Request], sampling: Sampling | None, drawing: Drawing):
        self.owner, self.requests, self.drawing = owner, requests, drawing
        self.task = task(requests[0].task)
        if self.task.draws and not owner.model.generation:
            raise CheckpointError(f"{self.task.name} draws, and this model was loaded for understanding only")
        if self.task.draws and len({r.think for r in requests}) > 1:
            raise ValueError("in a batch of drawings either all are planned first or none; run them apart")
        for request in requests:
            check_wishes(self.task, dict(request.wishes))
            if request.images and not _TAKES_IMAGES & set(self.task.layout):
                raise ValueError(f"{self.task.name} takes no image, got {len(request.images)}")
        self.read = [tuple(owner.read(x, r.read) for x in r.images) for r in requests]
        self.shapes = [self._shape(r, images) for r, images in zip(requests, self.read, strict=True)]
        base = sampling or Sampling()
        self.samplings = [replace(base, seed=r.seed) if base.seed is None else base for r in requests]
        self.spoken: list[Spoken] | None = None
        self.drawn: list[Tensor] | None = None
        prompts = []
        for request, images in zip(requests, self.read, strict=True):
            pixels = tuple(as_pixels(i) for i in images)
            prompts.append(self.task.prompt(pixels, self.words(request), owner.prepare))
        self.contexts = [Context(owner.model) for _ in requests]
        extend_all(self.contexts, prompts)

    @property
    def parts(self) -> tuple[str, ...]:
        """What is produced, in order; a plan only where one was asked for."""
        parts = self.task.predicted
        if self.task.planned and not self.requests[0].think:
            return tuple(p for p in parts if p != "answer")
        return parts

    def words(self, request: Request) -> str:
        try:
            words = request.text or self.task.request.format(**dict(request.wishes))
        except KeyError as error:
            raise ValueError(f"{self.task.name} needs words, or the wish {error.args[0]!r}") from None
        if not words:
            raise ValueError(f"{self.task.name} needs words: a question, a caption or an instruction")
        return f"{THINK_FIRST} {words}" if request.think else words

    def take(self, spoken: list[Spoken]) -> None:
        self.spoken = spoken

    def draw(self, on_step: Callable[[Step], None] | None, cancelled: Callable[[], bool]) -> None:
        seeds = [r.seed for r in self.requests]
        self.drawn = draw(self.contexts, self.shapes, self.drawing, seeds, on_step, cancelled)

    def results(self) -> list[TextResult | ImageResult]:
        out = []
        for i, request in enumerate(self.requests):
            result: dict = {"provenance": self.provenance(request, self.read[i], i)}
            if self.spoken:
                spoken = self.spoken[i]
                thought, text = split_thought(spoken.text)
                result |= dict(text=text, thought=thought, confidence=spoken.confidence)
                result |= dict(logprobs=tuple(spoken.logprobs), finish=spoken.finish)
            out.append(TextResult(**result) if self.drawn is None else ImageResult(self.drawn[i].numpy(), **result))
        return out

    def provenance(self, request: Request, images: tuple[Image, ...], row: int) -> Callable[[], dict]:
        settings: dict = {"think": request.think}
        if self.spoken:
            settings["sampling"] = asdict(self.samplings[row])
        if self.drawn is not None:
            settings["drawing"] = asdict(self.drawing)
        return self.owner.provenance(self.task.name, self.words(request), request.seed, settings, images)

    def _shape(self, request: Request, images: tuple[Image, ...]) -> tuple[int, int]:
        """The drawing's grid: what was asked for, else the first input's as the model takes it, else its own."""
        if not self.task.draws:
            return (0, 0)
        rule = self.owner.prepare.vae
        if request.size is not None:
            width, height = request.size
        elif images:
            width, height = (side * self.task.enlarges for side in (images[0].width, images[0].height))
            width, height = rule(width, height)
        else:
            width = height = min(rule.max_size, 512)
        return grid_for(self.owner.model, width, height)


def answer_events(job: Job) -> Iterator[Event]:
    """The answer's text as events; the job has taken it in when the iterator ends."""
    job.take((yield from spoken_events(speak(job.contexts, job.owner.tokenizer, job.samplings))))


def spoken_events(stream: Iterator[Piece]) -> Iterator[Event]:
    """What one context says, as events, reasoning apart; returns what `speak` returns."""
    split = ThoughtFilter()
    while True:
        try:
            piece = next(stream)
        except StopIteration as end:
            yield from _text_events(split.flush())
            return end.value
        yield from _text_events(split.push(piece.text))


def _text_events(pieces: list[tuple[str, bool]]) -> Iterator[Event]:
    for text, thought in pieces:
        yield Event("thought" if thought else "text", text=text)


def drawing_events(job: Job) -> Iterator[Event]:
    """The drawing's steps as events; the drawing runs in a thread that stops when nobody listens."""
    events: queue.Queue = queue.Queue()
    stopped = threading.Event()

    def work() -> None:
        try:
            job.draw(lambda step: events.put(Event("step", step=step)), stopped.is_set)
            events.put(None)
        except BaseException as error:  # noqa: BLE001 - handed to the one who listens
            events.put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (event := events.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event
    finally:
        stopped.set()
        thread.join()


def as_pixels(image: Image) -> Tensor:
    """The image as the model's transforms take it: [3, H, W] float32 in [-1, 1]."""
    return torch.from_numpy(image.pixels).permute(2, 0, 1) * 2 - 1
