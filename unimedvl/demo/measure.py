"""How right a result is. Small measures on single pictures and answers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_erosion

from unimedvl.phantoms.parser import parse_findings
from unimedvl.phantoms.study import Study

TRUTH_COLOUR, OUTPUT_COLOUR = (38, 166, 154), (245, 124, 0)


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two [H, W, 3] uint8 pictures: 10 log10(255^2 / MSE)."""
    error = float(np.mean((image.astype(np.float64) - truth.astype(np.float64)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """Dice coefficient 2 |A and B| / (|A| + |B|) of two [H, W] bool masks; 1 where both are empty."""
    total = int(mask.sum()) + int(truth.sum())
    return 1.0 if total == 0 else 2 * int((mask & truth).sum()) / total


def overlay(
    image: np.ndarray, mask: np.ndarray, truth: np.ndarray | None = None, scale: int = 2
) -> np.ndarray:
    """Outlines on a picture, `scale` times enlarged: the model's mask in orange, the truth in teal.

    image: [H, W, 3] uint8; mask, truth: [H, W] bool. Returns [scale H, scale W, 3] uint8.
    """
    grow = np.ones((scale, scale), np.uint8)
    out = np.stack([np.kron(image[..., k], grow) for k in range(3)], axis=2)
    for region, colour in ((truth, TRUTH_COLOUR), (mask, OUTPUT_COLOUR)):
        if region is not None:
            large = np.kron(region, grow).astype(bool)
            out[large & ~binary_erosion(large)] = colour
    return out


def same_answer(answer: str, truth: str) -> bool:
    """Whether a short answer is the right one, letter case and the last stop apart."""
    return answer.strip().rstrip(".").casefold() == truth.strip().rstrip(".").casefold()


@dataclass(frozen=True)
class FindingMatch:
    """Names of findings that a text states, against those that there are."""

    found: frozenset[str]
    missed: frozenset[str]
    false: frozenset[str]

    @property
    def right(self) -> bool:
        return not self.missed and not self.false

    def __str__(self) -> str:
        parts = [f"{len(self.found)} of {len(self.found) + len(self.missed)} found"]
        return ", ".join([*parts, f"{len(self.false)} false"])


def match_findings(text: str, study: Study) -> FindingMatch:
    """The findings that a text states against the study's own; a report of a normal study states none."""
    stated, true = parse_findings(text, study.modality), {f.name for f in study.findings}
    return FindingMatch(frozenset(stated & true), frozenset(true - stated), frozenset(stated - true))
