"""Samples into packs of a token budget: nothing is cut, nothing is left behind, and the order is the stream's own.

Samples wait in the order of the stream, up to so many of them. A pack takes the one that waits longest, and then again
and again the largest that still fits (best fit; Johnson, *Near-optimal bin packing algorithms*, 1973). So a large
sample waits until it is the oldest and no longer. Which samples a pack holds follows from the stream alone, and a
position and what waits there are all that it takes to go on.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from unimedvl.training.error import TrainingError

_MOST = 1000


@dataclass
class Waiting:
    """Where packing stands. position: of the next sample of the stream. tokens: by position, of those that wait.
    left_out: how many samples were longer than a pack.
    """

    position: int = 0
    tokens: dict[int, int] = field(default_factory=dict)
    left_out: int = 0

    def copy(self) -> Waiting:
        return Waiting(self.position, dict(self.tokens), self.left_out)

    def to_json(self) -> dict:
        return {"position": self.position, "tokens": sorted(self.tokens.items()), "left_out": self.left_out}

    @classmethod
    def from_json(cls, values: dict) -> Waiting:
        return cls(values["position"], dict(values["tokens"]), values["left_out"])


@dataclass(frozen=True)
class Pack:
    """Positions of the stream whose samples stand in one batch, and their tokens together."""

    positions: tuple[int, ...]
    tokens: int


def packs(tokens_of: Callable[[int], int], budget: int, lookahead: int, waiting: Waiting) -> Iterator[Pack]:
    """The endless stream of packs. `waiting` is moved on before each is given.

    tokens_of: how many tokens the sample at a position takes.

    Raises:
        TrainingError: a thousand samples in a row are longer than a pack.
    """
    sizes = sorted((n, -p) for p, n in waiting.tokens.items())  # of equals the oldest is the last
    while True:
        refused = 0
        while len(sizes) < lookahead:
            tokens = tokens_of(waiting.position)
            if tokens <= budget:
                refused = 0
                waiting.tokens[waiting.position] = tokens
                insort(sizes, (tokens, -waiting.position))
            else:
                waiting.left_out += 1
                refused += 1
                if refused == _MOST:
                    raise TrainingError(
                        f"tokens: {_MOST} samples in a row are longer than a pack of {budget}, this one {tokens}; "
                        "give packs more tokens or images smaller sides"
                    )
            waiting.position += 1
        oldest = min(waiting.tokens)
        sizes.remove((waiting.tokens[oldest], -oldest))
        chosen, room = [oldest], budget - waiting.tokens[oldest]
        while fitting := bisect_right(sizes, (room, 1)):
            tokens, negative = sizes.pop(fitting - 1)
            chosen.append(-negative)
            room -= tokens
        for position in chosen:
            del waiting.tokens[position]
        yield Pack(tuple(sorted(chosen)), budget - room)
