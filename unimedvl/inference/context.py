"""What a conversation has taken in so far, and the contexts that guidance compares it with."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from collections.abc import Sequence as Seq
from dataclasses import dataclass, replace

import torch

from unimedvl.model.cache import Cache
from unimedvl.model.flow import Guidance
from unimedvl.model.unified import UnifiedModel
from unimedvl.sequence import Segment, Text, position_count, token_count


class Context:
    """A key-value cache that grows by segments.

    Guidance needs two poorer contexts. *Without text* is the context just before the user's last
    text: a branch, which shares its memory. *Without image* is all of the user's texts alone: it
    is only taken in when an image is drawn that asks for it.
    """

    def __init__(self, model: UnifiedModel) -> None:
        self.model = model
        self.cache = model.new_cache()
        self._without_text = self.cache.branch()
        self._without_image: Cache | None = None
        self._texts: list[Text] = []
        self._taken_alone = 0
        self._owed: list[int] = []

    @property
    def length(self) -> int:
        """Tokens taken in."""
        return self.cache.length

    def branch(self) -> Context:
        """A context that goes on from here by itself; what came before is shared."""
        other = Context(self.model)
        other.cache = self.cache.branch()
        other._without_text = self._without_text
        other._without_image = None if self._without_image is None else self._without_image.branch()
        other._texts, other._taken_alone = [*self._texts], self._taken_alone
        other._owed = [*self._owed]
        return other

    def extend(self, segments: Seq[Segment]) -> None:
        """Take in what the user gives."""
        extend_all([self], [segments])

    def owe(self, *tokens: int) -> None:
        """Remember tokens that end the model's own text, to be taken in if more follows."""
        self._owed += tokens

    def branches(self, guidance: Guidance) -> list[Cache]:
        """The caches to draw under: the full one and, as the guidance asks, the poorer ones."""
        if guidance.text_scale == 1.0:
            return [self.cache]
        caches = [self.cache, self._without_text.branch()]
        if guidance.uses_image:
            caches.append(self._alone())
        return caches

    def _alone(self) -> Cache:
        if self._without_image is None:
            self._without_image = self.model.new_cache()
        new = self._texts[self._taken_alone :]
        if new:
            self.model.extend([self._without_image], [new])
            self._taken_alone = len(self._texts)
        return self._without_image


def settle(contexts: Seq[Context]) -> None:
    """Take in the tokens that are owed, those of all contexts together."""
    while owing := [c for c in contexts if c._owed]:
        model = owing[0].model
        ids = torch.tensor([c._owed[0] for c in owing], device=model.device)
        model.logits([c.cache for c in owing], ids)
        for context in owing:
            context._owed.pop(0)


@dataclass(frozen=True)
class _Bit:
    """A segment, or a piece of a text, that is taken in at once.

    begins: it begins a text. last: it is of the last text. ends: the segment of which it is the end.
    """

    segment: Segment
    tokens: int
    begins: bool
    last: bool
    ends: Segment | None


class Intake:
    """What a context has still to take in, bit by bit. An image is taken in whole, whatever its size.

    Guidance needs the context as it was before the last text: that is remembered when the text is begun.
    """

    def __init__(self, context: Context, segments: Seq[Segment], longest: int | None = None) -> None:
        """longest: texts are cut to pieces of so many tokens; not at all where None."""
        self.context = context
        config = context.model.config
        last = max((i for i, s in enumerate(segments) if isinstance(s, Text)), default=-1)
        self._left: deque[_Bit] = deque()
        self._without_text = context._without_text  # before the last text so far
        self._ends: list[tuple[int, int, int, Cache]] = []  # length, position, number of texts, and that cache
        for number, segment in enumerate(segments):
            pieces = _pieces(segment, longest) if isinstance(segment, Text) else [segment]
            for i, piece in enumerate(pieces):
                ends = segment if i == len(pieces) - 1 else None
                begins = isinstance(segment, Text) and i == 0
                self._left.append(_Bit(piece, token_count(piece, config), begins, number == last, ends))

    @property
    def done(self) -> bool:
        return not self._left

    def next(self, most: float = math.inf) -> list[_Bit]:
        """What comes next: so many tokens, or one bit that is larger."""
        bits: list[_Bit] = []
        for bit in self._left:
            if bits and bit.tokens > most:
                break
            bits.append(bit)
            most -= bit.tokens
        return bits

    def took(self, bits: Seq[_Bit]) -> None:
        """The context's cache has taken them in."""
        context = self.context
        length = context.cache.length - sum(bit.tokens for bit in bits)
        position = context.cache.position - sum(position_count(bit.segment) for bit in bits)
        for bit in bits:
            if bit.begins:
                self._without_text = context.cache.branch(length, position)
                if bit.last:
                    context._without_text = self._without_text
            length, position = length + bit.tokens, position + position_count(bit.segment)
            if isinstance(bit.ends, Text):
                context._texts.append(bit.ends)
            if bit.ends is not None:
                self._ends.append((length, position, len(context._texts), self._without_text))
            self._left.popleft()

    def boundaries(self) -> Iterator[tuple[int, Context]]:
        """Where each of the segments ends that were taken in: its number, and a context that goes on from there."""
        for number, (length, position, texts, without_text) in enumerate(self._ends):
            context = self.context.branch()
            context.cache = self.context.cache.branch(length, position)
            context._texts, context._without_text = context._texts[:texts], without_text
            yield number, context


def _pieces(text: Text, longest: int | None) -> list[Text]:
    if longest is None or len(text.ids) <= longest:
        return [text]
    starts = range(0, len(text.ids), longest)
    return [
        replace(text, ids=text.ids[at : at + longest], opens=at == 0, closes=at == starts[-1]) for at in starts
    ]


def take_in(intakes: Seq[Intake], most: float = math.inf) -> None:
    """Take the next so many tokens of each into its context; all pass the model together."""
    model = intakes[0].context.model
    settle([intake.context for intake in intakes])
    taken = [intake.next(most) for intake in intakes]
    model.extend([i.context.cache for i in intakes], [[bit.segment for bit in bits] for bits in taken])
    for intake, bits in zip(intakes, taken, strict=True):
        intake.took(bits)


def extend_all(contexts: Seq[Context], sequences: Seq[Seq[Segment]]) -> None:
    """Take a sequence of segments into each context; all prompts pass the model together."""
    take_in([Intake(c, s) for c, s in zip(contexts, sequences, strict=True)])
