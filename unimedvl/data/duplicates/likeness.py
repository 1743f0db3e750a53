"""Whether two images show the same picture, pixel by pixel, after re-encoding, resizing, a slight crop or brightening.

One image is laid over the other (shift, and scale by axis; Lucas and Kanade, IJCAI 1981), and what is compared is
their middle band of frequencies: coarser, X-rays of any two patients are much alike; finer is what encoding changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from unimedvl.data.duplicates.hashes import reduced

SIDE = 64
_AXIS = np.arange(SIDE, dtype=np.float64) - (SIDE - 1) / 2
_Y, _X = np.meshgrid(_AXIS, _AXIS, indexing="ij")
FINE, COARSE = 0.7, 3.0  # standard deviations in pixels of the Gaussians between which the middle band lies
_STEPS = 10
_LEAST = 0.5  # grey levels of 255: an image whose middle band has less shows nothing to compare
_SETTLED = 0.01  # pixels: a smaller step ends the alignment


class LikenessSettings(BaseModel):
    """correlation: least one of the middle bands, over all. difference: largest one of the middle bands anywhere, in
    standard deviations, so that two images which differ by one finding are not taken for one. crop: largest
    change of scale, and of place as a part of the side.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    correlation: float = Field(default=0.99, gt=0, le=1)
    difference: float = Field(default=0.8, gt=0)
    crop: float = Field(default=0.08, ge=0, le=0.2)


@dataclass(frozen=True)
class Likeness:
    """correlation, difference: as in the settings. same: whether it is one picture."""

    correlation: float
    difference: float
    same: bool


_UNLIKE = Likeness(0.0, np.inf, False)


def thumbnail(image: Image.Image) -> np.ndarray:
    """[64, 64] uint8 grey, of an image in the form of `hashes.decode`, or `reduced` already."""
    return np.asarray(reduced(image).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def compare(one: np.ndarray, other: np.ndarray, settings: LikenessSettings) -> Likeness:
    """How alike two thumbnails are. Flat images are never the same: there is nothing to tell them by."""
    from scipy.ndimage import binary_erosion, gaussian_filter

    one, other = one.astype(np.float64), other.astype(np.float64)
    place = _aligned(gaussian_filter(one, 1), gaussian_filter(other, 1), settings.crop)
    if place is None:
        return _UNLIKE
    shared = binary_erosion(_inside(place), iterations=3, border_value=0)
    first, second = _middle(one), _middle(_warped(other, place, order=3))
    a, b = first[shared], second[shared]
    a, b = a - a.mean(), b - b.mean()
    if min(a.std(), b.std()) < _LEAST:
        return _UNLIKE
    correlation = float((a * b).mean() / (a.std() * b.std()))
    apart = np.zeros((SIDE, SIDE))
    apart[shared] = a / a.std() - b / b.std()
    difference = float(np.abs(gaussian_filter(apart, 1)).max())
    same = correlation >= settings.correlation and difference <= settings.difference
    return Likeness(correlation, difference, same)


def _middle(image: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(image, FINE) - gaussian_filter(image, COARSE)


def _aligned(one: np.ndarray, other: np.ndarray, crop: float) -> np.ndarray | None:
    """Scale and shift by axis (y, then x) that lay `other` over `one`, by least squares, with gain and offset.

    None where it leaves the range that `crop` allows.
    """
    slope_y, slope_x = np.gradient(other)
    place = np.array([1.0, 0.0, 1.0, 0.0])
    for _ in range(_STEPS):
        inside = _inside(place)
        warped, by_y, by_x = (_warped(image, place) for image in (other, slope_y, slope_x))
        columns = (by_y * _Y, by_y, by_x * _X, by_x, warped, np.ones_like(warped))
        moves = np.stack([column[inside] for column in columns], axis=-1)
        normal = moves.T @ moves + 1e-6 * np.eye(6)
        *step, gain, _ = np.linalg.solve(normal, moves.T @ one[inside])
        if abs(gain) < 0.1:
            return None
        step = np.array(step) / gain
        place = place + step
        if np.abs(place[[0, 2]] - 1).max() > crop or np.abs(place[[1, 3]]).max() > crop * SIDE:
            return None
        if np.abs(step * [SIDE / 2, 1, SIDE / 2, 1]).max() < _SETTLED:
            break
    return place


def _inside(place: np.ndarray) -> np.ndarray:
    """[64, 64]: where the other image has pixels."""
    half = (SIDE - 1) / 2
    y, x = np.abs(_AXIS * place[0] + place[1]) <= half, np.abs(_AXIS * place[2] + place[3]) <= half
    return y[:, None] & x[None, :]


def _warped(image: np.ndarray, place: np.ndarray, order: int = 1) -> np.ndarray:
    """The image as it lies over the other. order: of the splines; cubic ones keep what is compared sharp."""
    from scipy.ndimage import affine_transform

    scale, shift = place[[0, 2]], place[[1, 3]]
    half = (SIDE - 1) / 2
    return affine_transform(image, scale, shift + half * (1 - scale), order=order, mode="nearest")
