"""Simulated axial brain MR slices: one anatomy seen as T2, FLAIR and T1 by the signal equations.

Tissue fractions come from the MNI ICBM 152 template (``anatomy/``), deformed anew for each case; lesions
are drawn in template millimetres, so they deform with the brain. Display is radiological: the patient's
right is at the image's left. Spin echo, and FLAIR as inversion recovery with long TR (Haacke et al.,
*Magnetic Resonance Imaging*, 1999)::

    SE:    S = PD (1 - exp(-TR/T1)) exp(-TE/T2)
    FLAIR: S = PD |1 - 2 exp(-TI/T1) + exp(-TR/T1)| exp(-TE/T2),  TI such that CSF is nulled
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from importlib import resources

import numpy as np
from scipy.ndimage import map_coordinates, minimum_filter

from unimedvl.phantoms.study import Case, Finding, Grading, Severity, Study

MODALITY = "mri"
VIEWS = ("t2", "flair", "t1")
FINDINGS = ("tumour", "white matter lesions", "infarct", "haemorrhage")
SIDED = frozenset({"tumour", "infarct", "haemorrhage"})

FIELD_OF_VIEW = 222.0  # mm, square
CENTRE_Y = -16.0  # MNI mm at the middle of the image
NATIVE = 128  # smaller images are rendered finer and averaged, against aliasing

# T1 [ms], T2 [ms], proton density at 1.5 T. Normal tissues and the white matter lesion: BrainWeb (Kwan,
# Evans and Pike, IEEE TMI 18:1085, 1999). Other lesions: round values of the order reviewed by Bottomley
# et al., Med Phys 14:1, 1987; the haemorrhage is early subacute (intracellular methaemoglobin: bright on
# T1, dark on T2; Bradley, Radiology 189:15, 1993) with a rim of oedema.
RELAXATION = {
    "csf": (2569.0, 329.0, 1.00),
    "grey": (833.0, 83.0, 0.86),
    "white": (500.0, 70.0, 0.77),
    "fat": (350.0, 70.0, 1.00),
    "skin": (900.0, 47.0, 1.00),
    "bone": (500.0, 70.0, 0.04),
    "white matter lesions": (752.0, 237.0, 0.76),
    "oedema": (950.0, 200.0, 0.85),
    "tumour": (1000.0, 85.0, 0.85),
    "tumour core": (2000.0, 260.0, 0.95),
    "infarct": (1150.0, 210.0, 0.90),
    "haemorrhage": (260.0, 32.0, 0.85),
}
# TR [ms], TE [ms], and the signal shown as 255.
SEQUENCES = {"t2": (4500.0, 100.0, 0.64), "flair": (9000.0, 110.0, 0.42), "t1": (500.0, 12.0, 0.58)}


def signal(tissue: str, view: str) -> float:
    """Magnitude signal of a tissue in a sequence, relative to the equilibrium magnetisation of water."""
    t1, t2, density = RELAXATION[tissue]
    tr, te, _ = SEQUENCES[view]
    longitudinal = 1 - np.exp(-tr / t1)
    if view == "flair":
        csf = RELAXATION["csf"][0]
        ti = csf * np.log(2 / (1 + np.exp(-tr / csf)))
        longitudinal = abs(1 - 2 * np.exp(-ti / t1) + np.exp(-tr / t1))
    return float(density * longitudinal * np.exp(-te / t2))


@lru_cache(maxsize=1)
def _template() -> dict[str, np.ndarray]:
    """Maps [24, rows, columns] float32 (fractions 0..1, ``outside`` in mm) and their x, y, z axes [mm]."""
    path = resources.files("unimedvl.phantoms.anatomy").joinpath("brain.npz")
    with path.open("rb") as file, np.load(file) as data:
        maps = {k: data[k].astype(np.float32) / 255 for k in ("csf", "white", "ventricles")}
        maps["outside"] = data["outside"].astype(np.float32) / 8
        return maps | {k: data[k] for k in ("x", "y", "z")}


# ---- the case ----------------------------------------------------------------------------------------


def sample(seed: int) -> Case:
    """Draw a case: a quarter normal, else one finding, or sometimes two that lie apart."""
    rng = np.random.default_rng((0x3217, seed))
    anatomy = {
        "level": rng.uniform(1.0, 20.0),  # template slice, 2 mm apart
        "width": rng.uniform(0.94, 1.04),
        "length": rng.uniform(0.94, 1.03),
        "rotation": rng.uniform(-0.10, 0.10),  # radians
        "shift_x": rng.uniform(-4, 4),  # mm
        "shift_y": rng.uniform(-3, 3),
        "ventricles": rng.uniform(-0.05, 0.38),  # how much they are widened
        "skull": rng.uniform(5.0, 7.5),  # mm
        "scalp": rng.uniform(3.5, 6.5),  # mm of fat
        "gain": rng.uniform(0.93, 1.03),
        "bias": rng.uniform(0.02, 0.07),  # receive field, relative
    }
    number = int(rng.choice([0, 1, 2], p=[0.25, 0.63, 0.12]))
    findings: list[Finding] = []
    for name in rng.permutation(FINDINGS)[:number]:
        for _ in range(20):
            new = _MAKERS[str(name)](rng, anatomy["level"])
            if new is not None and all(_apart(new, old) for old in findings):
                findings.append(new)
                break
    return Case(MODALITY, seed, tuple(findings), anatomy, noise_seed=int(rng.integers(2**31)))


def _apart(a: Finding, b: Finding) -> bool:
    """Whether two findings keep to different parts of the brain."""
    sided = [f.side for f in (a, b) if f.side]
    if len(sided) == 2:
        return sided[0] != sided[1]
    spots, other = (a, b) if a.side is None else (b, a)
    x, y, reach = other.shape[0], other.shape[1], other.size / 2 + 10
    return all(np.hypot(sx - x, sy - y) > reach + r for sx, sy, r in np.reshape(spots.shape, (-1, 3)))


def _grade(value: float, moderate: float, severe: float) -> Severity:
    return "mild" if value < moderate else "moderate" if value < severe else "severe"


def lobe(x: float, y: float, z: float) -> str:
    """Name of the lobe, or of the deep nuclei, at MNI millimetres; planes, not an atlas."""
    if abs(x) < 36 and -28 < y < 14 and z < 18:
        return "basal ganglia"
    if y < -64:
        return "occipital"
    if y > (4 if z < 20 else -12):
        return "frontal"
    return "temporal" if z < 18 else "parietal"


def _pick(
    rng: np.random.Generator, level: float, margin: float, inner: float
) -> tuple[float, float, float] | None:
    """A point (x, y, z) of the brain on either side, or None where there is none.

    It lies ``margin`` mm from the surface and ``inner`` mm from the midline.
    """
    t = _template()
    k = int(round(level))
    inside = minimum_filter((t["outside"][k] == 0).astype(np.uint8), int(2 * margin / 1.25) | 1)
    rows, columns = np.nonzero(inside.astype(bool) & (np.abs(t["x"])[None, :] > inner))
    if not len(rows):
        return None
    # Draw the side first, so that sides are equally frequent, then anywhere within it.
    right = rng.random() < 0.5
    of_side = np.nonzero((t["x"][columns] > 0) == right)[0]
    i = rng.choice(of_side)
    return float(t["x"][columns[i]]), float(t["y"][rows[i]]), float(t["z"][k])


def _side(x: float) -> str:
    return "right" if x > 0 else "left"


def _tumour(rng: np.random.Generator, level: float) -> Finding | None:
    radius = rng.uniform(12, 22)
    at = _pick(rng, level, 0.75 * radius, radius + 3)
    if at is None or lobe(*at) == "basal ganglia":  # tumours here are of the lobes
        return None
    phases = rng.uniform(0, 2 * np.pi, 3)
    oedema = rng.uniform(5, 11)
    return Finding(
        "tumour",
        _side(at[0]),
        _grade(2 * radius, 30, 37),
        round(2 * radius, 1),
        1,
        lobe(*at),
        (at[0], at[1], radius, oedema, *phases),
    )


def _haemorrhage(rng: np.random.Generator, level: float) -> Finding | None:
    radius = rng.uniform(10, 18)
    at = _pick(rng, level, radius, radius + 4)
    if at is None:
        return None
    phases = rng.uniform(0, 2 * np.pi, 3)
    return Finding(
        "haemorrhage",
        _side(at[0]),
        _grade(2 * radius, 25, 31),
        round(2 * radius, 1),
        1,
        lobe(*at),
        (at[0], at[1], radius, 4.5, *phases),
    )


def _infarct(rng: np.random.Generator, level: float) -> Finding | None:
    """A wedge with its tip near the ventricle and its base on the cortex."""
    right = rng.random() < 0.5
    towards = rng.uniform(-0.9, 0.9)  # angle above the lateral direction, radians
    half = rng.uniform(0.30, 0.55)
    x, y = (20.0 if right else -20.0), rng.uniform(-30, 5)
    z = float(_template()["z"][int(round(level))])
    middle = (x + np.sign(x) * 30 * np.cos(towards), y + 40 * np.sin(towards))
    place = lobe(np.sign(x) * max(abs(middle[0]), 37.0), middle[1], z)
    size = 2 * 45 * np.tan(half)
    return Finding("infarct", _side(x), _grade(size, 35, 46), round(size, 1), 1, place, (x, y, towards, half))


def _white_matter_lesions(rng: np.random.Generator, level: float) -> Finding | None:
    t = _template()
    k = int(round(level))
    deep = minimum_filter(t["white"][k], 5) > 0.75
    deep &= (np.abs(t["x"]) < 42)[None, :] & (np.abs(t["x"]) > 11)[None, :]
    deep &= ((t["y"] > -68) & (t["y"] < 48))[:, None]
    rows, columns = np.nonzero(deep)
    wanted = int(rng.integers(4, 13))
    spots: list[tuple[float, float, float]] = []
    for i in rng.permutation(len(rows))[:400]:
        x, y, r = t["x"][columns[i]], t["y"][rows[i]], rng.uniform(3.6, 5.6)
        if len(spots) < wanted and all(np.hypot(x - a, y - b) > r + c + 4 for a, b, c in spots):
            spots.append((float(x), float(y), float(r)))
    if len(spots) < 4:
        return None
    size = 2 * max(r for *_, r in spots)
    return Finding(
        "white matter lesions",
        None,
        _grade(len(spots), 6, 9),
        round(size, 1),
        len(spots),
        "periventricular",
        tuple(v for spot in spots for v in spot),
    )


# Every maker gives a finding for a slice, or None where the slice has no room for it.
_MAKERS = {
    "tumour": _tumour,
    "white matter lesions": _white_matter_lesions,
    "infarct": _infarct,
    "haemorrhage": _haemorrhage,
}


def _narrowed(case: Case, finding: Finding) -> Finding:
    """An infarct's wedge as wide as its size."""
    return replace(finding, shape=(*finding.shape[:3], float(np.arctan(finding.size / 90))))


