"""How answers and images are scored, and how sure a score is. Pure functions, no model."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

# A perfect image has no finite PSNR; it counts as this many dB.
LARGEST_PSNR = 100.0
RESAMPLES = 2000


@dataclass(frozen=True)
class Measure:
    """One line of a result table.

    value, low, high: the figure and its 95 % interval: a share from 0 to 1 where `unit` is "%",
        decibels where it is "dB", a plain number where it is "".
    n: how many things were judged. target: the least wanted, or None for what is only told.
    beside: what the figure must be read with.
    """

    task: str
    name: str
    value: float
    low: float
    high: float
    n: int
    unit: str = "%"
    target: float | None = None
    beside: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None where there is none."""
        return None if self.target is None else self.value >= self.target

    def to_dict(self) -> dict:
        return asdict(self) | {"met": self.met}

    def text(self) -> str:
        """ "99.3 % (97.4 to 99.8)"."""
        low, high = _number(self.low, self.unit), _number(self.high, self.unit)
        return f"{_number(self.value, self.unit)} {self.unit}".strip() + f" ({low} to {high})"

    def target_text(self) -> str:
        return "" if self.target is None else f"{_number(self.target, self.unit)} {self.unit}".strip()


def _number(value: float, unit: str) -> str:
    return f"{100 * value:.1f}" if unit == "%" else f"{value:.2f}"


def wilson(right: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson 1927, J Am Stat Assoc 22:209); (0, 1) where n is 0."""
    if n == 0:
        return 0.0, 1.0
    p, z2 = right / n, z * z / n
    centre = (p + z2 / 2) / (1 + z2)
    half = z / (1 + z2) * math.sqrt(p * (1 - p) / n + z2 / (4 * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap(
    items: Sequence, statistic: Callable[[np.ndarray], float] = np.mean, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of a statistic over resampled items (Efron 1979); items are rows of numbers."""
    rows, rng = np.asarray(items, dtype=float), np.random.default_rng(seed)
    if len(rows) == 0:
        return math.nan, math.nan
    values = [statistic(rows[rng.integers(len(rows), size=len(rows))]) for _ in range(RESAMPLES)]
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def share(
    task: str, name: str, right: Sequence[bool], target: float | None = None, beside: str = ""
) -> Measure:
    """How many of the answers are right, with Wilson's interval."""
    hits, n = sum(map(bool, right)), len(right)
    return Measure(task, name, hits / n if n else math.nan, *wilson(hits, n), n, "%", target, beside)


def mean(
    task: str, name: str, values: Sequence[float], unit: str, target: float | None = None, beside: str = ""
) -> Measure:
    """The mean, with its bootstrap interval."""
    value = float(np.mean(values)) if len(values) else math.nan
    return Measure(task, name, value, *bootstrap(values), len(values), unit, target, beside)


def f1(
    task: str, name: str, truths: Sequence[set[str]], found: Sequence[set[str]], target: float | None = None
) -> Measure:
    """Micro F1 of sets of names over all texts, with its bootstrap interval over texts.

    ``2 tp / (2 tp + fp + fn)``; 1 where there was nothing to find and nothing was found.
    """
    counts = [(len(t & f), len(f - t), len(t - f)) for t, f in zip(truths, found, strict=True)]
    value = _f1(np.asarray(counts, dtype=float).reshape(-1, 3))
    tp, fp, fn = np.asarray(counts).reshape(-1, 3).sum(0)
    beside = f"precision {_ratio(tp, tp + fp):.2f}, recall {_ratio(tp, tp + fn):.2f}"
    return Measure(task, name, value, *bootstrap(counts, _f1), len(counts), "", target, beside)


def _f1(counts: np.ndarray) -> float:
    tp, fp, fn = counts.sum(0)
    return _ratio(2 * tp, 2 * tp + fp + fn)


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 1.0


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two [H, W, 3] uint8 images: ``10 log10(255^2 / mse)``.

    Raises:
        ValueError: shapes or types differ from that.
    """
    if image.shape != truth.shape or image.dtype != np.uint8 or truth.dtype != np.uint8:
        raise ValueError(
            f"PSNR needs two uint8 images of one shape, got {image.dtype} {image.shape} and {truth.dtype} {truth.shape}"
        )
    error = np.mean((image.astype(np.float64) - truth.astype(np.float64)) ** 2)
    return LARGEST_PSNR if error == 0 else min(LARGEST_PSNR, 10 * math.log10(255**2 / error))


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """Overlap of two masks [H, W] bool: twice what both cover over the sum of what each does (Dice 1945,
    Ecology 26:297); 1 where both are empty.
    """
    both = np.count_nonzero(mask) + np.count_nonzero(truth)
    return 2 * np.count_nonzero(mask & truth) / both if both else 1.0


def yes_or_no(answer: str) -> str | None:
    """ "yes" or "no" where the answer begins with that word, else None: what can't be read is wrong."""
    match = re.match(r"\W*(yes|no)\b", answer.lower())
    return match.group(1) if match else None


def letter(answer: str) -> str | None:
    """The option's letter A to D that the answer begins with, else None."""
    match = re.match(r"\W*([A-D])\b", answer)
    return match.group(1) if match else None


def right_answer(kind: str, answer: str, truth: str) -> bool:
    """Whether an answer to a closed, choice or open question is the only right one.

    Open answers must be the canonical words, and of several findings, which commas part, the same ones in any order;
    case, outer space and a final stop do not count.
    """
    if kind == "closed":
        return yes_or_no(answer) == truth
    if kind == "choice":
        return letter(answer) == truth
    return _named(answer) == _named(truth)


def _named(answer: str) -> list[str]:
    return sorted(part.strip() for part in answer.strip().rstrip(".").lower().split(","))
