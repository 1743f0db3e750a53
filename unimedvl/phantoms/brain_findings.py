"""What can be wrong with a simulated brain: tumour, white matter lesions, infarct, haemorrhage.

Each is drawn for a slice of the template, in its millimetres, so that it deforms with the brain, and is painted onto
the tissues as layers of materials, whatever the scanner.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import minimum_filter

from unimedvl.phantoms.brain import lobe, template
from unimedvl.phantoms.study import Case, Finding, Grading, Severity

FINDINGS = ("tumour", "white matter lesions", "infarct", "haemorrhage")
SIDED = frozenset({"tumour", "infarct", "haemorrhage"})


def _grade(value: float, moderate: float, severe: float) -> Severity:
    return "mild" if value < moderate else "moderate" if value < severe else "severe"


def _pick(
    rng: np.random.Generator, level: float, margin: float, inner: float
) -> tuple[float, float, float] | None:
    """A point (x, y, z) of the brain on either side, or None where there is none.

    It lies ``margin`` mm from the surface and ``inner`` mm from the midline.
    """
    t = template()
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
    z = float(template()["z"][int(round(level))])
    middle = (x + np.sign(x) * 30 * np.cos(towards), y + 40 * np.sin(towards))
    place = lobe(np.sign(x) * max(abs(middle[0]), 37.0), middle[1], z)
    size = 2 * 45 * np.tan(half)
    return Finding("infarct", _side(x), _grade(size, 35, 46), round(size, 1), 1, place, (x, y, towards, half))


def _white_matter_lesions(rng: np.random.Generator, level: float) -> Finding | None:
    t = template()
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
MAKERS = {
    "tumour": _tumour,
    "white matter lesions": _white_matter_lesions,
    "infarct": _infarct,
    "haemorrhage": _haemorrhage,
}


def apart(a: Finding, b: Finding) -> bool:
    """Whether two findings keep to different parts of the brain."""
    sided = [f.side for f in (a, b) if f.side]
    if len(sided) == 2:
        return sided[0] != sided[1]
    spots, other = (a, b) if a.side is None else (b, a)
    x, y, reach = other.shape[0], other.shape[1], other.size / 2 + 10
    return all(np.hypot(sx - x, sy - y) > reach + r for sx, sy, r in np.reshape(spots.shape, (-1, 3)))


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


PAINTERS = {
    "tumour": _draw_tumour,
    "white matter lesions": _draw_white_matter_lesions,
    "infarct": _draw_infarct,
    "haemorrhage": _draw_haemorrhage,
}
