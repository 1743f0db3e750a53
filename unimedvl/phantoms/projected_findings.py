"""Findings of the lungs along the rays of a radiograph: each is met plane by plane with the lungs, or in closed form.

The formulas are those of `chest_findings`, which draws the same findings in a slice.
"""

from __future__ import annotations

import numpy as np

from unimedvl.phantoms.chest import SIDES
from unimedvl.phantoms.chest_findings import (
    FLUID_HU,
    LUNG_TISSUE_HU,
    consolidation_border,
    filled,
    nodule_lobes,
    pressed,
    spread,
)
from unimedvl.phantoms.rays import CENTRE, FIELD, Grid, Inside, Rays, beam, halves, magnification
from unimedvl.phantoms.shapes import ramp
from unimedvl.phantoms.solids import Points
from unimedvl.phantoms.study import Case, Finding

STEP = 10.0  # mm between planes through the thorax
DEPTHS = np.arange(-110.0, 128.0, STEP)
CELLS = 60  # coarse rays a side
PLEURA = (-0.4, 2.4)  # order [mm, `spread`] between which the visceral pleura is seen


class Drawn:
    """A finding of one lung, met plane by plane."""

    def __init__(self, finding: Finding, case: Case, rays: Rays) -> None:
        self.finding, self.case, self.rays = finding, case, rays
        self.name = finding.name
        self.half = halves(rays.size)[SIDES.index(finding.side)] if finding.side else slice(0, rays.size)

    def step(self, k: int, lung: np.ndarray, inside: np.ndarray, share: np.ndarray | None) -> None:
        """Plane k. lung, inside: signed distances [H, W] to the border of the lungs and to the pleura. share: of the
        way from the plane before, what lies in a lung."""

    def water(self, lung: np.ndarray, air: np.ndarray) -> np.ndarray:
        """What it adds, [H, W] mm of water. lung: mm of the rays in lung; air: its density less water's, [H, 1]."""
        raise NotImplementedError

    def length(self, lung: np.ndarray) -> np.ndarray:
        """[H, W] mm of the rays in it."""
        raise NotImplementedError

    def beside(self) -> np.ndarray | None:
        """[H, W] mm of lung next to it that it has made airless, None where there is none."""
        return None

    def _wide(self, part: np.ndarray) -> np.ndarray:
        total = np.zeros((self.rays.size, self.rays.size), np.float32)
        total[:, self.half] = part
        return total


class _Fluid(Drawn):
    """Pleural effusion, and the lung that it presses on."""

    def __init__(self, finding: Finding, case: Case, rays: Rays) -> None:
        super().__init__(finding, case, rays)
        self.fluid, self.dense, self._before = Inside(STEP), np.float32(0), None

    def step(self, k: int, lung: np.ndarray, inside: np.ndarray, share: np.ndarray | None) -> None:
        z = self.rays.z(float(DEPTHS[k]))
        here = Points(np.zeros((1, 1)), np.zeros((1, 1)), z, 1.0)
        order = spread(self.name, here, inside[:, self.half], True) - np.float32(self.finding.shape[1])
        wet = self.fluid.step(np.minimum(lung[:, self.half], order))
        airless = pressed(order)
        if wet is not None:
            self.dense = self.dense + (share[:, self.half] - wet) * (airless + self._before)
        self._before = airless

    def water(self, lung: np.ndarray, air: np.ndarray) -> np.ndarray:
        airless = np.float32(STEP / 2) * self.dense
        return self._wide(self.fluid.length * (FLUID_HU / 1000 - air) + airless * (LUNG_TISSUE_HU / 1000 - air))

    def length(self, lung: np.ndarray) -> np.ndarray:
        return self._wide(self.fluid.length)

    def beside(self) -> np.ndarray | None:
        return self._wide(np.float32(STEP / 2) * self.dense)


