"""Drawing primitives on a unit square: grids, soft edges, smooth noise, strokes and spots.

Coordinates are the same at every image size: x to the right, y down, both from -1 to 1 at the
image's edges. Whatever is drawn in them looks the same at 64 and at 512 pixels, and edges are
antialiased analytically, so that nothing needs supersampling.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter


@lru_cache(maxsize=8)
def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres (x, y) of a size x size image, two [H, W] float32 arrays in (-1, 1)."""
    axis = ((np.arange(size, dtype=np.float32) + 0.5) * (2.0 / size) - 1.0).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    x.flags.writeable = y.flags.writeable = False
    return x, y


def cover(signed_distance: np.ndarray, size: int, softness: float = 0.0) -> np.ndarray:
    """How much of each pixel lies inside, 0 to 1.

    signed_distance: positive inside, in image units.
    softness: extra width of the edge, in image units; 0 gives an edge of one pixel.
    """
    return np.clip(signed_distance / (2.0 / size + softness) + 0.5, 0.0, 1.0)


def ramp(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """Smoothstep (3t^2 - 2t^3) from 0 at low to 1 at high."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _spline_basis(cells: int, size: int) -> np.ndarray:
    """Weights [size, cells + 3] of uniform cubic B-splines at the pixel centres."""
    t = (np.arange(size) + 0.5) * (cells / size)
    index = np.minimum(t.astype(int), cells - 1)
    f = t - index
    weights = np.stack([(1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3], 1) / 6
    basis = np.zeros((size, cells + 3), np.float32)
    for k in range(4):
        basis[np.arange(size), index + k] = weights[:, k]
    return basis


def smooth_noise(rng: np.random.Generator, cells: int, size: int) -> np.ndarray:
    """Smooth random field [size, size], mean 0, deviation near 1, with features of 2 / cells units.

    The lattice of cubic B-spline coefficients is drawn first and does not depend on size.
    """
    lattice = rng.standard_normal((cells + 3, cells + 3)).astype(np.float32)
    basis = _spline_basis(cells, size)
    # A white lattice under a cubic B-spline has mean variance 0.479 per axis.
    return basis @ lattice @ basis.T / np.float32(0.479)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of [H, W], sigma in image units, kernel cut at 3 sigma so that changes stay local."""
    return gaussian_filter(image, sigma * image.shape[0] / 2.0, mode="nearest", truncate=3.0)


def block_mean(image: np.ndarray, block: int) -> np.ndarray:
    """Mean over block x block pixels of [H, W] or [H, W, C]."""
    if block == 1:
        return image
    n = image.shape[0] // block
    return image.reshape(n, block, n, block, *image.shape[2:]).mean((1, 3))


def strokes(size: int, starts: np.ndarray, ends: np.ndarray, radii: np.ndarray,
            weights: np.ndarray | None = None, softness: float = 0.0) -> np.ndarray:
    """Union of short tapered strokes, [size, size] float32: the largest weight x coverage at each pixel.

    starts, ends: [N, 2] points (x, y) in image units. Equal points draw round spots.
    radii: [N, 2] half widths at both ends, or [N] where they are equal.
    weights: [N] values drawn, 1 where None.
    Cost grows with the longest stroke's square, so long lines should come in short pieces.
    """
    canvas = np.zeros(size * size, np.float32)
    if len(starts) == 0:
        return canvas.reshape(size, size)
    pixel = 2.0 / size
    a = np.asarray(starts, np.float32).reshape(-1, 2)
    b = np.asarray(ends, np.float32).reshape(-1, 2)
    r = np.asarray(radii, np.float32).reshape(len(a), -1)
    reach = np.max(np.hypot(*(b - a).T) / 2 + r.max(1)) + pixel + softness
    k = int(np.ceil(reach / pixel))
    offsets = np.arange(-k, k + 1)
    corner = np.floor(((a + b) / 2 + 1) / pixel).astype(int)
    columns = corner[:, 0, None] + offsets
    rows = corner[:, 1, None] + offsets
    dx = ((columns + 0.5) * pixel - 1 - a[:, :1])[:, None, :].astype(np.float32)
    dy = ((rows + 0.5) * pixel - 1 - a[:, 1:])[:, :, None].astype(np.float32)
    ux, uy = (b - a)[:, 0, None, None], (b - a)[:, 1, None, None]
    t = np.clip((dx * ux + dy * uy) / np.maximum(ux * ux + uy * uy, 1e-9), 0, 1)
    radius = r[:, :1, None] + (r[:, -1:, None] - r[:, :1, None]) * t
    distance = np.hypot(dx - t * ux, dy - t * uy)
    # A stroke thinner than a pixel never covers it whole.
    value = np.minimum(cover(radius - distance, size, softness), 2 * radius / pixel)
    if weights is not None:
        value = value * np.asarray(weights, np.float32)[:, None, None]
    inside = ((columns >= 0) & (columns < size))[:, None, :] & ((rows >= 0) & (rows < size))[:, :, None] & (value > 0)
    index = rows[:, :, None] * size + columns[:, None, :]
    np.maximum.at(canvas, index[inside], value[inside].astype(np.float32))
    return canvas.reshape(size, size)


def spots(size: int, xyr: np.ndarray, softness: float = 0.0) -> np.ndarray:
    """Union of round spots given as [N, 3] rows of x, y, radius; coverage 0 to 1, [size, size]."""
    xyr = np.asarray(xyr, np.float32).reshape(-1, 3)
    return strokes(size, xyr[:, :2], xyr[:, :2], xyr[:, 2], softness=softness)
