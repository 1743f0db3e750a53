"""How near a drawn mask is to the one that is right: Dice overlap and Hausdorff distance, both through SciPy.

Masks are [H, W] bool. What empty masks are worth is declared here, as libraries differ: two empty ones agree (Dice 1,
distance 0); where only one is empty, Dice is 0 and the distance infinite, which in a mean counts as the image's
diagonal, the farthest that two pixels can be apart. Definitions, sources and pitfalls: docs/metrics.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.metrics.packages import package
from unimedvl.evaluation.score import Score, mean

HAUSDORFF, HAUSDORFF_95 = "Hausdorff distance", "Hausdorff distance (95th percentile)"


def mask_of(image: np.ndarray) -> np.ndarray:
    """A mask that was drawn as an image: [H, W, 3] or [H, W] uint8 to [H, W] bool, true from mid-grey (128) on."""
    return (image.mean(axis=2) if image.ndim == 3 else image) >= 128


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """Twice what both cover over the sum of what each does, 0 to 1 (Dice 1945); 1 where both are empty.

    Raises:
        EvaluationError: they are no [H, W] bool of one shape.
    """
    _check(mask, truth)
    if not mask.any() and not truth.any():
        return 1.0
    spatial = package("scipy.spatial.distance", "Dice")
    return 1.0 - float(spatial.dice(mask.ravel(), truth.ravel()))


def hausdorff(
    mask: np.ndarray, truth: np.ndarray, percentile: float | None = None, spacing: tuple[float, float] = (1.0, 1.0)
) -> float:
    """How far the outlines of two masks are apart at most (Huttenlocher et al. 1993), 0 for equal ones.

    Infinite where only one of them is empty, 0 where both are.

    The larger of both directions, between the centres of outline pixels: those of a mask that have a neighbour above,
    below, left or right outside it, or the image's edge there. percentile: 95 leaves out the farthest 5 % of each
    direction. spacing: of rows and of columns; the result is in its unit, in pixels where it is left out. MONAI's
    `compute_hausdorff_distance` gives the same numbers.

    Raises:
        EvaluationError: they are no [H, W] bool of one shape.
    """
    _check(mask, truth)
    if not mask.any() or not truth.any():
        return 0.0 if mask.any() == truth.any() else math.inf
    one, other = _outline(mask), _outline(truth)
    return max(_percentile(one, other, percentile, spacing), _percentile(other, one, percentile, spacing))


def mask_scores(
    masks: Sequence[np.ndarray], truths: Sequence[np.ndarray], **told
) -> tuple[list[Score], list[dict[str, float]]]:
    """Dice and both Hausdorff distances in pixels as lines of a table, and of each item its values.

    told: further fields of `Score`, such as the group. Beside the values stands how many masks were empty.

    Raises:
        EvaluationError: masks are no [H, W] bool, or a pair has two shapes.
    """
    pairs = list(zip(masks, truths, strict=True))
    values = [
        {"Dice": dice(a, b)}
        | {
            name: min(hausdorff(a, b, percentile), _diagonal(a.shape))
            for name, percentile in ((HAUSDORFF, None), (HAUSDORFF_95, 95))
        }
        for a, b in pairs
    ]
    alone = sum(a.any() != b.any() for a, b in pairs)
    both = sum(not a.any() and not b.any() for a, b in pairs)
    empty = f"{alone} with one mask empty, {both} with both"
    distances = {"higher": False, "beside": f"in pixels; {empty} (the diagonal and 0)"} | told
    return [
        mean("Dice", [v["Dice"] for v in values], **{"beside": f"{empty} (0 and 1)"} | told),
        mean(HAUSDORFF, [v[HAUSDORFF] for v in values], **distances),
        mean(HAUSDORFF_95, [v[HAUSDORFF_95] for v in values], **distances),
    ], values


def _check(mask: np.ndarray, truth: np.ndarray) -> None:
    kinds = [f"{x.dtype} {x.shape}" for x in (mask, truth)]
    if mask.shape != truth.shape or mask.ndim != 2 or mask.dtype != bool or truth.dtype != bool or not mask.size:
        raise EvaluationError(f"masks must be two [H, W] bool of one shape, got {kinds[0]} and {kinds[1]}")


def _diagonal(shape: tuple[int, ...]) -> float:
    """From the centre of one corner's pixel to that of the opposite one, in pixels."""
    return math.hypot(*(side - 1 for side in shape))


def _outline(mask: np.ndarray) -> np.ndarray:
    """Pixels of a mask with one of their four neighbours outside it: [H, W] bool."""
    return mask & ~package("scipy.ndimage", "the Hausdorff distance").binary_erosion(mask)


def _percentile(one: np.ndarray, other: np.ndarray, percentile: float | None, spacing: tuple[float, float]) -> float:
    """Of the distances from each pixel of one outline to the nearest of the other."""
    ndimage = package("scipy.ndimage", "the Hausdorff distance")
    away = ndimage.distance_transform_edt(~other, sampling=spacing)[one]
    return float(np.percentile(away, 100 if percentile is None else percentile))
