"""Resizing of 8-bit images by sparse products is the filter of `resize`."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from unimedvl.imaging import resize
from unimedvl.imaging.eight_bit import resize_planes, weights

SIDE = st.integers(1, 200)


@settings(max_examples=60, deadline=None)
@given(SIDE, SIDE, SIDE, SIDE, st.booleans(), st.integers(0, 99))
@example(384, 384, 126, 126, True, 0)
@example(100, 60, 100, 60, False, 0)
@example(100, 60, 100, 126, False, 0)
def test_it_agrees_with_the_published_transforms_filter_to_a_two_thousandth_of_a_level(h, w, new_h, new_w, hard, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)
    if hard:  # black and white, where it overshoots most
        pixels = np.where(pixels > 127, np.uint8(255), np.uint8(0))
    out = resize_planes(pixels.transpose(2, 0, 1), (new_w, new_h))
    assert out.dtype == np.float32 and out.shape == (3, new_h, new_w) and out.flags.c_contiguous
    expected = resize(pixels / np.float32(255), (new_w, new_h)).transpose(2, 0, 1)
    assert np.abs(out - expected).max() < 2e-6  # a level is 1/255
    assert 0 <= out.min() and out.max() <= 1


def test_an_expanded_plane_gives_what_three_equal_planes_give():
    plane = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
    expanded, copied = np.broadcast_to(plane, (3, 40, 50)), np.stack([plane] * 3)
    assert np.array_equal(resize_planes(expanded, (14, 28)), resize_planes(copied, (14, 28)))


@pytest.mark.parametrize(("old", "new"), [(384, 126), (126, 384), (1, 9), (9, 1), (14, 14)])
def test_a_new_pixel_takes_parts_of_the_old_ones_that_sum_to_one(old, new):
    matrix = weights(old, new)
    assert matrix.shape == (new, old)
    assert np.allclose(matrix.sum(axis=1), 1, atol=1e-6)
