"""Simulated abdominal ultrasound: a B-mode plane through liver, gallbladder and right kidney, curved probe.

Echoes are made along beams. Each tissue scatters at random (Rayleigh speckle, blurred by the pulse and the beam,
`unimedvl.phantoms.speckle`), smooth interfaces reflect like mirrors and the more the straighter the beam meets
them, and sound is lost by alpha x frequency x path, there and back. Time gain makes good what soft tissue takes
(0.5 dB/cm/MHz), so fluid, which takes nothing, brightens what lies behind it, and stones throw shadows. Noise of
the receiver is raised by the same gain. The logarithm of the detected intensity is shown over 55 to 65 dB and
converted from beams to a sector. Attenuations are those of the tables (Duck, Physical Properties of Tissue, 1990;
Szabo, Diagnostic Ultrasound Imaging, 2004); echo strengths are decibels over the liver's, chosen to look like
clinical images. The anatomy is in `unimedvl.phantoms.abdomen`.

The plane is longitudinal, the patient's head at the image's left. Sizes of findings are in millimetres; that of
hepatic steatosis is the liver's attenuation in dB/cm/MHz, that of ascites its depth beside the liver.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from unimedvl.phantoms import abdomen
from unimedvl.phantoms.shapes import cover
from unimedvl.phantoms.speckle import decibels, intensity
from unimedvl.phantoms.study import SEVERITIES, Case, Finding, Grading, Severity, Study

MODALITY = "us"
VIEWS = ("b-mode",)
FINDINGS = ("liver cyst", "liver mass", "gallstones", "hepatic steatosis", "ascites", "hydronephrosis")
SIDED: frozenset[str] = frozenset()

BEAMS, SAMPLES = 144, 384
SPREAD = (1.05, 1.0)        # of pulse and beam, in samples and beams: about 1 mm, and 3 mm at 11 cm (FWHM)
SHOWN = 256                 # pixels at least to which beams are converted before they are averaged
SOFT = 0.5                  # dB/cm/MHz that the time gain makes good

# Echo in decibels over the liver's, and attenuation in dB/cm/MHz.
TISSUE = {
    "fat": (2.5, 0.55), "subcutaneous": (-6, 0.55), "muscle": (-4, 0.65), "liver": (0, 0.5), "cortex": (-4.5, 0.5),
    "pyramid": (-10, 0.5), "sinus": (8.5, 0.6), "fluid": (-38, 0.0), "blood": (-17, 0.15), "portal wall": (8, 0.5),
    "gallbladder wall": (3.5, 0.5), "stone": (13, 11.0), "lung": (-3, 0.9), "gas": (9, 2.4), "halo": (-9, 0.5),
}  # fmt: skip

# Which findings may be told of one patient together; each has two partners, so all stay equally frequent.
PAIRS = (("liver cyst", "gallstones"), ("gallstones", "ascites"), ("ascites", "liver mass"),
         ("liver mass", "hydronephrosis"), ("hydronephrosis", "hepatic steatosis"),
         ("hepatic steatosis", "liver cyst"))

_FAT_ECHOES = (6.0, 8.5, 11.0)  # of a steatotic liver by grade, dB over a healthy one

# ---------------------------------------------------------------------------------------------- sampling


def sample(seed: int) -> Case:
    """Draw a case: a quarter normal, otherwise one finding or, for one in five, two."""
    rng = np.random.default_rng([seed, 0x05])
    anatomy = {
        "probe": rng.uniform(52, 62),          # radius of the probe's face, mm
        "angle": np.deg2rad(rng.uniform(28, 32)),  # half of the sector
        "depth": rng.uniform(140, 156),        # mm
        "frequency": rng.uniform(3.0, 4.0),    # MHz
        "wall": rng.uniform(13, 27),           # of the belly, mm
        "dome_x": rng.uniform(20, 30), "dome_y": rng.uniform(45, 54), "dome": rng.uniform(90, 98),
        "edge_x": rng.uniform(46, 60), "edge_y": rng.uniform(48, 56),
        "gb_x": rng.uniform(12, 24), "gb_y": rng.uniform(54, 64), "gb_turn": rng.uniform(0.15, 0.55),
        "gb_length": rng.uniform(54, 76), "gb_width": rng.uniform(22, 32),
        "kidney_x": rng.uniform(18, 30), "kidney_y": rng.uniform(101, 110), "kidney_turn": rng.uniform(0.10, 0.42),
        "kidney_length": rng.uniform(92, 114),
        "phase": rng.uniform(0, 6.28),
        "gain": rng.uniform(-3.0, 3.0),        # dB
        "slope": rng.uniform(-0.25, 0.25),     # of the time gain, dB/cm off
        "range": rng.uniform(54, 64),          # of the display, dB
        "noise": rng.uniform(-76, -70),        # of the receiver at the skin, dB
        "rib": rng.uniform(-0.85, 0.85) if rng.random() < 0.3 else 9.0,  # where a rib shades, of half the sector
        "gas": rng.uniform(-6, 6) if rng.random() < 0.35 else 99.0,  # a loop of bowel beyond the liver's edge, mm
        "persistence": float(rng.integers(1, 4)),  # frames (or directions) averaged
    }  # fmt: skip
    noise_seed = int(rng.integers(2**31))
    kind = rng.choice(3, p=(0.25, 0.57, 0.18))
    names = list(PAIRS[rng.integers(len(PAIRS))]) if kind == 2 else list(rng.permutation(FINDINGS)[:kind])
    findings = tuple(_MAKERS[name](rng, anatomy) for name in sorted(names, key=FINDINGS.index))
    return Case(MODALITY, seed, findings, {k: float(v) for k, v in anatomy.items()}, noise_seed)


def _grade(rng: np.random.Generator) -> tuple[int, Severity]:
    grade = int(rng.integers(3))
    return grade, ("mild", "moderate", "severe")[grade]


def _in_liver(rng: np.random.Generator, anatomy: dict[str, float], radius: float) -> tuple[float, float]:
    """A centre [mm] for something round in the liver, off its surfaces, the gallbladder and the kidney."""
    y = rng.uniform(anatomy["wall"] + radius + 5, 112 - radius, 60)
    x = rng.uniform(-0.46, 0.2, 60) * (y + 40)
    room = np.min([
        abdomen.liver_inside(anatomy, x, y, y - anatomy["wall"]),
        -abdomen.gallbladder_inside(anatomy, x, y) - 4,
        -abdomen.kidney(anatomy).inside(x, y) - 4,
        (y + anatomy["probe"]) * (anatomy["angle"] - np.abs(np.arctan2(x, y + anatomy["probe"]))),
    ], axis=0)
    # The first that has room, else the one that has most.
    k = np.argmax(np.minimum(room, radius + 2))
    return float(x[k]), float(y[k])


def _liver_cyst(rng: np.random.Generator, anatomy: dict[str, float]) -> Finding:
    grade, severity = _grade(rng)
    radius = rng.uniform(*((7.0, 9.5), (12.0, 15.0), (18.0, 23.0))[grade])
    x, y = _in_liver(rng, anatomy, radius)
    shape = _flat(x, y, radius, radius * rng.uniform(0.86, 1.0), rng.uniform(-0.4, 0.4))
    return Finding("liver cyst", None, severity, round(2 * radius, 1), shape=shape)


def _liver_mass(rng: np.random.Generator, anatomy: dict[str, float]) -> Finding:
    """Bright as a haemangioma, or dark with a halo as a metastasis."""
    grade, severity = _grade(rng)
    radius = rng.uniform(*((9.0, 11.0), (14.0, 17.0), (20.0, 25.0))[grade])
    x, y = _in_liver(rng, anatomy, radius)
    echo = rng.uniform(9.0, 11.5) if rng.random() < 0.5 else rng.uniform(-10.5, -8.0)
    shape = _flat(x, y, radius, echo, *rng.uniform(0, 6.28, 3))
    return Finding("liver mass", None, severity, round(2 * radius, 1), shape=shape)


def _gallstones(rng: np.random.Generator, anatomy: dict[str, float]) -> Finding:
    grade, severity = _grade(rng)
    wanted = int(rng.integers(*((2, 4), (4, 6), (6, 8))[grade]))
    shape, rows = abdomen.gallbladder(anatomy), []
    start, end = (rng.uniform(-0.62, -0.2), rng.uniform(0.3, 0.72)) if grade == 0 else (-0.62, 0.72)
    gaps = rng.uniform(0.8, 1.2, wanted - 1)
    gaps *= (end - start) / gaps.sum()
    for u in start + np.concatenate([[0.0], np.cumsum(gaps)]):
        # They do not touch, so that they can be counted.
        radius = min(rng.uniform(2.8, 4.6), 0.30 * shape.b, 0.44 * gaps.min() * shape.a)
        # They lie on the wall that is away from the probe.
        v = (0.80 + 0.30 * u) * (1 - abs(u) ** 2.5) ** 0.4 - radius / shape.b
        rows += [*shape.at(float(u), float(v)), radius]
    return Finding("gallstones", None, severity, round(2 * max(rows[2::3]), 1), wanted, shape=_flat(*rows))


def _hepatic_steatosis(rng: np.random.Generator, anatomy: dict[str, float]) -> Finding:
    grade, severity = _grade(rng)
    alpha = rng.uniform(*((0.62, 0.67), (0.71, 0.77), (0.82, 0.92))[grade])
    echo = _FAT_ECHOES[grade] + rng.uniform(-0.5, 0.5)
    return Finding("hepatic steatosis", None, severity, round(alpha, 2), shape=_flat(alpha, echo))


def _ascites(rng: np.random.Generator, anatomy: dict[str, float]) -> Finding:
    grade, severity = _grade(rng)
    deep = rng.uniform(*((7.5, 9.5), (12.5, 15.5), (19.0, 25.0))[grade])
    return Finding("ascites", None, severity, round(deep, 1), shape=_flat(deep))


def _hydronephrosis(rng: np.random.Generator, anatomy: dict[str, float]) -> Finding:
    grade, severity = _grade(rng)
    degree = rng.uniform(*((0.05, 0.2), (0.42, 0.58), (0.82, 1.0))[grade])
    size = _pelvis(anatomy, degree)
    return Finding("hydronephrosis", None, severity, size, shape=_flat(degree, *rng.uniform(0.8, 1.2, 6)))


def _pelvis(anatomy: dict[str, float], degree: float) -> float:
    """Width [mm] of a collecting system dilated to a degree of 0 to 1."""
    return round(2 * anatomy["kidney_length"] * 0.225 * (0.20 + 0.24 * degree), 1)


def _flat(*values: float) -> tuple[float, ...]:
    return tuple(round(float(v), 4) for v in values)


_MAKERS = {
    "liver cyst": _liver_cyst,
    "liver mass": _liver_mass,
    "gallstones": _gallstones,
    "hepatic steatosis": _hepatic_steatosis,
    "ascites": _ascites,
    "hydronephrosis": _hydronephrosis,
}


def _leaner(case: Case, finding: Finding) -> Finding:
    """A liver as bright as its grade."""
    return replace(finding, shape=_flat(finding.size, _FAT_ECHOES[SEVERITIES.index(finding.severity)]))


def _drained(case: Case, finding: Finding) -> Finding:
    """A collecting system dilated to the degree that was drawn, and the size of that."""
    degree = finding.size
    return replace(finding, size=_pelvis(case.anatomy, degree), shape=_flat(degree, *finding.shape[1:]))


# mm, save steatosis, which its attenuation grades, and hydronephrosis, its degree; and how many stones.
GRADING = {
    "liver cyst": Grading(((14, 19), (24, 30), (36, 46)), lengths=(2, 3)),
    "liver mass": Grading(((18, 22), (28, 34), (40, 50)), lengths=(2,)),
    "gallstones": Grading(((2, 3), (4, 5), (6, 7)), "count", row=3, lengths=(2,)),
    "hepatic steatosis": Grading(((0.62, 0.67), (0.71, 0.77), (0.82, 0.92)), finish=_leaner),
    "ascites": Grading(((7.5, 9.5), (12.5, 15.5), (19.0, 25.0)), lengths=(0,)),
    "hydronephrosis": Grading(((0.05, 0.2), (0.42, 0.58), (0.82, 1.0)), finish=_drained),
}

# ---------------------------------------------------------------------------------------------- geometry


def _sector(case: Case, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Millimetres x, y, distance from the probe's face, angle over the half sector, all [H, W]; mm a pixel."""
    a = case.anatomy
    width = 1.76 * (a["probe"] + a["depth"]) * np.sin(a["angle"])
    step = width / size
    axis = ((np.arange(size) + 0.5) * step - width / 2).astype(np.float32)
    top = a["probe"] * (np.cos(a["angle"]) - 1)
    x, y = np.meshgrid(axis, axis + np.float32((a["depth"] + top) / 2))
    r = np.hypot(x, y + np.float32(a["probe"]))
    turn = np.arctan2(x, y + np.float32(a["probe"])) / np.float32(a["angle"])
    return x, y, r - np.float32(a["probe"]), turn, step


