"""Simulated frontal chest radiographs.

A chest of analytic shapes is crossed by parallel rays. Each organ gives the length of the ray
inside it, lengths times attenuation coefficients give the optical depth tau, Beer-Lambert's law
I = I0 exp(-tau) the exposure, and the display shows -log I, so that bone is white and air black.
Scatter and the amount of quantum noise are taken from the chest without its findings: a finding
therefore changes only the pixels it covers.

One image unit is 150 mm. The patient's right is at the image's left. Sizes of findings are in
millimetres, save cardiomegaly's, which is the cardiothoracic ratio in percent, and those of pleural
effusion and pneumothorax, in percent of the lung's height and of its linear collapse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unimedvl.phantoms.shapes import blur, cover, grid, half_chord, ramp, smooth_noise, strokes
from unimedvl.phantoms.study import Case, Finding, Severity, Side, Study

MODALITY = "cxr"
VIEWS = ("frontal",)
FINDINGS = ("cardiomegaly", "pleural effusion", "pneumothorax", "consolidation", "nodule")
SIDED = frozenset({"pleural effusion", "pneumothorax", "consolidation", "nodule"})

UNIT_MM = 150.0
SOFT = 0.20          # attenuation of soft tissue, 1/cm, near 60 keV
LUNG_DENSITY = 0.27  # inflated lung as a fraction of soft tissue
SIDES: tuple[Side, Side] = ("right", "left")
ZONES = {"upper zone": (0.20, 0.34), "middle zone": (0.46, 0.60), "lower zone": (0.72, 0.82)}

# ------------------------------------------------------------------------------------------ sampling


def sample(seed: int) -> Case:
    """Draw a case: a quarter normal, otherwise one finding or, for one in five, two."""
    rng = np.random.default_rng([seed, 0xC1])
    anatomy = {
        "shift": rng.uniform(-0.03, 0.03),       # of the whole chest, image units
        "width": rng.uniform(0.76, 0.83),        # inner half-width of the rib cage
        "apex": rng.uniform(-0.80, -0.72),       # y of the lung's top
        "dome": rng.uniform(0.42, 0.50),         # y of the right diaphragm's dome
        "dome_drop": rng.uniform(0.02, 0.06),    # how much lower the left one is
        "ratio": rng.uniform(0.41, 0.47),        # cardiothoracic ratio when healthy
        "depth": rng.uniform(18.5, 21.0),        # of the trunk, cm
        "rib_phase": rng.uniform(0.0, 1.0),
        "rib_slope": rng.uniform(0.8, 1.2),
        "bone": rng.uniform(0.8, 1.2),           # mineral content
        "bubble": rng.uniform(0.0, 1.0),         # gas in the stomach; below 0.3 there is none
        "exposure": rng.uniform(-0.12, 0.12),
    }
    noise_seed = int(rng.integers(2**31))
    names = list(rng.permutation(FINDINGS)[: rng.choice(3, p=(0.25, 0.57, 0.18))])
    side = SIDES[rng.integers(2)]
    findings = []
    for name in sorted(names, key=FINDINGS.index):
        findings.append(_sample_finding(rng, str(name), side, anatomy, "cardiomegaly" in names))
        if name in SIDED:  # two sided findings lie on different sides, where both can be seen
            side = "left" if side == "right" else "right"
    return Case(MODALITY, seed, tuple(findings), anatomy, noise_seed)


def _sample_finding(rng: np.random.Generator, name: str, side: Side, anatomy: dict[str, float],
                    large_heart: bool) -> Finding:
    grade = int(rng.integers(3))
    severity: Severity = ("mild", "moderate", "severe")[grade]
    if name == "cardiomegaly":
        size = rng.uniform(*((55, 59), (60, 64), (65, 70))[grade])
        return Finding(name, None, severity, round(size, 1))
    if name == "pleural effusion":
        size = rng.uniform(*((18, 23), (33, 43), (55, 68))[grade])
        return Finding(name, side, severity, round(size, 1))
    if name == "pneumothorax":
        size = rng.uniform(*((18, 23), (28, 36), (42, 55))[grade])
        return Finding(name, side, severity, round(size, 1))
    zones = list(ZONES)[: 2 if large_heart and side == "left" else 3]
    place = zones[rng.integers(len(zones))]
    down = rng.uniform(*ZONES[place])
    if name == "nodule":
        size = rng.uniform(*((22, 23.5), (25.5, 27), (29, 30))[grade])
        x, y = _inside_lung(anatomy, side, rng.uniform(0.2, 0.5), down)
        return Finding(name, side, severity, round(size, 1), place=place, shape=(x, y))
    size = rng.uniform(*((56, 64), (68, 78), (84, 98))[grade])
    x, y = _inside_lung(anatomy, side, rng.uniform(0.05, 0.3), down)
    shape = (x, y, rng.uniform(0.75, 0.95), float(rng.integers(2**20)))
    return Finding(name, side, severity, round(size, 1), place=place, shape=shape)


def _inside_lung(anatomy: dict[str, float], side: Side, across: float, down: float) -> tuple[float, float]:
    """Image point at a fraction of the lung's half-width (-1 medial, 1 lateral) and of its height."""
    dome = anatomy["dome"] + (anatomy["dome_drop"] if side == "left" else 0.0)
    y = anatomy["apex"] + down * (dome - anatomy["apex"])
    middle, half = _lung_borders(np.float64(y), anatomy)
    x = anatomy["shift"] + _sign(side) * float(middle + across * half)
    return x, float(y)


