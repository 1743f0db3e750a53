"""Who writes the three texts of a generated image: a description in four levels, the prompt, and the plan.

The levels are those of the published set (arXiv 2510.15710): type and context, gross anatomy, organ detail, special
findings; one paragraph, and no diagnosis. The prompt is the description fused with the original caption; the plan is
what is thought before drawing. No writer is trusted: `rules.faults` judges what it wrote.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, is_dataclass, replace
from typing import Protocol

from unimedvl.data.captions.answers import Answers
from unimedvl.data.captions.embedded import EmbeddedWriter, kind_of
from unimedvl.data.captions.original import original_of
from unimedvl.data.error import DataError
from unimedvl.data.quality.alignment import Captioner
from unimedvl.data.record import Record, sha256
from unimedvl.inference.thought import split_thought

_DESCRIBE = (
    "This is a medical image; its modality is {kind}. Describe it in one plain paragraph of at most 90 words, in this "
    "order: what type of image it is and how it was taken; which large structures are in view; how each organ looks; "
    "what stands out. Name what can be seen, never a disease. Do not guess which side something is on."
)
_FUSE = (
    "An image of the modality {kind} has this caption:\n{caption}\n\nAnd this description:\n{description}\n\nWrite one "
    "paragraph of at most 140 words that begins with \"Generate a realistic {kind}\" and asks for this very image. "
    "Keep every structure, side, size and finding of the caption as it is there; take from the description what does "
    "not contradict it; name no disease that the caption does not name. Answer with the paragraph alone."
)
_PLAN = (
    "Someone asks for an image with these words:\n{prompt}\n\nThink aloud, in one plain paragraph of at most 110 "
    "words, how it should be drawn: first the type of image, then the large structures, then detail, then what "
    "stands out. Change no side, structure or finding and add no disease. The last sentence begins with \"The image "
    "shows\"."
)


class Writer(Protocol):
    """Writes about the image of a record that `original_of` takes. name: what it is, with its version.

    Every method raises DataError where it can't be done.
    """

    @property
    def name(self) -> str: ...

    def description(self, image: bytes, record: Record) -> str:
        """The image in four levels. image: encoded."""

    def prompt(self, image: bytes, record: Record, description: str) -> str:
        """The request for this image. description: "" where there is none that can be used."""

    def plan(self, image: bytes, record: Record, prompt: str) -> str:
        """What is thought before drawing what the prompt asks for, in think tags."""


@dataclass(frozen=True)
class CaptionerWriter:
    """Any captioner as writer.

    One that has a `prompt` (`EndpointCaptioner`, `MedGemmaCaptioner`) is asked for all three texts. One that has none,
    such as the embedded stand-in, only describes; the rest is then written by `offline`, out of what it said.
    answers: where what it says is kept, so that a second run gives the same; None keeps nothing.
    """

    captioner: Captioner
    answers: Answers | None = None
    offline: EmbeddedWriter = field(default_factory=EmbeddedWriter)

    @property
    def name(self) -> str:
        asked = self.captioner.name
        return asked if self._asked else f"{asked}; {self.offline.name}"

    @property
    def _asked(self) -> bool:
        return hasattr(self.captioner, "prompt")

    def description(self, image: bytes, record: Record) -> str:
        wish = _DESCRIBE.format(kind=kind_of(record.modality)) if self._asked else ""
        return split_thought(self._said(wish, image, record))[1]

    def prompt(self, image: bytes, record: Record, description: str) -> str:
        if not self._asked:
            return self.offline.prompt(image, record, description)
        caption = original_of(record).text
        wish = _FUSE.format(kind=kind_of(record.modality), caption=caption, description=description or "none")
        return split_thought(self._said(wish, image, record))[1]

    def plan(self, image: bytes, record: Record, prompt: str) -> str:
        if not self._asked:
            return self.offline.plan(image, record, prompt)
        thought, rest = split_thought(self._said(_PLAN.format(prompt=prompt), image, record))
        return f"<think> {rest or thought} </think>"

    def _said(self, wish: str, image: bytes, record: Record) -> str:
        def ask() -> str:
            with _wishing(self.captioner, wish) as captioner:
                said = captioner.captions(image, record, 1)
            if len(said) != 1:
                raise DataError(f"{captioner.name}: expected 1 text, found {len(said)}")
            return said[0].strip()

        if self.answers is None:
            return ask()
        return self.answers.of(self.captioner.name, wish, sha256(image), ask)


@contextmanager
def _wishing(captioner: Captioner, wish: str) -> Iterator[Captioner]:
    """The captioner with another prompt; "" leaves it as it is."""
    if not wish:
        yield captioner
    elif is_dataclass(captioner):
        yield replace(captioner, prompt=wish)
    else:
        # A captioner that holds a model is not copied: the copy would load it again.
        before, captioner.prompt = captioner.prompt, wish
        try:
            yield captioner
        finally:
            captioner.prompt = before
