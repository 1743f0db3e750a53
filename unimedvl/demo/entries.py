"""What the demonstration is made of: groups of jobs, and what a job gives back."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as PillowImage

from unimedvl.imaging import resize
from unimedvl.inference.results import ImageResult, TextResult
from unimedvl.inference.text import Sampling
from unimedvl.inference.unimedvl import Request, UniMedVL
from unimedvl.phantoms import known_to
from unimedvl.provenance import encoded

# Inputs are shown at most this large, so that the page stays light.
SHOWN_SIDE = 256


@dataclass(frozen=True)
class Picture:
    """A PNG and what to say of it. alt: for those who can't see it. size: (width, height) in pixels.

    role: "input", "truth" or "output", so that the page can tell them apart at a glance.
    """

    png: bytes
    size: tuple[int, int]
    caption: str
    alt: str
    role: str


@dataclass(frozen=True)
class Line:
    """Something asked and answered. right: None where there is no truth to compare with."""

    asked: str
    answered: str
    truth: str = ""
    right: bool | None = None
    confidence: float | None = None


@dataclass(frozen=True)
class Entry:
    """One result.

    subject: what it was done on, in a few words. verdict: the result in a few words, for the table.
    seconds: of the model's work alone, for all pictures and lines of the entry together.
    """

    task: str
    subject: str
    verdict: str
    seconds: float
    pictures: tuple[Picture, ...] = ()
    lines: tuple[Line, ...] = ()
    provenance: tuple[dict, ...] = ()


@dataclass(frozen=True)
class Bench:
    """The model at work.

    steps: points of the time grid of each drawing; the model's own where None.
    max_tokens: of each answer; the longest reports are half of the default.
    """

    model: UniMedVL
    steps: int | None = None
    max_tokens: int = 128

    def run(self, requests: Sequence[Request]) -> list[TextResult | ImageResult]:
        """A batch of requests of one task."""
        return self.model.run(requests, steps=self.steps, sampling=self.sampling)

    @property
    def sampling(self) -> Sampling:
        return Sampling(max_tokens=self.max_tokens)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Simulated ones that the model knows."""
        return known_to(self.model.card)


@dataclass(frozen=True)
class Job:
    """One entry to be made. subject: as in `Entry`, for the progress bar."""

    task: str
    subject: str
    run: Callable[[Bench], Entry]


@dataclass(frozen=True)
class Group:
    """Jobs that belong together under one heading.

    section: "simulated" or "real". about: one or two sentences. expect: what is to be expected, said
    beforehand. problem: why there are no jobs, where there are none.
    """

    section: str
    title: str
    about: str
    expect: str = ""
    pictures: tuple[Picture, ...] = ()
    jobs: tuple[Job, ...] = ()
    problem: str = ""


def shown(pixels: np.ndarray, caption: str, alt: str, role: str = "input") -> Picture:
    """A picture that no model made. pixels: [H, W, 3] uint8 or float in [0, 1], or [H, W] bool."""
    if pixels.dtype == bool:
        pixels = np.repeat(pixels[..., None] * np.uint8(255), 3, axis=2)
    elif pixels.dtype != np.uint8:
        pixels = (pixels * 255).round().astype(np.uint8)
    picture = PillowImage.fromarray(pixels)
    picture.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return Picture(stream.getvalue(), picture.size, caption, alt, role)


def made(result: ImageResult, caption: str, alt: str, pixels: np.ndarray | None = None) -> Picture:
    """A picture that the model made, with its provenance and the synthetic mark inside.

    pixels: [H, W, 3] uint8, where what is shown was drawn over the result.
    """
    pixels = result.array if pixels is None else pixels
    png = encoded(pixels, result.provenance, originals=result.originals)
    return Picture(png, (pixels.shape[1], pixels.shape[0]), caption, f"Synthetic: {alt}", "output")


def at_size_of(pixels: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Pixels [H, W, 3] float in [0, 1] at the size of another picture, as uint8."""
    small = resize(pixels, (other.shape[1], other.shape[0]))
    return (small.clip(0, 1) * 255).round().astype(np.uint8)
