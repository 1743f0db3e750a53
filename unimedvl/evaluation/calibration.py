"""Whether a model's confidence says how often it is right, and what is gained where it may abstain.

Errors over bins of equal width are those of torchmetrics. Bins of equal mass and the risk-coverage curve are in no
library that is kept, so they are here. A confidence that several items share counts once, with the mean of what is
right among them, so that no figure depends on the order of the items.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.score import Score, bootstrap, mean, statistic, wilson

BINS = 10
# Shares of the questions that may be left unanswered, for which the accuracy of the rest is told.
ABSTAIN = (0.1, 0.2, 0.5)
By = Literal["width", "mass"]
_WORDS = {"width": "equal width", "mass": "equal mass"}


@dataclass(frozen=True)
class Bin:
    """Items of like confidence. low, high: of the bin; the last one holds its upper edge. confidence, accuracy: means,
    from 0 to 1. accuracy_low, accuracy_high: Wilson's 95 % interval. n: how many items; never 0.
    """

    low: float
    high: float
    confidence: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    n: int


def reliability(
    confidences: Sequence[float], rights: Sequence[bool], bins: int = BINS, by: By = "width"
) -> list[Bin]:
    """The bins of a reliability plot (Niculescu-Mizil and Caruana, ICML 2005); empty bins are left out.

    confidences: [n], 0 to 1. rights: [n]. by: bins of equal width over 0 to 1, or with equally many items (edges are
    quantiles; items of one confidence stay together, so there may be fewer bins).

    Raises:
        EvaluationError: lengths that differ, a confidence outside 0 to 1, no bins.
    """
    table = _table(confidences, rights)
    if bins < 1:
        raise EvaluationError(f"bins is {bins}; it must be 1 or more")
    if not len(table):
        return []
    edges = _edges(table[:, 0], bins, by)
    place = _places(table[:, 0], edges)
    return [_bin(table[place == k], edges[k], edges[k + 1]) for k in range(len(edges) - 1) if (place == k).any()]


def risk_coverage(confidences: Sequence[float], rights: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    """The risk-coverage curve (El-Yaniv and Wiener 2010, JMLR 11:1605).

    Returns:
        coverage [n] and risk [n]: of the k most confident items, k / n and the share that is wrong, for k = 1 to n.

    Raises:
        EvaluationError: as `reliability`.
    """
    table = _table(confidences, rights)
    n = len(table)
    return np.arange(1, n + 1) / max(n, 1), _risks(table)


def calibration(
    confidences: Sequence[float],
    rights: Sequence[bool],
    bins: int = BINS,
    abstain: Sequence[float] = ABSTAIN,
    **told,
) -> list[Score]:
    """Every figure of calibration, with 95 % intervals.

    ECE: expected calibration error, the mean gap between confidence and accuracy (Naeini et al., AAAI 2015), in bins of
    equal width and of equal mass (Nixon et al., CVPR workshops 2019). MCE: the largest gap of the bins of equal width.
    Chance alone makes gaps, so these three are told with what is expected of a calibrated model of as many items
    (Bröcker and Smith 2007, Weather Forecast 22:651), and have basic bootstrap intervals, which take that chance off.
    Brier score: the mean of ``(confidence - right)^2`` (Brier 1950, Mon Weather Rev 78:1). AURC: the mean risk over
    all coverages (Geifman, Uziel and El-Yaniv, ICLR 2019). Accuracy after abstaining: of the most confident
    ``ceil((1 - a) n)`` items, with Wilson's interval.

    confidences: [n], 0 to 1. rights: [n]. told: further fields of each `Score`, such as group.

    Raises:
        EvaluationError: as `reliability`, or an abstention that is not from 0 to below 1.
    """
    table = _table(confidences, rights)
    nothing = f"{1 - table[:, 1].mean():.3f} where confidence says nothing" if len(table) else ""
    scores = [
        _gap("ECE", table, bins, "width"),
        _gap("ECE, equal mass", table, bins, "mass"),
        _gap("MCE", table, bins, "width"),
        mean("Brier score", (table[:, 0] - table[:, 1]) ** 2, higher=False),
        statistic("AURC", table, lambda t: float(_risks(t).mean()), higher=False, beside=nothing),
        *(_after_abstaining(table, share) for share in abstain),
    ]
    return [Score(**(vars(score) | told)) for score in scores]


def _gap(metric: str, table: np.ndarray, bins: int, by: By) -> Score:
    """ECE or MCE. The percentile interval would hold the true value of a calibrated model never: each resample has
    gaps of its own on top of those of the sample. The basic interval mirrors it (Davison and Hinkley 1997, 5.2).
    """
    worst = metric == "MCE"
    declared = f"{bins} bins of {_WORDS[by]}"
    if not len(table):
        return Score(metric, math.nan, math.nan, math.nan, 0, higher=False, beside=declared)
    value = _equal_width(table, bins, worst) if by == "width" else _gaps(table, bins, by, worst)
    low, high = bootstrap(table, lambda t: _gaps(t, bins, by, worst))
    chance = _gaps_by_chance(table[:, 0], bins, by, worst)
    return Score(
        metric, value, max(0.0, 2 * value - high), max(0.0, 2 * value - low), len(table), higher=False,
        beside=f"{declared}; {chance:.3f} expected of a calibrated model",
    )  # fmt: skip


def _gaps_by_chance(confidences: np.ndarray, bins: int, by: By, worst: bool, draws: int = 500) -> float:
    """The mean figure where each answer is right with the probability that its confidence says."""
    rng = np.random.default_rng(0)
    drawn = (np.stack([confidences, rng.random(len(confidences)) < confidences], axis=1) for _ in range(draws))
    return float(np.mean([_gaps(table, bins, by, worst) for table in drawn]))


def _after_abstaining(table: np.ndarray, share: float) -> Score:
    if not 0 <= share < 1:
        raise EvaluationError(f"abstention of {share}; it must be a share of the questions from 0 to below 1")
    # Rounded first: (1 - 0.9) * 10 is a little over 1 in floating point.
    answered = math.ceil(round((1 - share) * len(table), 9))
    name = f"accuracy, {100 * share:g} % abstained"
    if not answered:
        return Score(name, math.nan, math.nan, math.nan, 0, "%")
    accuracy = 1 - float(_risks(table)[answered - 1])
    return Score(name, accuracy, *wilson(accuracy * answered, answered), answered, "%")


def _table(confidences: Sequence[float], rights: Sequence[bool]) -> np.ndarray:
    """[n, 2] confidence and right, checked."""
    sure, right = np.asarray(confidences, dtype=float), np.asarray(rights, dtype=float)
    if sure.ndim != 1 or sure.shape != right.shape:
        raise EvaluationError(f"{sure.size} confidences and {right.size} rights; there must be one of each per item")
    bad = sure[~((sure >= 0) & (sure <= 1))]
    if len(bad):
        raise EvaluationError(f"a confidence of {bad[0]:g}; it must be from 0 to 1")
    if not np.isin(right, (0, 1)).all():
        raise EvaluationError("an item is neither right nor wrong; rights must be true or false")
    return np.stack([sure, right], axis=1)


def _edges(confidences: np.ndarray, bins: int, by: By) -> np.ndarray:
    if by == "width":
        return np.linspace(0, 1, bins + 1)
    if by != "mass":
        raise EvaluationError(f"bins by {by!r}; it must be one of {', '.join(_WORDS)}")
    edges = np.unique(np.quantile(confidences, np.linspace(0, 1, bins + 1)))
    return edges if len(edges) > 1 else np.repeat(edges, 2)


def _places(confidences: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin of each confidence; each bin holds its lower edge, the last one both."""
    return np.clip(np.searchsorted(edges, confidences, side="right") - 1, 0, len(edges) - 2)


