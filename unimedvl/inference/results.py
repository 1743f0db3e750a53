"""What a task gives back: text or image, how sure, and where it came from."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PillowImage

from unimedvl.imaging import save_png
from unimedvl.inference.text import Token

NOT_CLINICAL = "Research software. Not for clinical use."


def package_version() -> str:
    try:
        return version("unimedvl")
    except PackageNotFoundError:
        return "0+unknown"


def versions() -> dict[str, str]:
    """What the numbers of a result depend on, besides weights and settings."""
    return {
        "unimedvl": package_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


class Provenance:
    """A result's field that is given as a dict or as a function that makes one, called when first asked for.

    Provenance holds the hash of the weights, which takes reading all of them: a result that nobody asks
    where it came from does without.
    """

    def __get__(self, result: object | None, owner: type | None = None) -> dict | Callable[[], dict]:
        if result is None:
            return dict  # the field's default: an empty one
        given = vars(result)["provenance"]
        if callable(given):
            given = vars(result)["provenance"] = given()
        return given

    def __set__(self, result: object, given: dict | Callable[[], dict]) -> None:
        vars(result)["provenance"] = given


class _Sourced:
    """What has a provenance; pickled and copied with the dict itself."""

    def __getstate__(self) -> dict:
        return vars(self) | {"provenance": self.provenance}


@dataclass(frozen=True)
class TextResult(_Sourced):
    """An answer.

    text: without the reasoning, which is in `thought` where there was any.
    confidence: geometric mean of the tokens' probabilities, 0 to 1; a measure of the model's own
        certainty, not of truth. logprobs: of each token, natural logarithm.
    finish: "stop" (the model ended), "length" (it was cut) or "cancelled".
    tokens: the answer's, reasoning and all, where `Sampling.top_logprobs` asked for them.
    provenance: where it came from; the first of a model hashes its weights (`UniMedVL.weights`).
    """

    text: str
    thought: str = ""
    confidence: float = 0.0
    logprobs: tuple[float, ...] = ()
    finish: str = "stop"
    provenance: dict = Provenance()
    tokens: tuple[Token, ...] = ()

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict:
        """Everything, as JSON can hold it."""
        told = asdict(self) | {"logprobs": [round(p, 6) for p in self.logprobs], "notice": NOT_CLINICAL}
        if not self.tokens:
            del told["tokens"]
        return told


@dataclass(frozen=True)
class ImageResult(_Sourced):
    """A drawn image, and what was said with it. It is synthetic, and saved files say so.

    array: [H, W, 3] uint8 RGB. confidence, logprobs, finish and tokens are of the words said with it, as in
        `TextResult`; where none were said, confidence and finish are None.
    """

    array: np.ndarray
    text: str = ""
    thought: str = ""
    confidence: float | None = None
    logprobs: tuple[float, ...] = ()
    finish: str | None = None
    provenance: dict = Provenance()
    tokens: tuple[Token, ...] = ()

    @property
    def image(self) -> PillowImage.Image:
        return PillowImage.fromarray(self.array)

    @property
    def mask(self) -> np.ndarray:
        """The image read as a mask: [H, W] bool, True where it is brighter than half."""
        return self.array.mean(axis=2) > 127.5

    def save(self, path: str | Path) -> Path:
        """Write a PNG that carries the provenance and the mark. Raises ImagingError."""
        save_png(self.array, path, self.provenance)
        return Path(path)

    def to_dict(self) -> dict:
        """Everything but the pixels, of which the hash is given."""
        told = {
            "width": self.array.shape[1],
            "height": self.array.shape[0],
            "sha256": hashlib.sha256(self.array.tobytes()).hexdigest(),
            "synthetic": True,
            "text": self.text,
            "thought": self.thought,
            "confidence": self.confidence,
            "logprobs": [round(p, 6) for p in self.logprobs],
            "finish": self.finish,
            "provenance": self.provenance,
            "notice": NOT_CLINICAL,
        }
        return told | ({"tokens": [asdict(token) for token in self.tokens]} if self.tokens else {})
