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

from dataclasses import dataclass

import numpy as np

from unimedvl.phantoms.shapes import cover, grid, ramp, smooth_noise, spots, strokes
from unimedvl.phantoms.study import Case, Finding, Grading, Severity, Study

MODALITY = "cfp"
VIEWS = ("fundus",)
FINDINGS = ("microaneurysms", "hard exudates", "haemorrhages", "glaucomatous cupping", "drusen")
SIDED: frozenset[str] = frozenset()

FIELD = 0.96                               # radius of the photograph's round field
STEP = 0.04                                # of a growing vessel
CAPILLARY = 0.0085                         # half-width of the thinnest vessel drawn
BLOOD = np.array([0.55, 1.75, 1.10])       # absorption of a full vessel or haemorrhage, red, green, blue
XANTHOPHYLL = np.array([0.28, 0.55, 0.60])  # of the fovea's pigments
DISC = np.array([1.00, 0.74, 0.42])        # reflectance of the neural rim
CUP = np.array([1.00, 0.98, 0.88])         # of the bare lamina in the cup
EXUDATE = np.array([1.00, 0.93, 0.42])
DRUSE = np.array([0.97, 0.80, 0.50])
FLAME_LENGTH = 1.7                         # of a flame haemorrhage, over a blot of equal radius
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
        "disc_radius": rng.uniform(0.150, 0.170),
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
        return Finding(name, None, severity, round(size, 1))
    place, fovea = "", np.array([anatomy["fovea_x"], anatomy["fovea_y"]])
    if name == "microaneurysms":
        count = int(rng.integers(*((9, 14), (16, 24), (28, 40))[grade]))
        radii = rng.uniform(0.025, 0.033, count)
        points = _scatter(rng, count, fovea, 0.05, 0.62, 0.085, anatomy)
    elif name == "haemorrhages":
        count = int(rng.integers(*((3, 5), (6, 9), (11, 15))[grade]))
        radii = rng.uniform(0.050, 0.085, count)
        points = _scatter(rng, count, fovea, 0.15, 0.72, 0.19, anatomy)
    elif name == "drusen":
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
    largest = radii[:count].max() * (FLAME_LENGTH if name == "haemorrhages" else 1.0)
    size = largest / anatomy["disc_radius"]
    return Finding(name, None, severity, round(float(size), 2), count, place, tuple(shape.ravel().tolist()))


# Cup over disc in percent, and how many of the others.
GRADING = {
    "glaucomatous cupping": Grading(((66, 71), (74, 80), (84, 90))),
    "microaneurysms": Grading(((9, 13), (16, 23), (28, 39)), "count", row=3, lengths=(2,)),
    "haemorrhages": Grading(((3, 4), (6, 8), (11, 14)), "count", row=3, lengths=(2,)),
    "drusen": Grading(((9, 12), (16, 21), (26, 35)), "count", row=3, lengths=(2,)),
    "hard exudates": Grading(((12, 16), (22, 29), (38, 49)), "count", row=3, lengths=(2,)),
}


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


@dataclass(frozen=True)
class _Shoot:
    """A vessel about to grow.

    point: where from. heading: angle from the temporal direction, positive towards its own half (up or
    down). width: half-width. steps: how many steps of STEP at most. bend: turn per step, dying away.
    forks: how many generations of branches it may have; the arcades have two.
    """

    point: tuple[float, float]
    half: int
    heading: float
    width: float
    steps: int
    bend: float
    forks: int


def _vessel_trees(rng: np.random.Generator, anatomy: dict[str, float]) -> dict[str, np.ndarray]:
    """Arteries and veins as [N, 6] rows of start, end, half-width at start and at end."""
    trees = {}
    # Vessels enter on the nasal side of the cup.
    x, y = anatomy["disc_x"] + 0.35 * anatomy["disc_radius"] * anatomy["nasal"], anatomy["disc_y"]
    for kind, width, turn in (("vein", 0.0245, 0.0), ("artery", 0.0175, 0.16)):
        rows: list[tuple[float, ...]] = []
        for half in (-1, 1):
            point = (x, y + 0.02 * half)
            arcade = 1.45 - turn + rng.uniform(-0.08, 0.08)
            _grow(rng, anatomy, rows, _Shoot(point, half, arcade, width, 42, -0.075, 2))
            nasal = 2.20 + turn + rng.uniform(-0.15, 0.15)
            _grow(rng, anatomy, rows, _Shoot(point, half, nasal, 0.75 * width, 16, 0.01, 1))
        trees[kind] = np.array(rows)
    return trees


