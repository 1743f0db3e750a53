"""What the benchmarks of simulated studies share: held-out looks without end, and images as items hold them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial

import numpy as np
from PIL import Image

from unimedvl.evaluation.held_out import HeldOut, Look
from unimedvl.evaluation.item import Load

SPLIT = "simulated studies of seeds below 1,000,000, which no training of this project uses; as many as are asked for"
LICENCE = "Apache-2.0"
# Facts of every benchmark of this kind.
SIMULATED = {"needs_data": False, "simulated": True, "licence": LICENCE, "home": "unimedvl.phantoms"}


def encoded(image: np.ndarray) -> Load:
    """Loads an array [H, W, 3] uint8 as the bytes of a PNG."""
    return partial(_png, image)


def _png(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, format="PNG", compress_level=1)
    return out.getvalue()


def given(array: np.ndarray) -> np.ndarray:
    """The same: `partial(given, array)` is a target."""
    return array


def name_of(look: Look) -> str:
    return f"{look.modality}-{look.study.case.seed}-{look.view.name}"


def groups_of(look: Look) -> dict[str, str]:
    return {"modality": look.view.code or look.modality}


def looks(modality: str | None = None, findings: int | None = None) -> Iterator[Look]:
    """Held-out looks without end, modalities and their views in turn."""
    return HeldOut().stream(modality, findings)