class _FreeAir(Drawn):
    """Pneumothorax: air, the visceral pleura, and the lung that is left."""

    def __init__(self, finding: Finding, case: Case, rays: Rays) -> None:
        super().__init__(finding, case, rays)
        self.free, self.rim, self.kept = Inside(STEP), Inside(STEP), Inside(STEP)

    def step(self, k: int, lung: np.ndarray, inside: np.ndarray, share: np.ndarray | None) -> None:
        here = Points(np.zeros((1, 1)), np.zeros((1, 1)), self.rays.z(float(DEPTHS[k])), 1.0)
        order = spread(self.name, here, inside[:, self.half], True) - np.float32(self.finding.shape[1])
        of_side = lung[:, self.half]
        self.free.step(np.minimum(of_side, order))
        off_wall = np.minimum(of_side, inside[:, self.half] - 2)
        self.rim.step(np.minimum(off_wall, order + np.float32(PLEURA[1])))
        self.kept.step(np.minimum(off_wall, order - np.float32(PLEURA[0])))

    def water(self, lung: np.ndarray, air: np.ndarray) -> np.ndarray:
        rest = np.maximum(lung[:, self.half] - self.free.length, 0)
        pleura = np.maximum(self.rim.length - self.kept.length, 0) * (-0.15 - air)
        return self._wide(self.free.length * (-1.0 - air) + rest * np.float32(2e-5 * self.finding.size**1.15) + pleura)

    def length(self, lung: np.ndarray) -> np.ndarray:
        return self._wide(self.free.length)


class _Filling(Drawn):
    """Consolidation, on coarse rays and planes: it has no sharp border. Its length is that of the air it replaces."""

    def __init__(self, finding: Finding, case: Case, rays: Rays) -> None:
        super().__init__(finding, case, rays)
        x, y, z = finding.shape[:3]
        reach = 0.85 * finding.size
        m, cell = float(magnification(y)), FIELD / CELLS
        near = [(float(np.clip((c - reach) * m / cell + CELLS / 2, 0, CELLS - 4)),
                 float(np.clip((c + reach) * m / cell + CELLS / 2, 4, CELLS))) for c in (CENTRE - z, x)]  # fmt: skip
        grid = Grid(CELLS, *((int(low), int(np.ceil(high))) for low, high in near))
        self.first = int(np.clip(np.searchsorted(DEPTHS, y - reach), 0, len(DEPTHS) - 1))
        last = int(np.clip(np.searchsorted(DEPTHS, y + reach), self.first + 1, len(DEPTHS)))
        p = beam(*grid.middles(), DEPTHS[self.first : last], 6.0)
        border = consolidation_border(finding, case, p)
        self.window = grid.part_of(rays)
        self.tissue = grid.finer(filled(border), rays)
        self.total = np.zeros_like(self.tissue[0])

    def step(self, k: int, lung: np.ndarray, inside: np.ndarray, share: np.ndarray | None) -> None:
        j = k - self.first
        if 0 <= j < len(self.tissue) and share is not None:
            self.total += share[self.window] * self.tissue[j]

    def water(self, lung: np.ndarray, air: np.ndarray) -> np.ndarray:
        return self.length(lung) * (LUNG_TISSUE_HU / 1000 - air)

    def length(self, lung: np.ndarray) -> np.ndarray:
        total = np.zeros((self.rays.size, self.rays.size), np.float32)
        total[self.window] = np.maximum(self.total, 0) * np.float32(STEP)
        return self._wide(total[:, self.half])


class _Ball(Drawn):
    """Nodule: a ball with lobes, in closed form."""

    def water(self, lung: np.ndarray, air: np.ndarray) -> np.ndarray:
        return self.length(lung) * (LUNG_TISSUE_HU / 1000 - air)

    def length(self, lung: np.ndarray) -> np.ndarray:
        x, y, z = self.finding.shape[:3]
        s, reach = 1 / float(magnification(y)), 0.62 * self.finding.size
        total = np.zeros_like(lung)
        window = self.rays.window((x - reach, y, z - reach), (x + reach, y, z + reach))
        if window is None:
            return total
        u, v = self.rays.axis[None, window[1]] * np.float32(s), self.rays.axis[window[0], None] * np.float32(s)
        p = Points(u, np.full((1, 1), y, np.float32), np.float32(CENTRE) - v, self.rays.pixel)
        radius = self.finding.size / 2 + nodule_lobes(self.finding, self.case, p)
        away = (p.x - x) ** 2 + (p.z - z) ** 2
        total[window] = 2 * np.sqrt(np.maximum(radius * radius - away, 0))
        return np.minimum(total, np.maximum(lung, 0))


class _Holes(Drawn):
    """Emphysema: air in place of lung, as the mean over its holes."""

    def water(self, lung: np.ndarray, air: np.ndarray) -> np.ndarray:
        return self.length(lung) * (-0.985 - air)

    def length(self, lung: np.ndarray) -> np.ndarray:
        height = ramp(self.rays.z(0.0), -110, 40)
        return lung * np.clip(self.finding.size / 100 * (0.12 + 0.88 * height), 0.005, 0.95)


DRAWN = {"pleural effusion": _Fluid, "pneumothorax": _FreeAir, "consolidation": _Filling, "nodule": _Ball,
          "emphysema": _Holes}  # fmt: skip
