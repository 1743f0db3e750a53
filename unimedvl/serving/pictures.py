"""Images that go out: each through `unimedvl.provenance`, marked as made."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unimedvl.inference.image import Step
    from unimedvl.inference.results import ImageResult

TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


def encoded_result(result: ImageResult, kind: str = "png", quality: int | None = None) -> bytes:
    """A drawn image's file, with the marks, and where and what it came from."""
    return result.encoded(kind, **_quality(quality))


def previews(partial: int | None) -> int | bool:
    """What `Engine.submit` is told so that so many images on the way are shown; the last step's is the drawing."""
    return partial + 1 if partial else False


def to_be_shown(step: Step) -> bool:
    """Whether a step is an image on the way that was asked for."""
    return step.shown and step.number < step.total


def encoded_preview(step: Step, kind: str = "png", quality: int | None = None) -> bytes:
    """What a drawing looks to become, as a file with the mark."""
    from unimedvl.provenance import encoded

    array = step.preview()[0].numpy()
    provenance = {"preview": {"step": step.number, "steps": step.total}}
    return encoded(array, provenance, kind, **_quality(quality))


def _quality(given: int | None) -> dict[str, int]:
    return {} if given is None else {"quality": max(1, given)}


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def data_url(data: bytes, kind: str = "png") -> str:
    return f"data:{TYPES[kind]};base64,{base64_of(data)}"
