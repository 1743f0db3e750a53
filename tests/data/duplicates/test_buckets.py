"""Near codes are found as by comparing all pairs, each once."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unimedvl.data.duplicates.buckets import Unlooked, near_codes, pairs_of_a_key

FAR = 10**6


def listed(found):
    return [(int(i), int(j)) for ones, others in found for i, j in zip(ones, others, strict=True)]


def codes_near_each_other(rng, count):
    """Random codes, each with some that differ from it in 0 to 12 bits."""
    base = rng.integers(0, 2**64, size=max(count // 8, 1), dtype=np.uint64)
    codes = rng.choice(base, size=count)
    for number in range(count):
        for bit in rng.choice(64, size=rng.integers(0, 7), replace=False):
            codes[number] ^= np.uint64(1) << np.uint64(bit)
    return codes


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 60), st.integers(0, 10))
def test_near_codes_are_those_that_comparing_all_pairs_finds(seed, count, distance):
    codes = codes_near_each_other(np.random.default_rng(seed), count)
    unlooked = Unlooked()
    found = listed(near_codes(codes, distance, FAR, unlooked))
    wanted = [
        (i, j) for i, j in combinations(range(count), 2) if int(codes[i] ^ codes[j]).bit_count() <= distance
    ]
    assert sorted(found) == wanted and unlooked.pairs == 0


def test_more_codes_take_longer_keys_and_still_find_all():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2**64, size=20_000, dtype=np.uint64)
    codes[10_000:] = codes[:10_000] ^ np.uint64(0b1010011)
    assert sorted(listed(near_codes(codes, 4, FAR, Unlooked()))) == [(i, i + 10_000) for i in range(10_000)]


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(1, 5))
def test_pairs_beyond_the_window_are_counted(keys, window):
    unlooked = Unlooked()
    found = listed(pairs_of_a_key(np.array(keys, dtype=np.uint64), window, unlooked))
    pairs = [(i, j) for i, j in combinations(range(len(keys)), 2) if keys[i] == keys[j]]
    assert len(set(found)) == len(found) and set(found) <= set(pairs)
    assert len(found) + unlooked.pairs == len(pairs)


def test_a_distance_that_cannot_be_searched_is_an_error():
    with pytest.raises(ValueError, match="expected 0 to 31 bits, found 32"):
        next(near_codes(np.zeros(2, dtype=np.uint64), 32, FAR, Unlooked()))
