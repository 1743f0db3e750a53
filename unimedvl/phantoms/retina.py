"""The layers of the macula in cross-section: where each surface runs, healthy and with findings.

Lengths across are millimetres from the middle of the scan, depths are micrometres from its top. Thicknesses by
distance from the fovea are rounded from published series of healthy eyes (Nieves-Moreno et al., PLoS One
12:e0180450, 2017; Invernizzi et al., Ophthalmol Retina 2:808, 2018); the choroid is 287 um thick under the fovea
and thins by about 16 um a decade (Margolis and Spaide, Am J Ophthalmol 147:811, 2009).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from unimedvl.phantoms.study import Case, Finding

# Distance from the fovea [mm], and the thickness of each layer there [um].
ECCENTRICITY = (0.0, 0.2, 0.5, 0.8, 1.2, 1.7, 2.2, 3.0, 4.5)
THICKNESS = {
    "nfl": (2, 3, 10, 16, 21, 25, 29, 34, 40),
    "gcl": (2, 5, 28, 48, 52, 44, 35, 27, 22),
    "ipl": (2, 6, 25, 38, 41, 36, 31, 27, 24),
    "inl": (3, 8, 27, 38, 40, 37, 34, 31, 28),
    "opl": (10, 17, 29, 34, 32, 30, 28, 26, 25),
    "onl": (108, 99, 82, 72, 66, 61, 58, 54, 50),
    "elm": (7, 7, 7, 7, 7, 7, 7, 7, 7),
    "myoid": (22, 20, 18, 17, 17, 16, 16, 16, 16),
    "ez": (16, 15, 14, 14, 14, 13, 13, 13, 13),
    "outer segments": (30, 26, 20, 18, 17, 17, 16, 16, 16),
}
LAYERS = tuple(THICKNESS)
OUTER = LAYERS[5:]          # cell bodies of the photoreceptors and all below
RPE = 24.0                  # with Bruch's membrane
_CURVES = PchipInterpolator(ECCENTRICITY, np.array(list(THICKNESS.values()), float).T)


@dataclass(frozen=True)
class Surfaces:
    """Depths [um] of every surface at each column, [W] each.

    top: upper surface of each of LAYERS, from above downward. tips: where the photoreceptors end.
    rpe: upper surface of the pigment epithelium; rpe_end: its lower. bruch: Bruch's membrane, below drusen.
    sclera: where the choroid ends. bare: how far the pigment epithelium is lost, 0 to 1.
    """

    top: dict[str, np.ndarray]
    tips: np.ndarray
    rpe: np.ndarray
    rpe_end: np.ndarray
    bruch: np.ndarray
    sclera: np.ndarray
    bare: np.ndarray


def columns(case: Case, n: int) -> np.ndarray:
    """Middle of each of n columns [mm] from the middle of the scan."""
    return (((np.arange(n) + 0.5) / n - 0.5) * case.anatomy["width"]).astype(np.float32)


def surfaces(case: Case, u: np.ndarray) -> Surfaces:
    """Where the layers run at the places u [W] in millimetres, findings included."""
    anatomy = case.anatomy
    found = {f.name: f for f in case.findings}
    bruch = anatomy["base"] + anatomy["tilt"] * u - anatomy["bowl"] * u * u
    thick = _thickness(case, u, found)
    bare = atrophy(found.get("geographic atrophy"), u)
    outer = sum(thick[name] for name in OUTER) * (1 - 0.7 * atrophy(found.get("geographic atrophy"), u, 0.7))
    for name in OUTER[1:]:
        thick[name] = thick[name] * (1 - bare)
    # The layers above sink into the gap over some distance, not in a step.
    thick["onl"] = np.maximum(outer - sum(thick[name] for name in OUTER[1:]), 0.15 * thick["onl"])
    rpe_end = bruch - druse_height(found.get("drusen"), u)
    rpe = rpe_end - RPE * (1 - 0.8 * bare)
    tips = rpe - fluid_height(found.get("subretinal fluid"), u)
    # What is pushed up from below is taken up by the outer nuclear layer, as far as it can give way.
    lost = 0.9 * (bruch - rpe_end) + 0.25 * (rpe - tips)
    thick["onl"] = np.maximum(thick["onl"] - lost, 0.3 * thick["onl"])
    top, depth = {}, tips
    for name in reversed(LAYERS):
        depth = depth - thick[name]
        top[name] = depth
    choroid = anatomy["choroid"] * (1 - 0.012 * (u - anatomy["fovea"]) ** 2)
    # What is drawn from these is large, and single precision is exact to far less than a micrometre.
    narrow = [np.asarray(v, np.float32) for v in (tips, rpe, rpe_end, bruch, bruch + choroid, bare)]
    return Surfaces({name: depth.astype(np.float32) for name, depth in top.items()}, *narrow)


def _thickness(case: Case, u: np.ndarray, found: dict[str, Finding]) -> dict[str, np.ndarray]:
    """Thickness [um] of each of LAYERS, the pit shaped by the findings that pull at it."""
    anatomy = case.anatomy
    e = u - anatomy["fovea"]
    filled, pucker = 0.0, 0.0
    if "epiretinal membrane" in found:
        strength, start, end = found["epiretinal membrane"].shape[:3]
        within = np.clip(np.minimum(u - start, end - u) / 0.4 + 0.5, 0, 1)
        filled = 0.9 * strength * within
        pucker = within * strength * (40 + 12 * np.sin(7.0 * u) + 5 * np.sin(13.7 * u + 1))
    if "macular hole" in found:
        filled = np.maximum(filled, 0.62 * np.exp(-((e / 0.9) ** 2)))
    distance = np.sqrt((e / anatomy["pit"]) ** 2 + filled**2)
    values = _CURVES(np.minimum(distance, ECCENTRICITY[-1])) * anatomy["thickness"]
    thick = {name: values[:, k] for k, name in enumerate(LAYERS)}
    # Nerve fibres gather towards the disc and are few towards the temporal side.
    thick["nfl"] = thick["nfl"] * (1 + anatomy["nasal"] * 0.55 * np.tanh(e / 1.0))
    thick["inl"] = thick["inl"] + 0.6 * pucker
    thick["ipl"] = thick["ipl"] + 0.4 * pucker
    if "macular hole" in found:
        half = found["macular hole"].shape[0] / 2
        edge = np.abs(e) - half
        swelling = 55 * np.exp(-((edge / 0.55) ** 2)) - 95 * np.exp(-np.maximum(edge, 0) / 0.10)
        thick["inl"] = thick["inl"] + np.maximum(0.5 * swelling, 8 - thick["inl"])
        thick["onl"] = thick["onl"] + 0.5 * swelling
    for layer, bulge in _cyst_bulges(found.get("intraretinal fluid"), u).items():
        thick[layer] = thick[layer] + bulge
    return thick


# ---------------------------------------------------------------------------------------------- findings


def _rows(finding: Finding | None, width: int) -> np.ndarray:
    return np.array(finding.shape if finding else (), float).reshape(-1, width)


def _cyst_bulges(finding: Finding | None, u: np.ndarray) -> dict[str, np.ndarray]:
    """How much thicker [um] cysts make the layers that they lie in. Rows: place, layer, half width, half height."""
    bulges = {"inl": np.zeros_like(u), "onl": np.zeros_like(u)}
    for middle, layer, across, down in _rows(finding, 4):
        name = "onl" if layer else "inl"
        reach = max(2.1 * across, 0.36)
        bulges[name] += (1.45 * down * np.exp(-(((u - middle) / reach) ** 2))) ** 3
    return {name: bulge ** (1 / 3) for name, bulge in bulges.items()}


def cysts(finding: Finding, case: Case) -> np.ndarray:
    """Cysts as rows of middle across [mm], middle depth [um], half width [mm], half height [um]."""
    rows = _rows(finding, 4)
    at = surfaces(case, rows[:, 0])
    inner = (at.top["inl"] + at.top["opl"]) / 2
    outer = 0.55 * at.top["onl"] + 0.45 * at.top["elm"]
    return np.column_stack([rows[:, 0], np.where(rows[:, 1] > 0, outer, inner), rows[:, 2:]])


def fluid_height(finding: Finding | None, u: np.ndarray) -> np.ndarray:
    """Depth [um] of the fluid under the retina, a flat dome. Shape: middle, half width, height."""
    height = np.zeros_like(u)
    for middle, half, most in _rows(finding, 3):
        height += most * np.clip(1 - ((u - middle) / half) ** 2, 0, None) ** 0.8
    return height


def druse_height(finding: Finding | None, u: np.ndarray) -> np.ndarray:
    """Height [um] of drusen over Bruch's membrane. Rows: middle, half width, height."""
    height = np.zeros_like(u)
    for middle, half, most in _rows(finding, 3):
        height = np.maximum(height, most * np.clip(1 - ((u - middle) / half) ** 2, 0, None) ** 0.75)
    return height


