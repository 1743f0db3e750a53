"""An invisible mark in the pixels of made pictures that survives JPEG, resizing and grey conversion.

Method: quantisation index modulation with distortion compensation (Chen and Wornell, 2001) of low DCT coefficients of
the luminance of the whole picture. Each coefficient is moved towards the nearest of a grid of values, whose offset
the public key says; a coefficient that was never marked agrees with its grid only by chance. All frequencies share
one grid step,
which the marker chooses as small as will do, and the detector tries all of them: so contrast, which stretches the grid,
does not matter, and neither do mirrored, turned (by 90 degrees) and inverted pictures, which are tried too.

The score is the sum of agreements over the root of the sum of their squares. On a picture that is not marked the key's
signs are independent of it, so by Hoeffding's inequality a score passes z by chance with probability exp(-z^2 / 2) at
most. `THRESHOLD` makes that less than 1e-6 for everything that is tried together.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import product

import numpy as np
from PIL import Image

from unimedvl.provenance.pattern import Pattern, pattern
from unimedvl.provenance.spectrum import coefficients, luminance, picture

THRESHOLD = 7.0
# Pictures with a shorter side are not marked; those under the second length carry no payload.
SMALLEST = 48
SMALLEST_WITH_PAYLOAD = 96

# Grid steps that the marker tries, in grey levels of a coefficient, and those that the detector tries.
_STEPS = 0.05 * 2 ** (np.arange(13) / 3)
_TRIED_STEPS = np.exp(np.arange(np.log(0.033), np.log(1.35), 0.03))
# What contrast makes of a step on the way through JPEG and halving.
_NEAR = np.exp(np.arange(-4, 5) * 0.03)
# How much of the high frequencies a resampling filter took: they are multiplied by exp(-blur * frequency^2).
_BLURS = (0.0, 0.3, 0.6, 1.0, 1.5, 2.3, 3.5)
# Contrast is known this well between two steps; a coefficient of many steps then says nothing.
_STEP_ERROR = 0.012
# A picture turned or mirrored agrees with itself in part, so all turns are tried up to this score.
_SURE = 11.0
# How far a coefficient is moved towards its grid; the rest is left to the picture.
_COMPENSATION = 0.75
# The score that must be left after JPEG and halving, and the least PSNR in dB, of small and of other pictures.
_WANTED = 8.5
_FLOOR_SMALL, _FLOOR = 36.0, 38.0
_ROUNDS = 12
# Grey levels that a pixel may move by where there is most room.
_FARTHEST = 12.0


@dataclass(frozen=True)
class Detected:
    """What was found in a picture.

    found: whether `score` reaches `threshold`; by chance that happens less than once in a million pictures.
    payload: the 24 bits that it carries, None where they can't be read or there are none.
    changed: how the picture was turned since, such as "mirrored"; empty where it was not.
    """

    found: bool
    score: float
    payload: int | None = None
    changed: str = ""
    threshold: float = THRESHOLD


def embed(pixels: np.ndarray, payload: int | None = None) -> np.ndarray:
    """The picture with the watermark, as weak as survives JPEG at quality 75 and half the size, one after the other.

    Each pixel's three channels move together, so grey stays grey. Black stays black, and even areas change less than
    textured ones. What can't be marked is returned as it was: a picture with a side under 48 pixels, and one that is
    black almost everywhere. The same input gives the same output.

    Args:
        pixels: [H, W, 3] uint8 RGB.
        payload: 24 bits to carry along; left out where a side is under 96 pixels.

    Raises:
        ValueError: another shape or type, or a payload of more bits.
    """
    _check_pixels(pixels)
    if payload is not None and not 0 <= payload < 2**24:
        raise ValueError(f"a payload is 24 bits, not {payload}")
    shorter = min(pixels.shape[:2])
    if shorter < SMALLEST:
        return pixels
    marker = _Marker(pixels, payload if shorter >= SMALLEST_WITH_PAYLOAD else None)
    floor = _FLOOR if shorter >= SMALLEST_WITH_PAYLOAD else _FLOOR_SMALL
    best, best_score, best_step = pixels, 0.0, 0.0
    for step in _STEPS:
        marked = marker.marked(step)
        if best_score and _psnr(pixels, marked) < floor:
            break
        score, read = marker.left(marked, step)
        if score > best_score - 0.5:  # of scores that differ by chance alone, that of the larger step
            best, best_score, best_step = marked, score, step
        if score >= _WANTED and read:
            break
    found = best_score and _match(coefficients(luminance(best)), *best.shape[:2], best_step * _NEAR)[0] >= THRESHOLD
    return best if found else pixels


def detect(pixels: np.ndarray) -> Detected:
    """Look for the watermark. pixels: [H, W, 3] uint8 RGB of any size. Raises ValueError for other shapes and types."""
    _check_pixels(pixels)
    height, width = pixels.shape[:2]
    found = coefficients(luminance(pixels))
    best = Detected(False, 0.0)
    for name, turned, down, across in _turns(found, height, width):
        score, agreement = _match(turned, down, across, _TRIED_STEPS)
        if score > best.score:
            read = pattern().payload(agreement) if score >= THRESHOLD else None
            best = Detected(score >= THRESHOLD, score, read, name)
        if score >= _SURE:
            break
    return best


class _Marker:
    """One picture to be marked, and what of it is the same for all steps."""

    def __init__(self, pixels: np.ndarray, payload: int | None) -> None:
        self.pixels, self.payload = pixels, payload
        grey = luminance(pixels)
        self.size = grey.shape
        self.room = _room(grey)
        # What each pixel may move by without a channel leaving 0 to 255, and without being seen.
        self.least = np.maximum(-pixels.min(axis=2).astype(np.float64), -_FARTHEST * self.room)
        self.most = np.minimum(255.0 - pixels.max(axis=2), _FARTHEST * self.room)
        key = pattern()
        self.signs = key.signs(payload)
        # Frequencies that half the size still has, with something to spare.
        reach = np.hypot(key.down, key.across) < 0.36 * min(self.size)
        self.used = reach & (self.signs != 0)
        self.before = coefficients(grey)[key.down, key.across]

    def marked(self, step: float) -> np.ndarray:
        """The picture with coefficients moved to a grid of this step, as far as the pixels have room for it.

        The change is sought by accelerated projected gradients (Nesterov): of all changes that move the coefficients,
        one that is small where `room` is small.
        """
        key = pattern()
        place = self.before / step
        offset = key.dither + np.where(self.signs < 0, 0.5, 0.0)
        move = (np.rint(place - offset) + offset - place) * step * _COMPENSATION
        used = self.used & (_trust(place) > 0.3)
        weight = self.room**2
        change = last = np.zeros(self.size)
        left = np.zeros_like(coefficients(change))
        for number in range(_ROUNDS):
            ahead = change + number / (number + 3) * (change - last)
            missing = move - coefficients(ahead)[key.down, key.across]
            left[key.down, key.across] = np.where(used, missing, 0)
            last = change
            change = np.clip(ahead + weight * picture(left, *self.size), self.least, self.most)
        # The range that the channels leave ends at whole numbers, so rounding stays in it.
        return (self.pixels + np.rint(change)[..., None]).astype(np.uint8)

    def left(self, marked: np.ndarray, step: float) -> tuple[float, bool]:
        """The lower score after halving and JPEG in both orders, and whether the payload was read after both."""
        scores, read = [], True
        for worn in (_jpeg(_halved(marked)), _halved(_jpeg(marked))):
            score, agreement = _match(coefficients(luminance(worn)), *worn.shape[:2], step * _NEAR)
            scores.append(score)
            read &= self.payload is None or pattern().payload(agreement) == self.payload
        return min(scores), read


def _match(found: np.ndarray, height: int, width: int, steps: np.ndarray) -> tuple[float, np.ndarray]:
    """The best score over steps and blurs, and how much each of the pattern's coefficients then agrees, [N]."""
    key: Pattern = pattern()
    values = found[key.down, key.across]
    frequency = (key.down / height) ** 2 + (key.across / width) ** 2
    # What lies near the highest frequency of a picture was mixed with still higher ones when it was made smaller.
    weight = np.clip(1.15 - frequency, 0, 1) * (key.down < height) * (key.across < width)
    told = key.presence
    best, best_place = 0.0, (steps[0], 0.0)
    for blur in _BLURS:
        place = values[told] * np.exp(blur * frequency[told]) / steps[:, None]
        agreement = weight[told] * _agreement(place, key.dither[told])
        energy = np.sqrt((agreement**2).sum(axis=1))
        scores = agreement @ key.sign[told] / np.maximum(energy, 1e-9)
        if scores.max() > best:
            best, best_place = float(scores.max()), (steps[scores.argmax()], blur)
    step, blur = best_place
    place = values * np.exp(blur * frequency) / step
    return best, weight * _agreement(place, key.dither) * key.sign