def _grow(rng: np.random.Generator, anatomy: dict[str, float], rows: list[tuple[float, ...]],
          shoot: _Shoot) -> None:
    """Walk a vessel outward, tapering, bending and forking; append its segments to rows."""
    (x, y), width, bend, course, wobble = shoot.point, shoot.width, shoot.bend, shoot.heading, 0.0
    for step in range(shoot.steps):
        wobble = 0.8 * wobble + rng.normal(0.0, 0.07)
        course += bend
        bend *= 0.955
        clearance = np.hypot(x - anatomy["fovea_x"], y - anatomy["fovea_y"])
        if shoot.forks == 2 and clearance < 0.45 and anatomy["nasal"] * (x - anatomy["fovea_x"]) > 0:
            course += 0.5 * (0.45 - clearance)  # arcades keep clear of the macula
        heading = course + wobble
        nx = x - anatomy["nasal"] * STEP * np.cos(heading)
        ny = y + shoot.half * STEP * np.sin(heading)
        avascular = np.hypot(nx - anatomy["fovea_x"], ny - anatomy["fovea_y"]) < 0.17
        if avascular or np.hypot(nx, ny) > FIELD + 0.02:
            return
        thin = max(width * 0.98, CAPILLARY)
        rows.append((x, y, nx, ny, width, thin))
        x, y, width = nx, ny, thin
        if shoot.forks and step % 7 == 6:
            way = 1 if (step // 7 + shoot.forks) % 2 else -1
            steps = 16 if shoot.forks == 2 else 8
            _grow(rng, anatomy, rows, _Shoot((x, y), shoot.half, heading + way * rng.uniform(0.35, 0.6),
                                             max(width * 0.62, CAPILLARY), steps, 0.02 * way, shoot.forks - 1))


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
    if finding.name == "haemorrhages":
        return _haemorrhage_extent(rows, case, size)
    return spots(size, rows, softness=0.004)


def _haemorrhage_extent(rows: np.ndarray, case: Case, size: int) -> np.ndarray:
    """Blots are lobed; every other one is a flame, streaks drawn out along the disc's nerve fibres."""
    disc = np.array([case.anatomy["disc_x"], case.anatomy["disc_y"]], np.float32)
    blots, flames = rows[::2], rows[1::2]
    turn = 40 * blots[:, 0]
    lobes = [np.column_stack([blots[:, 0] + 0.3 * blots[:, 2] * np.cos(a + turn),
                              blots[:, 1] + 0.3 * blots[:, 2] * np.sin(a + turn),
                              0.8 * blots[:, 2]]) for a in (0.0, 1.9, 4.0)]
    along = flames[:, :2] - disc
    along = along / np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-3)[:, None]
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    starts, ends, widths = [], [], []
    for offset, shift in ((-0.5, 0.35), (-0.25, -0.15), (0.0, 0.2), (0.25, -0.3), (0.5, 0.1)):
        middle = flames[:, :2] + flames[:, 2:] * (offset * across + shift * along)
        for way in (-FLAME_LENGTH, FLAME_LENGTH):
            starts.append(middle)
            ends.append(middle + flames[:, 2:] * (way * along + 0.3 * way * offset * across))
            widths.append(flames[:, 2:] * np.float32([0.32, 0.06]))
    streaks = strokes(size, np.concatenate(starts), np.concatenate(ends), np.concatenate(widths), softness=0.008)
    return np.maximum(streaks, spots(size, np.concatenate(lobes), softness=0.014))


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
    glaucomatous cupping is the enlarged cup. Raises ValueError for a finding that is not of FINDINGS.
    """
    for finding in case.findings:
        if finding.name not in FINDINGS:
            raise ValueError(f"no finding {finding.name!r} in {MODALITY}; known are {', '.join(FINDINGS)}")
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
