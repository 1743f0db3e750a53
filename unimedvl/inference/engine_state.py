"""How much an engine takes on at once, and what it tells of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EngineLimits:
    """How much runs at once.

    speaking: requests that only speak. drawing: requests that draw. waiting: requests of both kinds that may wait for a
        place. prompt_tokens: of prompts, taken in per round; an image that is larger is taken in whole.
    context_tokens: that the contexts of all that were begun may come to hold; the next waits while it does not fit.
    prefix_bytes: memory for the beginnings of conversations that others may go on from; 0 keeps none.
    """

    speaking: int = 32
    drawing: int = 4
    waiting: int = 128
    prompt_tokens: int = 512
    context_tokens: int = 65536
    prefix_bytes: int = 512 * 2**20

    def __post_init__(self) -> None:
        for name in ("speaking", "drawing", "prompt_tokens", "context_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        for name in ("waiting", "prefix_bytes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more")


@dataclass(frozen=True)
class EngineState:
    """What the engine does now, and what it has done.

    waiting: for a place. reading: taking in their prompts. taken: accepted in all; each of these is finished, failed,
    cancelled, expired (its deadline passed), or still there. refused: for want of a place.
    tokens: spoken. prompt_tokens: taken in; reused_tokens: not taken in again, because another request had begun so.
    steps: of drawings; images: drawn. prefix_bytes: memory that kept beginnings hold.
    running: false once it was closed or has failed; failure says why.
    """

    waiting: int = 0
    reading: int = 0
    speaking: int = 0
    drawing: int = 0
    taken: int = 0
    finished: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    refused: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0
    steps: int = 0
    images: int = 0
    prefix_bytes: int = 0
    running: bool = True
    failure: str = ""