def _agreement(place: np.ndarray, dither: np.ndarray) -> np.ndarray:
    """From 1, on the grid, to -1, halfway between; weighed by how well the step is known there."""
    return _trust(place) * np.cos(2 * np.pi * (place - dither))


def _trust(place: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * (2 * np.pi * _STEP_ERROR * place) ** 2)


def _turns(found: np.ndarray, height: int, width: int):
    """The coefficients of the picture as it is, mirrored, turned and inverted, with names and the sides to match."""
    number = np.arange(len(found))
    odd = np.where(number % 2, -1.0, 1.0)
    for inverted, turned, upside_down, mirrored in product((False, True), repeat=4):
        out = found * (odd[:, None] if upside_down else 1) * (odd if mirrored else 1) * (-1 if inverted else 1)
        name = _NAMES[turned, upside_down, mirrored] + (" and inverted" if inverted else "")
        sides = (width, height) if turned else (height, width)
        yield name.removeprefix(" and "), out.T if turned else out, *sides


_NAMES = {
    (False, False, False): "", (False, False, True): "mirrored", (False, True, False): "upside down",
    (False, True, True): "turned by 180 degrees", (True, False, False): "mirrored at the diagonal",
    (True, False, True): "turned by 90 degrees", (True, True, False): "turned by 90 degrees",
    (True, True, True): "mirrored at the diagonal",
}  # fmt: skip


