"""Simulated frontal radiograph of a patient of `unimedvl.phantoms.chest`, who is also seen by CT.

The optical depth along diverging rays becomes an exposure (Beer and Lambert), scatter is added as a broad blur of it
(a share of the primary as behind a grid; Boone and Seibert, Med Phys 15:713, 1988), the detector blurs and counts
quanta, and the film's S-shaped curve (Hurter and Driffield) makes grey levels: bone white, air black.
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
DETAIL, DETAIL_REACH, BROAD = 1.25, 24.0, 0.72  # detector processing: gain of detail below this many mm, of the rest
VISIBLE = {  # mm of a finding along the ray from which it is counted as seen
    "nodule": 3.0, "lymphadenopathy": 8.0, "emphysema": 25.0, "consolidation": 12.0, "pleural effusion": 12.0,
    "pneumothorax": 12.0,
}  # fmt: skip
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
    healthy = chest.project(case.with_findings(()), size) if case.findings else tau
    pixel = chest.FRONTAL_FIELD / size
    exposure = gaussian_filter(np.exp(-tau), DETECTOR_BLUR / pixel)
    open_ = gaussian_filter(np.exp(-healthy), DETECTOR_BLUR / pixel)
    scatter = SCATTER * gaussian_filter(open_, SCATTER_REACH / pixel, mode="nearest")
    rng = np.random.default_rng((7, case.noise_seed))
    # Noise and the automatic exposure are those of the healthy chest: a finding changes only what it covers.
    quanta = QUANTA * pixel**2 * (open_ + scatter)
    signal = np.log(np.maximum(exposure + scatter, 1e-6)) + rng.standard_normal(tau.shape) / np.sqrt(quanta + 1)
    middle = float(np.median(np.log(open_ + scatter)[size // 5 : -size // 5, size // 5 : -size // 5]))
    base = gaussian_filter(np.log(open_ + scatter), DETAIL_REACH / pixel, mode="nearest")
    density = (BROAD * (middle - base) + DETAIL * (base - signal)) / LATITUDE
    film = 1 / (1 + np.exp(-4.6 * (density - 0.02)))
    grey = np.clip(np.rint(255 * (film - 0.04) / 0.92), 0, 255).astype(np.uint8)
    masks = {}
    for name, length in lengths.items():
        masks[name] = length > VISIBLE.get(name, STRUCTURE)
    heart = masks["heart"]
    for side in chest.SIDES:
        masks[f"{side} lung"] &= ~heart
    return Radiograph(np.repeat(grey[:, :, None], 3, axis=2), masks)
