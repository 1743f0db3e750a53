"""How a benchmark is run and scored, declared, so that its figures can be repeated and compared."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Protocol:
    """The declaration that is printed with every figure.

    split: which items, and how many are published. prompt: how the question is worded, a template in words. extraction:
    how the answer is read from what the model says. closed, open: when a closed and an open answer is right; empty
    where there are none. judge: "none", or what a judge decides. source: whose protocol it is, and where it departs.
    """

    split: str
    prompt: str
    extraction: str
    closed: str = ""
    open: str = ""
    judge: str = "none"
    source: str = ""

    def to_dict(self) -> dict[str, str]:
        return asdict(self)