def _room(grey: np.ndarray) -> np.ndarray:
    """[H, W] from 0 to 1: how much of a change nobody would see. Black has none, textures have most."""
    size = min(9, max(3, min(grey.shape) // 24 | 1))
    mean = _box(grey, size)
    deviation = np.sqrt(np.maximum(_box(grey**2, size) - mean**2, 0))
    lit = np.clip((grey - 2) / 14, 0, 1)
    return np.clip(0.4 + deviation / 12, 0, 1) * np.minimum(lit, _box(lit, 3))


def _box(values: np.ndarray, size: int) -> np.ndarray:
    """The mean over size x size pixels around each; size is odd."""
    sums = np.pad(np.pad(values, size // 2, mode="edge"), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    return (sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]) / size**2


def _halved(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    half = Image.fromarray(pixels).resize((width // 2, height // 2), Image.Resampling.BILINEAR)
    return np.asarray(half)


def _jpeg(pixels: np.ndarray) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=75, subsampling="4:2:0")
    return np.asarray(Image.open(stream))


def _psnr(one: np.ndarray, other: np.ndarray) -> float:
    error = np.mean((one.astype(np.float64) - other) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-12)))


def _check_pixels(pixels: np.ndarray) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"a picture is [H, W, 3] uint8, not {list(pixels.shape)} {pixels.dtype}")
