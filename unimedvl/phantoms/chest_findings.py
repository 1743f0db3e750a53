"""Findings of the simulated chest in three dimensions: how they are drawn, where they are, what they change.

Sizes: pleural effusion and pneumothorax in millilitres, cardiomegaly the cardiothoracic ratio in percent, emphysema
the percentage of lung lost in the upper zones, consolidation and nodule the diameter in mm, lymphadenopathy the
largest short axis in mm. Coordinates as in `unimedvl.phantoms.chest`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from unimedvl.phantoms.chest_vessels import in_slice
from unimedvl.phantoms.shapes import ramp
from unimedvl.phantoms.solids import Ellipsoid, Points, Solid, waves
from unimedvl.phantoms.study import Case, Finding, Severity, Side

FINDINGS = ("pleural effusion", "pneumothorax", "consolidation", "nodule", "emphysema", "lymphadenopathy",
            "cardiomegaly")  # fmt: skip
SIDED = frozenset({"pleural effusion", "pneumothorax", "consolidation", "nodule"})
GRADES: tuple[Severity, ...] = ("mild", "moderate", "severe")
# Sizes of the three grades.
SIZES = {
    "pleural effusion": ((220, 380), (550, 800), (1050, 1500)),
    "pneumothorax": ((280, 420), (600, 850), (1100, 1500)),
    "consolidation": ((38, 46), (54, 66), (76, 95)),
    "nodule": ((14, 17), (19, 23), (27, 32)),
    "emphysema": ((12, 17), (23, 30), (38, 48)),
    "lymphadenopathy": ((14, 17), (19, 23), (26, 30)),
    "cardiomegaly": ((54, 57), (60, 63), (66, 70)),
}
# Heights [mm above the carina] at which a slice shows the finding.
LEVELS = {
    "pleural effusion": (-105, -25),
    "pneumothorax": (-80, 60),
    "consolidation": (-90, 75),
    "nodule": (-90, 75),
    "emphysema": (25, 80),
    "lymphadenopathy": (-32, 48),
    "cardiomegaly": (-100, -62),
}
# Stations of lymph nodes, mm: (x, y, z). Numbers as in the IASLC map (Rusch et al., J Thorac Oncol 4:568, 2009).
STATIONS = {
    "right lower paratracheal (4R)": (-17, -1, 20),
    "right upper paratracheal (2R)": (-18, 4, 48),
    "prevascular (3A)": (14, -44, 34),
    "aortopulmonary window (5)": (31, -2, 14),
    "subcarinal (7)": (0, 14, -26),
    "right hilar (10R)": (-52, 6, -20),
    "left hilar (10L)": (56, 14, -16),
}
FLUID_HU, LUNG_TISSUE_HU = 8.0, 35.0


@dataclass
class Lung:
    """One lung at the points of a plane, [H, W] arrays: coverage in 0..1, signed distance to its border and to
    the pleura of the chest wall [mm], and HU of what fills it."""

    side: Side
    cover: np.ndarray
    outline: np.ndarray
    inside: np.ndarray
    content: np.ndarray


@dataclass(frozen=True)
class Places:
    """How a plane is looked at: ``erect`` or lying; with ``vessels``, averaged over a ``layer`` this thick [mm]."""

    erect: bool
    vessels: bool
    layer: float


def zone(z: float) -> str:
    """Upper, middle or lower third of the lung at height z [mm above the carina]."""
    return "upper zone" if z > 32 else "middle zone" if z > -38 else "lower zone"


# --------------------------------------------------------------------------------------- free fluid and air


def spread(name: str, p: Points, inside: np.ndarray, erect: bool) -> np.ndarray:
    """Order [mm] in which free fluid or air fills the pleural space: the greater the earlier, by posture.

    Fluid runs to the lowest place and climbs at the wall; air rises and lifts the lung off the wall.
    """
    up = p.z if erect else -p.y
    near = np.clip(inside, 0, 70)
    if name == "pleural effusion":
        if erect:
            return -up + 50 * np.exp(-near / 20) + 0 * inside
        return 0.75 * p.y - 0.62 * near - 0.16 * p.z
    if erect:
        return 0.42 * up - near
    return 0.50 * up - near + 0 * p.z


def brim(anatomy: dict[str, float], side: Side, name: str, millilitres: float,
         outlines: list[tuple[Points, np.ndarray, np.ndarray]]) -> tuple[float, float]:  # fmt: skip
    """The value of `spread`, lying and erect, beyond which the space of that side holds the volume asked for.

    outlines: a stack of axial planes of the healthy patient, with distances to the lung's border and the pleura;
    every point stands for the same volume, given by the planes' spacing times the square of their edge.
    """
    values: list[list[np.ndarray]] = [[], []]
    for p, outline, inside in outlines:
        of_lung = (outline > 0) & ((p.x > 0) == (side == "left")) & np.ones(p.shape, bool)
        for k, erect in enumerate((False, True)):
            values[k].append((spread(name, p, inside, erect) + np.zeros(p.shape, np.float32))[of_lung])
    spacing = abs(float(outlines[1][0].z.ravel()[0] - outlines[0][0].z.ravel()[0]))
    each = spacing * outlines[0][0].edge ** 2 / 1000  # ml
    found = []
    for parts in values:
        order = np.sort(np.concatenate(parts))[::-1]
        found.append(float(order[min(int(millilitres / each), len(order) - 1)]))
    return found[0], found[1]


# ------------------------------------------------------------------------------------------- drawing


def node_solids(case: Case) -> list[Solid]:
    """The enlarged lymph nodes of a case."""
    for finding in case.findings:
        if finding.name == "lymphadenopathy":
            rows = np.reshape(finding.shape, (-1, 5))
            return [Ellipsoid((x, y, z), (r * long, r, r * long), 0.5) for x, y, z, r, long in rows]
    return []


def apply_to_lungs(hu: np.ndarray, case: Case, p: Points, lungs: list[Lung],
                   places: Places) -> dict[str, np.ndarray]:  # fmt: skip
    """Paint both lungs with their findings. Returns the coverage [H, W] of each finding of the lungs."""
    found = {f.name: f for f in case.findings}
    masks: dict[str, np.ndarray] = {}
    vessels = in_slice(case, p, places.layer) if places.vessels else 0.0
    for lung in lungs:
        if "emphysema" in found:
            hole = _holes(found["emphysema"], case, p, lung)
            _mix(lung.content, hole, -985.0)
            masks["emphysema"] = masks.get("emphysema", 0) + hole * lung.cover
        _mix(lung.content, vessels, LUNG_TISSUE_HU + 0.8 * case.anatomy["contrast"])
        for name in ("consolidation", "nodule", "pleural effusion", "pneumothorax"):
            if name in found and found[name].side == lung.side:
                extent = _DRAWN[name](found[name], case, p, lung, places)
                masks[name] = extent * lung.cover
        hu += lung.cover * (lung.content - hu)
    return masks


def _mix(content: np.ndarray, cover: np.ndarray | float, value: float) -> None:
    content += cover * (value - content)


def _holes(f: Finding, case: Case, p: Points, lung: Lung) -> np.ndarray:
    """Centrilobular holes: where a smooth random field exceeds the value that leaves the share asked for."""
    rng = np.random.default_rng((3, case.noise_seed, int(f.shape[0])))
    height = ramp(p.z, -110, 40)  # the upper zones suffer most
    share = np.clip(f.size / 100 * (0.12 + 0.88 * height), 0.005, 0.95)
    field = waves(rng, p, 13, 26, 18)
    return ramp(field, ndtri(1 - share) - 0.22, ndtri(1 - share) + 0.12) * ramp(lung.outline, 0.5, 3.5)


def consolidation_border(f: Finding, case: Case, p: Points) -> np.ndarray:
    """A ragged ellipsoid's depth in units of its radius: 0 about its border, positive within."""
    x, y, z, flat, seed = f.shape
    rng = np.random.default_rng((4, case.noise_seed, int(seed)))
    radius = f.size / 2
    r = np.sqrt(((p.x - x) / radius) ** 2 + ((p.y - y) / radius) ** 2 + ((p.z - z) / (radius * flat)) ** 2)
    return 1 - r + 0.19 * waves(rng, p, 20, 48, 9) + 0.09 * waves(rng, p, 8, 15, 9)


