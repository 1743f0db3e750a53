"""Whether the two images of a pair lie on each other: sizes, and the shift that would bring them closer.

The shift is the one, within a few percent of the side, at which the normalised mutual information of both (Studholme,
Hill and Hawkes, Pattern Recognition 1999) is largest; it works across contrasts and stains. A pair that is turned or
warped is not told from a good one by this.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from unimedvl.data.error import DataError
from unimedvl.data.record import Decision

VERSION = "1"  # of the rule: another one where the same pair could be judged otherwise
BY = f"unimedvl.data.interleaved.registration {VERSION}"
RULE = "registered"
# Sides to which images are brought before they are compared, and how far they are shifted there.
_SIDE, _REACH = 64, 4
_BINS = 16
# How much better another place must be, in normalised mutual information, to be believed.
_BETTER = 0.005
# The largest shift that passes, as a part of the side.
MOST = 1 / _SIDE


def registered(before: np.ndarray, after: np.ndarray, aligned: bool = True) -> Decision:
    """The decision on a pair. The score is its shift as a part of the side; 0 where it is not measured.

    before, after: [H, W] or [H, W, 3] uint8. aligned: whether their contents can be compared, or only their sizes.

    Raises:
        DataError: their sizes differ, so that they are no pair.
    """
    if before.shape[:2] != after.shape[:2]:
        sizes = " and ".join(f"{i.shape[1]} x {i.shape[0]}" for i in (before, after))
        raise DataError(f"not registered: images of {sizes} pixels; expected two of one size")
    moved = shift(before, after) if aligned else 0.0
    kept = moved <= MOST
    reason = "" if kept else f"the images lie apart by {moved:.1%} of the side, over {MOST:.1%}"
    return Decision(rule=RULE, kept=kept, by=BY, score=moved, reason=reason)


def shift(before: np.ndarray, after: np.ndarray) -> float:
    """How far the second image lies from the first, as a part of its side; 0 where no other place is clearly better."""
    one, two = (_levels(image) for image in (before, after))
    inner = slice(_REACH, -_REACH)
    found = {
        (y, x): _information(one[inner, inner], np.roll(two, (y, x), (0, 1))[inner, inner])
        for y in range(-_REACH, _REACH + 1)
        for x in range(-_REACH, _REACH + 1)
    }
    best = max(found, key=lambda place: (found[place], -abs(place[0]) - abs(place[1])))
    if found[best] - found[0, 0] < _BETTER:
        return 0.0
    return max(abs(best[0]), abs(best[1])) / _SIDE


def _levels(image: np.ndarray) -> np.ndarray:
    """[64, 64] grey levels from 0 to 15, each as frequent as the image lets them be."""
    grey = image.mean(-1) if image.ndim == 3 else image
    small = Image.fromarray(grey.astype(np.float32)).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    values = np.asarray(small)
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right")


def _information(one: np.ndarray, two: np.ndarray) -> float:
    """(H(a) + H(b)) / H(a, b), 1 for images that say nothing of each other, 2 for equal ones."""
    joint = np.bincount((one * _BINS + two).ravel(), minlength=_BINS**2).reshape(_BINS, _BINS) / one.size
    both = _entropy(joint)
    return (_entropy(joint.sum(0)) + _entropy(joint.sum(1))) / both if both else 2.0


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())
