"""Packs hold what fits, lose nothing, cut nothing, and follow from the stream alone."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimedvl.training.error import TrainingError
from unimedvl.training.packing import Waiting, packs

SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=40)


def stream(sizes: list[int]):
    return lambda position: sizes[position % len(sizes)]


@given(SIZES, st.integers(60, 200), st.integers(1, 30))
def test_every_sample_stands_in_one_pack_and_no_pack_is_over_its_budget(sizes, budget, lookahead):
    waiting, size = Waiting(), stream(sizes)
    made = list(islice(packs(size, budget, lookahead, waiting), 20))
    placed = [p for pack in made for p in pack.positions]
    assert sorted([*placed, *waiting.tokens]) == list(range(waiting.position))
    assert all(pack.tokens == sum(map(size, pack.positions)) <= budget for pack in made)


@given(SIZES, st.integers(60, 200), st.integers(1, 30), st.integers(0, 10))
def test_packing_goes_on_from_where_it_stood(sizes, budget, lookahead, after):
    whole = list(islice(packs(stream(sizes), budget, lookahead, Waiting()), after + 5))
    waiting = Waiting()
    first = list(islice(packs(stream(sizes), budget, lookahead, waiting), after))
    kept = Waiting.from_json(waiting.to_json())
    assert first + list(islice(packs(stream(sizes), budget, lookahead, kept), 5)) == whole


@given(SIZES, st.integers(1, 30))
def test_no_sample_waits_for_ever(sizes, lookahead):
    """Each pack takes the oldest, so a sample waits for as many packs as samples were before it, at most."""
    for number, pack in enumerate(islice(packs(stream(sizes), 60, lookahead, Waiting()), 30)):
        assert min(pack.positions) <= number * 60


def test_what_is_longer_than_a_pack_is_left_out_and_counted():
    waiting = Waiting()
    made = list(islice(packs(stream([10, 200, 20]), 100, 6, waiting), 5))
    assert waiting.left_out >= 5 and all(p % 3 != 1 for pack in made for p in pack.positions)


def test_a_budget_that_nothing_fits_is_told_and_not_sought_for_ever():
    with pytest.raises(TrainingError, match="1000 samples in a row are longer than a pack of 50, this one 80"):
        next(packs(stream([80]), 50, 4, Waiting()))
