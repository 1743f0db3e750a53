"""How well scores tell what is there from what is not: AUROC and F1, by scikit-learn. See docs/metrics.md."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.metrics.packages import package
from unimedvl.evaluation.score import RESAMPLES, Score, f1_of_counts, statistic


def auroc(scores: Sequence[float], truths: Sequence[bool], seed: int = 0, resamples: int = RESAMPLES, **told) -> Score:
    """Area under the receiver operating characteristic: how often what is there gets a higher score than what is not.

    0.5 is chance, ties count half (Hanley and McNeil 1982). NaN where all truths are alike. The interval is over items
    resampled within both classes, so that each resample has both. told: further fields of `Score`.

    Args:
        scores: [n], higher where it is likelier there. truths: [n].

    Raises:
        EvaluationError: not of one length, or a score that is not finite.
    """
    values, there = _checked(scores, truths)
    beside = {"beside": f"{there.sum()} there, {(~there).sum()} not"}
    told = beside | told
    if there.all() or not there.any():
        return Score("AUROC", math.nan, math.nan, math.nan, len(values), **told)
    area = float(package("sklearn.metrics", "AUROC").roc_auc_score(there, values))
    low, high = np.percentile(_resampled(values[there], values[~there], resamples, seed), (2.5, 97.5))
    return Score("AUROC", area, float(low), float(high), len(values), **told)


def _resampled(there: np.ndarray, absent: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """The area of resamples of both classes: the share of pairs in the right order, each as often as it was drawn."""
    right = np.sign(there[:, None] - absent) / 2 + 0.5
    rng = np.random.default_rng(seed)
    one, other = (rng.multinomial(len(x), np.full(len(x), 1 / len(x)), size=resamples) for x in (there, absent))
    return ((one @ right) * other).sum(1) / right.size


def f1(found: Sequence[bool], truths: Sequence[bool], **told) -> Score:
    """F1 of what was found: ``2 tp / (2 tp + fp + fn)``, 1 where there was nothing to find and nothing was found.

    Its interval is over resampled items. told: further fields of `Score`.

    Raises:
        EvaluationError: not of one length.
    """
    said, there = _checked(found, truths)
    said = said.astype(bool)
    counts = np.stack([said & there, said & ~there, ~said & there], axis=1)
    tp, fp, fn = counts.sum(0).tolist()
    return statistic("F1", counts, f1_of_counts, **{"beside": f"{tp} found, {fp} false, {fn} missed"} | told)


def _checked(scores: Sequence, truths: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    values, there = np.asarray(scores, dtype=float).reshape(-1), np.asarray(truths, dtype=bool).reshape(-1)
    if len(values) != len(there):
        raise EvaluationError(f"{len(values)} scores for {len(there)} truths")
    if not np.isfinite(values).all():
        raise EvaluationError("scores must be finite numbers, some are not")
    return values, there
