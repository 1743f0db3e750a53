"""Simulated colour fundus photographs.

The retina reflects white light; what lies in front of it absorbs. Each absorber (blood, pigment,
the macula's xanthophyll) has a thickness map and one coefficient for red, green and blue, and what
comes back is R0 exp(-sum of coefficient x thickness). Bright lesions and the optic disc replace the
reflectance R0.

One image unit is half the image's width; the field is about 45 degrees. Places are told from the
fovea. A right eye has its disc at the image's right. Sizes of findings are in disc diameters, save
that of glaucomatous cupping, which is the vertical cup-to-disc ratio in percent.
"""

from __future__ import annotations

import numpy as np

from unimedvl.phantoms.shapes import cover, grid, ramp, smooth_noise, spots, strokes
from unimedvl.phantoms.study import Case, Finding, Severity, Study

MODALITY = "cfp"
VIEWS = ("fundus",)
FINDINGS = ("microaneurysms", "hard exudates", "haemorrhages", "glaucomatous cupping", "drusen")
SIDED: frozenset[str] = frozenset()

FIELD = 0.96                               # radius of the photograph's round field
BLOOD = np.array([0.55, 1.75, 1.10])       # absorption of a full vessel or haemorrhage, red, green, blue
XANTHOPHYLL = np.array([0.28, 0.55, 0.60])  # of the fovea's pigments
DISC = np.array([0.98, 0.80, 0.55])        # reflectance of the neural rim
CUP = np.array([1.00, 0.96, 0.84])         # of the bare lamina in the cup
EXUDATE = np.array([1.00, 0.93, 0.42])
DRUSE = np.array([0.97, 0.80, 0.50])
QUADRANTS = {"superotemporal": (-1, -1), "inferotemporal": (-1, 1), "superonasal": (1, -1), "inferonasal": (1, 1)}

# ------------------------------------------------------------------------------------------ sampling


def sample(seed: int) -> Case:
    """Draw a case: a quarter normal, otherwise one finding or, for one in five, two."""
    rng = np.random.default_rng([seed, 0xF0])
    nasal = float(rng.choice((-1.0, 1.0)))   # +1: nasal is at the image's right, a right eye
    disc_x = rng.uniform(0.47, 0.55)
    anatomy = {
        "nasal": nasal,
        "disc_x": nasal * disc_x,
        "disc_y": rng.uniform(-0.08, 0.04),
        "disc_radius": rng.uniform(0.135, 0.155),
        "fovea_x": nasal * (disc_x - rng.uniform(0.60, 0.66)),
        "fovea_y": rng.uniform(-0.02, 0.06),
        "ratio": rng.uniform(0.28, 0.42),     # healthy cup-to-disc ratio
        "pigment": rng.uniform(0.0, 1.0),     # of the retina and choroid
        "hue": rng.uniform(-1.0, 1.0),
        "light": rng.uniform(0.92, 1.04),     # of the flash
        "tilt": rng.uniform(-0.25, 0.25),     # of the illumination, to one side
    }
    noise_seed = int(rng.integers(2**31))
    names = list(rng.permutation(FINDINGS)[: rng.choice(3, p=(0.25, 0.57, 0.18))])
    findings = tuple(_sample_finding(rng, str(name), anatomy) for name in sorted(names, key=FINDINGS.index))
    return Case(MODALITY, seed, findings, anatomy, noise_seed)


