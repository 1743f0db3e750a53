"""Simulated chest CT: an axial slice of a patient of `unimedvl.phantoms.chest`, in lung and soft-tissue windows.

The slice's Hounsfield values are blurred by a reconstruction kernel, and quantum noise is added as filtered back
projection makes it: its power rises with the spatial frequency up to the kernel's cut-off (Riederer, Pelc and
Chesler, Phys Med Biol 23:446, 1978), and a view along a longer path adds more (the Fourier slice theorem puts its
noise on the perpendicular line of frequencies), so the streaks run from side to side, where the body is widest. The
display is radiological: the patient's right at the image's left, the back and the table below.

All figures are of this simulation; no patient stands behind it. Sizes of findings as in `chest_findings`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter

from unimedvl.phantoms import chest
from unimedvl.phantoms.chest_findings import FINDINGS, GRADES, LEVELS, SIDED, SIZES, STATIONS, brim, zone
from unimedvl.phantoms.chest_grading import CHEST as GRADING
from unimedvl.phantoms.solids import Points
from unimedvl.phantoms.study import Case, Finding, Side, Study

MODALITY = "ct"
VIEWS = ("lung", "soft tissue")
WINDOWS = {"lung": (1500.0, -600.0), "soft tissue": (400.0, 40.0)}  # width and level, HU

SLICE = 4.0  # mm
# How likely a finding is drawn first: those that share few levels with others less often come second.
SHARES = {"pleural effusion": 0.142, "pneumothorax": 0.137, "consolidation": 0.13, "nodule": 0.125,
          "emphysema": 0.155, "lymphadenopathy": 0.148, "cardiomegaly": 0.163}  # fmt: skip
LEAST = 0.0012  # of the image: what covers less is not offered as a structure

__all__ = [
    "FINDINGS", "GRADING", "MODALITY", "SIDED", "VIEWS", "WINDOWS", "hounsfield", "of", "render", "sample", "window"
]  # fmt: skip


# ---------------------------------------------------------------------------------------------- sampling


def sample(seed: int) -> Case:
    """Draw a patient and the level of the slice: a quarter normal, else one finding or, for one in five, two."""
    rng = np.random.default_rng((0xC7, seed))
    anatomy = chest.sample_anatomy(rng)
    number = int(rng.choice(3, p=(0.25, 0.58, 0.17)))
    names: list[str] = []
    low, high = -100.0, 75.0
    for name in rng.choice(FINDINGS, len(FINDINGS), replace=False, p=[SHARES[name] for name in FINDINGS]):
        a, b = LEVELS[str(name)]
        if len(names) < number and min(high, b) - max(low, a) > 12:
            names.append(str(name))
            low, high = max(low, a), min(high, b)
    anatomy |= {
        "level": rng.uniform(low, high),
        "field": 2 * (anatomy["half_width"] + anatomy["fat"]) + rng.uniform(72, 96),  # of view, mm
        "shift_y": rng.uniform(-4, 8),  # of the middle of the image
        "sharpness": rng.uniform(0.35, 0.75),  # cut-off of the kernel, cycles/mm
        "dose": rng.uniform(0.25, 1.8),  # relative
        "table": rng.uniform(8, 22),  # mm below the back
    }
    noise_seed = int(rng.integers(2**31))
    side: Side = "right" if rng.random() < 0.5 else "left"
    findings = []
    ratio = anatomy["ratio"]
    for name in sorted(names, key=FINDINGS[::-1].index):  # the heart first: it takes room from the lungs
        finding = _draw(rng, name, side, anatomy, noise_seed, ratio)
        ratio = finding.size if name == "cardiomegaly" else ratio
        findings.append(finding)
        if name in SIDED:  # two sided findings lie on different sides, where both can be seen
            side = "left" if side == "right" else "right"
    return Case(MODALITY, seed, tuple(findings), anatomy, noise_seed)


def _draw(rng: np.random.Generator, name: str, side: Side, a: dict[str, float], noise_seed: int,
          ratio: float) -> Finding:  # fmt: skip
    """One finding that the slice shows, of a grade drawn evenly."""
    grade = int(rng.integers(3))
    size = round(float(rng.uniform(*SIZES[name][grade])), 1)
    severity, seed, z = GRADES[grade], float(rng.integers(2**20)), a["level"]
    if name == "cardiomegaly":
        return Finding(name, None, severity, size)
    if name == "emphysema":
        return Finding(name, None, severity, size, place="upper zone", shape=(seed,))
    if name == "lymphadenopathy":
        shape = _nodes(rng, size, z)
        return Finding(name, None, severity, size, len(shape) // 5, "mediastinum", shape)
    if name in ("pleural effusion", "pneumothorax"):
        return Finding(name, side, severity, size, shape=brim(a, side, name, size, chest.outlines(a, ratio)))
    z = z + rng.uniform(-0.12, 0.12) * size
    deep = 0.55 * size if name == "nodule" else 0.22 * size
    x, y = _inside(rng, a, side, z, deep, ratio)
    if name == "nodule":
        return Finding(name, side, severity, size, place=zone(z), shape=(x, y, z, seed))
    return Finding(name, side, severity, size, place=zone(z), shape=(x, y, z, rng.uniform(0.8, 1.1), seed))


def _nodes(rng: np.random.Generator, size: float, level: float) -> tuple[float, ...]:
    """Two to five nodes at the stations nearest the slice: x, y, z, short radius, long over short axis."""
    near = sorted(STATIONS.values(), key=lambda s: abs(s[2] - level))
    rows = []
    for k, (x, y, z) in enumerate(near[: int(rng.integers(2, 5))]):
        r = size / 2 * (1.0 if k == 0 else rng.uniform(0.55, 0.9))
        z = float(np.clip(z, level - 0.5 * r, level + 0.5 * r)) if k < 2 or abs(z - level) < 15 else z
        jitter = rng.normal(0, 1.5, 2)
        rows.append((x + jitter[0], y + jitter[1], z, r, rng.uniform(1.1, 1.5)))
    return tuple(float(v) for row in rows for v in row)


def _inside(rng: np.random.Generator, a: dict[str, float], side: Side, z: float, deep: float,
            ratio: float) -> tuple[float, float]:  # fmt: skip
    """A point (x, y) of a lung at height z that lies about as deep as asked, or the deepest there is."""
    p, outline, _ = chest.outlines(a, ratio, (z,))[0]
    of_side = np.where((p.x > 0) == (side == "left"), outline, -99)
    enough = np.argwhere(of_side >= min(deep, float(of_side.max()) - 0.5))
    row, column = enough[rng.integers(len(enough))]
    return float(p.x[0, column]), float(p.y[row, 0])


def of(case: Case, level: float | None = None) -> Case:
    """The case of a slice through another case's patient, such as one of a film, lying, with the same findings.

    level: z [mm] of the slice; where the first finding is if None.
    """
    if level is None:
        level = -40.0 if not case.findings else _middle(case.findings[0])
    a = case.anatomy
    usual = {"field": 2 * (a["half_width"] + a["fat"]) + 84, "shift_y": 2.0, "sharpness": 0.55, "dose": 1.0,
             "table": 15.0}  # fmt: skip
    return replace(case, modality=MODALITY, anatomy=usual | a | {"level": float(level)})


def _middle(finding: Finding) -> float:
    """z [mm] of a slice that shows a finding."""
    return finding.shape[2] if finding.name in ("nodule", "consolidation") else sum(LEVELS[finding.name]) / 2


# ---------------------------------------------------------------------------------------------- rendering


def render(case: Case, size: int = 128) -> Study:
    """Render a case at size x size pixels in both windows.

    Masks: ``left lung`` and ``right lung`` (with what fills them), ``heart`` and ``aorta`` where the slice cuts
    them, and each finding; that of cardiomegaly is the whole heart.

    Raises:
        ValueError: size is not in 64..512, or a finding is not of FINDINGS or lacks its side.
    """
    seen = _slice(case, size)
    hu = _acquire(case, seen.hu)
    images = {view: window(hu, *WINDOWS[view]) for view in VIEWS}
    masks = {name: cover > 0.5 for name, cover in seen.masks.items()}
    named = {f.name for f in case.findings}
    masks = {name: mask for name, mask in masks.items() if name in named or mask.mean() > LEAST}
    return Study(case, images, masks, {
        "organ": "chest", "plane": "axial",
        "contrast": "contrast-enhanced" if case.anatomy["contrast"] > 40 else "unenhanced",
    })  # fmt: skip


def hounsfield(case: Case, size: int = 128) -> np.ndarray:
    """The slice as it was measured, noise included: [size, size] float32 HU from -1024 to 3071.

    Raises:
        ValueError: size is not in 64..512, or a finding is not of FINDINGS or lacks its side.
    """
    return _acquire(case, _slice(case, size).hu)


def window(hu: np.ndarray, width: float, level: float) -> np.ndarray:
    """HU [H, W] as grey levels [H, W, 3] uint8: level - width / 2 is black, level + width / 2 white."""
    grey = np.clip(np.rint((hu - (level - width / 2)) * (255 / width)), 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _slice(case: Case, size: int) -> chest.Plane:
    if not 64 <= size <= 512:
        raise ValueError(f"size is {size}; it must be 64 to 512")
    for finding in case.findings:
        if finding.name not in FINDINGS:
            raise ValueError(f"no finding {finding.name!r} in {MODALITY}; known are {', '.join(FINDINGS)}")
        if finding.name in SIDED and finding.side not in ("left", "right"):
            raise ValueError(f"{finding.name} needs a side, left or right, not {finding.side!r}")
    a = case.anatomy
    pixel = a["field"] / size
    axis = (np.arange(size, dtype=np.float32) + 0.5) * np.float32(pixel) - np.float32(a["field"] / 2)
    z = np.full((1, 1), a["level"], np.float32)
    p = Points(axis[None, :], axis[:, None] + np.float32(a["shift_y"]), z, pixel)
    seen = chest.plane(case, p, layer=SLICE)
    _table(seen.hu, p, a)
    return seen


def _table(hu: np.ndarray, p: Points, a: dict[str, float]) -> None:
    """A shallow shell of carbon fibre about foam, below the back."""
    back = a["half_depth"] + 25 + 0.75 * a["fat"] + a["table"]
    shell = p.y - back + 0.0011 * p.x**2
    within = p.cover(215 - np.abs(p.x)) * (hu < -900)
    for centre, half, value in ((0.0, 1.2, -150.0), (26.0, 1.2, -150.0), (13.0, 11.8, -940.0)):
        hu += within * p.cover(half - np.abs(shell - centre)) * (value - hu)


def _acquire(case: Case, hu: np.ndarray) -> np.ndarray:
    """Blur by the kernel and add noise. [H, W] float32 HU."""
    a = case.anatomy
    pixel = a["field"] / hu.shape[0]
    sigma = 0.19 / a["sharpness"] / pixel  # mm: the Gaussian whose transfer is a sixth at the cut-off
    measured = gaussian_filter(hu, sigma, mode="nearest", truncate=3.0)
    return np.clip(measured + _noise(case, hu.shape[0], pixel), -1024, 3071).astype(np.float32)


def _noise(case: Case, size: int, pixel: float) -> np.ndarray:
    """Quantum noise [size, size] HU of the healthy body, so that it stays when findings change."""
    a = case.anatomy
    rng = np.random.default_rng((6, case.noise_seed))
    white = np.fft.rfft2(rng.standard_normal((size, size)))
    fy, fx = np.fft.fftfreq(size, pixel)[:, None], np.fft.rfftfreq(size, pixel)[None, :]
    f = np.hypot(fx, fy)
    # A view's noise lies along its detector: frequencies across (fy) are of rays that run from side to side.
    wide = a["half_width"] + a["fat"] + 15 + 30 * np.clip((a["level"] - 10) / 60, 0, 1)
    deep = a["half_depth"] + a["fat"] + 15
    turn = np.arctan2(fy, fx)
    ray = 2 / np.sqrt((np.sin(turn) / wide) ** 2 + (np.cos(turn) / deep) ** 2)
    quanta = np.exp(0.5 * 0.62 * chest.WATER * (ray - 300))  # the lungs spare much of the path
    power = f * np.exp(-((f / (1.15 * a["sharpness"])) ** 2)) * quanta**2
    field = np.fft.irfft2(white * np.sqrt(power), (size, size))
    return (22.0 / np.sqrt(a["dose"]) * 0.74 / pixel) * field
