"""A quick look at many pairs of images at once, which tells apart most of those that `likeness.compare` would.

It does what `compare` does, many pairs in one product and coarser: one image is laid over the other at 16 x 16, and
middle bands are compared at 32 x 32, then of what is left at 64 x 64. The bounds are wider than those of `compare`, so
that what passes is still to be confirmed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from unimedvl.data.duplicates.likeness import COARSE, FINE, SIDE, LikenessSettings

_ALIGNED, _COMPARED = 16, 32  # sides at which images are laid over each other, and first compared
_STEPS = 2
# By how much less correlation than `compare` asks for is let through, and how many times its difference, at either
# side. Of 5,216 pairs of simulated images and their copies, re-encoded, resized and cropped by up to 6 % of a side,
# which `compare` takes for one picture, none had 0.025 less or 1.7 times as much at 32 x 32, nor 0.01 less or 1.9
# times as much at 64 x 64. Of 586 pairs of simulated patients with near hashes, under 1 % pass.
_BOUNDS = {_COMPARED: (0.04, 2.0), SIDE: (0.02, 2.2)}
_FLAT = 0.25  # grey levels: half of what `compare` asks of the part that two images share
_TOGETHER = {_COMPARED: 64, SIDE: 16}  # pairs whose arrays fit into a core's cache


@dataclass(frozen=True)
class Looks:
    """What is looked at of N images: [N, 64, 64] uint8, [N, 16, 16] float32, and their middle bands [N, 32, 32]."""

    thumbnails: np.ndarray
    small: np.ndarray
    band: np.ndarray


def looks_of(thumbnails: np.ndarray) -> Looks:
    """thumbnails: [N, 64, 64] uint8, as `likeness.thumbnail` gives them."""
    images, small = thumbnails.astype(np.float32), _small()
    return Looks(thumbnails, small @ images @ small.T, _band(images, _COMPARED))


def may_be_same(
    looks: Looks, ones: Sequence[int], others: Sequence[int], settings: LikenessSettings
) -> np.ndarray:
    """[pairs] bool: which pairs are to be compared; the rest show two pictures each.

    ones, others: [pairs], the numbers of both images of each pair.
    """
    one, other = np.array(ones, dtype=np.int64), np.array(others, dtype=np.int64)
    flat = looks.band.std(axis=(1, 2)) < _FLAT
    found, place = ~(flat[one] | flat[other]), np.zeros((len(one), 4), dtype=np.float32)
    for now in _parts(found, _COMPARED):
        place[now] = _aligned(looks.small[one[now]], looks.small[other[now]], settings.crop)
        found[now] = _alike(looks.band[one[now]], looks.band[other[now]], place[now], settings)
    for now in _parts(found, SIDE):
        bands = (_band(looks.thumbnails[numbers[now]].astype(np.float32), SIDE) for numbers in (one, other))
        found[now] = _alike(*bands, place[now], settings)
    return found


def _parts(found: np.ndarray, side: int) -> list[np.ndarray]:
    chosen, size = np.flatnonzero(found), _TOGETHER[side]
    return [chosen[start : start + size] for start in range(0, len(chosen), size)]


def _alike(one: np.ndarray, other: np.ndarray, place: np.ndarray, settings: LikenessSettings) -> np.ndarray:
    slack, times = _BOUNDS[one.shape[1]]
    correlation, difference = _likeness(one, other, place)
    return (correlation >= settings.correlation - slack) & (difference <= settings.difference * times)


def _band(images: np.ndarray, side: int) -> np.ndarray:
    """The middle band of [N, 64, 64] images as [N, side, side]."""
    fine, coarse = _ends(side)
    return fine @ images @ fine.T - coarse @ images @ coarse.T


@cache
def _small() -> np.ndarray:
    """[16, 64]: thins out the columns of a thumbnail."""
    return (_gaussian(_ALIGNED, 0.7) @ _thinned(_ALIGNED)).astype(np.float32)


@cache
def _ends(side: int) -> tuple[np.ndarray, np.ndarray]:
    """[side, 64] each: filter the columns of a thumbnail to the two ends of the middle band, with a pixel's width more
    where they are thinned out too.
    """
    every = np.eye(SIDE) if side == SIDE else _thinned(side) @ _gaussian(SIDE, 1)
    return tuple((every @ _gaussian(SIDE, deviation)).astype(np.float32) for deviation in (FINE, COARSE))


def _gaussian(side: int, deviation: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(np.eye(side), (deviation, 0))


def _thinned(side: int) -> np.ndarray:
    return np.repeat(np.eye(side), SIDE // side, axis=1) * (side / SIDE)


def _aligned(one: np.ndarray, other: np.ndarray, crop: float) -> np.ndarray:
    """[N, 4]: scale and shift by axis (y, then x), the shift as a part of the side; as in `likeness`, of many pairs.

    one, other: [N, 16, 16].
    """
    place = np.tile(np.array([1, 0, 1, 0], dtype=np.float32), (len(one), 1))
    least, most = np.array([1 - crop, -crop] * 2, np.float32), np.array([1 + crop, crop] * 2, np.float32)
    target = one[:, 1:-1, 1:-1].reshape(len(one), -1, 1)
    for _ in range(_STEPS):
        columns = _columns(_warped(other, place, _linear), place)
        step = _solved(columns, target)
        gain = np.where(np.abs(step[:, 4:5]) < 0.1, 1.0, step[:, 4:5])
        place = np.clip(place + np.clip(step[:, :4] / gain, -0.05, 0.05), least, most)
    return place


def _likeness(one: np.ndarray, other: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlation and largest difference, [N] each, of bands [N, S, S] where both images have pixels. What is left of
    shift and scale is taken out to the first order.
    """
    columns = _columns(_warped(other, place, _cubic), place)
    side = one.shape[1]
    rows, across = (_shared(side, place[:, at], place[:, at + 1])[:, 1:-1] for at in (0, 2))
    shared = (rows[:, :, None] * across[:, None, :]).reshape(len(one), 1, -1)
    count = shared.sum(axis=2)[:, 0]
    columns *= shared
    target = one[:, 1:-1, 1:-1].reshape(len(one), -1, 1) * shared.transpose(0, 2, 1)
    left = (target - columns.transpose(0, 2, 1) @ _solved(columns, target)[..., None])[..., 0]
    power = np.maximum(np.einsum("nij,nij->n", target, target) / count, 1e-12)
    correlation = np.sqrt(np.maximum(1 - np.einsum("ni,ni->n", left, left) / count / power, 0))
    return correlation, np.abs(left).max(axis=1) / np.sqrt(power)


