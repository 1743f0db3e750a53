"""The projection of a standing patient of `unimedvl.phantoms.chest` along the rays of a frontal radiograph.

Not a march through fine planes: what is smooth (skin, fat, muscle, abdomen, and the signed distance to the
mediastinum) is evaluated by the organs' own formulas on coarse rays and planes and interpolated; what is sharp (pleura,
diaphragm, free fluid and air) on the rays themselves at planes `STEP` mm apart, with borders met where the distance
crosses zero between planes; ribs at depths across the thoracic wall only; heart, other bones, airways, nodules in
closed form; vessels as fibres. The tests hold it to a march through fine planes of `chest.plane`.

A radiograph is taken without contrast medium.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from unimedvl.phantoms import chest_organs as organs
from unimedvl.phantoms.chest import SIDES, WATER
from unimedvl.phantoms.chest_findings import node_solids
from unimedvl.phantoms.chest_vessels import VEILS, tree
from unimedvl.phantoms.projected_bones import bones, gas, wall_depth
from unimedvl.phantoms.projected_findings import CELLS, DEPTHS, DRAWN, STEP
from unimedvl.phantoms.rays import CENTRE, FIELD, Grid, Inside, Rays, beam, halves, magnification, whole
from unimedvl.phantoms.solids import Points, Solid
from unimedvl.phantoms.study import Case

WALL_CELLS, WALL_STEP = 40, 12.0  # coarse rays a side and mm between planes, for the wall and the abdomen
WALL_DEPTHS = np.arange(-136.0, 146.0, WALL_STEP)
UNSEEN = 0.004  # optical depth: by less a finding changes nothing, such as where interpolated borders ring
CROWDED = 15.0  # mm of vessels along a ray that fill a lung's root


@dataclass
class Projection:
    """tau: optical depth [H, W] float32 along the rays, that the exposure is exp(-tau) of (Beer and Lambert).

    healthy: the same of the patient without findings. lengths: [H, W] mm of the rays in each lung (whatever fills
    it), the heart and every finding. beside: by finding, mm of the rays in lung next to it that it has made airless.
    """

    tau: np.ndarray
    healthy: np.ndarray
    lengths: dict[str, np.ndarray]
    beside: dict[str, np.ndarray]


def project(case: Case, size: int = 128) -> Projection:
    """Project a patient, the patient's left at the image's right.

    Raises:
        ValueError: size is not in 64..512.
    """
    if not 64 <= size <= 512:
        raise ValueError(f"size is {size}; it must be 64 to 512")
    case = replace(case, anatomy=case.anatomy | {"contrast": 0.0})
    a, rays = case.anatomy, Rays(size)
    nodes = node_solids(case)
    ratio = next((f.size for f in case.findings if f.name == "cardiomegaly"), a["ratio"])
    fixed = _soft(rays, a) + bones(rays, a) - gas(rays, a)
    vessels = rays.deposited(*tree(case))
    vessels = CROWDED * (1 - np.exp(-vessels / np.float32(CROWDED)))  # at the root they share their room
    well = case.with_findings(())
    seen = _thorax(case, rays, ratio, nodes)
    bare = seen if ratio == a["ratio"] and not nodes else _thorax(well, rays, a["ratio"], [])
    tau, healthy = (WATER * (fixed + t.tissue + _blood(c, t, vessels))
                    for c, t in ((case, seen), (well, bare)))  # fmt: skip
    tau += WATER * seen.changed
    np.copyto(tau, healthy, where=np.abs(tau - healthy) < UNSEEN)
    return Projection(tau, healthy, seen.lengths, seen.beside)


def _blood(case: Case, thorax: _Thorax, vessels: np.ndarray) -> np.ndarray:
    """Vessels [H, W] mm, less where the lung holds no air."""
    lung = {side: thorax.lengths[f"{side} lung"] for side in SIDES}
    total = np.zeros_like(vessels)
    for side, half in zip(SIDES, halves(vessels.shape[1]), strict=True):
        there = lung[side][:, half]
        veils = [f.name for f in case.findings if f.side == side and f.name in VEILS]
        veiled = sum((at[name][:, half] for at in (thorax.lengths, thorax.beside) for name in veils if name in at),
                     np.float32(0))  # fmt: skip
        share = 1 - veiled / np.maximum(there, 1)
        total[:, half] = vessels[:, half] * np.clip(share, 0, 1) * np.clip(there / 20, 0, 1)
    return total


# ------------------------------------------------------------------------------------------------ smooth


def _soft(rays: Rays, a: organs.Anatomy) -> np.ndarray:
    """Wall and abdomen, [H, W] mm of water, as if muscle filled the thorax."""
    grid = whole(WALL_CELLS)
    p = beam(*grid.middles(), WALL_DEPTHS, 10.0)
    around = organs.ring(p, a)
    hu = np.full(p.shape, -1000.0, np.float32)
    organs.paint_wall(hu, p, a, around, True, False)
    low = slice(int(np.argmax(p.z[0, :, 0] < a["dome"] + 20)), None)
    below = p.part((slice(None), low, slice(None)))
    gasless = a | {"gas": -9.0}  # the bubble is sharp, and comes with the airways
    organs.paint_abdomen(hu[:, low], below, gasless, p.cover(around.inside)[:, low], organs.diaphragm(below, a), True)
    total = (1 + hu / 1000).sum(0, dtype=np.float32) * np.float32(WALL_STEP)
    return grid.finer(total[None], rays)[0]


@dataclass
class _Between:
    """The mediastinum on coarse rays: the signed distance to its outline at the planes, [H, W] each, at the fine rays
    `window`, and the length of the rays in what is not fat, [H, W] mm there."""

    window: tuple[slice, slice]
    outline: list[np.ndarray]
    organs: np.ndarray


def _between(rays: Rays, a: organs.Anatomy, ratio: float, nodes: list[Solid]) -> _Between:
    half = max(0.75 * ratio / 100 * 2 * a["half_width"] + 20, 95.0)
    cells = int(np.ceil(half * 1.1 / (FIELD / CELLS)))
    left = max(0, CELLS // 2 - int(0.8 * cells) - 1)
    grid = Grid(CELLS, (0, CELLS), (left, min(CELLS, CELLS // 2 + cells + 1)))
    p = beam(*grid.middles(), DEPTHS, 6.0)
    inner = organs.mediastinum(p, a, ratio, nodes)
    room = p.cover(organs.ring(p, a).inside) * p.cover(organs.diaphragm(p, a) + 6)
    soft = [inner.aorta, inner.pulmonary, inner.veins, inner.arteries, inner.airway, inner.oesophagus]
    soft += [inner.nodes] if nodes else []
    nearest = inner.heart
    for distance in soft:
        np.maximum(nearest, distance, out=nearest)
    filled_by = (p.cover(nearest) * room).sum(0) * np.float32(STEP)
    return _Between(grid.part_of(rays), grid.finer(inner.outline, rays), grid.finer(filled_by[None], rays)[0])


# ------------------------------------------------------------------------------------------------- sharp


@dataclass
class _Thorax:
    """tissue: what the lungs and the mediastinum differ from muscle, [H, W] mm of water. changed: what the findings
    of the lungs add to it. lengths, beside: as of `Projection`."""

    tissue: np.ndarray
    changed: np.ndarray
    lengths: dict[str, np.ndarray]
    beside: dict[str, np.ndarray]


def _thorax(case: Case, rays: Rays, ratio: float, nodes: list[Solid]) -> _Thorax:
    a = case.anatomy
    between = _between(rays, a, ratio, nodes)
    whole_cavity, lung = Inside(STEP), Inside(STEP)
    drawn = [DRAWN[f.name](f, case, rays) for f in case.findings if f.name in DRAWN]
    sections = _Sections(rays, a)
    for k in range(len(DEPTHS)):
        inside, dome = sections.at(k)
        cavity = np.minimum(inside, dome)
        whole_cavity.step(cavity)
        window = between.window
        np.minimum(cavity[window], -between.outline[k], out=cavity[window])
        share = lung.step(cavity)
        for finding in drawn:
            finding.step(k, cavity, inside, share)
    z = rays.z(0.0)
    air = (a["inspiration"] + 0.35 * np.clip(-z, -90, 110)) / 1000  # less than water
    length, muscle = lung.length, organs.MUSCLE / 1000
    fat = (organs.FAT + 8) / 1000
    middle = np.maximum(whole_cavity.length - length, 0)
    tissue = length * (air - muscle) + middle * (fat - muscle)
    tissue[between.window] += np.clip(between.organs, 0, middle[between.window]) * (0.043 - fat)
    changed = sum((finding.water(length, air) for finding in drawn), np.zeros_like(length))
    lengths = _structures(length, rays, a, ratio) | {finding.name: finding.length(length) for finding in drawn}
    if any(f.name == "cardiomegaly" for f in case.findings):
        lengths["cardiomegaly"] = lengths["heart"]
    if nodes:
        lengths["lymphadenopathy"] = np.maximum.reduce([rays.chord(n) for n in nodes])
    beside = {finding.name: finding.beside() for finding in drawn}
    return _Thorax(tissue, changed, lengths, {name: lung for name, lung in beside.items() if lung is not None})


def _structures(lung: np.ndarray, rays: Rays, a: organs.Anatomy, ratio: float) -> dict[str, np.ndarray]:
    """Lengths [H, W] mm of the rays in each lung, given those in both, and in the heart within the thorax."""
    found = {}
    for side, half in zip(SIDES, halves(rays.size), strict=True):
        found[f"{side} lung"] = np.zeros_like(lung)
        found[f"{side} lung"][:, half] = lung[:, half]
    muscle, _ = organs.heart_solids(a, ratio)
    first, last = rays.hull(muscle)
    front, back = (wall_depth(rays, a, side, 0.0)[0] for side in (-1, 1))
    return found | {"heart": np.maximum(np.minimum(last, back) - np.maximum(first, front), 0)}


class _Sections:
    """The pleura's and the diaphragm's signed distances at every plane: `organs.ring` and `organs.diaphragm` with all
    that depends on one axis alone worked out once."""

    def __init__(self, rays: Rays, a: organs.Anatomy) -> None:
        s = (1 / magnification(DEPTHS)).astype(np.float32).reshape(-1, 1, 1)
        x, z = rays.axis[None, None, :] * s, np.float32(CENTRE) - rays.axis[None, :, None] * s
        y = DEPTHS.astype(np.float32).reshape(-1, 1, 1)
        # The domes' distance is linear in z: it is taken at one height, and moved.
        one = Points(x, y, np.full((1, 1, 1), a["dome"], np.float32), 1.0)
        self.dome = (z - np.float32(a["dome"])) * np.float32(0.75), organs.diaphragm(one, a).astype(np.float32)
        half_width, half_depth, middle = organs.section(z, a)
        y = y - middle
        self.rise = (1 / half_width) ** 2.4
        self.across = np.abs(x) ** np.float32(2.4)
        self.deep = np.abs(y / half_depth) ** 2.4
        self.x2, self.y2 = x * x, y * y

    def at(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Signed distances [H, W] to the pleura and to the domes (positive above) at plane k."""
        q = self.across[k] * self.rise[k]
        q += self.deep[k]
        np.log(q, out=q)
        q *= np.float32(-1 / 2.4)
        np.exp(q, out=q)
        q -= 1
        r = self.x2[k] + self.y2[k]
        np.sqrt(r, out=r)
        q *= r
        return q, self.dome[0][k] + self.dome[1][k]