def _sample_finding(rng: np.random.Generator, name: str, anatomy: dict[str, float]) -> Finding:
    grade = int(rng.integers(3))
    severity: Severity = ("mild", "moderate", "severe")[grade]
    if name == "glaucomatous cupping":
        size = rng.uniform(*((66, 71), (74, 80), (84, 90))[grade])
        return Finding(name, None, severity, round(size, 1), place="optic disc")
    place, fovea = "posterior pole", np.array([anatomy["fovea_x"], anatomy["fovea_y"]])
    if name == "microaneurysms":
        count = int(rng.integers(*((9, 14), (16, 24), (28, 40))[grade]))
        radii = rng.uniform(0.025, 0.033, count)
        points = _scatter(rng, count, fovea, 0.05, 0.62, 0.085, anatomy)
    elif name == "haemorrhages":
        count = int(rng.integers(*((3, 5), (6, 9), (11, 15))[grade]))
        radii = rng.uniform(0.050, 0.085, count)
        points = _scatter(rng, count, fovea, 0.15, 0.72, 0.19, anatomy)
    elif name == "drusen":
        place = "macula"
        count = int(rng.integers(*((9, 13), (16, 22), (26, 36))[grade]))
        radii = rng.uniform(0.034, 0.050, count)
        points = _scatter(rng, count, fovea, 0.0, (0.22, 0.28, 0.34)[grade], 0.075, anatomy)
    else:
        place = str(rng.choice(list(QUADRANTS)))
        count = int(rng.integers(*((12, 17), (22, 30), (38, 50))[grade]))
        radii = rng.uniform(0.016, 0.034, count)
        across, down = QUADRANTS[place]
        centre = fovea + 0.22 * np.array([anatomy["nasal"] * across, down]) * rng.uniform(0.85, 1.15, 2)
        points = _ring(rng, centre, (0.10, 0.13, 0.16)[grade], count)
    count = len(points)
    shape = np.column_stack([points, radii[:count]]).round(4)
    size = 2 * radii[:count].max() / (2 * anatomy["disc_radius"])
    return Finding(name, None, severity, round(float(size), 2), count, place, tuple(shape.ravel().tolist()))


def _scatter(rng: np.random.Generator, count: int, centre: np.ndarray, inner: float, outer: float, gap: float,
             anatomy: dict[str, float]) -> np.ndarray:
    """At most count points [N, 2] at least gap apart, in a ring about centre, off the disc, in the field."""
    disc = np.array([anatomy["disc_x"], anatomy["disc_y"]])
    points: list[np.ndarray] = []
    for _ in range(40 * count):
        r, a = np.sqrt(rng.uniform(inner**2, outer**2)), rng.uniform(0, 2 * np.pi)
        p = centre + r * np.array([np.cos(a), np.sin(a)])
        free = np.hypot(*(p - disc)) > anatomy["disc_radius"] + 0.10 and np.hypot(*p) < FIELD - 0.12
        if free and all(np.hypot(*(p - q)) > gap for q in points):
            points.append(p)
        if len(points) == count:
            break
    return np.array(points).reshape(-1, 2)


def _ring(rng: np.random.Generator, centre: np.ndarray, radius: float, count: int) -> np.ndarray:
    """Points of a circinate cluster: mostly around a ring, some inside, [count, 2]."""
    angle = rng.uniform(0, 2 * np.pi) + rng.uniform(0, 1.6 * np.pi, count)
    r = radius * np.where(rng.random(count) < 0.75, rng.normal(1.0, 0.12, count), rng.uniform(0, 1, count))
    return centre + r[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)


# ------------------------------------------------------------------------------------------- anatomy


def _vessel_trees(rng: np.random.Generator, anatomy: dict[str, float]) -> dict[str, np.ndarray]:
    """Arteries and veins as [N, 6] rows of start, end, half-width at start and at end."""
    trees = {}
    temporal = -anatomy["nasal"]
    for kind, width, turn in (("vein", 0.0245, 0.0), ("artery", 0.0175, 0.16)):
        rows: list[tuple[float, ...]] = []
        for up in (-1, 1):
            # Heading is measured from the temporal direction, positive towards up.
            arcade = 1.25 - turn + rng.uniform(-0.08, 0.08)
            _grow(rng, anatomy, rows, _start(anatomy, up), arcade, (temporal, up), width, 30, -0.075, 2)
            nasal = 2.25 + turn + rng.uniform(-0.15, 0.15)
            _grow(rng, anatomy, rows, _start(anatomy, up), nasal, (temporal, up), width * 0.75, 12, 0.01, 2)
        trees[kind] = np.array(rows)
    return trees


def _start(anatomy: dict[str, float], up: int) -> tuple[float, float]:
    return anatomy["disc_x"] + 0.02 * anatomy["nasal"], anatomy["disc_y"] + 0.01 * up