def _veil_and_core(border: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ground glass about a consolidation, and the airless core: how much of the air is gone, 0 to 1."""
    return 0.46 * ramp(border, -0.42, 0.08), ramp(border, -0.05, 0.26)


def filled(border: np.ndarray) -> np.ndarray:
    """Share of the air that a consolidation has replaced, from `consolidation_border`."""
    veil, core = _veil_and_core(border)
    return 1 - (1 - veil) * (1 - 0.97 * core)


def _consolidation(f: Finding, case: Case, p: Points, lung: Lung, places: Places) -> np.ndarray:
    border = consolidation_border(f, case, p)
    veil, core = _veil_and_core(border)
    _mix(lung.content, veil, LUNG_TISSUE_HU)
    _mix(lung.content, 0.97 * core, LUNG_TISSUE_HU + 0.2 * case.anatomy["contrast"])
    if places.vessels:  # air in the bronchi, which run beside the arteries
        _mix(lung.content, core * in_slice(case, p, places.layer, 1.3, (3.0, 2.0)), -800.0)
    return ramp(border, -0.10, 0.10)


def nodule_lobes(f: Finding, case: Case, p: Points) -> np.ndarray:
    """By how many mm a nodule's surface is lifted off the ball of its diameter."""
    return _lobes(f, p, np.random.default_rng((5, case.noise_seed, int(f.shape[3]))))


def _lobes(f: Finding, p: Points, rng: np.random.Generator) -> np.ndarray:
    lobes = 0.06 * f.size * waves(rng, p, f.size * 0.7, f.size * 1.3, 6)
    return np.clip(lobes, -0.08 * f.size, 0.08 * f.size)


def _nodule(f: Finding, case: Case, p: Points, lung: Lung, places: Places) -> np.ndarray:
    x, y, z, seed = f.shape
    rng = np.random.default_rng((5, case.noise_seed, int(seed)))
    dx, dy, dz = p.x - x, p.y - y, p.z - z
    away = np.sqrt(dx**2 + dy**2 + dz**2)
    distance = f.size / 2 + _lobes(f, p, rng) - away
    turn = np.arctan2(dy + 0 * dx, dx + 0 * dy)
    spikes = np.clip(np.cos(9 * turn + rng.uniform(0, 6)) * np.cos(4 * turn + rng.uniform(0, 6)), 0, 1) ** 3
    _mix(lung.content, 0.5 * spikes * np.clip(1 + distance / (0.28 * f.size), 0, 1), -100.0)
    cover = p.cover(distance)
    _mix(lung.content, cover, LUNG_TISSUE_HU + 0.15 * case.anatomy["contrast"])
    return cover


def pressed(order: np.ndarray) -> np.ndarray:
    """Share of the air that lung beside an effusion has lost, from the `spread` less that of the fluid's brim."""
    return ramp(order, -13, -3) * 0.85


def _effusion(f: Finding, case: Case, p: Points, lung: Lung, places: Places) -> np.ndarray:
    order = spread(f.name, p, lung.inside, places.erect) - f.shape[1 if places.erect else 0]
    # Lung that the fluid presses on has lost its air.
    _mix(lung.content, pressed(order), LUNG_TISSUE_HU + 0.3 * case.anatomy["contrast"])
    cover = p.cover(order, 0.8)
    _mix(lung.content, cover, FLUID_HU)
    return cover


def _pneumothorax(f: Finding, case: Case, p: Points, lung: Lung, places: Places) -> np.ndarray:
    order = spread(f.name, p, lung.inside, places.erect) - f.shape[1 if places.erect else 0]
    lung.content += 0.02 * f.size ** 1.15  # the lung that is left holds less air
    edge = np.clip(1.4 - np.abs(order + 1.0) / (1.0 + 0.5 * p.edge), 0, 1) * 1.6 / (1.6 + p.edge)
    _mix(lung.content, edge * (lung.inside > 2), -150.0)  # the visceral pleura
    cover = p.cover(order)
    _mix(lung.content, cover, -1000.0)
    return cover


_DRAWN: dict[str, Callable[[Finding, Case, Points, Lung, Places], np.ndarray]] = {
    "consolidation": _consolidation,
    "nodule": _nodule,
    "pleural effusion": _effusion,
    "pneumothorax": _pneumothorax,
}
