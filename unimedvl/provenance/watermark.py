"""An invisible mark in the pixels of made pictures that survives JPEG, resizing and grey conversion.

Method: quantisation index modulation with distortion compensation (Chen and Wornell, 2001) of low DCT coefficients of
the luminance of the whole picture. Each coefficient is moved towards the nearest of a grid of values, whose offset
the public key says; a coefficient that was never marked agrees with its grid only by chance. All frequencies share one
grid step, which the marker chooses as small as will do. The detector tries all steps, so contrast, which stretches the
grid, matters little; it tries mirrored, turned (by 90 degrees) and inverted pictures too.

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
_STEPS = 0.05 * 2 ** (np.arange(14) / 3)
_TRIED_STEPS = np.exp(np.arange(np.log(0.033), np.log(1.35), 0.03))
# What contrast makes of a step on the way through JPEG and halving.
_NEAR = np.exp(np.arange(-4, 5) * 0.03)
# How much of the high frequencies a resampling filter took: they are multiplied by exp(-blur * frequency^2).
_BLURS = (0.0, 0.3, 0.6, 1.0, 1.5, 2.3, 3.5)
# Contrast is known this well between two steps; a coefficient of many steps then says nothing.
_STEP_ERROR = 0.012
# How far a coefficient is moved towards its grid; the rest is left to the picture.
_COMPENSATION = 0.75
# The score that must be left after JPEG and halving, and after what wears less.
_WANTED, _WANTED_ELSE = 8.5, 7.5
# The least PSNR in dB of pictures whose shorter side is at least so long; what would need more is not marked more.
_FLOORS = {256: 40.0, SMALLEST_WITH_PAYLOAD: 38.0, SMALLEST: 36.0}
_ROUNDS = 12
# Grey levels that a pixel may move by where there is most room.
_FARTHEST = 10.0


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
    """The picture with the watermark, as weak as survives JPEG at quality 75 and half the size, in both
    orders, and a tenth more contrast.

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
    floor = next(least for side, least in _FLOORS.items() if shorter >= side)
    best, best_score, best_step = pixels, 0.0, 0.0
    for step in _STEPS:
        marked = marker.marked(step)
        if best_score and _psnr(pixels, marked) < floor:
            break
        score, read = marker.left(marked, step)
        if score > best_score - 0.02:  # of scores that differ by chance alone, that of the larger step
            best, best_score, best_step = marked, score, step
        if score >= 1 and read:
            break
    if not best_score:
        return pixels
    match = _match(coefficients(luminance(best)), *best.shape[:2], best_step * _NEAR)
    return best if match.score >= THRESHOLD else pixels


def detect(pixels: np.ndarray) -> Detected:
    """Look for the watermark. pixels: [H, W, 3] uint8 RGB of any size. Raises ValueError for other shapes and types."""
    _check_pixels(pixels)
    height, width = pixels.shape[:2]
    found = coefficients(luminance(pixels))
    best = max(
        (_match(found, height, width, _TRIED_STEPS, _flips()), False),
        (_match(found.T, width, height, _TRIED_STEPS, _flips()), True),
        key=lambda match: match[0].score,
    )
    match, turned = best
    if match.score < THRESHOLD:
        return Detected(False, match.score)
    inverted, upside_down, mirrored = _FLIPS[match.flip]
    name = _NAMES[turned, upside_down, mirrored] + (" and inverted" if inverted else "")
    return Detected(True, match.score, pattern().payload(match.agreement), name.removeprefix(" and "))


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
        """How much is left after what must be survived, 1 where all that is wanted; and whether the payload was read.

        It is the mean over what the picture goes through, so that one thing which it can't pass hides no other.
        """
        scores, read = [], True
        for worn, wanted in (
            (_jpeg(_halved(marked)), _WANTED), (_halved(_jpeg(marked)), _WANTED),
            (_halved(marked, Image.Resampling.BOX), _WANTED_ELSE), (_contrasted(marked), _WANTED_ELSE),
        ):  # fmt: skip
            match = _match(coefficients(luminance(worn)), *worn.shape[:2], step * _NEAR)
            scores.append(min(match.score / wanted, 1.0))
            read &= self.payload is None or pattern().payload(match.agreement) == self.payload
        return sum(scores) / len(scores), read


@dataclass(frozen=True)
class _Match:
    """The best score, how much each of the pattern's coefficients then agrees, [N], and which of the flips it was."""

    score: float
    agreement: np.ndarray
    flip: int


