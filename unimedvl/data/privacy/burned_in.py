"""Text burned into pixels: where clusters of glyphs stand.

Burned-in text differs from anatomy in that its strokes are thin, all of one brightness and sharply edged, and its
glyphs are of one height and stand in a row. Thin structures are found by top-hat transforms, which keep what an opening
removes (Serra, 1982); their connected parts are sorted by these properties and joined into lines. It is a detector of
printed text by geometry alone, and reads nothing. docs/privacy.md has its measured recall.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

# Heights of glyphs, in pixels.
_LOWEST, _HIGHEST = 4, 96
# Sides of the openings: strokes thinner than these stand out.
_STROKES = (4, 8, 16)
# Brightness of strokes over what is around, of 255.
_CONTRAST = 48.0
# Of what is as white as ink can be; less will do, as little else is.
_WHITE, _CONTRAST_OF_WHITE = 240.0, 16.0
# Glyphs of one line differ by less than this from their median, in grey levels of 255.
_SAME_GREY = 14.0
# A row needs as much width as this many glyphs of ordinary shape have.
_GLYPHS = 3
_MANY_LETTERS = 6
# Of their boxes, letters fill less than this, as a median; cell nuclei fill more.
_SOLID = 0.7
_BLURRED = 10
# Letters above this height seldom touch; what is as tall and branched is a vessel or colour Doppler.
_TOUCHING = 32
# The tallest parts that are looked at: where there are more, they are noise and tissue.
_MANY = 2500
# Of a letter's box, the share that its strokes fill at least; frames and lines fill less.
_LEAST_INK = 0.1


@dataclass(frozen=True)
class Box:
    """Rows `top` to `bottom` and columns `left` to `right`, the ends left out."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left


@dataclass(frozen=True)
class _Glyph:
    """A part of a line: its box, its brightness, the share of the box it fills, and how many letters it is.

    Letters that touch are one part.
    """

    box: Box
    grey: float
    ink: float
    letters: int


def text_boxes(image: np.ndarray) -> list[Box]:
    """Boxes around the lines of text in an image, with a margin; empty where there is none.

    Args:
        image: [H, W] or [H, W, 3] of any number type; dark or bright text is found alike.

    Returns:
        Boxes inside the image, from top to bottom. Text of 4 to 96 pixels' height that runs from left to right and has
        at least three glyphs is looked for.
    """
    boxes: set[Box] = set()
    for plane in _planes(np.asarray(image)):
        for bright in (plane, 255.0 - plane):
            found = list(_parted(bright))
            every = [g.box for glyphs in found for g in glyphs]
            for glyphs in found:
                boxes.update(_around(row, every, plane.shape) for row in _lines(glyphs))
    return sorted(boxes, key=lambda b: (b.top, b.left, b.bottom, b.right))


def text_mask(image: np.ndarray) -> np.ndarray:
    """bool [H, W]: what lies in `text_boxes(image)`."""
    mask = np.zeros(image.shape[:2], bool)
    for box in text_boxes(image):
        mask[box.top : box.bottom, box.left : box.right] = True
    return mask


def _planes(image: np.ndarray) -> list[np.ndarray]:
    """float32 [H, W] in 0 to 255: the image, and of a coloured one its brightest and its darkest channel."""
    values = image.astype(np.float32)
    low, high = (0.0, 255.0) if image.dtype == np.uint8 else np.percentile(values, (0.1, 100.0))
    values = np.clip((values - low) * (255.0 / max(high - low, 1e-6)), 0.0, 255.0)
    if values.ndim == 2:
        return [values]
    brightest, darkest = values.max(axis=2), values.min(axis=2)
    return [brightest] if np.array_equal(brightest, darkest) else [brightest, darkest]


def _parted(bright: np.ndarray) -> Iterator[list[_Glyph]]:
    """The glyphs of an image, parted from what is around in several ways."""
    for side in _STROKES:
        thin = bright - ndimage.grey_opening(bright, (side, side), mode="nearest")
        yield _glyphs(bright, thin, thin > _CONTRAST)
        yield _glyphs(bright, thin, (thin > _CONTRAST_OF_WHITE) & (bright > _WHITE))


def _glyphs(bright: np.ndarray, thin: np.ndarray, parts: np.ndarray) -> list[_Glyph]:
    """Connected bright parts that have the size and sharpness of glyphs; `thin` is their top-hat transform."""
    labels, _ = ndimage.label(parts, np.ones((3, 3), int))
    places = [(n, place) for n, place in enumerate(ndimage.find_objects(labels), 1) if _has_size_of_text(place)]
    places = sorted(places, key=lambda p: p[1][0].start - p[1][0].stop)[:_MANY]
    edge = ndimage.grey_dilation(bright, (3, 3)) - ndimage.grey_erosion(bright, (5, 5))
    found = []
    for number, place in places:
        box = Box(place[0].start, place[1].start, place[0].stop, place[1].stop)
        inside = labels[place] == number
        if inside.sum() < max(box.height, _LEAST_INK * inside.size):
            continue
        if _blunt(bright[place], edge[place], thin[place], inside):
            continue
        grey = float(np.percentile(bright[place][inside], 90))
        found.append(_Glyph(box, grey, float(inside.mean()), _letters(inside)))
    return found


