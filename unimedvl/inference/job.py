"""A batch of requests of one task on its way through the model: read, taken in, answered, drawn."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from unimedvl.inference.context import Context, extend_all
from unimedvl.inference.image import Step, draw
from unimedvl.inference.prepared import as_pixels, prepared
from unimedvl.inference.requests import Request
from unimedvl.inference.results import ImageResult, TextResult
from unimedvl.inference.sampling import Sampling
from unimedvl.inference.text import Piece, Spoken, Token, speak
from unimedvl.inference.thought import ThoughtFilter
from unimedvl.tasks import Drawing, task

if TYPE_CHECKING:
    from unimedvl.inference.unimedvl import UniMedVL

__all__ = ["Event", "Job", "answer_events", "as_pixels", "drawing_events", "spoken_events", "text_events"]


@dataclass(frozen=True)
class Event:
    """Something that happened while a request ran.

    kind: "text" (`text` is new), "thought" (`text` is new reasoning), "step" (`step` of the drawing),
        "result" (the last; `result` is it).
    tokens: of the engine's texts where `Sampling.top_logprobs` asked for them: those spoken since the text before.
    """

    kind: str
    text: str = ""
    step: Step | None = None
    result: TextResult | ImageResult | None = None
    tokens: tuple[Token, ...] = ()


class Job:
    """A batch of requests of one task on its way: contexts, what was said, what was drawn."""

    def __init__(self, owner: UniMedVL, requests: list[Request], sampling: Sampling | None, drawing: Drawing):
        self.owner, self.drawing = owner, drawing
        if task(requests[0].task).draws and len({r.think for r in requests}) > 1:
            raise ValueError("in a batch of drawings either all are planned first or none; run them apart")
        self.asked = [prepared(owner, r, sampling, drawing) for r in requests]
        self.parts = self.asked[0].parts
        self.samplings = [asked.sampling for asked in self.asked]
        self.spoken: list[Spoken] | None = None
        self.drawn: list[Tensor] | None = None
        self.contexts = [Context(owner.model) for _ in requests]
        extend_all(self.contexts, [asked.segments for asked in self.asked])

    def take(self, spoken: list[Spoken]) -> None:
        self.spoken = spoken

    def draw(self, on_step: Callable[[Step], None] | None, cancelled: Callable[[], bool]) -> None:
        shapes, seeds = [a.shape for a in self.asked], [a.seed for a in self.asked]
        self.drawn = draw(self.contexts, shapes, self.drawing, seeds, on_step, cancelled)

    def results(self) -> list[TextResult | ImageResult]:
        nothing = [None] * len(self.asked)
        parts = zip(self.asked, self.spoken or nothing, self.drawn or nothing, strict=True)
        return [asked.result(spoken, drawn) for asked, spoken, drawn in parts]


def answer_events(job: Job) -> Iterator[Event]:
    """The answer's text as events; the job has taken it in when the iterator ends."""
    stream = speak(job.contexts, job.owner.tokenizer, job.samplings)
    job.take((yield from spoken_events(stream, job.samplings[0].thinks)))


def spoken_events(stream: Iterator[Piece], thinks: bool = True) -> Iterator[Event]:
    """What one context says, as events, reasoning apart where it thinks; returns what `speak` returns."""
    split = ThoughtFilter(thinks)
    while True:
        try:
            piece = next(stream)
        except StopIteration as end:
            yield from text_events(split.flush())
            return end.value
        yield from text_events(split.push(piece.text))


def text_events(pieces: list[tuple[str, bool]]) -> Iterator[Event]:
    """Pieces of a `ThoughtFilter` as events."""
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
