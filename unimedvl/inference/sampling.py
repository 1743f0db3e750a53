"""How the next token is chosen: the settings of an answer."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from unimedvl.inference.constraint import Constraint

# Logits divided by less are no numbers any more.
_LEAST_TEMPERATURE = 1e-4


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    temperature: 0 takes the likeliest. top_k: only the k likeliest (0: all). top_p: only the
        likeliest that together have this probability. repetition_penalty: over 1 makes tokens of
        the answer so far less likely (CTRL, arXiv 1909.05858). seed: the same gives the same; the
        request's own where None.
    stop: texts that end the answer and are not part of it; reasoning before it may hold them. max_tokens: at
        most so many.
    constraint: what the answer must be, such as JSON of a schema; reasoning before it is free. logprobs are told as
        the model had them without it.
    top_logprobs: tell each token of the answer, and so many of the likeliest in its place; None tells none.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    max_tokens: int = 256
    constraint: Constraint | None = None
    top_logprobs: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            object.__setattr__(self, "stop", (self.stop,))
        if not (self.temperature == 0 or _LEAST_TEMPERATURE <= self.temperature < math.inf):
            raise ValueError(
                f"temperature is {self.temperature}; it must be 0, or a number of {_LEAST_TEMPERATURE:g} or more"
            )
        if not 0 < self.repetition_penalty < math.inf:
            raise ValueError(f"repetition_penalty is {self.repetition_penalty}; it must be a number over 0")
        if self.seed is not None:
            check_seed(self.seed)
        if "" in self.stop:
            raise ValueError("a stop text is empty, which would end every answer at once; leave it out")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; it must be over 0 and at most 1")
        if self.top_k < 0 or self.max_tokens < 1:
            raise ValueError("top_k must be 0 or more, max_tokens 1 or more")
        if self.top_logprobs is not None and self.top_logprobs < 0:
            raise ValueError(f"top_logprobs is {self.top_logprobs}; it must be 0 or more, or None")

    @property
    def thinks(self) -> bool:
        """Whether think tags in an answer are tags: not where it is constrained from its first token on."""
        return self.constraint is None or self.constraint.thought

    def to_dict(self) -> dict:
        """What decides the answer, as JSON can hold it; what is only told of it is left out."""
        told = asdict(self)
        del told["top_logprobs"]
        if self.constraint is None:
            del told["constraint"]
        return told


def check_seed(seed: int) -> None:
    """Raises ValueError for what can't seed a random generator."""
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ValueError(f"seed is {seed}; it must be a whole number from 0 to {2**63 - 1}")
