"""The training image that each drawn image is most like, and whether that is more than chance: memorisation.

Likeness is the cosine of two images' features (`encoders.py`). How like a new image is to its nearest training image
depends on the data, so drawn images are held against real ones that were not trained on. See docs/metrics.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.score import Score, share

MEMORISED = "nearer to training than held-out images"
# Drawn images count where they are nearer than this share of held-out ones: 5 % of new images are.
HELD_OUT_SHARE = 0.95
_CHUNK = 1024


@dataclass(frozen=True)
class Nearest:
    """index: [n] of the nearest training image. cosine: [n] with its features, -1 to 1."""

    index: np.ndarray
    cosine: np.ndarray


def nearest(features: np.ndarray, training: np.ndarray) -> Nearest:
    """The nearest training image of each image, the first of equally near ones.

    Args:
        features: [n, d]. training: [m, d], at least one row.

    Raises:
        EvaluationError: not two such sets, or features that are all zero.
    """
    one, other = _unit(features), _unit(training)
    if not len(other) or one.shape[1:] != other.shape[1:]:
        raise EvaluationError(f"need features [n, d] and training features [m, d], got {one.shape} and {other.shape}")
    index, cosine = np.zeros(len(one), int), np.zeros(len(one))
    for start in range(0, len(one), _CHUNK):
        cosines = one[start : start + _CHUNK] @ other.T
        best = cosines.argmax(1)
        index[start : start + _CHUNK], cosine[start : start + _CHUNK] = best, cosines[np.arange(len(best)), best]
    return Nearest(index, cosine)


def memorised_score(
    drawn: np.ndarray, training: np.ndarray, held_out: np.ndarray, encoder: str, **told
) -> tuple[Score, Nearest]:
    """The share of drawn images that are nearer to a training image than 95 % of held-out real images are.

    Where nothing is memorised, that is about 5 %, or less where drawings are unlike real images. With it, the nearest
    training image of each drawn one, to be looked at. encoder: named beside the value. told: further fields of `Score`.

    Args:
        drawn, training, held_out: [n, d] features of one encoder; of held-out images at least 20.

    Raises:
        EvaluationError: as `nearest`, or there are too few held-out images.
    """
    if len(held_out) < 20:
        raise EvaluationError(f"5 % of held-out images need at least 20 of them, got {len(held_out)}")
    found = nearest(drawn, training)
    usual = float(np.quantile(nearest(held_out, training).cosine, HELD_OUT_SHARE))
    beside = (
        f"{encoder}; {len(drawn)} drawn, {len(training)} training, {len(held_out)} held out;"
        f" cosine over {usual:.3f}; about 5 % where nothing is memorised"
    )
    return share(MEMORISED, list(found.cosine > usual), **{"higher": False, "beside": beside} | told), found


def _unit(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2:
        raise EvaluationError(f"features must be [n, d], got {features.shape}")
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        raise EvaluationError("features must be finite and not all zero for a cosine, some images' are")
    return features / lengths
