"""What a conversation has taken in so far, and the contexts that guidance compares it with."""

from __future__ import annotations

from collections.abc import Sequence as Seq

import torch

from unimedvl.model.cache import Cache
from unimedvl.model.flow import Guidance
from unimedvl.model.unified import UnifiedModel
from unimedvl.sequence import Segment, Text


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
        self._closing: int | None = None

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
        other._closing = self._closing
        return other

    def extend(self, segments: Seq[Segment]) -> None:
        """Take in what the user gives."""
        extend_all([self], [segments])

    def owe(self, token: int) -> None:
        """Remember a token that closes the model's own text, to be taken in if more follows."""
        self._closing = token

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
    """Take in the closing tokens that are owed, all in one pass."""
    owing = [c for c in contexts if c._closing is not None]
    if owing:
        model = owing[0].model
        ids = torch.tensor([c._closing for c in owing], device=model.device)
        model.logits([c.cache for c in owing], ids)
        for context in owing:
            context._closing = None


def extend_all(contexts: Seq[Context], sequences: Seq[Seq[Segment]]) -> None:
    """Take a sequence of segments into each context; all prompts pass the model together.

    What precedes each context's last text is taken in first, because guidance needs the context
    as it was before that text.
    """
    settle(contexts)
    model = contexts[0].model
    lasts = [max((i for i, s in enumerate(q) if isinstance(s, Text)), default=len(q)) for q in sequences]
    heads = [(c, q[:n]) for c, q, n in zip(contexts, sequences, lasts, strict=True) if q[:n]]
    if heads:
        model.extend([c.cache for c, _ in heads], [q for _, q in heads])
    tails = [(c, q[n:]) for c, q, n in zip(contexts, sequences, lasts, strict=True) if q[n:]]
    for context, _ in tails:
        context._without_text = context.cache.branch()
    if tails:
        model.extend([c.cache for c, _ in tails], [q for _, q in tails])
    for context, sequence in zip(contexts, sequences, strict=True):
        context._texts += [s for s in sequence if isinstance(s, Text)]
