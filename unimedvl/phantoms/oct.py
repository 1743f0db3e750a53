"""Simulated retinal OCT: a B-scan through the fovea.

Each layer gives back light by its own backscatter and takes light on the way there and back by its own
attenuation: I(z) = b(z) exp(-2 integral of mu dz), the single-scattering model of Vermeer et al. (Biomed Opt
Express 5:322, 2014). Vessels therefore throw shadows, and light passes where the pigment epithelium is lost.
Fully developed speckle, correlated by the point spread and averaged over frames, multiplies it; the floor of the
detector adds to it, and the display takes the logarithm. Attenuations (1/mm) are of the size that is measured;
that of the pigment epithelium and all backscatter (decibels over the floor) are chosen to look like clinical
scans. The anatomy is in `unimedvl.phantoms.retina`.

The scan is horizontal. A right eye has its nasal side, with the thicker nerve fibres, at the image's right.
Depth is stretched against width, as scanners display it. Sizes of findings are in millimetres across.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unimedvl.phantoms import retina
from unimedvl.phantoms.speckle import blurred, decibels, intensity, resized
from unimedvl.phantoms.study import SEVERITIES, Case, Finding, Grading, Severity, Study

MODALITY = "oct"
VIEWS = ("b-scan",)
FINDINGS = ("intraretinal fluid", "subretinal fluid", "drusen", "geographic atrophy", "epiretinal membrane",
            "macular hole")
SIDED: frozenset[str] = frozenset()

NATIVE = 250                # A-scans, and samples of each
SPREAD = (0.75, 0.85)       # of the point spread, in samples down and across: about 8 um and 48 um (FWHM)

# Backscatter in decibels over the floor, and attenuation in 1/mm.
OPTICS = {
    "vitreous": (-6, 0.0), "nfl": (31, 3.0), "gcl": (22, 1.2), "ipl": (26, 1.5), "inl": (18, 1.0),
    "opl": (24.5, 1.3), "onl": (12.5, 0.4), "elm": (20, 0.5), "myoid": (13, 0.5), "ez": (33, 3.0),
    "outer segments": (21, 1.5), "rpe": (37, 30.0), "druse": (32, 4.0), "choroid": (32, 2.6), "sclera": (29, 2.4),
    "fluid": (-4, 0.0), "blood": (28, 11.0), "membrane": (39, 5.0), "lumen": (24, 2.6),
}  # fmt: skip

# Which findings may be told of one eye together; each has two partners, so all stay equally frequent.
PAIRS = (("intraretinal fluid", "subretinal fluid"), ("subretinal fluid", "drusen"),
         ("drusen", "geographic atrophy"), ("geographic atrophy", "epiretinal membrane"),
         ("epiretinal membrane", "macular hole"), ("macular hole", "intraretinal fluid"))
PLACES = ("foveal", "nasal", "temporal")
# By grade: half height of the largest cyst and thickness of a membrane [um], and how hard that pulls.
_CYST_HEIGHTS, _MEMBRANE_THICKNESSES, _MEMBRANE_STRENGTHS = (36, 58, 88), (19, 23, 27), (0.30, 0.62, 1.0)

# ---------------------------------------------------------------------------------------------- sampling


def sample(seed: int) -> Case:
    """Draw a case: a quarter normal, otherwise one finding or, for one in five, two that occur together."""
    rng = np.random.default_rng([seed, 0x0C7])
    age = rng.uniform(25, 88)
    depth = rng.uniform(1080, 1280)
    anatomy = {
        "nasal": float(rng.choice((-1.0, 1.0))),   # +1: nasal is at the image's right, a right eye
        "age": age,
        "width": rng.uniform(5.4, 6.6),            # of the scan, mm
        "depth": depth,                            # of the scan, um
        "base": depth * rng.uniform(0.55, 0.61),   # of Bruch's membrane in the middle, um
        "tilt": rng.uniform(-22, 22),              # um a mm
        "bowl": rng.uniform(-5, 9),                # um a mm^2; more than 0 lifts the edges
        "fovea": rng.uniform(-0.35, 0.35),         # mm
        "pit": rng.uniform(0.85, 1.2),             # width of the foveal pit
        "thickness": rng.uniform(0.92, 1.08),
        "choroid": float(np.clip(287 - 1.6 * (age - 50) + rng.normal(0, 55), 140, 430)),
        "looks": float(rng.integers(1, 6)),        # independent frames averaged
        "range": rng.uniform(34, 40),              # of the display, dB
        "black": rng.uniform(-0.5, 2.5),           # dB over the floor that is shown black
        "hyaloid": rng.uniform(30, 130) if rng.random() < 0.3 else 0.0,  # its height over the retina, um
        "rolloff": rng.uniform(1.0, 5.0),          # loss of sensitivity over the scan's depth, dB
    }
    noise_seed = int(rng.integers(2**31))
    kind = rng.choice(3, p=(0.25, 0.57, 0.18))
    names = (list(PAIRS[rng.integers(len(PAIRS))]) if kind == 2 else list(rng.permutation(FINDINGS)[:kind]))
    findings = tuple(_MAKERS[name](rng, anatomy, len(names) > 1) for name in sorted(names, key=FINDINGS.index))
    return Case(MODALITY, seed, findings, anatomy, noise_seed)


def _grade(rng: np.random.Generator) -> tuple[int, Severity]:
    grade = int(rng.integers(3))
    return grade, ("mild", "moderate", "severe")[grade]


def _place(rng: np.random.Generator, anatomy: dict[str, float], far: float) -> tuple[str, float]:
    """One of PLACES and its middle [mm]; far is how far off the fovea the outer two are."""
    place = PLACES[rng.integers(3)]
    off = {"foveal": rng.uniform(-0.12, 0.12), "nasal": far, "temporal": -far}[place]
    return place, float(anatomy["fovea"] + anatomy["nasal"] * off)


def _intraretinal_fluid(rng: np.random.Generator, anatomy: dict[str, float], paired: bool) -> Finding:
    grade, severity = _grade(rng)
    place, middle = _place(rng, anatomy, 1.15)
    if paired:  # leave room for what lies at the fovea
        place, middle = "temporal", anatomy["fovea"] - 1.3 * anatomy["nasal"]
    tall = _CYST_HEIGHTS[grade] * rng.uniform(0.9, 1.12)
    rows = [(middle, 1.0, 0.0042 * tall * rng.uniform(0.8, 1.0), tall)]
    for k in range((2, 4, 6)[grade]):
        way = 1 if k % 2 else -1
        at = middle + way * (0.30 + 0.22 * (k // 2)) * (0.8 + 0.2 * grade) + rng.uniform(-0.05, 0.05)
        down = tall * rng.uniform(0.35, 0.62)
        rows.append((at, float(rng.random() < 0.45), 0.0036 * down * rng.uniform(0.8, 1.2), down))
    left, right = min(r[0] - r[2] for r in rows), max(r[0] + r[2] for r in rows)
    return Finding("intraretinal fluid", None, severity, round(right - left, 2), len(rows), place, _flat(rows))


def _subretinal_fluid(rng: np.random.Generator, anatomy: dict[str, float], paired: bool) -> Finding:
    grade, severity = _grade(rng)
    place, middle = _place(rng, anatomy, 1.2)
    half = (0.45, 0.75, 1.15)[grade] * rng.uniform(0.9, 1.12)
    height = (62, 115, 185)[grade] * rng.uniform(0.9, 1.1)
    return Finding("subretinal fluid", None, severity, round(2 * half, 2), 1, place, _flat([(middle, half, height)]))


def _drusen(rng: np.random.Generator, anatomy: dict[str, float], paired: bool) -> Finding:
    grade, severity = _grade(rng)
    wanted = int(rng.integers(*((3, 5), (6, 8), (9, 12))[grade]))
    places = anatomy["fovea"] + np.linspace(-2.05, 2.05, 12)[rng.permutation(12)[:wanted]]
    half = rng.uniform(0.13, 0.23, wanted)
    height = half * rng.uniform(260, 340, wanted)
    rows = sorted(zip(places + rng.uniform(-0.05, 0.05, wanted), half, height, strict=True))
    return Finding("drusen", None, severity, round(2 * half.max(), 2), wanted, "", _flat(rows))


def _geographic_atrophy(rng: np.random.Generator, anatomy: dict[str, float], paired: bool) -> Finding:
    grade, severity = _grade(rng)
    place, middle = _place(rng, anatomy, 1.1)
    half = (0.38, 0.75, 1.2)[grade] * rng.uniform(0.88, 1.15)
    return Finding("geographic atrophy", None, severity, round(2 * half, 2), 1, place, _flat([(middle, half)]))


def _epiretinal_membrane(rng: np.random.Generator, anatomy: dict[str, float], paired: bool) -> Finding:
    grade, severity = _grade(rng)
    strength = _MEMBRANE_STRENGTHS[grade] * rng.uniform(0.92, 1.08)
    half = (1.0, 1.6, 2.2)[grade] * rng.uniform(0.9, 1.1)
    middle = anatomy["fovea"] + rng.uniform(-0.25, 0.25)
    shape = (strength, middle - half, middle + half, _MEMBRANE_THICKNESSES[grade] * rng.uniform(0.95, 1.1),
             rng.uniform(0, 6.28))
    return Finding("epiretinal membrane", None, severity, round(2 * half, 2), 1, "", _flat([shape]))


def _macular_hole(rng: np.random.Generator, anatomy: dict[str, float], paired: bool) -> Finding:
    """Small, medium and large as in the International Vitreomacular Traction Study: to 250, to 400 um, beyond."""
    grade, severity = _grade(rng)
    least = rng.uniform(*((0.18, 0.25), (0.29, 0.39), (0.45, 0.65))[grade])
    return Finding("macular hole", None, severity, round(least, 2), 1, "", _flat([(least,)]))


def _flat(rows: list[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(round(float(v), 4) for row in rows for v in row)


_MAKERS = {
    "intraretinal fluid": _intraretinal_fluid,
    "subretinal fluid": _subretinal_fluid,
    "drusen": _drusen,
    "geographic atrophy": _geographic_atrophy,
    "epiretinal membrane": _epiretinal_membrane,
    "macular hole": _macular_hole,
}


def _less_swollen(case: Case, finding: Finding) -> Finding:
    """Fewer cysts are smaller ones as well."""
    tall, rows = _CYST_HEIGHTS[SEVERITIES.index(finding.severity)], np.reshape(np.array(finding.shape), (-1, 4))
    rows[:, 2:] *= tall / rows[0, 3]
    size = max(rows[:, 0] + rows[:, 2]) - min(rows[:, 0] - rows[:, 2])
    return replace(finding, size=round(float(size), 2), shape=_flat(rows))


def _thinner(case: Case, finding: Finding) -> Finding:
    """A membrane as wide as its size that pulls as its grade does."""
    grade = SEVERITIES.index(finding.severity)
    _, start, end, _, phase = finding.shape
    middle, half = (start + end) / 2, finding.size / 2
    shape = (_MEMBRANE_STRENGTHS[grade], middle - half, middle + half, float(_MEMBRANE_THICKNESSES[grade]), phase)
    return replace(finding, shape=_flat([shape]))


# Widths in mm, and how many cysts and drusen.
GRADING = {
    "intraretinal fluid": Grading(((3, 3), (5, 5), (7, 7)), "count", row=4, finish=_less_swollen),
    "subretinal fluid": Grading(((0.81, 1.0), (1.35, 1.68), (2.07, 2.58)), lengths=(1, 2)),
    "drusen": Grading(((3, 4), (6, 7), (9, 11)), "count", row=3, lengths=(1,)),
    "geographic atrophy": Grading(((0.67, 0.87), (1.32, 1.72), (2.11, 2.76)), lengths=(1,)),
    "epiretinal membrane": Grading(((1.8, 2.2), (2.88, 3.52), (3.96, 4.84)), finish=_thinner),
    "macular hole": Grading(((0.18, 0.25), (0.29, 0.39), (0.45, 0.65)), lengths=(0,)),
}

# --------------------------------------------------------------------------------------------- rendering


def render(case: Case, size: int = 128) -> Study:
    """Render a case at size x size pixels (64 to 512).

    Masks: ``"retina"`` (to Bruch's membrane, without its holes), ``"retinal pigment epithelium"``, ``"choroid"``,
    and one for each finding. That of geographic atrophy is what is left of the outer retina where the pigment
    epithelium is lost; that of drusen lies between the pigment epithelium and Bruch's membrane.

    Raises:
        ValueError: size is not in 64..512, or a finding is not of FINDINGS.
    """
    if not 64 <= size <= 512:
        raise ValueError(f"size is {size}; it must be 64 to 512")
    for finding in case.findings:
        if finding.name not in FINDINGS:
            raise ValueError(f"no finding {finding.name!r} in {MODALITY}; known are {', '.join(FINDINGS)}")
    image = resized(_display(case), size)
    pixels = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    eye = "right" if case.anatomy["nasal"] > 0 else "left"
    images = {VIEWS[0]: np.repeat(pixels[:, :, None], 3, axis=2)}
    return Study(case, images, _masks(case, size), {"organ": "retina", "eye": eye, "plane": "horizontal"})


def _depths(case: Case, n: int) -> np.ndarray:
    """Middle of each of n rows [um], as a column [n, 1]."""
    return ((np.arange(n, dtype=np.float32) + 0.5) * np.float32(case.anatomy["depth"] / n))[:, None]


def _masks(case: Case, size: int) -> dict[str, np.ndarray]:
    u, z = retina.columns(case, size), _depths(case, size)
    at = retina.surfaces(case, u)
    within = (z > at.top["nfl"]) & (z < at.bruch)
    masks = {
        "retina": within,
        "retinal pigment epithelium": (z > at.rpe) & (z < at.rpe_end) & (at.bare < 0.5),
        "choroid": (z > at.bruch) & (z < at.sclera),
    }
    gone = np.zeros((size, size), bool)
    for f in case.findings:
        if f.name == "intraretinal fluid":
            mask = (_cyst_distance(f, case, u, z) > 0) & within
        elif f.name == "subretinal fluid":
            mask = (z > at.tips) & (z < at.rpe)
        elif f.name == "drusen":
            mask = (z > at.rpe_end) & (z < at.bruch)
        elif f.name == "geographic atrophy":
            mask = (z > at.top["onl"]) & (z < at.bruch) & (at.bare > 0.5)
        elif f.name == "epiretinal membrane":
            top, bottom = retina.membrane(f, u, at)
            mask = (z > top) & (z < bottom)
        else:
            mask = (retina.hole(f, case, u, z, at) > 0) & within
            gone = mask
        masks[f.name] = mask
    masks["retina"] = within & ~gone
    if "epiretinal membrane" in masks:
        masks["epiretinal membrane"] &= ~gone
    return masks


def _cyst_distance(finding: Finding, case: Case, u: np.ndarray, z: np.ndarray) -> np.ndarray:
    """How far inside the nearest cyst a point lies, [H, W], about 1 in the middle and 0 at the wall."""
    best = np.full((len(z), len(u)), -9.0, np.float32)
    for middle, depth, across, down in retina.cysts(finding, case):
        # Rounded boxes, as cysts press against each other and against the layers.
        r = (np.abs((u - middle) / across) ** 2.3 + np.abs((z - depth) / down) ** 2.3) ** (1 / 2.3)
        best = np.maximum(best, 1 - r)
    return best


def _display(case: Case) -> np.ndarray:
    """The scan on its own grid as grey levels, [NATIVE, NATIVE] float32, not yet clipped."""
    anatomy = case.anatomy
    backscatter, attenuation = _tissue(case)
    step = anatomy["depth"] / NATIVE / 1000.0
    passed = np.exp(-2.0 * step * (np.cumsum(attenuation, 0) - attenuation / 2))
    fall = 10 ** (-0.1 * anatomy["rolloff"] * np.linspace(0, 1, NATIVE, dtype=np.float32))[:, None]
    light = blurred(backscatter * passed * fall, SPREAD) + 1.0
    rng = np.random.default_rng([case.noise_seed, 1])
    even = np.ones((NATIVE, NATIVE), np.float32)
    level = decibels(light * intensity(rng, even, SPREAD, looks=int(anatomy["looks"])))
    return ((level - anatomy["black"]) * (255.0 / anatomy["range"])).astype(np.float32)


def _tissue(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Backscatter (power over the floor) and attenuation [1/mm], [NATIVE, NATIVE] each."""
    u, z = retina.columns(case, NATIVE), _depths(case, NATIVE)
    at = retina.surfaces(case, u)
    pixel = case.anatomy["depth"] / NATIVE
    power = np.full((NATIVE, NATIVE), _power("vitreous"), np.float32)
    loss = np.zeros((NATIVE, NATIVE), np.float32)
    below = [(name, at.top[name]) for name in retina.LAYERS]
    below += [("fluid", at.tips), ("rpe", at.rpe), ("druse", at.rpe_end), ("choroid", at.bruch),
              ("sclera", at.sclera)]
    for name, top in below:
        _lay(power, loss, name, np.clip((z - top) / pixel + 0.5, 0, 1))
    rng = np.random.default_rng([case.noise_seed, 2])
    _lay(power, loss, "lumen", _choroidal_lumens(rng, z, at))
    # Bruch's membrane stays where the epithelium is gone.
    _lay(power, loss, "ez", 0.8 * at.bare * np.clip(1 - np.abs(z - at.bruch) / 10, 0, 1))
    _vessels(rng, case, u, z, at, power, loss)
    for f in case.findings:
        if f.name == "intraretinal fluid":
            inside = np.clip(8 * _cyst_distance(f, case, u, z) + 0.5, 0, 1)
            _lay(power, loss, "fluid", inside * (z > at.top["nfl"] + 6))
        elif f.name == "epiretinal membrane":
            top, bottom = retina.membrane(f, u, at)
            inside = np.minimum(z - top, bottom - z)
            _lay(power, loss, "membrane", np.clip(inside / pixel + 0.5, 0, 1) * (bottom > top))
        elif f.name == "macular hole":
            across = case.anatomy["width"] / NATIVE
            _lay(power, loss, "vitreous", np.clip(retina.hole(f, case, u, z, at) / across + 0.5, 0, 1))
    return power, loss


def _power(name: str) -> float:
    return 10.0 ** (OPTICS[name][0] / 10)


def _lay(power: np.ndarray, loss: np.ndarray, name: str, amount: np.ndarray) -> None:
    """Put a tissue in place of what is there, where amount is 1; changes both arrays."""
    power += (_power(name) - power) * amount
    loss += (OPTICS[name][1] - loss) * amount


def _choroidal_lumens(rng: np.random.Generator, z: np.ndarray, at: retina.Surfaces) -> np.ndarray:
    """Extent of the choroid's vessels, small ones above, large ones below, [NATIVE, NATIVE] in 0 to 1."""
    deep = np.clip((z - at.bruch) / np.maximum(at.sclera - at.bruch, 1.0), 0, 1)
    fields = []
    for rows, across, spread in ((125, 250, (1.5, 1.6)), (84, 125, (2.5, 1.8))):
        noise = blurred(rng.standard_normal((rows, across), dtype=np.float32), spread)
        fields.append(resized(noise, NATIVE))
    fine, coarse = (f / f.std() for f in fields)
    extent = np.clip(1.3 * (np.where(deep < 0.35, fine - 0.3, coarse)) + 0.2, 0, 1)
    return extent * np.clip(8 * (deep - 0.08), 0, 1) * np.clip(12 * (0.97 - deep), 0, 1)


def _vessels(rng: np.random.Generator, case: Case, u: np.ndarray, z: np.ndarray, at: retina.Surfaces,
             power: np.ndarray, loss: np.ndarray) -> None:
    """Retinal vessels cut across, outside the foveal avascular zone, and the hyaloid before the retina."""
    anatomy = case.anatomy
    for middle in anatomy["fovea"] + rng.uniform(0.7, 3.4, 6) * rng.choice((-1, 1), 6):
        radius = rng.uniform(28, 68)
        depth = np.interp(middle, u, at.top["gcl"]) + 0.3 * radius
        near = np.flatnonzero(np.abs(u - middle) * 1000 < radius + 15)
        if len(near):
            cut = slice(near[0], near[-1] + 1)
            r = np.hypot((u[cut] - middle) * 1000, (z - depth) / 0.8) / radius
            _lay(power[:, cut], loss[:, cut], "blood", np.clip((1 - r) * radius / 24 + 0.5, 0, 1))
    phase = rng.uniform(0, 6.28)
    if anatomy["hyaloid"]:
        # It lies where it did before the retina changed.
        middle = retina.surfaces(case.with_findings(()), np.zeros(1)).top["nfl"]
        line = middle - anatomy["hyaloid"] * (1 + 0.25 * np.sin(0.8 * u + phase)) - 12 * u * u
        free = np.clip((at.top["nfl"] - line - 15) / 20, 0, 1)
        power += 8.0 * free * np.clip(1 - np.abs(z - line) / 7, 0, 1)
