"""Images that go out: each through `unimedvl.provenance`, marked as made."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from unimedvl.inference.image import Step
    from unimedvl.inference.results import ImageResult

TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


def encoded_result(result: ImageResult, kind: str = "png", quality: int | None = None) -> bytes:
    """A drawn image's file, with the mark and where it came from."""
    return _encoded(result.array, result.provenance, kind, quality)


def previews(partial: int | None) -> int | bool:
    """What `Engine.submit` is told so that so many images on the way are shown; the last step's is the drawing."""
    return partial + 1 if partial else False


def to_be_shown(step: Step) -> bool:
    """Whether a step is an image on the way that was asked for."""
    return step.shown and step.number < step.total


def encoded_preview(step: Step, kind: str = "png", quality: int | None = None) -> bytes:
    """What a drawing looks to become, as a file with the mark."""
    array = step.preview()[0].numpy()
    return _encoded(array, {"preview": {"step": step.number, "steps": step.total}}, kind, quality)


def _encoded(array: np.ndarray, provenance: dict, kind: str, quality: int | None) -> bytes:
    try:
        from unimedvl.provenance import encoded
    except ImportError:
        import tempfile
        from pathlib import Path

        from unimedvl.imaging import save_png

        with tempfile.TemporaryDirectory() as folder:
            save_png(array, f"{folder}/x.png", provenance)
            return Path(f"{folder}/x.png").read_bytes()
    options = {} if quality is None else {"quality": quality}
    return encoded(array, provenance, kind, **options)


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def data_url(data: bytes, kind: str = "png") -> str:
    return f"data:{TYPES[kind]};base64,{base64_of(data)}"