def _bin(table: np.ndarray, low: float, high: float) -> Bin:
    n, (sure, right) = len(table), table.mean(0)
    return Bin(float(low), float(high), float(sure), float(right), *wilson(int(table[:, 1].sum()), n), n)


def _equal_width(table: np.ndarray, bins: int, worst: bool) -> float:
    import torch
    from torchmetrics.functional.classification import binary_calibration_error

    # torchmetrics puts a confidence of exactly 1 into a bin of its own; here it belongs to the last one.
    sure = torch.from_numpy(np.minimum(table[:, 0], np.nextafter(1.0, 0.0)))
    right = torch.from_numpy(table[:, 1]).long()
    return float(binary_calibration_error(sure, right, n_bins=bins, norm="max" if worst else "l1"))


def _gaps(table: np.ndarray, bins: int, by: By, worst: bool) -> float:
    """The mean gap of the bins, or the largest; quick enough to be resampled."""
    edges = _edges(table[:, 0], bins, by)
    place = _places(table[:, 0], edges)
    gaps = np.abs(np.bincount(place, weights=table[:, 0] - table[:, 1]))
    return float((gaps / np.maximum(np.bincount(place), 1)).max() if worst else gaps.sum() / len(table))


def _risks(table: np.ndarray) -> np.ndarray:
    """[n] the share of wrong answers among the k most confident, for k = 1 to n."""
    values, place, counts = np.unique(-table[:, 0], return_inverse=True, return_counts=True)
    wrong = np.bincount(place, weights=1 - table[:, 1], minlength=len(values)) / counts
    return np.cumsum(np.repeat(wrong, counts)) / np.arange(1, len(table) + 1)
