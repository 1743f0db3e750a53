"""Diverging rays of a frontal radiograph, and how far they run inside solids, level sets and vessels.

A ray leaves the focus behind the patient and ends at a point (u, v) of the detector: at depth y it is at
x = u s and z = CENTRE - v s with s = (SOURCE - y) / (SOURCE - DETECTOR). Lengths are measured along y; the obliquity,
at most 1%, is left out. Solids of second degree are met in closed form. Where a shape is known as a signed distance
at planes y1 < y2 < ..., it is taken as linear between them, so a border is met where the line crosses zero, as sharp
as the rays are fine, however far apart the planes are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_array

from unimedvl.phantoms.solids import Ellipsoid, Points, Solid, Tube

SOURCE, DETECTOR = 1670.0, -130.0  # mm along y: 1.8 m from focus to detector, chest against the detector
FIELD = 375.0  # mm, side of the detector's image
CENTRE = -30.0  # z [mm] that the central ray meets
MARGIN = 1.0  # mm about a solid's shadow

Window = tuple[slice, slice]


def magnification(y: np.ndarray | float) -> np.ndarray | float:
    """How much larger than life a plane at depth y [mm] is on the detector."""
    return (SOURCE - DETECTOR) / (SOURCE - y)


def detector(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where patient millimetres fall on the image: columns and rows in -1..1, the patient's left at the right."""
    m = magnification(y)
    return x * m / (FIELD / 2), -(z - CENTRE) * m / (FIELD / 2)


