"""The language of simulated studies: a case (the truth), and the study rendered from it.

A *case* is a random patient as numbers: anatomy, findings, acquisition. A *study* is what a
scanner would make of it, together with everything that is then known exactly. Rendering is a
pure function of the case, so changing one finding of a case and rendering it again gives the
same patient before and after, down to the noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import numpy as np

# Seeds below this are held out: nothing is ever trained on them.
FIRST_TRAINING_SEED = 1_000_000

Side = Literal["left", "right"]
Severity = Literal["mild", "moderate", "severe"]
SEVERITIES: tuple[Severity, ...] = ("mild", "moderate", "severe")
Range = tuple[float, float]


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

    def changed(self, before: Finding, after: Finding) -> Case:
        """The same patient with one finding in place of another."""
        return self.with_findings(tuple(after if f is before else f for f in self.findings))


@dataclass(frozen=True)
class Grading:
    """What a finding is graded by, and what of it follows when its grade changes.

    ranges: least and largest number of a mild, a moderate and a severe one.
    by: whether that is the number of `Finding.size` or of `Finding.count`; what is counted has a row of `shape` each.
    row: how many numbers of `shape` make a row; 0 where all of it is one.
    lengths: which numbers of a row are lengths in proportion to the size. Of what is counted, the first of them
        decides the size, which is that of the largest.
    finish: whatever else of the finding follows from its new size, count and severity.
    fits: whether a case may become another, where neighbours could stand in the way.
    """

    ranges: tuple[Range, Range, Range]
    by: Literal["size", "count"] = "size"
    row: int = 0
    lengths: tuple[int, ...] = ()
    finish: Callable[[Case, Finding], Finding] = lambda case, finding: finding
    fits: Callable[[Case, Case], bool] = lambda before, after: True

    def milder(self, case: Case, finding: Finding, rng: np.random.Generator) -> Case | None:
        """The case with one of its findings a grade milder, at the same place and side.

        A number of the lower half of the milder grade is drawn, so that the change is seen. What is counted loses its
        last rows, so what stays lies where it lay. Only milder: what becomes smaller has room, and the other way
        round is the same pair read backwards. None where the finding is mild, or no number fits.
        """
        grade = SEVERITIES.index(finding.severity)
        if not grade:
            return None
        drawn = self._counted if self.by == "count" else self._sized
        for _ in range(_TRIES):
            made = replace(drawn(finding, self.ranges[grade - 1], rng), severity=SEVERITIES[grade - 1])
            after = case.changed(finding, self.finish(case, made))
            if self.fits(case, after):
                return after
        return None

    def _sized(self, finding: Finding, between: Range, rng: np.random.Generator) -> Finding:
        size = round(float(rng.uniform(between[0], sum(between) / 2)), 2)
        rows = np.reshape(np.array(finding.shape), (-1, self.row or max(len(finding.shape), 1)))
        rows[:, list(self.lengths)] *= size / finding.size
        return replace(finding, size=size, shape=tuple(rows.ravel().tolist()))

    def _counted(self, finding: Finding, between: Range, rng: np.random.Generator) -> Finding:
        rows = np.reshape(np.array(finding.shape), (-1, self.row))
        kept = rows[: min(int(rng.integers(between[0], between[1] + 1)), len(rows) - 1)]
        largest = [part[:, self.lengths[0]].max() for part in (kept, rows)] if self.lengths else (1, 1)
        size = round(float(finding.size * largest[0] / largest[1]), 2)
        return replace(finding, size=size, count=len(kept), shape=tuple(kept.ravel().tolist()))


_TRIES = 12  # at a milder finding that fits


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
    """What each modality's file offers, as module-level functions and constants.

    A file whose findings can become milder also has ``GRADING``, a `Grading` by name of each of them.
    """

    MODALITY: str                      # "cxr", "mri", "his", "cfp"
    VIEWS: tuple[str, ...]             # names of the images, the primary one first
    FINDINGS: tuple[str, ...]          # canonical names of what can be found
    SIDED: frozenset[str]              # those of FINDINGS that have a side

    def sample(self, seed: int) -> Case:
        """Draw a case: about a quarter are normal, each finding about equally frequent."""

    def render(self, case: Case, size: int = 128) -> Study:
        """Render a case at size x size pixels (64 to 512)."""
