import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unimedvl.imaging import fit, resize
from unimedvl.imaging.resize import square_size

CASES = json.loads((Path(__file__).parent / "resize_cases.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_size_follows_the_published_rule(case):
    case = dict(case)
    expected = case.pop("out_width"), case.pop("out_height")
    assert fit(case.pop("width"), case.pop("height"), **case) == expected


@settings(deadline=None)
@given(st.integers(1, 20000), st.integers(1, 20000), st.sampled_from([14, 16]), st.integers(32, 512))
def test_size_is_of_whole_patches_and_within_the_longest_side(width, height, stride, min_size):
    out = fit(width, height, max_size=1024, min_size=min_size, stride=stride, max_pixels=1806336)
    assert all(side >= stride and side % stride == 0 for side in out)
    assert max(out) <= 1024 + stride


def test_sizes_below_one_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        fit(0, 5, max_size=10, min_size=1, stride=1, max_pixels=100)


def test_16_bit_ramp_keeps_its_levels_through_the_resize(ramp):
    pixels = np.repeat((ramp / np.float32(65535))[..., None], 3, axis=2)
    out = resize(pixels, (256, 64))
    assert out.dtype == np.float32 and out.shape == (64, 256, 3)
    assert len(np.unique(out)) > 4000


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_resize_stays_in_range_and_keeps_a_constant(h, w, out_h, out_w, seed):
    pixels = np.random.default_rng(seed).random((h, w, 3), dtype=np.float32)
    out = resize(pixels, (out_w, out_h))
    assert out.shape == (out_h, out_w, 3) and 0 <= out.min() and out.max() <= 1
    assert np.allclose(resize(np.full((h, w, 3), 0.25, np.float32), (out_w, out_h)), 0.25, atol=1e-6)


def test_square_pixels_refine_the_coarser_side():
    assert square_size(100, 50, 2.0, 1.0) == (100, 100)
    assert square_size(100, 50, 1.0, 3.0) == (300, 50)
    assert square_size(100, 50, 1.0, 1.001) == (100, 50)
    assert square_size(100, 50, 1.0, 10000.0) == (100, 50)
