"""Simulated frontal radiograph of a patient of `unimedvl.phantoms.chest`, who is also seen by CT.

The optical depth along diverging rays becomes an exposure (Beer and Lambert), scatter is added as a broad blur of it
(a share of the primary as behind a grid; Boone and Seibert, Med Phys 15:713, 1988), the detector blurs and counts
quanta, its processing raises fine detail over broad shades as digital systems do, and the film's S-shaped curve
(Hurter and Driffield) makes grey levels: bone white, air black.
The patient's right is at the image's left. It is a simulation, no patient stands behind it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from unimedvl.phantoms import chest
from unimedvl.phantoms.study import Case

SCATTER = 0.30  # scattered over primary exposure, behind a grid
SCATTER_REACH = 38.0  # mm
DETECTOR_BLUR = 0.35  # mm
QUANTA = 9000.0  # a mm2 in the open beam, after the detector's efficiency
LATITUDE = 2.9  # optical depths from black to white
DETAIL, DETAIL_REACH, BROAD = 1.4, 24.0, 0.72  # processing: gain of what is finer than this many mm, and of the rest
VISIBLE = {  # mm of a finding along the ray from which it is counted as seen
    "nodule": 3.0, "lymphadenopathy": 8.0, "emphysema": 25.0, "consolidation": 12.0, "pleural effusion": 12.0,
    "pneumothorax": 12.0,
}  # fmt: skip
COARSE = 64  # rays a side of the healthy chest's projection
STRUCTURE = 4.0  # mm, likewise of lungs, heart and aorta


@dataclass(frozen=True)
class Radiograph:
    """image: [H, W, 3] uint8. masks: name -> [H, W] bool, where a ray meets enough of the structure or finding."""

    image: np.ndarray
    masks: dict[str, np.ndarray]


def frontal(case: Case, size: int = 128) -> Radiograph:
    """The frontal radiograph of a CT case's patient, standing, with the same findings.

    A point of the patient in CT millimetres falls where `chest.detector` says.

    Raises:
        ValueError: size is not in 64..512.
    """
    tau, lengths = chest.projection(case, size)
    # Scatter, exposure and noise are those of the healthy chest, so a finding changes only what it covers. They vary
    # slowly: a coarse projection serves.
    healthy = chest.resized(chest.project(case.with_findings(()), COARSE), size)
    grey = _develop(tau, healthy, chest.FRONTAL_FIELD / size, np.random.default_rng((7, case.noise_seed)))
    masks = {name: length > VISIBLE.get(name, STRUCTURE) for name, length in lengths.items()}
    for side in chest.SIDES:
        masks[f"{side} lung"] &= ~masks["heart"]
    return Radiograph(np.repeat(grey[:, :, None], 3, axis=2), masks)


def _develop(tau: np.ndarray, healthy: np.ndarray, pixel: float, rng: np.random.Generator) -> np.ndarray:
    """Optical depths [H, W] of the chest, and of the healthy one, to grey levels [H, W] uint8; pixel in mm."""
    size = tau.shape[0]
    exposure = gaussian_filter(np.exp(-tau), DETECTOR_BLUR / pixel)
    usual = gaussian_filter(np.exp(-healthy), DETECTOR_BLUR / pixel)
    scatter = SCATTER * gaussian_filter(usual, SCATTER_REACH / pixel, mode="nearest")
    log_usual = np.log(usual + scatter)
    noise = rng.standard_normal(tau.shape) / np.sqrt(QUANTA * pixel**2 * (usual + scatter) + 1)
    signal = np.log(exposure + scatter) + noise
    base = gaussian_filter(log_usual, DETAIL_REACH / pixel, mode="nearest")
    middle = float(np.median(log_usual[size // 5 : -size // 5, size // 5 : -size // 5]))
    density = (BROAD * (middle - base) + DETAIL * (base - signal)) / LATITUDE
    film = 1 / (1 + np.exp(-4.6 * (density - 0.02)))
    return np.clip(np.rint(255 * (film - 0.04) / 0.92), 0, 255).astype(np.uint8)