# Diameters in mm, and how many white matter lesions.
GRADING = {
    "tumour": Grading(((24, 30), (30, 37), (37, 44)), lengths=(2,)),
    "white matter lesions": Grading(((4, 5), (6, 8), (9, 12)), "count", row=3, lengths=(2,)),
    "infarct": Grading(((28, 35), (35, 46), (46, 55)), finish=_narrowed),
    "haemorrhage": Grading(((20, 25), (25, 31), (31, 36)), lengths=(2,)),
}


# ---- the study ---------------------------------------------------------------------------------------


def render(case: Case, size: int = 128) -> Study:
    """Render a case at size x size pixels.

    Masks: ``brain`` (with its CSF), ``white matter``, ``ventricles`` where the slice shows any, and one per
    finding: the mass without its oedema, the clot without its rim, the wedge, all spots.

    Raises:
        ValueError: size is not in 64..512.
    """
    if not 64 <= size <= 512:
        raise ValueError(f"size is {size}; it must be 64 to 512")
    finer = -(-NATIVE // size)
    x, y = _coordinates(case, size * finer)
    tissue = _tissues(case, x, y)
    lesions = [(f.name, _LESIONS[f.name](f, x, y, tissue)) for f in case.findings]
    brain = tissue["brain"]
    images = {view: _image(case, view, tissue, lesions, finer) for view in VIEWS}
    masks = {"brain": _average(brain, finer) > 0.5, "white matter": _average(tissue["white"], finer) > 0.5}
    ventricles = _average(tissue["ventricles"], finer) > 0.5
    if ventricles.mean() > 0.001:
        masks["ventricles"] = ventricles
    for name, layers in lesions:
        masks[name] = _average(layers[-1][1], finer) > 0.5
    return Study(case, images, masks, {"organ": "brain", "plane": "axial"})


def _average(image: np.ndarray, block: int) -> np.ndarray:
    """Mean over block x block pixels."""
    if block == 1:
        return image
    n = image.shape[0] // block
    return image.reshape(n, block, n, block).mean((1, 3))


def _coordinates(case: Case, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Template millimetres x, y [size, size] seen by each pixel: pose, then elastic deformation."""
    a = case.anatomy
    step = FIELD_OF_VIEW / size
    centred = (np.arange(size, dtype=np.float32) + 0.5) * step - FIELD_OF_VIEW / 2
    u = -centred[None, :] - a["shift_x"]
    v = -centred[:, None] - a["shift_y"]
    c, s = np.cos(a["rotation"]), np.sin(a["rotation"])
    x = (c * u - s * v) / a["width"]
    y = (s * u + c * v) / a["length"] + CENTRE_Y
    dx, dy = _elastic(case, x, y)
    # Widening the ventricles: near their middle the template is sampled closer to that middle.
    pull = 1 - a["ventricles"] * np.exp(-(x**2 + (y + 12) ** 2) / (2 * 30.0**2))
    return ((x + dx) * pull).astype(np.float32), ((y + dy + 12) * pull - 12).astype(np.float32)


def _elastic(case: Case, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smooth displacement [mm]: plane waves of long wavelength for shape, of short for the sulci."""
    rng = np.random.default_rng((1, case.noise_seed))
    moved = []
    for _ in range(2):
        total = np.zeros(np.broadcast_shapes(x.shape, y.shape), np.float32)
        for low, high, amplitude in (
            (90, 160, 1.6),
            (90, 160, 1.6),
            (45, 70, 0.7),
            (22, 34, 0.4),
            (22, 34, 0.4),
        ):
            angle, wave = rng.uniform(0, np.pi), 2 * np.pi / rng.uniform(low, high)
            phase = (wave * np.cos(angle)) * x + (wave * np.sin(angle)) * y + rng.uniform(0, 2 * np.pi)
            total += amplitude * np.sin(phase.astype(np.float32))
        moved.append(total)
    return moved[0], moved[1]


def _tissues(case: Case, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Fractions [size, size] in 0..1 of every normal tissue, plus ``brain`` and ``ventricles``."""
    t, a = _template(), case.anatomy
    k = min(int(a["level"]), len(t["z"]) - 2)
    f = a["level"] - k
    spacing = t["x"][0] - t["x"][1]
    at = np.stack([(t["y"][0] - y) / spacing, (t["x"][0] - x) / spacing])
    m = {
        name: map_coordinates((1 - f) * t[name][k] + f * t[name][k + 1], at, order=1, cval=air)
        for name, air in (("csf", 0.0), ("white", 0.0), ("ventricles", 0.0), ("outside", 31.0))
    }
    outside = m["outside"]

    def beyond(distance: float) -> np.ndarray:
        return np.clip((outside - distance) / 1.2 + 0.5, 0, 1)

    brain = 1 - beyond(1.0)
    csf = np.where(m["csf"] + m["white"] == 0, 0, m["csf"]) * brain
    white = m["white"] * brain
    inner, outer = 2.5, 2.5 + a["skull"]
    skin = outer + a["scalp"]
    marrow = 0.45 * (beyond(inner + 0.32 * a["skull"]) - beyond(outer - 0.32 * a["skull"]))
    return {
        "brain": brain,
        "ventricles": m["ventricles"],
        "csf": csf + (1 - beyond(inner)) - brain,
        "white": white,
        "grey": np.clip(brain - csf - white, 0, 1),
        "bone": beyond(inner) - beyond(outer) - marrow,
        "fat": beyond(outer) - beyond(skin) + marrow,
        "skin": beyond(skin) - beyond(skin + 2.2),
    }


# A lesion is a list of layers (relaxation name, opacity [H, W]) painted in order; the last layer's
# opacity is not painted but is the mask: what the finding's name covers.
Layers = list[tuple[str, np.ndarray]]


def _blob(f: Finding, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance [mm], negative inside, from a rounded irregular outline."""
    cx, cy, radius, _, *phases = f.shape
    angle = np.arctan2(y - cy, x - cx)
    outline = 1 + sum(0.09 * np.cos((k + 2) * angle + p) for k, p in enumerate(phases))
    return np.hypot(x - cx, y - cy) - radius * outline


def _within(distance: np.ndarray, edge: float = 1.5) -> np.ndarray:
    """Opacity of the inside of a signed distance [mm], with an edge this soft."""
    return np.clip(0.5 - distance / edge, 0, 1)


def _draw_tumour(f: Finding, x: np.ndarray, y: np.ndarray, tissue: dict[str, np.ndarray]) -> Layers:
    d, radius, oedema = _blob(f, x, y), f.shape[2], f.shape[3]
    brain = tissue["brain"]
    # Vasogenic oedema follows the white matter and spares the cortex.
    around = _within(d - oedema, 5.0) * (0.15 + 0.85 * tissue["white"]) * brain
    mass = _within(d) * brain
    return [
        ("oedema", around),
        ("tumour", mass),
        ("tumour core", _within(d + 0.36 * radius) * brain),
        ("", mass),
    ]


def _draw_haemorrhage(f: Finding, x: np.ndarray, y: np.ndarray, tissue: dict[str, np.ndarray]) -> Layers:
    d, brain = _blob(f, x, y), tissue["brain"]
    clot = _within(d) * brain
    return [("oedema", _within(d - f.shape[3], 2.5) * brain), ("haemorrhage", clot), ("", clot)]


def _draw_infarct(f: Finding, x: np.ndarray, y: np.ndarray, tissue: dict[str, np.ndarray]) -> Layers:
    cx, cy, towards, half = f.shape
    lateral = (x - cx) * np.sign(cx)
    distance = np.hypot(lateral, y - cy)
    turn = np.abs(np.arctan2(y - cy, lateral) - towards) - half
    ragged = 1.3 * np.sin(0.30 * x + 0.21 * y) + 1.3 * np.sin(0.33 * y - 0.17 * x)
    d = np.maximum(distance * np.sin(np.clip(turn, -1.5, 1.5)), 8.0 - distance) + ragged
    wedge = _within(d, 5.0) * tissue["brain"]
    # The wedge takes tissue, not the fluid of the sulci and ventricles.
    return [("infarct", wedge * (1 - tissue["csf"])), ("", wedge * (1 - 0.4 * tissue["csf"]))]


def _draw_white_matter_lesions(
    f: Finding, x: np.ndarray, y: np.ndarray, tissue: dict[str, np.ndarray]
) -> Layers:
    spots = np.reshape(f.shape, (-1, 3))
    d = np.min([np.hypot(x - a, y - b) - r for a, b, r in spots], axis=0)
    inside = _within(d, 2.0) * tissue["brain"] * (1 - tissue["csf"])
    return [("white matter lesions", inside), ("", inside)]


_LESIONS = {
    "tumour": _draw_tumour,
    "white matter lesions": _draw_white_matter_lesions,
    "infarct": _draw_infarct,
    "haemorrhage": _draw_haemorrhage,
}


def _image(
    case: Case, view: str, tissue: dict[str, np.ndarray], lesions: list[tuple[str, Layers]], finer: int
) -> np.ndarray:
    """One view [H, W, 3] uint8: mix signals, paint lesions, apply the receive field and Rician noise."""
    s = sum(tissue[name] * signal(name, view) for name in ("csf", "white", "grey", "bone", "fat", "skin"))
    for _, layers in lesions:
        for name, opacity in layers[:-1]:
            s = s + opacity * (signal(name, view) - s)
    s = _average(s, finer)
    rng = np.random.default_rng((2, case.noise_seed, VIEWS.index(view), s.shape[0]))
    shape = np.random.default_rng((3, case.noise_seed)).uniform(-1, 1, 4)
    ramp = np.linspace(-1, 1, s.shape[0])
    field = shape[0] * ramp[None, :] + shape[1] * ramp[:, None] + shape[2] * ramp[None, :] * ramp[:, None]
    grey = s * (255 / SEQUENCES[view][2]) * case.anatomy["gain"] * (1 + case.anatomy["bias"] * field)
    real, imaginary = rng.normal(0, 1.0, (2, *s.shape))
    grey = np.round(np.clip(np.hypot(grey + real, imaginary), 0, 255)).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
