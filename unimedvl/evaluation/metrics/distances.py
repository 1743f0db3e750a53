"""How far a set of drawn images is from a set of real ones: Fréchet distance and kernel distance of their features.

Features are [n, d] numbers of any encoder (`encoders.py`); a figure means nothing without the encoder's name and both
numbers of images, which stand beside it. Definitions, sources and pitfalls: docs/metrics.md.
"""

from __future__ import annotations

import math

import numpy as np

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.metrics.packages import package
from unimedvl.evaluation.score import RESAMPLES, Score

FRECHET, KID = "Fréchet distance", "KID"
# Each resample of the Fréchet distance costs a singular value decomposition.
FRECHET_RESAMPLES = 200


def frechet(one: np.ndarray, other: np.ndarray) -> float:
    """Fréchet distance of Gaussians fitted to two sets of features, at least 0.

        |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), with covariances over n - 1

    Dowson and Landau 1982; Heusel et al. 2017. tr (C1 C2)^(1/2) is the sum of the singular values of A1^T A2 for any
    A A^T = C. That is exact, needs no square root of a matrix, and holds where there are fewer images than features and
    covariances are singular.

    Args:
        one, other: [n, d] and [m, d], at least two rows each.

    Raises:
        EvaluationError: not two such sets, or numbers that are not finite.
    """
    one, other = _checked(one, other)
    return _frechet(one, other)


def _frechet(one: np.ndarray, other: np.ndarray) -> float:
    roots, spread = [], 0.0
    for features in (one, other):
        root = (features - features.mean(0)) / math.sqrt(len(features) - 1)
        spread += float((root**2).sum())
        # [k, d] with k at most d, and the same covariance
        roots.append(np.linalg.qr(root, mode="r") if len(root) > root.shape[1] else root)
    between = float(np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum())
    shift = float(((one.mean(0) - other.mean(0)) ** 2).sum())
    return max(0.0, shift + spread - 2 * between)


def kid(one: np.ndarray, other: np.ndarray) -> float:
    """Kernel distance of two sets of features, 0 on average where both are of one distribution (Bińkowski et al. 2018).

    The unbiased estimate of the squared maximum mean discrepancy under the kernel ``(x y / d + 1)^3``, over all pairs
    at once, not over random subsets. It may fall below 0.

    Args:
        one, other: [n, d] and [m, d], at least two rows each.

    Raises:
        EvaluationError: as `frechet`.
    """
    kernels = _Kernels(*_checked(one, other))
    return float(kernels(np.ones((1, len(one))), np.ones((1, len(other))))[0])


class _Kernels:
    """Kernel values of all pairs, of which any resample of the images is a weighted sum."""

    def __init__(self, one: np.ndarray, other: np.ndarray) -> None:
        kernel = package("sklearn.metrics.pairwise", "KID").polynomial_kernel
        pairs = ((one, one), (other, other), (one, other))
        self.within, self.others, self.between = (kernel(a, b, degree=3, coef0=1) for a, b in pairs)
        for own in (self.within, self.others):  # an image is no pair with itself
            np.fill_diagonal(own, 0)

    def __call__(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Distances where images count as often as these say: [r, n] and [r, m] to [r].

        An image that counts twice is no pair with its copy either, or copies would pass for likeness.
        """
        cross = ((one @ self.between) * other).sum(1) / (one.sum(1) * other.sum(1))
        return _own(one, self.within) + _own(other, self.others) - 2 * cross


def _own(counts: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    pairs = counts.sum(1) ** 2 - (counts**2).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample of one image many times has no pair
        return ((counts @ kernel) * counts).sum(1) / pairs


def frechet_score(
    drawn: np.ndarray, real: np.ndarray, encoder: str, resamples: int = FRECHET_RESAMPLES, seed: int = 0, **told
) -> Score:
    """The Fréchet distance as a line of a table, NaN where one of the sets has fewer than two images.

    Its interval is the spread of 200 resamples of both sets, moved so that their mean is the distance itself: resamples
    repeat images, and lie higher throughout. encoder: named beside the value, with both numbers of images, and a
    warning where there are fewer images than features. told: further fields of `Score`.

    Raises:
        EvaluationError: as `frechet`.
    """
    beside = _beside(encoder, drawn, real)
    least = min(len(drawn), len(real))
    if least < 2:
        return Score(FRECHET, math.nan, math.nan, math.nan, len(drawn), **{"higher": False, "beside": beside} | told)
    drawn, real = _checked(drawn, real)
    width = drawn.shape[1]
    if least <= width:
        beside += f"; of {least} images the covariance of {width} features is rank deficient, and the distance too high"
    value, rng = _frechet(drawn, real), np.random.default_rng(seed)
    values = np.array([
        _frechet(drawn[rng.integers(len(drawn), size=len(drawn))], real[rng.integers(len(real), size=len(real))])
        for _ in range(resamples)
    ])  # fmt: skip
    low, high = np.percentile(values - values.mean() + value, (2.5, 97.5))
    told = {"higher": False, "beside": beside} | told
    return Score(FRECHET, value, max(0.0, float(low)), float(high), len(drawn), **told)


def kernel_score(
    drawn: np.ndarray, real: np.ndarray, encoder: str, resamples: int = RESAMPLES, seed: int = 0, **told
) -> Score:
    """KID as a line of a table, NaN where one of the sets has fewer than two images.

    Its interval is over resamples of both sets (Efron 1979). encoder, told: as of `frechet_score`.

    Raises:
        EvaluationError: as `frechet`.
    """
    told = {"higher": False, "beside": _beside(encoder, drawn, real)} | told
    if min(len(drawn), len(real)) < 2:
        return Score(KID, math.nan, math.nan, math.nan, len(drawn), **told)
    kernels, rng = _Kernels(*_checked(drawn, real)), np.random.default_rng(seed)
    value = float(kernels(np.ones((1, len(drawn))), np.ones((1, len(real))))[0])
    counts = [rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(float) for n in (len(drawn), len(real))]
    low, high = np.nanpercentile(kernels(*counts), (2.5, 97.5))
    return Score(KID, value, float(low), float(high), len(drawn), **told)


def _beside(encoder: str, drawn: np.ndarray, real: np.ndarray) -> str:
    return f"{encoder}; {len(drawn)} drawn, {len(real)} real"


def _checked(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64. Raises EvaluationError where they are not what `frechet` takes."""
    sets = tuple(np.asarray(x, dtype=np.float64) for x in (one, other))
    shapes = " and ".join(str(x.shape) for x in sets)
    if any(x.ndim != 2 or len(x) < 2 for x in sets) or sets[0].shape[1] != sets[1].shape[1]:
        raise EvaluationError(f"features must be [n, d] and [m, d] with two rows or more each, got {shapes}")
    if not all(np.isfinite(x).all() for x in sets):
        raise EvaluationError(f"features of shapes {shapes} must be finite numbers, some are not")
    return sets
