"""Simulated chest X-rays: the frontal radiograph of a patient of `unimedvl.phantoms.chest`, whom CT slices too.

The optical depth along diverging rays (`projection`) becomes an exposure (Beer and Lambert), scatter is added as a
broad blur of it (a share of the primary as behind a grid; Boone and Seibert, Med Phys 15:713, 1988), the detector
blurs and counts quanta, its processing raises fine detail over broad shades as digital systems do, and the film's
S-shaped curve (Hurter and Driffield) makes grey levels: bone white, air black. Scatter, exposure and noise are those
of the patient without findings, so a finding changes only what it covers.

The patient stands, and the patient's right is at the image's left. Sizes of findings as in `chest_findings`. It is a
simulation, no patient stands behind it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter

from unimedvl.phantoms import chest, chest_findings
from unimedvl.phantoms.chest_findings import GRADES, brim, zone
from unimedvl.phantoms.chest_grading import CHEST
from unimedvl.phantoms.projection import project
from unimedvl.phantoms.rays import FIELD, broad
from unimedvl.phantoms.study import Case, Finding, Side, Study

MODALITY = "cxr"
VIEWS = ("frontal",)
FINDINGS = ("cardiomegaly", "pleural effusion", "pneumothorax", "consolidation", "nodule")
SIDED = chest_findings.SIDED
# Of the three grades: what a film of 128 pixels tells apart is larger than what CT does.
SIZES = chest_findings.SIZES | {
    "pleural effusion": ((330, 450), (750, 950), (1350, 1750)),
    "pneumothorax": ((450, 600), (950, 1150), (1550, 1900)),
    "consolidation": ((48, 56), (66, 76), (86, 98)),
    "nodule": ((22, 23.5), (25.5, 27), (29, 30)),
}
GRADING = {name: replace(CHEST[name], ranges=SIZES[name]) for name in FINDINGS}
ZONES = {"upper zone": (34, 54), "middle zone": (-34, 28), "lower zone": (-78, -44)}  # z of middles, mm

SCATTER = 0.60  # scattered over primary exposure, behind a grid
SCATTER_REACH = 38.0  # mm
DETECTOR_BLUR = 0.35  # mm
QUANTA = 200000.0  # a mm2 in the open beam that count
LATITUDE = 2.1  # optical depths from black to white
DETAIL, DETAIL_REACH, BROAD = 1.50, 16.0, 0.62  # processing: gain of what is finer than this many mm, and of the rest
VISIBLE = {  # mm of a finding along the ray from which it is counted as seen
    "nodule": 3.0, "lymphadenopathy": 8.0, "emphysema": 25.0, "consolidation": 6.0, "pleural effusion": 5.0,
    "pneumothorax": 12.0,
}  # fmt: skip
GAMMA, FOOT = 3.0, -0.19  # slope of the film's curve, and the density where it begins
TOE = 4.0  # sharpness of that beginning
BEYOND = 0.6  # share of the ray's way through the pleural cavity
STRUCTURE = 4.0  # mm, likewise of lungs and heart

__all__ = ["FINDINGS", "GRADING", "MODALITY", "SIDED", "SIZES", "VIEWS", "ZONES", "of", "render", "sample"]


# ---------------------------------------------------------------------------------------------- sampling


def sample(seed: int) -> Case:
    """Draw a patient: a quarter normal, else one finding or, for one in five, two."""
    rng = np.random.default_rng((0xC1, seed))
    anatomy = chest.sample_anatomy(rng) | {"exposure": rng.uniform(-0.1, 0.1)}
    noise_seed = int(rng.integers(2**31))
    names = [str(name) for name in rng.permutation(FINDINGS)[: rng.choice(3, p=(0.25, 0.57, 0.18))]]
    side: Side = "right" if rng.random() < 0.5 else "left"
    findings = []
    ratio = anatomy["ratio"]
    for name in sorted(names, key=FINDINGS.index):  # the heart first: it takes room from the lungs
        finding = _draw(rng, name, side, anatomy, ratio)
        ratio = finding.size if name == "cardiomegaly" else ratio
        findings.append(finding)
        if name in SIDED:  # two sided findings lie on different sides, where both can be seen
            side = "left" if side == "right" else "right"
    return Case(MODALITY, seed, tuple(findings), anatomy, noise_seed)


def _draw(rng: np.random.Generator, name: str, side: Side, a: dict[str, float], ratio: float) -> Finding:
    """One finding of a grade drawn evenly, where a film shows it."""
    grade = int(rng.integers(3))
    size = round(float(rng.uniform(*SIZES[name][grade])), 1)
    severity, seed = GRADES[grade], float(rng.integers(2**20))
    if name == "cardiomegaly":
        return Finding(name, None, severity, size)
    if name in ("pleural effusion", "pneumothorax"):
        return Finding(name, side, severity, size, shape=brim(a, side, name, size, chest.outlines(a, ratio)))
    places = list(ZONES)[: 2 if ratio > 50 and side == "left" else 3]  # a large heart fills the left base
    z = rng.uniform(*ZONES[places[rng.integers(len(places))]])
    x, y = _beside_the_heart(rng, a, side, z, size, ratio)
    if name == "nodule":
        return Finding(name, side, severity, size, place=zone(z), shape=(x, y, z, seed))
    return Finding(name, side, severity, size, place=zone(z), shape=(x, y, z, rng.uniform(0.8, 1.1), seed))


def _beside_the_heart(rng: np.random.Generator, a: dict[str, float], side: Side, z: float, size: float,
                      ratio: float) -> tuple[float, float]:  # fmt: skip
    """A point (x, y) of a lung at height z, deep enough for this size, where rays cross lung all the way."""
    p, outline, inside = chest.outlines(a, ratio, (z,))[0]
    lung = (outline > 0) & ((p.x > 0) == (side == "left"))
    free = lung.sum(0) / np.maximum((inside > 0).sum(0), 1)
    column = np.convolve(free, np.full(3, 1 / 3), "same") - 0.004 * np.maximum(0.3 * size - outline, 0)
    column = np.where(lung & (outline >= min(0.3 * size, float(outline[lung].max()) - 1)), column, -9)
    enough = np.argwhere(column >= min(0.96, float(column.max()) - 0.01))
    row, at = enough[rng.integers(len(enough))]
    return float(p.x[0, at]), float(p.y[row, 0])


def of(case: Case) -> Case:
    """The case of a film of another case's patient, such as one of CT, standing, with the same findings."""
    return replace(case, modality=MODALITY)


