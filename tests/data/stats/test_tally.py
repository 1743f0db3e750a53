"""Bounded counters: bins follow from the values and not from their order, and nothing is lost."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimedvl.data.stats.tally import Histogram, Tally

FINITE = st.floats(-1e300, 1e300)


def filled(values, **options) -> Histogram:
    histogram = Histogram(**options)
    for value in values:
        histogram.add(value)
    return histogram


@given(st.lists(st.one_of(FINITE, st.integers(0, 10**6), st.floats(0, 1)), min_size=1, max_size=40), st.randoms())
def test_bins_hold_every_value_whatever_the_order(values, random):
    histogram, bins = filled(values), list(filled(values).bins())
    random.shuffle(values)
    assert list(filled(values).bins()) == bins and 1 <= len(bins) <= histogram.most
    for b in bins:
        assert b.kept == sum(b.low <= v < b.high for v in values)
    assert sum(b.kept for b in bins) == len(values) == histogram.count


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=60))
def test_the_median_is_right_to_a_bins_width(values):
    histogram = filled(values, exponent=0)
    exact = sorted(values)[math.ceil(0.5 * len(values)) - 1]
    assert abs(histogram.quantile(0.5) - exact) <= 2**histogram.exponent
    assert histogram.low == min(values) and histogram.high == max(values)


def test_whole_numbers_in_few_bins_are_exact():
    histogram = filled([2, 2, 3, 9], exponent=0)
    assert [(b.low, b.kept) for b in histogram.bins() if b.kept] == [(2, 2), (3, 1), (9, 1)]
    assert histogram.quantile(0.5) == 2 and histogram.mean == 4


def test_kept_and_dropped_are_told_apart():
    histogram = Histogram()
    histogram.add(0.2, kept=False)
    histogram.add(0.9)
    told = histogram.numbers()
    assert [(b["kept"], b["dropped"]) for b in told["bins"] if b["kept"] or b["dropped"]] == [(0, 1), (1, 0)]
    assert told["min"] == 0.2 and told["max"] == 0.9 and Histogram().numbers() == {"count": 0}


def test_the_largest_numbers_are_counted_too():
    told = filled([1.7e308, -1.7e308, 1.7e308]).numbers()
    assert sum(b["kept"] for b in told["bins"]) == 3 and all(math.isfinite(b["to"]) for b in told["bins"])
    assert told["mean"] == pytest.approx(1.7e308 / 3)


def test_what_is_not_finite_is_refused():
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="finite"):
            Histogram().add(value)


def test_a_tally_stays_bounded_and_loses_nothing():
    tally = Tally(most=3)
    for name in ["a", "b", "a", "c", "d", "e", "a"]:
        tally.add(name)
    assert tally.ordered() == {"a": 3, "(others)": 2, "b": 1, "c": 1}