# ------------------------------------------------------------------------------------------- anatomy


def _sign(side: Side) -> int:
    """+1 where the side's lung lies at the image's right."""
    return 1 if side == "left" else -1


def _lung_borders(y: np.ndarray, anatomy: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """Middle and half-width of a lung at height y, as distances from the midline."""
    s = np.clip((y - anatomy["apex"]) / (0.58 - anatomy["apex"]), 0.0, 1.0)
    width = anatomy["width"]
    half = (width - 0.12) / 2 * (1.0 - (1.0 - s) ** 2.7) ** 0.5
    middle = 0.33 + ((width + 0.12) / 2 - 0.33) * s**0.8
    return middle, half


def _lung_depth(x: np.ndarray, y: np.ndarray, side: Side, anatomy: dict[str, float]) -> np.ndarray:
    """Length of the ray inside one lung, as a fraction of the deepest, 0 outside."""
    u = _sign(side) * (x - anatomy["shift"])
    middle, half = _lung_borders(y, anatomy)
    across = np.abs((u - middle) / np.maximum(half, 1e-4))
    dome = anatomy["dome"] + (anatomy["dome_drop"] if side == "left" else 0.0)
    above = dome + 0.20 * ((u - 0.38) / 0.42) ** 2 - y
    depth = np.sqrt(np.clip(1.0 - across**3, 0.0, None)) * np.clip(above / 0.15, 0.0, 1.0) ** 0.3
    return depth * np.clip((y - anatomy["apex"]) / 0.12, 0.0, 1.0) ** 0.4


def _heart(x: np.ndarray, y: np.ndarray, ratio: float, anatomy: dict[str, float]) -> np.ndarray:
    """Profile of the heart, 0 outside, for a given cardiothoracic ratio.

    A union of ellipsoids: the right atrium reaches a third of the width to the patient's right of
    the midline, the left ventricle two thirds to the left.
    """
    x = x - anatomy["shift"]
    width = 2 * anatomy["width"] * ratio
    tall, shear = 0.28 + 0.25 * (ratio - 0.44), 0.55
    middle = anatomy["dome"] + 0.17 - tall
    # A leaning ellipse of half-width a reaches sqrt(a^2 + (shear * tall)^2) to the side.
    ventricle = np.sqrt((0.46 * width) ** 2 - (shear * tall) ** 2)
    left = half_chord(x, y, (0.20 * width, middle), (ventricle, tall), shear)
    right = half_chord(x, y, (-0.04 * width, middle + 0.02), (0.30 * width, 0.90 * tall))
    base = half_chord(x, y, (0.06 * width, middle - 0.13), (0.31 * width, 0.95 * tall), 0.2)
    floor = half_chord(x, y, (0.12 * width, anatomy["dome"]), (0.42 * width, 0.16))
    return np.maximum.reduce([left, right, base, floor])


def _great_vessels(x: np.ndarray, y: np.ndarray, anatomy: dict[str, float]) -> np.ndarray:
    """Profile of aortic arch, pulmonary trunk and hila."""
    x = x - anatomy["shift"]
    parts = [
        half_chord(x, y, (0.10, -0.30), (0.12, 0.11)),
        half_chord(x, y, (0.12, -0.10), (0.13, 0.14)),
        0.7 * half_chord(x, y, (-0.17, -0.02), (0.10, 0.15), -0.2),
        0.7 * half_chord(x, y, (0.20, -0.05), (0.10, 0.13), 0.2),
        half_chord(x, y, (-0.02, -0.2), (0.17, 0.45)),
    ]
    return np.maximum.reduce(parts)


def _trunk(x: np.ndarray, y: np.ndarray, anatomy: dict[str, float]) -> np.ndarray:
    """Depth of the whole trunk in cm, 0 outside the skin."""
    u = np.abs(x - anatomy["shift"])
    flank = anatomy["width"] + 0.17 + 0.5 * ramp(-y, 0.1, 0.7)
    shoulder = -1.25 + 0.62 * ramp(u, 0.2, 1.15)
    depth = np.sqrt(np.clip(1.0 - (u / flank) ** 4, 0.0, None)) * np.clip((y - shoulder) / 0.45, 0.0, 1.0) ** 0.5
    return anatomy["depth"] * depth


def _bones(x: np.ndarray, y: np.ndarray, size: int, anatomy: dict[str, float]) -> np.ndarray:
    """Optical depth of ribs, clavicles, spine and humeral heads."""
    u = np.abs(x - anatomy["shift"])
    middle, half = _lung_borders(y, anatomy)
    wall = np.maximum(middle + half + 0.03, 0.2)
    s = u / wall
    inside = cover(wall - u, size, 0.02) * (y > anatomy["apex"] - 0.05) * ramp(-y, -0.95, -0.6)
    pitch, slope = 0.148, anatomy["rib_slope"]
    start = anatomy["rib_phase"] * pitch
    back = slope * (-0.05 * s + 0.24 * s**3)
    front = slope * (0.19 + 0.34 * np.clip(1.0 - s, 0.0, None) ** 0.9)
    ribs = 0.34 * _bands(y - start - back, pitch, 0.026, size) * ramp(s, 0.08, 0.2)
    ribs += 0.24 * _bands(y - start - front, pitch, 0.030, size) * ramp(s, 0.38, 0.55)
    spine = 0.42 * cover(0.085 - u, size, 0.02) * (0.8 + 0.2 * np.cos(2 * np.pi * (y - start) / 0.135))
    arms = 0.5 * half_chord(u, y, (0.98, anatomy["apex"] + 0.26), (0.13, 0.15)) ** 0.5
    return anatomy["bone"] * (arms + ribs * inside + spine + 0.55 * _clavicles(size, anatomy))


def _bands(offset: np.ndarray, pitch: float, half_width: float, size: int) -> np.ndarray:
    """Tubes repeated every pitch, brighter at their cortical rims."""
    distance = np.abs(offset - pitch * np.round(offset / pitch))
    rim = np.clip(distance / half_width, 0.0, 1.0) ** 4
    return cover(half_width - distance, size, 0.008) * (0.75 + 0.35 * rim)


def _clavicles(size: int, anatomy: dict[str, float]) -> np.ndarray:
    t = np.linspace(0.0, 1.0, 9)
    u = 0.07 + 0.62 * t
    v = anatomy["apex"] + 0.23 - 0.14 * t - 0.025 * np.sin(2 * np.pi * t)
    path = np.concatenate([np.stack([anatomy["shift"] + sign * u, v], 1) for sign in (1, -1)])
    keep = np.arange(len(path) - 1) != len(t) - 1
    radii = np.tile(0.03 + 0.012 * np.abs(2 * t - 1), 2)
    return strokes(size, path[:-1][keep], path[1:][keep], np.stack([radii[:-1], radii[1:]], 1)[keep], softness=0.012)


def _markings(rng: np.random.Generator, size: int, anatomy: dict[str, float]) -> np.ndarray:
    """Diameters of pulmonary vessels fanning out from both hila, in cm."""
    starts, ends, radii = [], [], []
    for sign in (1, -1):
        hilum = np.array([anatomy["shift"] + sign * 0.17, -0.03])
        for angle in np.linspace(-1.25, 1.2, 9) + rng.uniform(-0.1, 0.1, 9):
            _grow_vessel(rng, hilum, angle, sign, 0.021, 9, (starts, ends, radii))
    radii_ = np.array(radii)
    return strokes(size, np.array(starts), np.array(ends), radii_, 2 * radii_.mean(1) * UNIT_MM / 10, softness=0.01)


def _grow_vessel(rng: np.random.Generator, point: np.ndarray, angle: float, sign: int, radius: float,
                 steps: int, out: tuple[list, list, list]) -> None:
    """Walk outward in short tapering steps, forking now and then."""
    for step in range(steps):
        angle += rng.normal(0.0, 0.13)
        tip = point + 0.06 * np.array([sign * np.cos(angle), np.sin(angle)])
        thin = radius * 0.90
        out[0].append(point)
        out[1].append(tip)
        out[2].append((radius, thin))
        point, radius = tip, thin
        if step in (2, 5) and steps > 4:
            fork = angle + rng.choice((-1, 1)) * rng.uniform(0.4, 0.7)
            _grow_vessel(rng, point, fork, sign, radius * 0.8, steps - step - 2, out)


# ------------------------------------------------------------------------------------------ findings


@dataclass
class _Chest:
    """What the rays meet, as [H, W] maps that findings change.

    lungs: depth of each lung in cm. heart: depth of the heart in cm. aeration: density of what fills
    the lungs, soft tissue being 1. markings: vessels in cm. extra: further optical depth.
    """

    lungs: dict[Side, np.ndarray]
    heart: np.ndarray
    aeration: np.ndarray
    markings: np.ndarray
    extra: np.ndarray


def _apply(finding: Finding, chest: _Chest, case: Case, size: int) -> np.ndarray:
    """Change the chest by one finding and return the finding's extent, [H, W] in 0 to 1."""
    x, y = grid(size)
    if finding.name == "cardiomegaly":
        profile = _heart(x, y, finding.size / 100, case.anatomy)
        chest.heart = np.maximum(chest.heart, 12.5 * profile)
        return (profile > 0).astype(np.float32)
    lung = chest.lungs[finding.side] > 0
    extent = lung * _EXTENT[finding.name](finding, case, size)
    if finding.name == "pleural effusion":
        chest.aeration = chest.aeration + (1.0 - chest.aeration) * extent
        chest.markings = chest.markings * (1 - extent)
    elif finding.name == "pneumothorax":
        rest = lung * (1 - extent)
        line = lung * _visceral_pleura(finding, case, size)
        chest.aeration = chest.aeration * (1 - extent) + 0.08 * rest
        chest.markings = chest.markings * (1 - extent)
        chest.extra = chest.extra + 0.6 * line
    elif finding.name == "consolidation":
        chest.aeration = chest.aeration + (0.92 - chest.aeration) * extent * 0.8
    elif finding.name == "nodule":
        radius = finding.size / 2 / UNIT_MM
        chest.extra = chest.extra + 0.95 * extent * half_chord(x, y, finding.shape[:2], (radius, radius)) ** 0.6
    return extent


def _effusion(finding: Finding, case: Case, size: int) -> np.ndarray:
    """Fluid with a meniscus that climbs along the chest wall."""
    x, y = grid(size)
    anatomy = case.anatomy
    u = _sign(finding.side) * (x - anatomy["shift"])
    base = anatomy["dome"] + 0.18
    level = base - finding.size / 100 * (base - anatomy["apex"])
    climb = 0.16 * np.clip((u - 0.30) / (anatomy["width"] - 0.30), 0.0, 1.2) ** 2 \
        + 0.04 * np.clip((0.25 - u) / 0.2, 0.0, 1.0) ** 2
    return ramp(y - level + climb - 0.06, -0.025, 0.025)


def _collapsed(finding: Finding, case: Case, size: int) -> np.ndarray:
    """Roughly the distance to the visceral pleura, positive in the air around the collapsed lung."""
    x, y = grid(size)
    anatomy = case.anatomy
    scale = 1.0 - finding.size / 100
    root = anatomy["shift"] + _sign(finding.side) * 0.10, 0.38
    u = _sign(finding.side) * ((x - root[0]) / scale + root[0] - anatomy["shift"])
    v = (y - root[1]) / scale + root[1]
    middle, half = _lung_borders(v, anatomy)
    beside = np.abs(u - middle) - half
    above = anatomy["apex"] - v
    return np.maximum(beside, above) * scale


def _visceral_pleura(finding: Finding, case: Case, size: int) -> np.ndarray:
    """The thin line along the collapsed lung's edge, where that has left the chest wall; 0 to 1."""
    x, y = grid(size)
    line = np.clip(1.0 - np.abs(_collapsed(finding, case, size)) / max(0.016, 2.0 / size), 0.0, 1.0)
    middle, half = _lung_borders(y, case.anatomy)
    u = _sign(finding.side) * (x - case.anatomy["shift"])
    return line * ramp(half - np.abs(u - middle), 0.02, 0.06)


def _pneumothorax(finding: Finding, case: Case, size: int) -> np.ndarray:
    return cover(_collapsed(finding, case, size), size, 0.004)


def _consolidation(finding: Finding, case: Case, size: int) -> np.ndarray:
    """A cloud: an ellipse whose rim and filling are broken up by smooth noise."""
    x, y = grid(size)
    cx, cy, flat, seed = finding.shape
    rng = np.random.default_rng([case.noise_seed, int(seed)])
    radius = finding.size / 2 / UNIT_MM
    r = np.hypot((x - cx) / radius, (y - cy) / (radius * flat))
    return ramp(1.0 - r + 0.16 * smooth_noise(rng, 14, size) + 0.08 * smooth_noise(rng, 30, size), -0.32, 0.50)


def _nodule(finding: Finding, case: Case, size: int) -> np.ndarray:
    x, y = grid(size)
    return cover(finding.size / 2 / UNIT_MM - np.hypot(x - finding.shape[0], y - finding.shape[1]), size)


_EXTENT = {"pleural effusion": _effusion, "pneumothorax": _pneumothorax,
           "consolidation": _consolidation, "nodule": _nodule}

# ----------------------------------------------------------------------------------------- rendering


def render(case: Case, size: int = 128) -> Study:
    """Render a case at size x size pixels (64 to 512).

    Masks: ``"left lung"`` and ``"right lung"`` (the lung fields beside the heart, whatever fills
    them), ``"heart"``, and one for each finding. That of cardiomegaly is the whole enlarged heart.
    Raises ValueError for a finding that is not of FINDINGS or lacks its side.
    """
    _check(case)
    x, y = grid(size)
    anatomy = case.anatomy
    texture_rng = np.random.default_rng([case.noise_seed, 1])
    depth = 0.80 * anatomy["depth"]
    chest = _Chest(
        lungs={side: depth * _lung_depth(x, y, side, anatomy) for side in SIDES},
        heart=11.0 * _heart(x, y, anatomy["ratio"], anatomy),
        aeration=LUNG_DENSITY * (1 + 0.05 * smooth_noise(texture_rng, 12, size)),
        markings=_markings(texture_rng, size, anatomy),
        extra=_bones(x, y, size, anatomy),
    )
    trunk = _trunk(x, y, anatomy)
    vessels = 9.0 * _great_vessels(x, y, anatomy)
    gas = _gas(x, y, anatomy)
    healthy = np.exp(-_optical_depth(chest, trunk, vessels, gas))
    masks = {}
    for finding in case.findings:
        # A consolidation fades out; what is clouded by a third is still counted in.
        threshold = 0.33 if finding.name == "consolidation" else 0.5
        masks[finding.name] = _apply(finding, chest, case, size) > threshold
    exposure = np.exp(-_optical_depth(chest, trunk, vessels, gas)) if case.findings else healthy
    grey = _develop(exposure, healthy, anatomy, np.random.default_rng([case.noise_seed, 2]))
    heart = chest.heart > 0
    for side in SIDES:
        masks[f"{side} lung"] = (chest.lungs[side] > 0) & ~heart
    masks["heart"] = heart
    images = {"frontal": np.repeat(grey[:, :, None], 3, axis=2)}
    return Study(case, images, masks, {"organ": "chest", "plane": "frontal"})


def _check(case: Case) -> None:
    for finding in case.findings:
        if finding.name not in FINDINGS:
            raise ValueError(f"no finding {finding.name!r} in {MODALITY}; known are {', '.join(FINDINGS)}")
        if finding.name in SIDED and finding.side not in SIDES:
            raise ValueError(f"{finding.name} needs a side, left or right, not {finding.side!r}")


def _gas(x: np.ndarray, y: np.ndarray, anatomy: dict[str, float]) -> np.ndarray:
    """Length of air in trachea, main bronchi and stomach, cm."""
    u = x - anatomy["shift"]
    trachea = 2.2 * np.sqrt(np.clip(1 - (u / 0.045) ** 2, 0, None)) * ramp(-y, 0.22, 0.30)
    bronchi = 1.6 * np.sqrt(np.clip(1 - ((np.abs(u) - 0.6 * (y + 0.26)) / 0.03) ** 2, 0, None)) \
        * ramp(y, -0.30, -0.24) * ramp(-y, 0.02, 0.10)
    bubble = 0.0
    if anatomy["bubble"] > 0.3:
        radius = 0.06 + 0.07 * anatomy["bubble"]
        top = anatomy["dome"] + anatomy["dome_drop"] + 0.06
        bubble = 7.0 * half_chord(u, y, (0.36, top + radius), (radius * 1.5, radius))
    return trachea + bronchi + bubble


def _optical_depth(chest: _Chest, trunk: np.ndarray, vessels: np.ndarray, gas: np.ndarray) -> np.ndarray:
    """tau = sum of attenuation x length, over all that the ray meets."""
    lung = chest.lungs["left"] + chest.lungs["right"]
    air = np.clip(lung - np.maximum(chest.heart, vessels), 0.0, None)
    share = air / np.maximum(lung, 1e-3)
    tissue = np.clip(trunk - air * (1 - chest.aeration) - gas, 0.0, None) + 2.2 * chest.markings * share
    return SOFT * tissue + chest.extra * (trunk > 0)


def _develop(exposure: np.ndarray, healthy: np.ndarray, anatomy: dict[str, float],
             rng: np.random.Generator) -> np.ndarray:
    """Exposure to displayed grey levels: scatter, log, film curve, noise. [H, W] uint8."""
    scatter = 0.08 * blur(healthy, 0.12)
    tau = -np.log(blur(exposure, 0.006) + scatter)
    level = (tau - 0.35 + anatomy["exposure"]) / 3.9
    film = 1.0 / (1.0 + np.exp(-4.8 * (level - 0.5)))
    film = (film - 0.085) / 0.86
    # Fewer quanta reach the detector behind dense parts, where noise after the log is stronger.
    sigma = 0.5 + 0.25 / np.sqrt(healthy + 0.05)
    grey = 255.0 * film + sigma * rng.standard_normal(healthy.shape)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)
