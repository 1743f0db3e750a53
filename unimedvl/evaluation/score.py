"""One figure of an evaluation: what it is of, how sure it is, and what it must be read with."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

RESAMPLES = 2000
# As a share of 1 and printed as percent, in decibels, or a plain number.
Unit = Literal["%", "dB", ""]


@dataclass(frozen=True)
class Score:
    """One line of a table.

    metric: its name, such as "accuracy" or "PSNR". group: what the figure is of, "" for all items, else such as
    "modality: ct". value, low, high: the figure and its 95 % interval; NaN where there is nothing to judge. n: how many
    items. higher: whether more is better. unparsed: answers among them that could not be read, and count as wrong.
    failed: items among them that the model failed on, and count as wrong where the metric has a wrong. target: the
    least (most, where less is better) that is wanted. beside: what the figure must be
    read with, such as the name of the encoder.
    """

    metric: str
    value: float
    low: float
    high: float
    n: int
    unit: Unit = ""
    group: str = ""
    higher: bool = True
    unparsed: int = 0
    failed: int = 0
    target: float | None = None
    beside: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None where there is none."""
        if self.target is None:
            return None
        return self.value >= self.target if self.higher else self.value <= self.target

    def text(self) -> str:
        """ "99.3 % (97.4 to 99.8)"."""
        shown = f"{_number(self.value, self.unit)} {self.unit}".strip()
        return f"{shown} ({_number(self.low, self.unit)} to {_number(self.high, self.unit)})"

    def to_dict(self) -> dict:
        """As JSON can hold it: what is not a number is null."""
        told = asdict(self) | {"met": self.met}
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in told.items()}


def _number(value: float, unit: Unit) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{100 * value:.1f}" if unit == "%" else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def wilson(right: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson 1927, J Am Stat Assoc 22:209); (0, 1) where n is 0."""
    if n == 0:
        return 0.0, 1.0
    p, z2 = right / n, z * z / n
    centre = (p + z2 / 2) / (1 + z2)
    half = z / (1 + z2) * math.sqrt(p * (1 - p) / n + z2 / (4 * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap(
    items: Sequence, statistic: Callable[[np.ndarray], float] = np.mean, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """95 % percentile interval of a statistic over resampled items (Efron 1979, Ann Stat 7:1).

    items: [n] or [n, k] numbers, one row per item; rows are resampled together. (NaN, NaN) where there are fewer than
    two, for one item says nothing of its spread.
    """
    rows, rng = np.asarray(items, dtype=float), np.random.default_rng(seed)
    if len(rows) < 2:
        return math.nan, math.nan
    values = [statistic(rows[rng.integers(len(rows), size=len(rows))]) for _ in range(resamples)]
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def share(metric: str, right: Sequence[bool], **told) -> Score:
    """How many of the answers are right, with Wilson's interval. told: further fields of `Score`."""
    hits, n = sum(map(bool, right)), len(right)
    return Score(metric, hits / n if n else math.nan, *wilson(hits, n), n, "%", **told)


def mean(metric: str, values: Sequence[float], unit: Unit = "", **told) -> Score:
    """The mean, with its bootstrap interval. told: further fields of `Score`."""
    value = float(np.mean(values)) if len(values) else math.nan
    return Score(metric, value, *bootstrap(values), len(values), unit, **told)


def statistic(metric: str, rows: Sequence, of: Callable[[np.ndarray], float], unit: Unit = "", **told) -> Score:
    """A figure of all items together, such as F1 of counts, with its bootstrap interval over items.

    rows: [n, k] numbers, a row per item. of: [n, k] to the figure.
    """
    table = np.asarray(rows, dtype=float)
    value = float(of(table)) if len(table) else math.nan
    return Score(metric, value, *bootstrap(table, of), len(table), unit, **told)


def f1_of_counts(counts: np.ndarray) -> float:
    """Micro F1 of rows of true positives, false positives and false negatives: ``2 tp / (2 tp + fp + fn)``; 1 where
    there was nothing to find and nothing was found.
    """
    tp, fp, fn = counts.sum(0)
    return float(2 * tp / (2 * tp + fp + fn)) if tp + fp + fn else 1.0


def grouped(keys: Sequence[Hashable], values: Sequence) -> dict:
    """Values by key, keys in the order in which they come."""
    groups: dict = defaultdict(list)
    for key, value in zip(keys, values, strict=True):
        groups[key].append(value)
    return dict(groups)
