"""Solids of a body in millimetres: signed distances and smooth fields at the points of a slice or a plane.

Patient axes: x to the patient's left, y to the back, z to the head. Signed distances are positive inside. A point
set is three arrays that broadcast; where each axis of a slice has its own coordinate, a small solid is evaluated
only within its own box.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

FAR = -60.0  # mm, the signed distance outside a solid's box
MARGIN = 14.0  # mm that a box reaches beyond its solid, for what is laid around it

Window = tuple[slice, slice]


@dataclass(frozen=True)
class Points:
    """The points of one plane, [H, W].

    x, y, z: mm, float32 arrays that broadcast to [H, W]: rows are [H, 1], columns [1, W], the third a scalar array.
    edge: mm over which a border is softened, usually the distance between points.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    edge: float

    @cached_property
    def shape(self) -> tuple[int, int]:
        return np.broadcast_shapes(self.x.shape, self.y.shape, self.z.shape, (1, 1))

    @cached_property
    def _axes(self) -> list[tuple[int | None, int, np.ndarray]]:
        """Of x, y and z: the axis it runs along, whether up (1) or down (-1), and its values times that."""
        found: list[tuple[int | None, int, np.ndarray]] = []
        for c in (self.x, self.y, self.z):
            values = c.ravel()
            sign = 1 if values[-1] >= values[0] else -1
            found.append((None if c.size == 1 else 0 if c.shape[1] == 1 else 1, sign, sign * values))
        return found

    def window(self, low: Sequence[float], high: Sequence[float]) -> Window | None:
        """The rows and columns within a box [mm], or None where it misses the plane."""
        cut = [slice(0, self.shape[0]), slice(0, self.shape[1])]
        for (axis, sign, values), a, b in zip(self._axes, low, high, strict=True):
            if axis is None:
                if not a <= float(values[0]) <= b:
                    return None
                continue
            first, last = np.searchsorted(values, (a, b) if sign > 0 else (-b, -a))
            if last <= first:
                return None
            cut[axis] = slice(int(first), int(last))
        return cut[0], cut[1]

    def part(self, window: Window) -> Points:
        """The points of a window."""

        def cut(c: np.ndarray) -> np.ndarray:
            if c.size == 1:
                return c
            return c[window[0]] if c.shape[1] == 1 else c[:, window[1]]

        return Points(cut(self.x), cut(self.y), cut(self.z), self.edge)

    def cover(self, distance: np.ndarray, softness: float = 0.0) -> np.ndarray:
        """How much of each point's surroundings lies inside, 0 to 1, from signed distances [mm]."""
        return np.clip(distance / (self.edge + softness) + 0.5, 0.0, 1.0)


@dataclass(frozen=True)
class Ellipsoid:
    """centre and radii [mm], turned by ``turn`` radians from x towards the front (-y)."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    turn: float = 0.0

    def box(self) -> tuple[list[float], list[float]]:
        reach = [max(self.radii[:2]), max(self.radii[:2]), self.radii[2]]
        return ([c - r - MARGIN for c, r in zip(self.centre, reach, strict=True)],
                [c + r + MARGIN for c, r in zip(self.centre, reach, strict=True)])  # fmt: skip

    def distance(self, p: Points) -> np.ndarray:
        """Signed distance measured along the ray from the centre."""
        dx, dy, dz = (c - m for c, m in zip((p.x, p.y, p.z), self.centre, strict=True))
        c, s = np.float32(np.cos(self.turn)), np.float32(np.sin(self.turn))
        u, v = c * dx - s * dy, s * dx + c * dy
        q = np.sqrt((u / self.radii[0]) ** 2 + (v / self.radii[1]) ** 2 + (dz / self.radii[2]) ** 2)
        r = np.sqrt(dx**2 + dy**2 + dz**2)
        return r * (1 / np.maximum(q, 1e-3) - 1) + np.where(q < 1e-3, min(self.radii), 0)

    def scaled(self, factor: float) -> Ellipsoid:
        """The same with every radius times a factor."""
        return Ellipsoid(self.centre, tuple(factor * r for r in self.radii), self.turn)


@dataclass(frozen=True)
class Tube:
    """A piece of a round tube from ``start`` to ``end`` whose radius goes from ``r0`` to ``r1`` [mm]."""

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    r0: float
    r1: float

    def box(self) -> tuple[list[float], list[float]]:
        reach = max(self.r0, self.r1) + MARGIN
        return ([min(a, b) - reach for a, b in zip(self.start, self.end, strict=True)],
                [max(a, b) + reach for a, b in zip(self.start, self.end, strict=True)])  # fmt: skip

    def distance(self, p: Points) -> np.ndarray:
        u = [b - a for a, b in zip(self.start, self.end, strict=True)]
        length2 = max(sum(v * v for v in u), 1e-6)
        d = [c - a for c, a in zip((p.x, p.y, p.z), self.start, strict=True)]
        t = np.clip(sum(a * (v / length2) for a, v in zip(d, u, strict=True)), 0, 1)
        away = sum((a - t * v) ** 2 for a, v in zip(d, u, strict=True))
        return self.r0 + (self.r1 - self.r0) * t - np.sqrt(away)


Solid = Ellipsoid | Tube


def path(points: Sequence[tuple[float, float, float]], radii: Sequence[float]) -> list[Tube]:
    """A tube through points, with a radius at each."""
    return [Tube(a, b, r, s) for a, b, r, s in zip(points, points[1:], radii, radii[1:], strict=False)]


def union(p: Points, solids: Iterable[Solid]) -> np.ndarray:
    """Signed distance [H, W] to the union of solids, FAR where none is near."""
    total = np.full(p.shape, FAR, np.float32)
    for solid in solids:
        window = p.window(*solid.box())
        if window is not None:
            np.maximum(total[window], solid.distance(p.part(window)), out=total[window])
    return total


def blended(fields: Iterable[np.ndarray], reach: float) -> np.ndarray:
    """Union of signed distances whose concave corners are filled over about ``reach`` mm."""
    total = sum(np.exp(np.clip(f, FAR, 30) / np.float32(reach)) for f in fields)
    return reach * np.log(total)


def waves(rng: np.random.Generator, p: Points, shortest: float, longest: float, count: int = 8) -> np.ndarray:
    """Smooth random field [H, W] of unit variance: plane waves in space with wavelengths in mm."""
    total = np.zeros(p.shape, np.float32)
    for _ in range(count):
        direction = rng.standard_normal(3)
        k = direction / np.linalg.norm(direction) * (2 * np.pi / rng.uniform(shortest, longest))
        kx, ky, kz = (np.float32(v) for v in k)
        total += np.sin(kx * p.x + ky * p.y + kz * p.z + np.float32(rng.uniform(0, 2 * np.pi)))
    return total * np.float32(np.sqrt(2 / count))