def _beams(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The grid of beams: x, y [mm], distance from the face [SAMPLES, 1], turn [1, BEAMS]."""
    a = case.anatomy
    deep = ((np.arange(SAMPLES, dtype=np.float32) + 0.5) * np.float32(a["depth"] / SAMPLES))[:, None]
    turn = ((np.arange(BEAMS, dtype=np.float32) + 0.5) * np.float32(2 / BEAMS) - 1)[None, :]
    angle = turn * np.float32(a["angle"])
    r = deep + np.float32(a["probe"])
    return r * np.sin(angle), r * np.cos(angle) - np.float32(a["probe"]), deep, turn


# --------------------------------------------------------------------------------------------- rendering


def render(case: Case, size: int = 128) -> Study:
    """Render a case at size x size pixels (64 to 512).

    Masks, within the sector: ``"liver"``, ``"gallbladder"``, ``"kidney"``, and one for each finding. Those of
    gallstones and hydronephrosis are the stones and the dilated collecting system; that of hepatic steatosis is
    the liver. The liver has its vessels and masses in it, cysts not.

    Raises:
        ValueError: size is not in 64..512, or a finding is not of FINDINGS.
    """
    if not 64 <= size <= 512:
        raise ValueError(f"size is {size}; it must be 64 to 512")
    for finding in case.findings:
        if finding.name not in FINDINGS:
            raise ValueError(f"no finding {finding.name!r} in {MODALITY}; known are {', '.join(FINDINGS)}")
    finer = -(-SHOWN // size)
    _, _, deep, turn, step = _sector(case, size * finer)
    rows = deep * np.float32(SAMPLES / case.anatomy["depth"]) - 0.5
    columns = (turn + 1) * np.float32(BEAMS / 2) - 0.5
    shown = map_coordinates(_levels(case), [rows, columns], order=1, mode="nearest")
    edge = np.minimum(np.minimum(deep, case.anatomy["depth"] - deep),
                      (1 - np.abs(turn)) * case.anatomy["angle"] * (deep + case.anatomy["probe"]))
    shown = np.clip(shown, 0, 255) * cover(edge * np.float32(2 / step / deep.shape[0]), deep.shape[0])
    shown = shown.reshape(size, finer, size, finer).mean((1, 3))
    pixels = np.clip(np.rint(shown), 0, 255).astype(np.uint8)
    return Study(case, {VIEWS[0]: np.repeat(pixels[:, :, None], 3, axis=2)}, _masks(case, size),
                 {"organ": "abdomen", "plane": "longitudinal"})


def _masks(case: Case, size: int) -> dict[str, np.ndarray]:
    x, y, deep, turn, _ = _sector(case, size)
    seen = (deep > 0) & (deep < case.anatomy["depth"]) & (np.abs(turn) < 1)
    parts = _regions(case, x, y, deep)
    masks = {name: seen & (parts[name] > 0) for name in ("liver", "gallbladder", "kidney")}
    for f in case.findings:
        name = "liver" if f.name == "hepatic steatosis" else f.name
        masks[f.name] = seen & (parts[name] > 0)
    return masks


def _regions(case: Case, x: np.ndarray, y: np.ndarray, deep: np.ndarray) -> dict[str, np.ndarray]:
    """Signed distances [mm], positive inside, of organs and findings by name."""
    a, found = case.anatomy, {f.name: f for f in case.findings}
    wall = deep - np.float32(a["wall"]) + 0 * x
    dome = abdomen.diaphragm_inside(a, x, y)
    kidney = abdomen.kidney(a).inside(x, y)
    bladder = abdomen.gallbladder_inside(a, x, y)
    place = abdomen.liver_inside(a, x, y, wall)
    inside = {"wall": wall, "diaphragm": dome, "kidney": kidney, "gallbladder": bladder}
    free = np.minimum(place, np.minimum(-kidney - 1.5, -bladder - 1.5))
    if "ascites" in found:
        t = found["ascites"].shape[0]
        # It gathers where the patient lies lowest; only much of it comes to the belly wall and the dome.
        swell = np.float32(t) * (1 + 0.25 * np.sin(x / 13 + np.float32(a["phase"])))
        room = -kidney - swell
        if t > 10:
            room = np.minimum(room, np.minimum(wall, dome) - np.float32(0.5 * (t - 10)))
        lifted = abdomen.above_viscera(a, x, y + swell)
        inside["ascites"] = np.minimum(free, -np.minimum(room, lifted))
        free = np.minimum(free, np.minimum(room, lifted))
    if "liver cyst" in found:
        inside["liver cyst"] = abdomen.Ellipse(*found["liver cyst"].shape).inside(x, y)
        free = np.minimum(free, -inside["liver cyst"])
    if "liver mass" in found:
        inside["liver mass"] = np.minimum(abdomen.mass_inside(found["liver mass"], x, y), free)
    if "gallstones" in found:
        rows = np.reshape(found["gallstones"].shape, (-1, 3))
        inside["gallstones"] = np.max([r - np.hypot(x - cx, y - cy) for cx, cy, r in rows.astype(np.float32)], axis=0)
    if "hydronephrosis" in found:
        inside["hydronephrosis"] = abdomen.collecting_inside(found["hydronephrosis"], a, x, y)
    return inside | {"liver": free}


def _levels(case: Case) -> np.ndarray:
    """Grey levels along the beams, [SAMPLES, BEAMS] float32, not yet clipped."""
    a = case.anatomy
    x, y, deep, turn = _beams(case)
    echo, alpha, mirror = _echoes(case, x, y, deep)
    rib = np.exp(-(((turn - a["rib"]) / 0.10) ** 2))
    step = a["depth"] / SAMPLES / 10.0                     # cm
    lost = 2 * a["frequency"] * step * (np.cumsum(alpha - SOFT, 0) - (alpha - SOFT) / 2)
    lost += 9.0 * rib * np.clip((deep - 10) / 5, 0, 1) - a["slope"] * (deep / 10 - 7)
    passed = 10 ** (-0.1 * lost)
    rng = np.random.default_rng([case.noise_seed, 1])
    power = intensity(rng, echo * passed, SPREAD, mirror * np.sqrt(passed), looks=int(a["persistence"]))
    raised = 10 ** (0.1 * (a["noise"] + 2 * SOFT * a["frequency"] * deep / 10))
    power += raised * intensity(rng, np.ones_like(echo), (0.6, 0.6))
    return ((decibels(power) + 26.0 + a["gain"]) * (255.0 / a["range"])).astype(np.float32)


# Puts a tissue by name where a distance is positive: texture in dB, softness of the edge in mm.
Lay = Callable[..., None]


def _echoes(case: Case, x: np.ndarray, y: np.ndarray, deep: np.ndarray) -> tuple[np.ndarray, ...]:
    """Scattering (power), attenuation [dB/cm/MHz] and mirror echoes (amplitude) along the beams."""
    a, found = case.anatomy, {f.name: f for f in case.findings}
    inside = _regions(case, x, y, deep)
    rng = np.random.default_rng([case.noise_seed, 3])
    lumps = gaussian_filter(rng.standard_normal(x.shape, dtype=np.float32), (7, 5), truncate=2.5)
    streaks = gaussian_filter(rng.standard_normal(x.shape, dtype=np.float32), (1.6, 14), truncate=2.5)
    lumps, streaks = lumps / lumps.std(), streaks / streaks.std()
    level = TISSUE["fat"][0] + 2.2 * lumps + 1.6 * streaks
    alpha = np.full(x.shape, TISSUE["fat"][1], np.float32)

    def lay(name: str, distance: np.ndarray, texture: np.ndarray | float = 0.0, soft: float = 0.5) -> None:
        amount = np.clip(distance / soft + 0.5, 0, 1)
        nonlocal level, alpha
        level = level + (TISSUE[name][0] + texture - level) * amount
        alpha = alpha + (TISSUE[name][1] - alpha) * amount

    lay("lung", -inside["diaphragm"], 0.16 * inside["diaphragm"] + lumps)
    lay("liver", inside["liver"], 0.7 * lumps)
    if "hepatic steatosis" in found:
        amount = np.clip(inside["liver"] / 0.5 + 0.5, 0, 1)
        level = level + found["hepatic steatosis"].shape[1] * amount
        alpha = alpha + (np.float32(found["hepatic steatosis"].shape[0]) - alpha) * amount
    for portal in (True, False):
        lumen = np.minimum(abdomen.vessel_inside(case, x, y, portal), inside["liver"] - 3)
        lumen = np.minimum(lumen, -inside.get("liver mass", np.float32(-9)) - 2)
        if portal:
            lay("portal wall", lumen + 1.3)
        lay("blood", lumen)
    if "liver mass" in found:
        strength = found["liver mass"].shape[3]
        if strength < 0:
            lay("halo", inside["liver mass"] + 0.8, -3.0)
        lay("liver", inside["liver mass"] - (1.6 if strength < 0 else 0.0), strength + 1.5 * lumps, 1.2)
    _kidney(case, x, y, inside, lay, lumps)
    lay("gallbladder wall", inside["gallbladder"] + 1.3)
    lay("fluid", inside["gallbladder"])
    for name in ("ascites", "liver cyst", "hydronephrosis"):
        if name in inside:
            lay("fluid", inside[name])
    if "gallstones" in inside:
        lay("stone", inside["gallstones"])
    loop = abdomen.Ellipse(a["edge_x"] + 7, a["edge_y"] + a["gas"], 13, 6, 0.4).inside(x, y)
    lay("gas", np.minimum(loop, -inside["gallbladder"] - 3) + 0.8 * streaks, 2.0 * lumps, 1.5)
    _belly_wall(case, deep, streaks, lay)
    return 10 ** (0.1 * level), alpha, _mirrors(case, inside, deep)


def _kidney(case: Case, x: np.ndarray, y: np.ndarray, inside: dict[str, np.ndarray], lay: Lay,
            lumps: np.ndarray) -> None:
    """Fat around it, cortex, pyramids and the fat of the sinus."""
    k = abdomen.kidney(case.anatomy)
    lay("cortex", inside["kidney"], 0.7 * lumps)
    for turn in np.linspace(0.35, 6.0, 10):
        cx, cy = k.at(0.72 * np.cos(turn), 0.66 * np.sin(turn))
        pyramid = abdomen.Ellipse(cx, cy, 0.10 * k.a, 0.19 * k.b, k.turn).inside(x, y)
        lay("pyramid", np.minimum(pyramid, inside["kidney"] - 3), 0.0, 1.5)
    lay("sinus", abdomen.sinus_inside(case.anatomy, x, y), 1.5 * lumps, 3.0)


def _belly_wall(case: Case, deep: np.ndarray, streaks: np.ndarray, lay: Lay) -> None:
    """Skin, fat with its septa, and muscle between two fasciae; the probe's reverberation brightens the top."""
    wall = case.anatomy["wall"]
    lay("muscle", wall - deep + 0 * streaks, 3.0 * streaks)
    lay("subcutaneous", 0.55 * wall - deep + 0 * streaks, 3.5 * streaks)
    for at, echo in ((0.55 * wall, 15.0), (wall, 15.0), (1.6, 14.0)):
        lay("muscle", 0.55 - np.abs(deep - at) + 0.12 * streaks, echo)


def _mirrors(case: Case, inside: dict[str, np.ndarray], deep: np.ndarray) -> np.ndarray:
    """Amplitude of smooth interfaces: largest where the beam meets them at a right angle, [SAMPLES, BEAMS]."""
    a = case.anatomy
    down = a["depth"] / SAMPLES
    across = 2 * a["angle"] / BEAMS * (deep + a["probe"])
    total = np.zeros_like(inside["liver"])
    for name, strength, power in (("diaphragm", 17.0, 1.5), ("kidney", 4.0, 3), ("gallbladder", 7.0, 3),
                                  ("liver cyst", 7.0, 3), ("ascites", 4.0, 2), ("gallstones", 16.0, 1.5),
                                  ("hydronephrosis", 4.0, 2)):
        if name not in inside:
            continue
        d = inside[name]
        dr, dx = np.gradient(d, down, axis=0), np.gradient(d, axis=1) / across
        straight = np.abs(dr) / np.maximum(np.hypot(dr, dx), 1e-3)
        total += strength * straight**power * np.exp(-((d / 0.55) ** 2))
    return total