@dataclass(frozen=True)
class Rays:
    """size x size rays through the middles of the detector's pixels."""

    size: int

    @cached_property
    def axis(self) -> np.ndarray:
        """Detector millimetres of columns and of rows, [size] float32."""
        return ((np.arange(self.size, dtype=np.float32) + 0.5) * (2 / self.size) - 1) * np.float32(FIELD / 2)

    @property
    def pixel(self) -> float:
        """mm on the detector."""
        return FIELD / self.size

    def x(self, y: float) -> np.ndarray:
        """[1, W] mm at depth y."""
        return self.axis[None, :] * np.float32(1 / magnification(y))

    def z(self, y: float) -> np.ndarray:
        """[H, 1] mm at depth y."""
        return np.float32(CENTRE) - self.axis[:, None] * np.float32(1 / magnification(y))

    def window(self, low: tuple[float, float, float], high: tuple[float, float, float]) -> Window | None:
        """Rows and columns that a box [mm] may shade, None where it misses the image."""
        m = magnification(low[1]), magnification(high[1])
        left, right = min(low[0] * k for k in m) - MARGIN, max(high[0] * k for k in m) + MARGIN
        top, bottom = min((CENTRE - high[2]) * k for k in m) - MARGIN, max((CENTRE - low[2]) * k for k in m) + MARGIN
        rows, columns = (slice(*map(int, np.searchsorted(self.axis, ab))) for ab in ((top, bottom), (left, right)))
        return None if rows.stop <= rows.start or columns.stop <= columns.start else (rows, columns)

    # ------------------------------------------------------------------------------------------- solids

    def interval(self, solid: Solid) -> tuple[Window, np.ndarray, np.ndarray] | None:
        """Where the rays are inside a solid: a window, and in it the middle depth and half the chord, [h, w] mm.

        Half the chord is 0 on rays that miss. None where all of them do.
        """
        return self._ellipsoid(solid) if isinstance(solid, Ellipsoid) else self._tube(solid)

    def chord(self, solid: Solid) -> np.ndarray:
        """[H, W] mm of the rays inside a solid."""
        total = np.zeros((self.size, self.size), np.float32)
        met = self.interval(solid)
        if met is not None:
            total[met[0]] = 2 * met[2]
        return total

    def _ellipsoid(self, e: Ellipsoid) -> tuple[Window, np.ndarray, np.ndarray] | None:
        reach = (max(e.radii[:2]), max(e.radii[:2]), e.radii[2])
        window = self.window(*(tuple(c + k * r for c, r in zip(e.centre, reach, strict=True)) for k in (-1, 1)))
        if window is None:
            return None
        s = np.float32(1 / magnification(e.centre[1]))
        length = np.float32(SOURCE - DETECTOR)
        u, v = self.axis[None, window[1]], self.axis[window[0], None]
        # With d the depth from the centre, every semi-axis' coordinate is linear in d.
        c, n = np.float32(np.cos(e.turn)), np.float32(np.sin(e.turn))
        a, b, h = (np.float32(r) for r in e.radii)
        x0, x1 = u * s - np.float32(e.centre[0]), -u / length
        p0, p1 = c * x0 / a, (c * x1 - n) / a
        q0, q1 = n * x0 / b, (n * x1 + c) / b
        w0, w1 = (np.float32(CENTRE - e.centre[2]) - v * s) / h, v / (length * h)
        second = p1 * p1 + q1 * q1 + w1 * w1
        first = p0 * p1 + q0 * q1 + w0 * w1
        root = first * first - second * (p0 * p0 + q0 * q0 + (w0 * w0 - 1))
        half = np.sqrt(np.maximum(root, 0)) / second
        return window, np.float32(e.centre[1]) - first / second, half

    def _tube(self, t: Tube) -> tuple[Window, np.ndarray, np.ndarray] | None:
        r = max(t.r0, t.r1)
        ends = tuple(zip(t.start, t.end, strict=True))
        window = self.window(*(tuple(f(ab) + k * r for ab in ends) for f, k in ((min, -1), (max, 1))))
        if window is None:
            return None
        (ax, ay, az), (bx, by, bz) = t.start, t.end
        s = np.float32(1 / magnification((ay + by) / 2))
        x, z = self.axis[None, window[1]] * s, np.float32(CENTRE) - self.axis[window[0], None] * s
        ka, kb = float(magnification(ay)) * s, float(magnification(by)) * s  # both ends, seen from the middle depth
        ax, az, bx, bz = ax * ka, CENTRE + (az - CENTRE) * ka, bx * kb, CENTRE + (bz - CENTRE) * kb
        ux, uz = np.float32(bx - ax), np.float32(bz - az)
        flat = max(float(ux * ux + uz * uz), 1e-6)
        dx, dz = x - np.float32(ax), z - np.float32(az)
        along = np.clip((dx * (ux / flat) + dz * (uz / flat)), 0, 1)
        away = (dx - along * ux) ** 2 + (dz - along * uz) ** 2
        radius = np.float32(t.r0) + along * np.float32(t.r1 - t.r0)
        steep = max(np.sqrt(flat / (flat + (by - ay) ** 2)), 0.3)  # a tube along the ray isn't endless
        half = np.sqrt(np.maximum(radius * radius - away, 0)) / np.float32(steep)
        return window, np.float32(ay) + along * np.float32(by - ay), half

    def hull(self, solids: list[Solid]) -> tuple[np.ndarray, np.ndarray]:
        """First and last depth [H, W] of the rays inside any of the solids that hang together; equal where none."""
        first = np.full((self.size, self.size), np.inf, np.float32)
        last = np.full((self.size, self.size), -np.inf, np.float32)
        for solid in solids:
            met = self.interval(solid)
            if met is not None:
                window, middle, half = met
                hit = half > 0
                np.copyto(first[window], np.minimum(first[window], middle - half), where=hit)
                np.copyto(last[window], np.maximum(last[window], middle + half), where=hit)
        none = last < first
        first[none] = last[none] = 0
        return first, last

    # ------------------------------------------------------------------------------------------ vessels

    def deposited(self, starts: np.ndarray, ends: np.ndarray, radii: np.ndarray) -> np.ndarray:
        """[H, W] mm of the rays inside many thin tubes from starts to ends [N, 3] with radii [N, 2], mm.

        Each tube is a bundle of fibres whose volume is laid down on the pixels they pass, so a tube finer than a
        pixel loses nothing. Where tubes cross, their lengths add up.
        """
        k = self.size / 2
        m = np.concatenate([np.asarray(magnification(p[:, 1])) for p in (starts, ends)]).mean()
        a, b = ((np.stack(detector(*p.T), 1) + 1) * k - 0.5 for p in (starts, ends))
        way = b - a
        long = np.hypot(*way.T)
        mean = radii.mean(1)
        fibres = np.maximum(1, np.ceil(2.2 * mean * m / self.pixel)).astype(int)
        total = np.zeros((self.size, self.size), np.float32)
        steps = np.maximum(1, np.ceil(long)).astype(int)
        normal = np.stack([-way[:, 1], way[:, 0]], 1) / np.maximum(long, 1e-3)[:, None]
        real = np.linalg.norm(ends - starts, axis=1)
        places, weights = [], []
        for number in np.unique(fibres):
            of = np.flatnonzero(fibres == number)
            each = np.repeat(of, steps[of])
            t = (np.arange(len(each)) - np.repeat(np.cumsum(steps[of]) - steps[of], steps[of]) + 0.5) / steps[each]
            radius = radii[each, 0] + t * (radii[each, 1] - radii[each, 0])
            # Volume over the pixel's area in the patient, mm.
            depth = np.pi * radius**2 * real[each] / steps[each] * (m / self.pixel) ** 2
            across = (np.arange(number) + 0.5) * (2 / number) - 1
            share = np.sqrt(1 - across**2)
            share = share / share.sum()
            point = a[each] + t[:, None] * way[each]
            off = (radius * m / self.pixel)[:, None] * normal[each]
            places.append((point[:, None] + across[None, :, None] * off[:, None]).reshape(-1, 2))
            weights.append((depth[:, None] * share).ravel())
        _lay(total, np.concatenate(places), np.concatenate(weights))
        return total