def _match(found: np.ndarray, height: int, width: int, steps: np.ndarray, flips: np.ndarray | None = None) -> _Match:
    """The best score over steps, blurs and flips.

    found: coefficients [SIDE, SIDE] of a picture of this size. flips: [F, N] of -1 and 1, what a flip makes of the
        coefficients' signs; the picture as it is where None.

    The agreement cos(p - d) of a coefficient's place p with its dither d is cos p cos d + sin p sin d, and a flip
    turns but
    the sign of sin p: so cosines and sines are worked out once for all flips.
    """
    key: Pattern = pattern()
    told = key.presence
    flips = np.ones((1, len(key.sign))) if flips is None else flips
    values = found[key.down, key.across]
    there = (key.down < height) & (key.across < width)
    frequency = np.where(there, (key.down / height) ** 2 + (key.across / width) ** 2, 0)
    # What lies near the highest frequency of a picture was mixed with still higher ones when it was made smaller.
    weight = np.clip(1.15 - frequency, 0, 1) * there
    cos, sin, sign, flipped = (x[..., told] for x in (*_dithers(), key.sign, flips))
    best, best_score = (steps[0], 0.0, 0), 0.0
    for blur in _BLURS:
        place = (values * np.exp(blur * frequency))[told] / steps[:, None]
        trusted = weight[told] * _trust(place)
        even, odd = trusted * np.cos(2 * np.pi * place), trusted * np.sin(2 * np.pi * place)
        sums = (even @ (sign * cos))[:, None] + odd @ (sign * sin * flipped).T
        energy = (even**2 @ cos**2 + odd**2 @ sin**2)[:, None] + 2 * (even * odd) @ (cos * sin * flipped).T
        scores = sums / np.sqrt(np.maximum(energy, 1e-18))
        if scores.max() > best_score:
            step, flip = np.unravel_index(scores.argmax(), scores.shape)
            best, best_score = (steps[step], blur, int(flip)), float(scores.max())
    step, blur, flip = best
    place = flips[flip] * values * np.exp(blur * frequency) / step
    agreement = weight * _trust(place) * np.cos(2 * np.pi * (place - key.dither))
    return _Match(best_score, agreement * key.sign, flip)


def _trust(place: np.ndarray) -> np.ndarray:
    """From 1 to 0: how well a coefficient's place between two points of the grid is known, so many steps from 0."""
    return np.exp(-0.5 * (2 * np.pi * _STEP_ERROR * place) ** 2)


def _dithers() -> tuple[np.ndarray, np.ndarray]:
    angle = 2 * np.pi * pattern().dither
    return np.cos(angle), np.sin(angle)


# Whether a picture is inverted, upside down, mirrored; and the names of these after turning it at its diagonal or not.
_FLIPS = tuple(product((False, True), repeat=3))
_NAMES = {
    (False, False, False): "", (False, False, True): "mirrored", (False, True, False): "upside down",
    (False, True, True): "turned by 180 degrees", (True, False, False): "mirrored at the diagonal",
    (True, False, True): "turned by 90 degrees", (True, True, False): "turned by 90 degrees",
    (True, True, True): "mirrored at the diagonal",
}  # fmt: skip


def _flips() -> np.ndarray:
    """[F, N]: what each of `_FLIPS` makes of the signs of the pattern's coefficients."""
    key = pattern()
    down, across = (np.where(number % 2, -1.0, 1.0) for number in (key.down, key.across))
    one = np.ones(len(down))
    return np.stack([
        (-one if inverted else one) * (down if upside_down else one) * (across if mirrored else one)
        for inverted, upside_down, mirrored in _FLIPS
    ])  # fmt: skip


def _room(grey: np.ndarray) -> np.ndarray:
    """[H, W] from 0 to 1: how much of a change nobody would see. Black has none, textures have most."""
    size = min(9, max(3, min(grey.shape) // 24 | 1))
    mean = _box(grey, size)
    deviation = np.sqrt(np.maximum(_box(grey**2, size) - mean**2, 0))
    lit = np.clip((grey - 2) / 14, 0, 1)
    return np.clip(0.3 + deviation / 12, 0, 1) * np.minimum(lit, _box(lit, 3))


def _box(values: np.ndarray, size: int) -> np.ndarray:
    """The mean over size x size pixels around each; size is odd."""
    sums = np.pad(np.pad(values, size // 2, mode="edge"), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    return (sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]) / size**2


def _halved(pixels: np.ndarray, filter: Image.Resampling = Image.Resampling.BILINEAR) -> np.ndarray:
    height, width = pixels.shape[:2]
    return np.asarray(Image.fromarray(pixels).resize((width // 2, height // 2), filter))


def _contrasted(pixels: np.ndarray) -> np.ndarray:
    """A tenth more contrast, which cuts off what is nearly black or white."""
    table = ((np.arange(256) - 127.5) * 1.1 + 127.5).round().clip(0, 255).astype(np.uint8)
    return table[pixels]


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