def _grow(rng: np.random.Generator, anatomy: dict[str, float], rows: list[tuple[float, ...]],
          point: tuple[float, float], heading: float, axes: tuple[float, int], width: float, steps: int,
          bend: float, depth: int) -> None:
    """Walk a vessel outward in steps of 0.05, tapering, bending, forking; append its segments to rows."""
    x, y = point
    wobble = 0.0
    for step in range(steps):
        wobble = 0.7 * wobble + rng.normal(0.0, 0.06)
        heading += bend + 0.5 * wobble
        bend *= 0.94
        nx = x + 0.05 * axes[0] * np.cos(heading)
        ny = y + 0.05 * axes[1] * np.sin(heading)
        near = np.hypot(nx - anatomy["fovea_x"], ny - anatomy["fovea_y"]) < 0.17
        if np.hypot(nx, ny) > FIELD + 0.02 or near:
            return
        thin = max(width * 0.975, 0.0085)
        rows.append((x, y, nx, ny, width, thin))
        x, y, width = nx, ny, thin
        if depth and step >= 3 and step % 4 == 3 - depth % 2:
            way = 1 if rng.random() < 0.5 else -1
            angle = heading + way * rng.uniform(0.5, 0.9)
            _grow(rng, anatomy, rows, (x, y), angle, axes, max(width * 0.62, 0.0085), 11, -0.03 * way, depth - 1)


