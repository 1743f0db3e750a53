"""Counters of names and of numbers whose memory does not grow with how much is counted."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass


class Tally:
    """Counts of names. The first `most` different ones are told apart, later ones are counted together."""

    REST = "(others)"

    def __init__(self, most: int = 1000) -> None:
        self.most = most
        self.counts: Counter[str] = Counter()

    def add(self, name: str) -> None:
        known = name in self.counts or len(self.counts) < self.most
        self.counts[name if known else self.REST] += 1

    def ordered(self) -> dict[str, int]:
        """Counts, the largest first; equal ones by name."""
        return dict(sorted(self.counts.items(), key=lambda item: (-item[1], item[0])))


@dataclass(frozen=True)
class Bin:
    """Values from `low` to below `high`: how many were kept, and how many dropped."""

    low: float
    high: float
    kept: int
    dropped: int


class Histogram:
    """Counts of numbers in at most `most` bins of equal width, without knowing the range beforehand.

    A bin is 2**exponent wide and starts at a multiple of that. Where a value would need more bins, neighbours are
    joined and the width doubles, so the bins follow from the values alone and not from their order.
    exponent: of the finest width; 0 for whole numbers, which `whole` then says they are.
    """

    def __init__(self, exponent: int = -20, most: int = 64) -> None:
        self.exponent, self.most, self.whole = exponent, most, exponent >= 0
        self.count, self._mean = 0, 0.0
        self.low, self.high = math.inf, -math.inf
        self._bins: dict[int, list[int]] = {}

    def add(self, value: float, kept: bool = True) -> None:
        """Count a finite value. Raises ValueError for one that isn't finite."""
        if not math.isfinite(value):
            raise ValueError(f"expected a finite number, found {value}")
        self.count += 1
        self._mean += value / self.count - self._mean / self.count
        self.low, self.high = min(self.low, value), max(self.high, value)
        # A bin must be wider than the distance of neighbouring floats, so that its edges differ.
        finest = math.frexp(max(-self.low, self.high))[1] - 52
        while self.exponent < finest or self._index(self.high) - self._index(self.low) >= self.most:
            self._widen()
        self._bins.setdefault(self._index(value), [0, 0])[not kept] += 1

    def _index(self, value: float) -> int:
        """Which bin: exact, since a float times a power of two is; Python's whole numbers have no bounds."""
        top, bottom = float(value).as_integer_ratio()
        shift = self.exponent
        return top // (bottom << shift) if shift >= 0 else (top << -shift) // bottom

    def _widen(self) -> None:
        self.exponent += 1
        bins: dict[int, list[int]] = {}
        for index, counts in self._bins.items():
            joined = bins.setdefault(index // 2, [0, 0])
            joined[0] += counts[0]
            joined[1] += counts[1]
        self._bins = bins

    @property
    def mean(self) -> float | None:
        return self._mean if self.count else None

    def bins(self) -> Iterator[Bin]:
        """From the lowest to the highest, empty ones between them too."""
        if not self._bins:
            return
        for index in range(min(self._bins), max(self._bins) + 1):
            kept, dropped = self._bins.get(index, (0, 0))
            yield Bin(self._edge(index), self._edge(index + 1), kept, dropped)

    def _edge(self, index: int) -> float:
        try:
            return math.ldexp(index, self.exponent)
        except OverflowError:
            return math.copysign(sys.float_info.max, index)

    def quantile(self, share: float) -> float | None:
        """About the value below which `share` of the values lie: right to the width of a bin."""
        below = 0
        for b in self.bins():
            below += b.kept + b.dropped
            if below >= share * self.count:
                middle = (b.low + b.high - self.whole) / 2
                return min(max(middle, self.low), self.high)
        return None

    def numbers(self) -> dict:
        """What it counted, as JSON can hold it."""
        if not self.count:
            return {"count": 0}
        bins = [{"from": b.low, "to": b.high, "kept": b.kept, "dropped": b.dropped} for b in self.bins()]
        told = {"count": self.count, "min": self.low, "max": self.high, "mean": self.mean}
        return told | {"median_about": self.quantile(0.5), "bins": bins}
