"""Simulated pictures of every kind, as they were and marked, and files of one that the program made."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from unimedvl.phantoms import SIMULATORS, simulate
from unimedvl.provenance import encoded, watermarked

# As inference writes it, with what a manifest or XMP could stumble over.
PROVENANCE = {
    "task": "generate", "request": "Röntgen <\"'&> \n", "seed": 7,
    "settings": {"guidance": {"interval": [0.4, 1.0], "scale": 1.0}, "think": False, "none": None},
    "model": {"name": "tiny", "weights_sha256": "ab" * 32}, "inputs": [], "versions": {"unimedvl": "0.1.0"},
}  # fmt: skip
KINDS = (*SIMULATORS, "ihc")


@lru_cache(maxsize=64)
def study(kind: str, size: int, seed: int = 9000) -> np.ndarray:
    """[size, size, 3] uint8 of one of ten kinds."""
    images = simulate("his" if kind == "ihc" else kind, seed, size).images
    pixels = images["ihc"] if kind == "ihc" else next(iter(images.values()))
    return pixels if pixels.ndim == 3 else pixels[..., None].repeat(3, axis=2)


@pytest.fixture(scope="session")
def picture_of() -> Callable[..., np.ndarray]:
    return study


@pytest.fixture(scope="session")
def provenance() -> dict:
    return PROVENANCE


@pytest.fixture(scope="session")
def marked_pixels() -> np.ndarray:
    return watermarked(study("cxr", 128), PROVENANCE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture as the program saves it, as made.png, made.jpg and made.webp in a folder. Not to be written to."""
    folder = tmp_path_factory.mktemp("made")
    for kind, ending in (("png", "png"), ("jpeg", "jpg"), ("webp", "webp")):
        (folder / f"made.{ending}").write_bytes(encoded(study("cxr", 128), PROVENANCE, kind))
    return folder
