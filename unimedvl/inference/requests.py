"""What is asked of the model: a request, and how the words that a task's method takes make one."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

import numpy as np

from unimedvl.imaging import Image, ReadOptions
from unimedvl.inference.text import check_seed
from unimedvl.tasks import HER2_LEVELS, MODALITY_NAMES, UPSCALE_FACTOR, Task, task

Source = str | Path | bytes | Image | np.ndarray

# What the user's words are called by the methods whose words they are.
_TEXTS = {"ask": "question", "generate": "caption", "edit": "instruction"}
# Wishes of which only some values are known.
_CHOICES = {"her2": HER2_LEVELS, "factor": (str(UPSCALE_FACTOR),)}
# What a drawing is translated from where that is not said.
_COUNTERPARTS = {"FLAIR": "T2", "T2": "FLAIR", "CT": "MR", "MR": "CT"}


@dataclass(frozen=True)
class Request:
    """One thing asked of the model; `UniMedVL.run` takes several at once.

    images: files, arrays or images read before. text: the words; the task's own where empty.
    wishes: fill the braces of the task's words. think: reason before the answer, plan before the image.
    size: (width, height) in pixels of a drawn image; the first input's size on the model's stride, or
        the model's own, where None.
    """

    task: str
    images: tuple[Source, ...] = ()
    text: str = ""
    wishes: tuple[tuple[str, str], ...] = ()
    think: bool = False
    size: tuple[int, int] | None = None
    seed: int = 0
    read: ReadOptions = ReadOptions()

    def __post_init__(self) -> None:
        check_seed(self.seed)


def request_for(name: str, images: Source | Seq[Source] = (), text: str = "", **given) -> Request:
    """The request that the method of `UniMedVL` called `name` makes.

    text: the words, whatever the method calls them.
    given: fields of `Request`, and what that method takes: question, caption, modality, instruction, her2, to,
        source, change, target.

    Raises:
        ValueError: no such task, words that are missing or given twice, a value that is not known.
        TypeError: the method takes nothing of that name.
    """
    what = task(name)
    fields = {key: given.pop(key) for key in ("think", "size", "seed", "read") if key in given}
    called = _TEXTS.get(name)
    if called in given:
        if text:
            raise ValueError(f"{name} was given its {called} twice")
        text = given.pop(called)
    if name == "generate":
        text = described(text, given.pop("modality", None))
    wishes = dict(given.pop("wishes", ()))
    if name in _WISHES and not text and not wishes:
        wanted = {key: given.pop(key) for key in _WISHES[name][0] if key in given}
        wishes = _WISHES[name][1](**wanted)
    if given:
        beside = " beside its words or wishes" if set(given) <= set(_WISHES.get(name, ((),))[0]) else ""
        raise TypeError(f"{name} takes no {', '.join(given)}{beside}")
    check_wishes(what, wishes)
    return Request(name, as_tuple(images), text, tuple(wishes.items()), **fields)


def _translation(to: str = "", source: str | None = None) -> dict[str, str]:
    if not isinstance(to, str) or not to.strip():
        raise ValueError(f"translate needs words, or what to translate to, such as to='flair'; to is {to!r}")
    return {"source": (source or _COUNTERPARTS.get(to.upper(), "MR")).upper(), "target": to.upper()}


# Task -> what its method takes, and the wishes that these make.
_WISHES: dict[str, tuple[tuple[str, ...], Callable[..., dict[str, str]]]] = {
    "stain": (("her2",), lambda her2="3+": {"her2": her2}),
    "upscale": ((), lambda: {"factor": str(UPSCALE_FACTOR)}),
    "translate": (("to", "source"), _translation),
    "counterfactual": (("change",), lambda **given: given),
    "segment": (("target",), lambda **given: given),
}


def check_wishes(what: Task, wishes: dict[str, str]) -> None:
    """Raises ValueError for a wish that the task does not have, or a value that is none."""
    known = [field for _, field, _, _ in Formatter().parse(what.request) if field]
    for key, value in wishes.items():
        if key not in known:
            raise ValueError(f"{what.name} has no wish {key!r}; it has {', '.join(known) or 'none'}")
        if key in _CHOICES and value not in _CHOICES[key]:
            raise ValueError(f"{key} is {value!r}; it must be one of {', '.join(_CHOICES[key])}")
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{key} is {value!r}; it must be words")


def described(caption: str, modality: str | None) -> str:
    """The caption, opened with the modality's name where it doesn't name it itself. Raises ValueError."""
    if modality is None:
        return caption
    if modality not in MODALITY_NAMES:
        raise ValueError(f"modality is {modality!r}; it must be one of {', '.join(MODALITY_NAMES)}")
    words = MODALITY_NAMES[modality]
    # As whole words: the "ct" of "fracture" names no modality.
    named = re.search(rf"\b{re.escape(words)}\b", caption, re.IGNORECASE)
    return caption if named else f"{words[0].upper()}{words[1:]} with {caption}"


def as_tuple(images: Source | Seq[Source]) -> tuple[Source, ...]:
    return tuple(images) if isinstance(images, list | tuple) else (images,)
