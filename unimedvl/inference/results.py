"""What a task gives back: text or image, how sure, and where it came from."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image as PillowImage

from unimedvl.imaging import check_output
from unimedvl.imaging.image import Original
from unimedvl.imaging.output import FORMATS, write_whole
from unimedvl.inference.text import Token

NOT_CLINICAL = "Research software. Not for clinical use."


@cache
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
    """A drawn image, and what was said with it. It is synthetic, and what leaves as a file says so.

    array: [H, W, 3] uint8 RGB as the model drew it, for measuring. `marked`, `image`, `png`, `encoded` and `save`
    give it
        with an invisible watermark (`unimedvl.provenance`), which changes pixels by a few grey levels, and need the
        provenance, whose first use hashes the weights.
    originals: the files that it was made from. confidence, logprobs, finish and tokens are of the words said with it,
    as
        in `TextResult`; where none were said, confidence and finish are None.
    """

    array: np.ndarray
    text: str = ""
    thought: str = ""
    confidence: float | None = None
    logprobs: tuple[float, ...] = ()
    finish: str | None = None
    provenance: dict = Provenance()
    tokens: tuple[Token, ...] = ()
    originals: tuple[Original, ...] = field(default=(), repr=False, compare=False)

    @cached_property
    def marked(self) -> np.ndarray:
        """[H, W, 3] uint8: the drawing with the watermark, for other kinds of files; a mask has none."""
        from unimedvl.provenance import watermarked

        return watermarked(self.array, self.provenance)

    @property
    def image(self) -> PillowImage.Image:
        """The drawing with the watermark, and a PNG's metadata as its `info`, which Pillow saves only if told to."""
        return PillowImage.open(BytesIO(self._file("png", sign=False)))

    def png(self) -> bytes:
        """A PNG file with watermark, provenance and, where c2pa-python is installed, a signed manifest."""
        return self.encoded("png")

    def encoded(self, kind: Literal["png", "jpeg", "webp"] = "png", quality: int = 90) -> bytes:
        """A file as `unimedvl.provenance.encoded` makes it. Raises ValueError, ProvenanceError."""
        return self._file(kind, quality=quality)

    def _file(self, kind: str, **options) -> bytes:
        from unimedvl.provenance import written

        return written(self.marked, self.provenance, kind, originals=self.originals, **options)

    @property
    def mask(self) -> np.ndarray:
        """The image read as a mask: [H, W] bool, True where it is brighter than half."""
        return self.array.mean(axis=2) > 127.5

    def save(self, path: str | Path) -> Path:
        """Write a PNG, JPEG or WebP, by its ending, as `png` makes it. Raises ImagingError, ProvenanceError."""
        write_whole(self.encoded(FORMATS[check_output(path).suffix.lower()]), path)
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