def _blood_columns(case: Case, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Blood thickness of all vessels (full calibre is 1) and their extent, both [H, W]."""
    trees = _vessel_trees(np.random.default_rng([case.noise_seed, 1]), case.anatomy)
    thickness = np.zeros((size, size), np.float32)
    extent = np.zeros((size, size), np.float32)
    for kind, strength in (("vein", 1.0), ("artery", 0.72)):
        rows = trees[kind]
        drawn = strokes(size, rows[:, :2], rows[:, 2:4], rows[:, 4:], softness=0.006)
        extent = np.maximum(extent, drawn)
        reflex = 0.0
        if kind == "artery":  # the bright streak on an artery's ridge
            wide = rows[rows[:, 4] > 0.012]
            reflex = 0.35 * strokes(size, wide[:, :2], wide[:, 2:4], wide[:, 4:] * 0.3, softness=0.004)
        thickness = np.maximum(thickness, strength * drawn - reflex)
    return thickness, extent


# ------------------------------------------------------------------------------------------ findings


def _lesion(finding: Finding, case: Case, size: int) -> np.ndarray:
    """Extent of a finding made of many spots, [H, W] in 0 to 1."""
    rows = np.array(finding.shape, np.float32).reshape(-1, 3)
    if finding.name == "drusen":
        return spots(size, rows, softness=0.025)
    if finding.name == "hard exudates":
        return spots(size, rows, softness=0.004)
    if finding.name == "microaneurysms":
        return spots(size, rows, softness=0.004)
    return _haemorrhage_extent(rows, case, size)


def _haemorrhage_extent(rows: np.ndarray, case: Case, size: int) -> np.ndarray:
    """Blots are round; every other one is a flame, drawn out along the nerve fibres from the disc."""
    disc = np.array([case.anatomy["disc_x"], case.anatomy["disc_y"]], np.float32)
    blots, flames = rows[::2], rows[1::2]
    along = flames[:, :2] - disc
    along = along / np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-3)[:, None] * flames[:, 2:] * 1.1
    fine = 0.45 * flames[:, 2]
    extent = strokes(size, flames[:, :2] - along, flames[:, :2] + along,
                     np.stack([1.5 * fine, 0.5 * fine], 1), softness=0.012)
    return np.maximum(extent, spots(size, blots, softness=0.012))


def _disc_and_cup(case: Case, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Extents of the optic disc and of its cup, [H, W] in 0 to 1."""
    x, y = grid(size)
    anatomy = case.anatomy
    ratio = anatomy["ratio"]
    for finding in case.findings:
        if finding.name == "glaucomatous cupping":
            ratio = finding.size / 100
    radius = anatomy["disc_radius"]
    dx, dy = x - anatomy["disc_x"], y - anatomy["disc_y"]
    disc = cover(radius - np.hypot(dx / 0.93, dy), size, 0.012)
    # The cup is a little temporal of the middle, as far as the rim leaves room.
    off = -anatomy["nasal"] * 0.12 * radius * (1 - ratio)
    cup = cover(radius * ratio - np.hypot((dx - off) / 0.93, dy), size, 0.014)
    return disc, cup


# ----------------------------------------------------------------------------------------- rendering


def render(case: Case, size: int = 128) -> Study:
    """Render a case at size x size pixels (64 to 512).

    Masks: ``"vessels"``, ``"optic disc"``, ``"optic cup"``, and one for each finding. That of
    glaucomatous cupping is the enlarged cup.
    """
    x, y = grid(size)
    anatomy = case.anatomy
    field = cover(FIELD - np.hypot(x, y), size)
    disc, cup = _disc_and_cup(case, size)
    blood, vessels = _blood_columns(case, size)
    reflectance = _background(case, size)
    reflectance = _mix(reflectance, DISC * (0.94 + 0.04 * anatomy["hue"]), disc)
    reflectance = _mix(reflectance, CUP, cup)
    masks = {"vessels": (vessels > 0.45) & (field > 0.5), "optic disc": disc > 0.5, "optic cup": cup > 0.5}
    for finding in case.findings:
        if finding.name == "glaucomatous cupping":
            masks[finding.name] = masks["optic cup"].copy()
            continue
        extent = _lesion(finding, case, size)
        masks[finding.name] = extent > 0.5
        if finding.name in ("drusen", "hard exudates"):
            reflectance = _mix(reflectance, EXUDATE if finding.name == "hard exudates" else DRUSE, 0.92 * extent)
            blood = blood * (1 - 0.85 * extent)
        else:
            blood = np.maximum(blood, (1.35 if finding.name == "microaneurysms" else 1.25) * extent)
    light = _illumination(x, y, anatomy) * field
    image = reflectance * np.exp(-blood[:, :, None] * BLOOD.astype(np.float32)) * light[:, :, None]
    noise = np.random.default_rng([case.noise_seed, 3]).standard_normal(image.shape, dtype=np.float32)
    levels = 255.0 * image + 1.3 * noise * field[:, :, None]
    pixels = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    eye = "right" if anatomy["nasal"] > 0 else "left"
    return Study(case, {"fundus": pixels}, masks, {"organ": "retina", "eye": eye, "plane": "en face"})


def _mix(below: np.ndarray, colour: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """Lay a colour over an [H, W, 3] reflectance."""
    return below + (colour.astype(np.float32) - below) * amount[:, :, None]


def _background(case: Case, size: int) -> np.ndarray:
    """Reflectance of retina and choroid with the macula's pigments, [H, W, 3]."""
    x, y = grid(size)
    anatomy = case.anatomy
    rng = np.random.default_rng([case.noise_seed, 2])
    texture = 0.05 * smooth_noise(rng, 6, size) + 0.035 * smooth_noise(rng, 20, size)
    pigment, hue = anatomy["pigment"], anatomy["hue"]
    base = np.array([0.93 - 0.10 * pigment, 0.47 - 0.12 * pigment + 0.03 * hue, 0.22 - 0.07 * pigment - 0.03 * hue])
    r = np.hypot(x - anatomy["fovea_x"], y - anatomy["fovea_y"])
    macula = 0.75 * np.exp(-((r / 0.10) ** 2)) + 0.35 * np.exp(-((r / 0.26) ** 2))
    absorbed = macula[:, :, None] * XANTHOPHYLL + texture[:, :, None] * np.array([0.6, 1.1, 1.0])
    return (base * np.exp(-absorbed)).astype(np.float32)


def _illumination(x: np.ndarray, y: np.ndarray, anatomy: dict[str, float]) -> np.ndarray:
    """Brightness of the flash over the field: falling to the rim, a little tilted."""
    r2 = (x * x + y * y) / FIELD**2
    return anatomy["light"] * (1.0 - 0.34 * ramp(r2, 0.1, 1.15)) * (1.0 + 0.12 * anatomy["tilt"] * x)
