"""One thing that is asked of a model, what is right, and what the model gave back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

# The encoded bytes of an image, read when they are asked for.
Load = Callable[[], bytes]
# How an answer is to be read: yes or no, an option's letter, a few words, a report or an explanation, an image, a mask.
Kind = Literal["closed", "choice", "open", "report", "image", "mask"]
LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True)
class Item:
    """One thing asked.

    id: unique within its benchmark. task: of `tasks.TASKS`. images: inputs in order. text: the whole prompt as the
    protocol words it; the task's own words where empty. wishes: fill the braces of the task's words. seed: of drawings.
    kind: how the answer is read. question: the question alone, without options and instructions. options: what the
    letters A, B, ... stand for. answers: what is right: "yes" or "no", one letter, words (any of several), a report.
    target: the image that is right, [H, W, 3] uint8, or [H, W] bool for a mask. groups: what breakdowns are by, such as
    {"modality": "ct", "category": "organ"}. truth: what else a metric needs to know, such as {"her2": "2+"}.
    """

    id: str
    task: str
    kind: Kind
    images: tuple[Load, ...] = ()
    text: str = ""
    wishes: tuple[tuple[str, str], ...] = ()
    seed: int = 0
    question: str = ""
    options: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    target: Callable[[], np.ndarray] | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    truth: Mapping[str, object] = field(default_factory=dict)

    def key(self, settings: Mapping[str, object]) -> str:
        """SHA-256 of all that an answer depends on but the model: the images' bytes, the words, the settings.

        Raises whatever loading an image raises.
        """
        asked = [self.task, self.text, list(self.wishes), self.seed, list(self.options), self.kind]
        told = hashlib.sha256(json.dumps([asked, settings], sort_keys=True, default=str).encode())
        for load in self.images:
            told.update(hashlib.sha256(load()).digest())
        return told.hexdigest()


@dataclass(frozen=True)
class Prediction:
    """What a model gave back for an item.

    text: the answer. drawn: gives the image of what draws, [H, W, 3] uint8; it is read when it is asked for, for
    thousands of them need not be held at once. confidence: the model's own, 0 to 1, None where it has none. seconds:
    its share of the batch's time. error: why there is none; all else is empty then.
    """

    text: str = ""
    drawn: Callable[[], np.ndarray] | None = None
    confidence: float | None = None
    seconds: float = 0.0
    error: str = ""

    @property
    def image(self) -> np.ndarray | None:
        """What was drawn, [H, W, 3] uint8; None where nothing was."""
        return None if self.drawn is None else self.drawn()
