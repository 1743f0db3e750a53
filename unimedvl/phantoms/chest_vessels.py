"""Blood vessels of the simulated lungs: a tree of short tapering pieces, drawn in slices."""

from __future__ import annotations

import numpy as np

from unimedvl.phantoms.shapes import strokes
from unimedvl.phantoms.solids import Points
from unimedvl.phantoms.study import Case

HILUM = (36.0, 10.0, -18.0)  # mm, of the left lung; mirrored for the right
TRUNKS, BRANCHES, PIECES = 10, 120, 8
VEILS = ("pleural effusion", "pneumothorax", "consolidation")  # where one is, vessels are not seen


def tree(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts and ends [N, 3] in patient mm and radii [N, 2] in mm, the right lung's (x < 0) first.

    A few trunks leave the hilum; branches leave them for points near the pleura, thinning from a few millimetres
    to half a millimetre, and all give off straight twigs.
    """
    rng = np.random.default_rng((2, case.noise_seed))
    a = case.anatomy
    pieces = [_of_side(rng, a, sign) for sign in (-1, 1)]
    starts, ends, radii = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    return starts, ends, radii


def _of_side(rng: np.random.Generator, a: dict[str, float], sign: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    hilum = np.array([sign * HILUM[0], HILUM[1], HILUM[2]])
    ends = _in_lung(rng, a, sign, TRUNKS, (0.35, 0.6))
    trunks = _curves(rng, np.broadcast_to(hilum, ends.shape), ends, 0.10)
    thick = np.linspace(1, 0, PIECES + 1)[None] * rng.uniform(2.0, 3.4, (TRUNKS, 1)) + 1.4
    targets = _in_lung(rng, a, sign, BRANCHES, (0.55, 0.97))
    nearest = np.argmin(np.linalg.norm(targets[:, None] - ends[None], axis=2), axis=1)
    leaves = rng.integers(2, PIECES + 1, BRANCHES)
    branches = _curves(rng, trunks[nearest, leaves], targets, 0.13)
    thin = np.linspace(1, 0, PIECES + 1)[None] * (0.62 * thick[nearest, leaves] - 0.4)[:, None] + 0.5
    lines, radii = np.concatenate([trunks, branches]), np.concatenate([thick, thin])
    starts, stops = lines[:, :-1].reshape(-1, 3), lines[:, 1:].reshape(-1, 3)
    radii = np.stack([radii[:, :-1], radii[:, 1:]], 2).reshape(-1, 2)
    way = stops - starts
    way = way / np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-3) + rng.normal(0, 0.75, way.shape)
    tips = stops + way * rng.uniform(6, 20, (len(stops), 1))
    twig = radii[:, 1] * rng.uniform(0.35, 0.6, len(stops))
    twigs = np.stack([twig, 0.5 * twig + 0.15], 1)
    return np.concatenate([starts, stops]), np.concatenate([stops, tips]), np.concatenate([radii, twigs])


def _in_lung(rng: np.random.Generator, a: dict[str, float], sign: int, count: int,
             reach: tuple[float, float]) -> np.ndarray:  # fmt: skip
    """Points [count, 3] of a lung, spread over its height, this far out of the way from the root to the wall."""
    z = a["dome"] - 45 + (rng.permutation(count) + rng.random(count)) / count * (a["apex"] - a["dome"] + 37)
    angle = rng.uniform(-1.35, 1.35, count)
    far = np.sqrt(rng.uniform(reach[0] ** 2, reach[1] ** 2, count))
    narrow = np.sqrt(np.clip((a["apex"] + 4 - z) / 150, 0.05, 1))
    return np.stack([sign * (22 + far * np.cos(angle) * (a["half_width"] - 24) * narrow),
                     far * np.sin(angle) * a["half_depth"] * narrow + 4, z], 1)  # fmt: skip


def _curves(rng: np.random.Generator, starts: np.ndarray, ends: np.ndarray, bend: float) -> np.ndarray:
    """Bent, slightly uneven lines [N, PIECES + 1, 3] between points [N, 3]."""
    way = ends - starts
    middle = starts + 0.5 * way + rng.normal(0, bend, way.shape) * np.linalg.norm(way, axis=1, keepdims=True)
    t = np.linspace(0, 1, PIECES + 1)[None, :, None]
    line = (1 - t) ** 2 * starts[:, None] + 2 * t * (1 - t) * middle[:, None] + t**2 * ends[:, None]
    uneven = np.cumsum(rng.normal(0, 0.6, line.shape), axis=1)
    return line + uneven - uneven[:, :1]


def in_slice(case: Case, p: Points, layer: float, least: float = 0.0,
             shift: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:  # fmt: skip
    """Share [H, W] of an axial slice this thick [mm] that vessels fill, 0 to 1.

    least: radius [mm] from which vessels are drawn; shift: moved by x, y [mm] (bronchi run beside arteries).
    """
    starts, ends, radii = tree(case)
    z, half = float(p.z.ravel()[0]), layer / 2
    low, high = np.minimum(starts[:, 2], ends[:, 2]), np.maximum(starts[:, 2], ends[:, 2])
    reach = radii.max(1) * 0.5 + half
    near = (low < z + reach) & (high > z - reach) & (radii.max(1) >= least)
    starts, ends, radii = starts[near], ends[near], radii[near]
    # Keep of each piece what lies within the slice.
    rise = ends[:, 2] - starts[:, 2]
    rise = np.where(np.abs(rise) < 1e-3, 1e-3, rise)
    cut = np.sort(np.stack([(z - half - starts[:, 2]) / rise, (z + half - starts[:, 2]) / rise], 1), 1).clip(0, 1)
    way = ends - starts
    a, b = starts + cut[:, :1] * way, starts + cut[:, 1:] * way
    size = p.shape[1]
    unit = float(p.x.ravel()[-1] - p.x.ravel()[0]) / (size - 1) * size / 2
    middle = float(p.y.mean())
    a = (a[:, :2] + shift - (0, middle)) / unit
    b = (b[:, :2] + shift - (0, middle)) / unit
    weights = np.minimum(1.0, 2 * radii.mean(1) / layer)
    return strokes(size, a, b, radii / unit, weights)
