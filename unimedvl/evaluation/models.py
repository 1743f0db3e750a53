"""What can be evaluated: a checkpoint, a server with the OpenAI chat form, or a baseline that knows nothing or all.

A name says which: "nano", a folder or a hub id; "http://host:port/v1#model"; "baseline:random", "baseline:yes",
"baseline:copy" (gives back its input), "baseline:oracle" (what is right).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.item import LETTERS, Item, Prediction
from unimedvl.evaluation.pictures import picture

if TYPE_CHECKING:
    from unimedvl import UniMedVL

KEY = "UNIMEDVL_ENDPOINT_KEY"
# Seconds that a server may take for one answer.
_PATIENCE = 600.0


@dataclass(frozen=True)
class Settings:
    """How a model is asked. max_tokens: of an answer. steps: points of a drawing's time grid, the model's own where
    None. dtype, device: as of `UniMedVL.load`.
    """

    max_tokens: int = 128
    steps: int | None = None
    dtype: str | None = None
    device: str | None = None

    def to_dict(self) -> dict:
        return asdict(self)


class Model(Protocol):
    """What is asked. identity: what its answers depend on, for the cache; card: what results say of it."""

    @property
    def identity(self) -> str: ...

    @property
    def card(self) -> dict: ...

    def answer(self, items: Sequence[Item]) -> list[Prediction]:
        """Predictions of items of one task, in order. Raises whatever goes wrong: of one item or of all."""


def open_model(name: str, settings: Settings, adapters: str | None = None) -> Model:
    """The model that a name says.

    Raises:
        EvaluationError: no such baseline, or a URL without a model.
        CheckpointError: no such checkpoint.
    """
    if adapters is not None and name.startswith(("baseline:", "http://", "https://")):
        raise EvaluationError(f"{name} takes no adapters; they belong to a checkpoint")
    if name.startswith("baseline:"):
        kind = name.removeprefix("baseline:")
        if kind not in BASELINES:
            raise EvaluationError(f"no baseline called {kind!r}; there are {', '.join(BASELINES)}")
        return Baseline(kind)
    if name.startswith(("http://", "https://")):
        url, _, model = name.partition("#")
        if not model:
            raise EvaluationError(f"{name}: which model? write {url}#NAME, NAME as the server calls it")
        return Endpoint(url, model, settings)
    return Local(name, settings, adapters)


@dataclass
class Local:
    """A checkpoint in the published layout, on this machine; it is loaded when it is first asked."""

    name: str
    settings: Settings = Settings()
    adapters: str | None = None

    @cached_property
    def model(self) -> UniMedVL:
        import torch

        from unimedvl import UniMedVL

        source = None if self.name == "nano" else self.name
        dtype = None if self.settings.dtype is None else getattr(torch, self.settings.dtype)
        return UniMedVL.load(source, dtype=dtype, device=self.settings.device, adapters=self.adapters)

    @property
    def identity(self) -> str:
        return json.dumps([self.model.weights, self.model.card.get("adapters"), self.model.card.get("drawing")])

    @property
    def card(self) -> dict:
        card = self.model.card
        told = {"name": card.get("name", self.name), "weights_sha256": self.model.weights}
        told |= {"trained_on": card.get("trained_on", "not stated"), "dtype": str(self.model.model.dtype)}
        return told | ({"adapters": card["adapters"]} if "adapters" in card else {})

    def answer(self, items: Sequence[Item]) -> list[Prediction]:
        from unimedvl.inference.requests import Request
        from unimedvl.inference.text import Sampling

        requests = [
            Request(i.task, tuple(load() for load in i.images), i.text, i.wishes, seed=i.seed) for i in items
        ]
        sampling = Sampling(max_tokens=self.settings.max_tokens)
        start = time.perf_counter()
        results = self.model.run(requests, sampling=sampling, steps=self.settings.steps)
        each = (time.perf_counter() - start) / len(items)
        return [
            Prediction(r.text, partial(_same, r.array) if hasattr(r, "array") else None, r.confidence, each)
            for r in results
        ]


def _same(array: np.ndarray) -> np.ndarray:
    return array


@dataclass(frozen=True)
class Endpoint:
    """A model behind a server with the OpenAI chat form, asked for text. Images leave this machine for it.

    The key is taken from the environment variable UNIMEDVL_ENDPOINT_KEY.
    """

    url: str
    model: str
    settings: Settings = field(default_factory=Settings)

    @property
    def identity(self) -> str:
        return f"{self.url}#{self.model}"

    @property
    def card(self) -> dict:
        return {"name": self.model, "url": self.url, "weights_sha256": "", "trained_on": "not stated"}

    def answer(self, items: Sequence[Item]) -> list[Prediction]:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(len(items)) as pool:
            return list(pool.map(self._ask, items))

    def _ask(self, item: Item) -> Prediction:
        from unimedvl.data.captions.chat import EndpointChat

        if item.kind in ("image", "mask"):
            raise EvaluationError("a server with the chat form is asked for text alone")
        parts: list[dict] = [
            {"type": "image_url", "image_url": {"url": f"data:{_mime(data)};base64,{base64.b64encode(data).decode()}"}}
            for data in (load() for load in item.images)
        ]
        parts.append({"type": "text", "text": item.text or "Write a report."})
        asked = {
            "model": self.model, "messages": [{"role": "user", "content": parts}], "temperature": 0.0,
            "max_tokens": self.settings.max_tokens, "n": 1, "seed": 0,
        }  # fmt: skip
        chat = EndpointChat(self.url, self.model, key=os.environ.get(KEY, ""), timeout_s=_PATIENCE)
        start = time.perf_counter()
        text = chat.ask(asked)
        return Prediction(text, seconds=time.perf_counter() - start)


def _mime(data: bytes) -> str:
    return "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"


# ---------------------------------------------------------------------------------------- baselines


def _at_random(item: Item) -> Prediction:
    """Any of the options, yes or no, or noise. The same for the same item."""
    rng = random.Random(hashlib.sha256(item.id.encode()).digest())
    if item.kind == "closed":
        return Prediction(rng.choice(["yes", "no"]), confidence=0.5)
    if item.kind == "choice":
        return Prediction(rng.choice(LETTERS[: len(item.options)]), confidence=1 / len(item.options))
    if item.target is None:
        return Prediction("unclear", confidence=0.0)
    shape = item.target().shape[:2]
    noise = np.random.default_rng(rng.getrandbits(32)).integers(0, 256, (*shape, 3), np.uint8)
    return Prediction("", partial(_same, noise))


def _yes(item: Item) -> Prediction:
    """Yes to everything, the first option, and white."""
    if item.target is not None:
        return Prediction("", partial(_same, np.full((*item.target().shape[:2], 3), 255, np.uint8)))
    return Prediction("A" if item.kind == "choice" else "yes", confidence=1.0)


def _copy(item: Item) -> Prediction:
    """The first input back, without a word."""
    if not item.images:
        raise EvaluationError("there is no input to give back")
    return Prediction("", partial(_same, picture(item.images[0]())))


def _oracle(item: Item) -> Prediction:
    """What is right."""
    text = item.answers[0] if item.answers else ""
    if item.target is None:
        return Prediction(text, confidence=1.0)
    image = item.target()
    if image.dtype == bool:
        image = np.repeat(np.where(image, np.uint8(255), np.uint8(0))[..., None], 3, axis=2)
    return Prediction(text, partial(_same, image))


BASELINES: dict[str, Callable[[Item], Prediction]] = {
    "random": _at_random, "yes": _yes, "copy": _copy, "oracle": _oracle,
}  # fmt: skip


@dataclass(frozen=True)
class Baseline:
    """What stands for knowing nothing, or everything."""

    kind: str

    @property
    def identity(self) -> str:
        return f"baseline:{self.kind}"

    @property
    def card(self) -> dict:
        return {"name": f"baseline:{self.kind}", "weights_sha256": "", "trained_on": "nothing"}

    def answer(self, items: Sequence[Item]) -> list[Prediction]:
        return [BASELINES[self.kind](item) for item in items]