def _has_size_of_text(place: tuple[slice, slice]) -> bool:
    height, width = (s.stop - s.start for s in place)
    return _LOWEST <= height <= _HIGHEST and width <= 14 * height


def _letters(inside: np.ndarray) -> int:
    """How many letters a connected part is: a row through a letter crosses about two strokes, through a line one."""
    height, width = inside.shape
    if width <= 1.2 * height or height > _TOUCHING:
        return 1
    starts = inside[:, 0].astype(int) + (inside[:, 1:] & ~inside[:, :-1]).sum(axis=1)
    return max(1, min(round(float(np.median(starts)) / 1.6), round(width / (0.5 * height))))


def _blunt(bright: np.ndarray, edge: np.ndarray, thin: np.ndarray, inside: np.ndarray) -> bool:
    """Whether a part's border is no sharp step: within three pixels text goes through nearly all of its contrast."""
    contrast = float(np.percentile(thin[inside], 90))
    border = inside & ~ndimage.binary_erosion(inside)
    return float(np.median(edge[border])) < 0.7 * contrast


def _lines(glyphs: list[_Glyph]) -> list[list[_Glyph]]:
    """Glyphs of one height and brightness that stand side by side in a line of text."""
    left = sorted(glyphs, key=lambda g: g.box.left)
    group = list(range(len(left)))
    for i, a in enumerate(left):
        for j in range(i + 1, len(left)):
            b = left[j]
            if b.box.left - a.box.right > 1.5 * max(a.box.height, b.box.height, 8) and b.box.left - a.box.left > 200:
                break
            if _neighbours(a, b):
                _join(group, i, j)
    rows: dict[int, list[_Glyph]] = {}
    for i, glyph in enumerate(left):
        rows.setdefault(_root(group, i), []).append(glyph)
    return [row for row in map(_alike, rows.values()) if _is_text(row)]


def _alike(row: list[_Glyph]) -> list[_Glyph]:
    """The row without what happens to lie beside it: far from its median in brightness or height."""
    grey, tall = np.median([g.grey for g in row]), np.median([g.box.height for g in row])
    return [g for g in row if abs(g.grey - grey) <= 1.5 * _SAME_GREY and 0.4 * tall <= g.box.height <= 1.7 * tall + 1]


def _neighbours(a: _Glyph, b: _Glyph) -> bool:
    high, low = max(a.box.height, b.box.height), min(a.box.height, b.box.height)
    gap = max(b.box.left - a.box.right, a.box.left - b.box.right)
    overlap = min(a.box.bottom, b.box.bottom) - max(a.box.top, b.box.top)
    return low >= 0.5 * high and gap <= 1.2 * high and overlap >= 0.6 * low and abs(a.grey - b.grey) <= 2 * _SAME_GREY


def _root(group: list[int], i: int) -> int:
    while group[i] != i:
        group[i] = group[group[i]]
        i = group[i]
    return i


def _join(group: list[int], i: int, j: int) -> None:
    group[_root(group, j)] = _root(group, i)


def _is_text(row: list[_Glyph]) -> bool:
    """Enough letters, of one brightness and about one height, that stand on one line and are no solid blobs."""
    letters = sum(g.letters for g in row)
    if letters < _GLYPHS:
        return False
    greys, feet = np.array([g.grey for g in row]), np.array([g.box.bottom for g in row], float)
    tall = float(np.median([g.box.height for g in row]))
    spread = max(g.box.bottom for g in row) - min(g.box.top for g in row)
    level = float(np.mean(np.abs(feet - np.median(feet)) <= max(1.0, 0.08 * tall)))
    same = float(np.percentile(np.abs(greys - np.median(greys)), 75)) <= _SAME_GREY
    # An I is a solid bar and the smallest letters are blurred to blobs: neither counts here.
    wide = [g.ink for g in row if g.box.height >= _BLURRED and g.box.width > 0.4 * g.box.height]
    solid = bool(wide) and float(np.median(wide)) > _SOLID
    # Of few letters, which may stand in a row by chance, nearly all must.
    return same and not solid and spread <= 2.2 * tall + 2 and level >= (0.6 if letters >= _MANY_LETTERS else 0.75)


def _around(row: list[_Glyph], every: list[Box], shape: tuple[int, int]) -> Box:
    """The box of a line with what goes on at its ends, however bright, and a margin."""
    top, bottom = min(g.box.top for g in row), max(g.box.bottom for g in row)
    left, right = min(g.box.left for g in row), max(g.box.right for g in row)
    tall = round(float(np.median([g.box.height for g in row])))
    near = [b for b in every if b.height <= 1.8 * tall and min(b.bottom, bottom) - max(b.top, top) >= 0.5 * b.height]
    for box in sorted(near, key=lambda b: b.left):
        if box.left - right <= 1.5 * tall:
            right = max(right, box.right)
    for box in sorted(near, key=lambda b: -b.right):
        if left - box.right <= 1.5 * tall:
            left = min(left, box.left)
    above, beside = max(2, round(0.35 * tall)), max(4, 2 * tall)
    return Box(max(top - above, 0), max(left - beside, 0), min(bottom + above, shape[0]), min(right + beside, shape[1]))
