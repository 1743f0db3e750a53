"""A conversation of several turns and images."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Seq
from typing import TYPE_CHECKING

from unimedvl.imaging import Image, ReadOptions
from unimedvl.inference.context import Context
from unimedvl.inference.job import Event, as_pixels, spoken_events
from unimedvl.inference.requests import Source, as_tuple
from unimedvl.inference.results import TextResult
from unimedvl.inference.text import Sampling, speak
from unimedvl.inference.thought import split_thought
from unimedvl.tasks import TASKS

if TYPE_CHECKING:
    from unimedvl.inference.unimedvl import UniMedVL


class Chat:
    """A conversation: every turn is taken into one context, which is appended to."""

    def __init__(self, owner: UniMedVL, sampling: Sampling) -> None:
        self.owner, self.sampling = owner, sampling
        self.context = Context(owner.model)
        self.inputs: list[Image] = []
        self.turns: list[dict] = []

    def send(self, text: str, images: Source | Seq[Source] = (), read: ReadOptions = ReadOptions()) -> TextResult:
        """Say something, with new images or without, and get the answer. Raises ImagingError."""
        stream = self.stream(text, images, read)
        while True:
            event = next(stream)
            if event.kind == "result":
                return event.result

    def stream(
        self, text: str, images: Source | Seq[Source] = (), read: ReadOptions = ReadOptions()
    ) -> Iterator[Event]:
        """The same, with the text as it comes; the last event holds the result.

        A turn that fails, or whose stream is closed before its end, leaves nothing in the conversation.
        """
        new = [self.owner.read(x, read) for x in as_tuple(images)]
        pixels = tuple(as_pixels(i) for i in new)
        before = self.context.branch()
        try:
            self.context.extend(TASKS["ask"].prompt(pixels, text, self.owner.prepare))
            (spoken,) = yield from spoken_events(
                speak([self.context], self.owner.tokenizer, self.sampling), self.sampling.thinks
            )
        except BaseException:  # an interrupt and a closed stream too
            self.context = before
            raise
        self.inputs += new
        thought, answer = split_thought(spoken.text, self.sampling.thinks)
        settings = {"sampling": self.sampling.to_dict(), "turns_before": [*self.turns]}
        self.turns.append({"request": text, "new_inputs": len(new), "answer": answer})
        provenance = self.owner.provenance("chat", text, self.sampling.seed, settings, self.inputs)
        yield Event(
            "result",
            result=TextResult(
                answer,
                thought,
                spoken.confidence,
                tuple(spoken.logprobs),
                spoken.finish,
                provenance,
                tuple(spoken.tokens),
            ),
        )
