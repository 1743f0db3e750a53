"""Simulated images for miniatures, as arrays, as encoded bytes, and in archives."""

from __future__ import annotations

import io
import tarfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from unimedvl.phantoms import SIMULATORS


@lru_cache(maxsize=64)
def picture(modality: str, seed: int, size: int = 128, view: int = 0) -> np.ndarray:
    """A simulated image [size, size, 3] uint8; `modality` is one of `phantoms.SIMULATORS`. Held-out seeds."""
    simulator = SIMULATORS[modality]
    study = simulator.render(simulator.sample(seed), size)
    return study.images[simulator.VIEWS[view]]


def encoded(array: np.ndarray, kind: str = "JPEG") -> bytes:
    """The bytes of an image file; kind as Pillow calls it."""
    out = io.BytesIO()
    Image.fromarray(array).save(out, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return out.getvalue()


def save(file: Path, array: np.ndarray) -> None:
    """Write an image, and its folders; the kind follows from the name."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encoded(array, {".png": "PNG"}.get(file.suffix.lower(), "JPEG")))


def tarred(members: list[tuple[str, bytes]]) -> bytes:
    """A tar archive of names and bytes, the same each time."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()