def _columns(warped: np.ndarray, place: np.ndarray) -> np.ndarray:
    """[N, 6, pixels]: by what each pixel but the border's changes with `place`, with gain and with offset."""
    side, axis = warped.shape[1], _axis(warped.shape[1])[1:-1]
    columns = np.ones((len(warped), 6, side - 2, side - 2), dtype=np.float32)
    by_y = (warped[:, 2:, 1:-1] - warped[:, :-2, 1:-1]) / (2 * place[:, 0, None, None])
    by_x = (warped[:, 1:-1, 2:] - warped[:, 1:-1, :-2]) / (2 * place[:, 2, None, None])
    columns[:, 0], columns[:, 1] = by_y * axis[:, None], by_y * side
    columns[:, 2], columns[:, 3] = by_x * axis, by_x * side
    columns[:, 4] = warped[:, 1:-1, 1:-1]
    return columns.reshape(len(warped), 6, -1)


def _solved(columns: np.ndarray, target: np.ndarray) -> np.ndarray:
    """[N, 6] float32: the least squares. columns: [N, 6, pixels]; target: [N, pixels, 1]."""
    normal = (columns @ columns.transpose(0, 2, 1)).astype(np.float64) + 1e-3 * np.eye(6)
    return np.linalg.solve(normal, (columns @ target).astype(np.float64))[..., 0].astype(np.float32)


def _shared(side: int, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """[N, side] float32: 1 where the other image has pixels, but for a sixteenth of the side along all borders."""
    half, margin = (side - 1) / 2, side // 16
    at = np.abs(_axis(side) * scale[:, None] + shift[:, None] * side) <= half - margin
    at[:, :margin] = at[:, -margin:] = False
    return at.astype(np.float32)


def _warped(images: np.ndarray, place: np.ndarray, kernel) -> np.ndarray:
    """The images as they lie over others. images: [N, S, S]; place as `_aligned` gives it. Axes are apart."""
    rows, columns = (_taken(images.shape[1], place[:, at], place[:, at + 1], kernel) for at in (0, 2))
    return rows @ images @ columns.transpose(0, 2, 1)


def _taken(side: int, scale: np.ndarray, shift: np.ndarray, kernel) -> np.ndarray:
    """[N, side, side] float32: what each pixel takes of the old ones."""
    half = np.float32((side - 1) / 2)
    at = np.clip(_axis(side) * scale[:, None] + shift[:, None] * np.float32(side) + half, 0, side - 1)
    return kernel(np.abs(at[:, :, None] - np.arange(side, dtype=np.float32)))


def _linear(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - x, 0)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic (IEEE TASSP 1981), of distances of 0 or more."""
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


@cache
def _axis(side: int) -> np.ndarray:
    return np.arange(side, dtype=np.float32) - (side - 1) / 2