def atrophy(finding: Finding | None, u: np.ndarray, edge: float = 0.08) -> np.ndarray:
    """How far photoreceptors and pigment epithelium are gone, 0 to 1, with an edge this wide [mm].

    Shape: middle, half width.
    """
    lost = np.zeros_like(u)
    for middle, half in _rows(finding, 2):
        lost = np.clip((half - np.abs(u - middle)) / edge + 0.5, 0, 1)
        lost = lost * lost * (3 - 2 * lost)
    return lost


def hole(finding: Finding, case: Case, u: np.ndarray, depth: np.ndarray, at: Surfaces) -> np.ndarray:
    """Signed distance [mm, across] inside a full-thickness hole, [H, W]. Shape: least width [mm].

    The walls lean like an hourglass: narrowest above the middle, wide at the pigment epithelium.
    """
    least = finding.shape[0]
    e = np.abs(u - case.anatomy["fovea"])
    up = np.clip((at.rpe - depth) / 330.0, 0, 1.4)       # 0 at the pigment epithelium, 1 at the surface
    half = least / 2 + 0.16 * np.clip(0.55 - up, 0, None) ** 1.3 + 0.30 * np.clip(up - 0.62, 0, None) ** 1.5
    return np.where(depth < at.rpe, half - e, -1.0)


def membrane(finding: Finding, u: np.ndarray, at: Surfaces) -> tuple[np.ndarray, np.ndarray]:
    """Top and bottom depth [um] of an epiretinal membrane; equal where there is none.

    Shape: strength, start, end [mm], thickness [um], phase. It bridges folds of the surface.
    """
    strength, start, end, thick, phase = finding.shape
    within = np.clip(np.minimum(u - start, end - u) / 0.12, 0, 1)
    lift = 34 * strength * np.clip(np.sin(5.1 * u + phase), 0, 1)
    bottom = at.top["nfl"] - lift * within + 2
    return bottom - thick * np.sqrt(within), bottom