def _lay(image: np.ndarray, places: np.ndarray, weights: np.ndarray) -> None:
    """Add weights at places [N, 2] (column, row in pixels), each shared by the four pixels about it."""
    size = image.shape[0]
    inside = ((places > 0) & (places < size - 1.001)).all(1)
    places, weights = places[inside].astype(np.float32), weights[inside].astype(np.float32)
    corner = places.astype(np.int32)
    fx, fy = (places - corner).T
    index = corner[:, 1] * size + corner[:, 0]
    shares = ((1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy)
    flat = np.concatenate([index, index + 1, index + size, index + size + 1])
    image += np.bincount(flat, np.concatenate([s * weights for s in shares]), size * size).reshape(size, size)


def halves(width: int) -> tuple[slice, slice]:
    """Columns of the right and of the left lung."""
    return slice(0, width // 2), slice(width // 2, width)


class Beam(Points):
    """Coarse rays at many planes: points [D, H, W] that the organs' formulas take as they take a slice's.

    Built by `beam`. x is [D, 1, W], y [D, 1, 1], z [D, H, 1]; a window has three slices.
    """

    @cached_property
    def shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(self.x.shape, self.y.shape, self.z.shape)

    def window(self, low: Sequence[float], high: Sequence[float]) -> tuple[slice, ...] | None:
        """Planes, rows and columns within a box [mm], or None where it misses the beam."""
        planes = slice(*np.searchsorted(self.y.ravel(), (low[1], high[1])).tolist())
        if planes.stop <= planes.start:
            return None
        first, last = planes.start, planes.stop - 1
        x, z = self.x[:, 0], -self.z[:, :, 0]
        columns, rows = (
            slice(min(int(np.searchsorted(c[k], a)) for k in (first, last)),
                  max(int(np.searchsorted(c[k], b)) for k in (first, last)))
            for c, a, b in ((x, low[0], high[0]), (z, -high[2], -low[2]))
        )  # fmt: skip
        return None if columns.stop <= columns.start or rows.stop <= rows.start else (planes, rows, columns)

    def part(self, window: tuple[slice, ...]) -> Beam:
        """The points of a window."""
        planes, rows, columns = window
        return Beam(self.x[planes, :, columns], self.y[planes], self.z[planes, rows], self.edge)


def beam(u: np.ndarray, v: np.ndarray, depths: np.ndarray, edge: float) -> Beam:
    """Points of the rays that end at detector millimetres u [W] and v [H], at the planes of the given depths [D]."""
    y = np.asarray(depths, np.float32).reshape(-1, 1, 1)
    s = (1 / magnification(y)).astype(np.float32)
    return Beam(u.astype(np.float32) * s, y, np.float32(CENTRE) - v.astype(np.float32)[:, None] * s, edge)


class Inside:
    """The length of each ray where a signed distance is positive, from its values plane by plane.

    Between two planes the distance is taken as linear. `step` gives what share of the way from the plane before
    lies inside, [H, W] in 0..1, None at the first plane.
    """

    def __init__(self, spacing: float) -> None:
        self.spacing = np.float32(spacing)
        self.total: np.ndarray | float = 0.0
        self._before: tuple[np.ndarray, np.ndarray] | None = None

    def step(self, distance: np.ndarray) -> np.ndarray | None:
        positive, size = np.maximum(distance, 0), np.abs(distance)
        before, self._before = self._before, (positive, size)
        if before is None:
            return None
        share = positive + before[0]
        size = size + before[1]
        size += np.float32(1e-6)
        share /= size
        if isinstance(self.total, float):
            self.total = share.copy()
        else:
            self.total += share
        return share

    @property
    def length(self) -> np.ndarray:
        """[H, W] mm."""
        return self.total * self.spacing


# Resampling by sparse matrices, which sum in one order with any number of threads; dense products don't.


@lru_cache(maxsize=128)
def _cubic(fine: int, coarse: int, first: int, last: int, start: int, stop: int) -> csr_array:
    """Weights [stop - start, last - first] that take samples first..last of a coarse axis to start..stop of a fine one.

    Both axes span the detector, with samples in the middle of equal cells. Catmull-Rom splines, the border repeated.
    """
    at = (np.arange(fine) + 0.5) * (coarse / fine) - 0.5 - first
    index = np.floor(at).astype(int)
    t = at - index
    weights = np.zeros((fine, last - first), np.float32)
    taps = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3)
    for k, w in enumerate(taps):
        np.add.at(weights, (np.arange(fine), np.clip(index + k - 1, 0, last - first - 1)), (w / 2).astype(np.float32))
    return csr_array(weights[start:stop])


@lru_cache(maxsize=16)
def _area(fine: int, coarse: int) -> csr_array:
    """Weights [coarse, fine] of the mean over each coarse cell."""
    k = fine / coarse
    edges = np.arange(coarse)[:, None] * k
    cells = np.arange(fine)[None, :]
    shared = np.clip(np.minimum(edges + k, cells + 1) - np.maximum(edges, cells), 0, None)
    return csr_array((shared / k).astype(np.float32))


@dataclass(frozen=True)
class Grid:
    """Which of `cells` x `cells` coarse rays are looked at: rows and columns from first to last."""

    cells: int
    rows: tuple[int, int]
    columns: tuple[int, int]

    def middles(self) -> tuple[np.ndarray, np.ndarray]:
        """Detector millimetres of columns and rows."""
        axis = Rays(self.cells).axis
        return axis[slice(*self.columns)], axis[slice(*self.rows)]

    def part_of(self, rays: Rays) -> Window:
        """The fine rays within the looked-at cells."""
        k = rays.size / self.cells
        return tuple(slice(int(np.ceil(a * k)), int(b * k)) for a, b in (self.rows, self.columns))

    def finer(self, field: np.ndarray, rays: Rays) -> list[np.ndarray]:
        """Values [D, h, w] of the coarse rays at the fine rays of `part_of`: D arrays [H, W] float32."""
        rows, columns = self.part_of(rays)
        up_rows = _cubic(rays.size, self.cells, *self.rows, rows.start, rows.stop)
        up_columns = _cubic(rays.size, self.cells, *self.columns, columns.start, columns.stop)
        depth, height, width = field.shape
        wide = up_columns @ np.ascontiguousarray(field.transpose(2, 0, 1), np.float32).reshape(width, depth * height)
        wide = np.ascontiguousarray(wide.reshape(-1, depth, height).transpose(1, 2, 0))
        return [up_rows @ plane for plane in wide]


def whole(cells: int) -> Grid:
    """All of cells x cells coarse rays."""
    return Grid(cells, (0, cells), (0, cells))


def broad(image: np.ndarray, millimetres: float, cells: int = 64) -> np.ndarray:
    """A square image [H, H] under a Gaussian of this sigma on the detector, worked out on cells x cells means."""
    size = image.shape[0]
    down = _area(size, cells)
    means = down @ np.ascontiguousarray((down @ image).T)
    soft = gaussian_filter(means.T, millimetres * cells / FIELD, mode="nearest")
    return whole(cells).finer(soft[None], Rays(size))[0]
