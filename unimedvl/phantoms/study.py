"""The language of simulated studies: a case (the truth), and the study rendered from it.

A *case* is a random patient as numbers: anatomy, findings, acquisition. A *study* is what a
scanner would make of it, together with everything that is then known exactly. Rendering is a
pure function of the case, so changing one finding of a case and rendering it again gives the
same patient before and after, down to the noise.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import numpy as np

# Seeds below this are held out: nothing is ever trained on them.
FIRST_TRAINING_SEED = 1_000_000

Side = Literal["left", "right"]
Severity = Literal["mild", "moderate", "severe"]


@dataclass(frozen=True)
class Finding:
    """One abnormality of one case.

    name: canonical lower-case term, e.g. ``"pleural effusion"``.
    side: the patient's side (on a frontal radiograph the patient's right is at the image's left),
        or None where the finding has none.
    severity: graded by the case's own numbers, never by chance alone.
    size: largest extent in millimetres (or in disc diameters, percent; see the modality's file).
    count: how many there are, 1 for what cannot be counted.
    place: anatomical place in words, e.g. ``"lower zone"``; empty where the name says it.
    shape: parameters private to the modality's renderer (positions, radii), numbers only.
    """

    name: str
    side: Side | None = None
    severity: Severity = "moderate"
    size: float = 0.0
    count: int = 1
    place: str = ""
    shape: tuple[float, ...] = ()


@dataclass(frozen=True)
class Case:
    """The truth behind a study. Two equal cases render to the same bytes.

    anatomy: named numbers of the modality's own (ages, radii, offsets, stain strengths).
    noise_seed: seeds every random texture and all noise, so it survives a change of findings.
    """

    modality: str
    seed: int
    findings: tuple[Finding, ...]
    anatomy: dict[str, float] = field(default_factory=dict)
    noise_seed: int = 0

    def with_findings(self, findings: tuple[Finding, ...]) -> Case:
        """The same patient with other findings."""
        return replace(self, findings=tuple(findings))


@dataclass(frozen=True)
class Study:
    """What is seen of a case, and what is true of it.

    images: view name -> [H, W, 3] uint8 RGB (grey modalities repeat one channel). All views of
        a study are registered to each other pixel by pixel.
    masks: structure or finding name -> [H, W] bool, on the same grid as the images.
    attributes: facts that are not findings, as words: ``{"organ": "brain", "plane": "axial"}``,
        ``{"her2": "3+"}``.
    """

    case: Case
    images: dict[str, np.ndarray]
    masks: dict[str, np.ndarray]
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def modality(self) -> str:
        return self.case.modality

    @property
    def findings(self) -> tuple[Finding, ...]:
        return self.case.findings


class Simulator(Protocol):
    """What each modality's file offers, as module-level functions and constants."""

    MODALITY: str                      # "cxr", "mri", "his", "cfp"
    VIEWS: tuple[str, ...]             # names of the images, the primary one first
    FINDINGS: tuple[str, ...]          # canonical names of what can be found
    SIDED: frozenset[str]              # those of FINDINGS that have a side

    def sample(self, seed: int) -> Case:
        """Draw a case: about a quarter are normal, each finding about equally frequent."""

    def render(self, case: Case, size: int = 128) -> Study:
        """Render a case at size x size pixels (64 to 512)."""