# ---------------------------------------------------------------------------------------------- rendering


def render(case: Case, size: int = 128) -> Study:
    """Render a case at size x size pixels.

    A point of the patient falls where `rays.detector` says. Masks, where a ray meets enough of what they name:
    ``left lung`` and ``right lung`` (beside the heart, whatever fills them), ``heart``, and each finding; that of
    cardiomegaly is the whole heart. The film of a CT's patient may also show emphysema and lymphadenopathy.

    Raises:
        ValueError: size is not in 64..512, or a finding is unknown or lacks its side.
    """
    for finding in case.findings:
        if finding.name not in chest_findings.FINDINGS:
            raise ValueError(f"no finding {finding.name!r} in {MODALITY}; known are {', '.join(FINDINGS)}")
        if finding.name in SIDED and finding.side not in ("left", "right"):
            raise ValueError(f"{finding.name} needs a side, left or right, not {finding.side!r}")
    seen = project(case, size)
    grey = _develop(seen.tau, seen.healthy, case)
    masks = {name: length + seen.beside.get(name, 0) > VISIBLE.get(name, STRUCTURE)
             for name, length in seen.lengths.items()}  # fmt: skip
    for side in ("left", "right"):
        masks[f"{side} lung"] &= ~masks["heart"]
    for finding in case.findings:
        if finding.name == "pneumothorax":  # the film shows it beyond the pleural line, where no lung is met
            masks[finding.name] &= seen.lengths[finding.name] > BEYOND * seen.lengths[f"{finding.side} lung"]
    return Study(case, {"frontal": np.repeat(grey[:, :, None], 3, axis=2)}, masks,
                 {"organ": "chest", "plane": "frontal"})  # fmt: skip


def _develop(tau: np.ndarray, healthy: np.ndarray, case: Case) -> np.ndarray:
    """Optical depths [H, W] of the chest, and of the healthy one, to grey levels [H, W] uint8."""
    size = tau.shape[0]
    pixel = FIELD / size
    rng = np.random.default_rng((7, case.noise_seed))
    blur = DETECTOR_BLUR / pixel
    exposure, usual = (gaussian_filter(np.exp(-t), blur, truncate=3.0) for t in (tau, healthy))
    scatter = SCATTER * broad(usual, SCATTER_REACH)
    usual += scatter
    exposure += scatter
    noise = rng.standard_normal(tau.shape, np.float32) / np.sqrt(QUANTA * pixel**2 * usual + 1)
    signal = np.log(exposure) + noise
    log_usual = np.log(usual)
    base = broad(log_usual, DETAIL_REACH)
    middle = float(np.median(log_usual[size // 5 : -size // 5, size // 5 : -size // 5]))
    density = (BROAD * (middle - base) + DETAIL * (base - signal)) / LATITUDE + case.anatomy.get("exposure", 0.0) / 3
    # The curve's toe is short, the lungs lie on its steep part, and its shoulder is long: the spine fades in it.
    above = np.log1p(np.exp(TOE * GAMMA * (density - FOOT))) / TOE
    return np.clip(np.rint(258 * (1 - np.exp(-above)) - 8), 0, 255).astype(np.uint8)
