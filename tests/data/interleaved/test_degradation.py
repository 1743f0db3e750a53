"""Degradations: declared, and the same again from what is declared."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unimedvl.data.error import DataError
from unimedvl.data.interleaved.degradation import DECLARED, Degradation, declared, whole_blocks
from unimedvl.data.sources.ixi import degraded
from unimedvl.phantoms import simulate

METHODS = ("mean", "bicubic", "kspace")
ANY = st.builds(
    Degradation, st.sampled_from(METHODS), st.sampled_from([2, 3, 4, 8]), st.floats(0, 40), st.integers(0, 2**31)
)
IMAGES = arrays(np.uint8, st.tuples(st.integers(8, 40), st.integers(8, 40)))


@given(ANY, IMAGES)
def test_what_is_declared_gives_the_same_again(degradation, image):
    sharp = whole_blocks(image, degradation.factor)
    again = declared(degradation.attributes())
    assert again == degradation
    coarse = degradation.applied(sharp, "key")
    assert coarse.shape == sharp.shape and coarse.dtype == np.uint8
    assert np.array_equal(again.applied(sharp, "key"), coarse)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_finer_than_the_factor_is_left(method):
    sharp = simulate("mri", 5).images["t2"][..., 0]
    coarse = Degradation(method).applied(sharp, "key")
    power = [np.abs(np.fft.fftshift(np.fft.fft2(x.astype(float)))) ** 2 for x in (sharp, coarse)]
    outer = np.ones((128, 128), bool)
    outer[64 - 17 : 64 + 17, 64 - 17 : 64 + 17] = False
    assert power[1][outer].sum() < 0.25 * power[0][outer].sum()
    assert abs(float(coarse.mean()) - float(sharp.mean())) < 2
    assert np.corrcoef(sharp.ravel(), coarse.ravel())[0, 1] > 0.9


def test_the_mean_is_that_of_the_source_whose_words_declare_it():
    sharp = simulate("mri", 6).images["t2"][..., 0]
    assert np.array_equal(Degradation("mean").applied(sharp, "any"), degraded(sharp))
    words = "mean over blocks of 4 x 4 pixels, then bicubic to the size before"
    assert declared({"degradation": words}) == Degradation("mean")
    assert declared({"degradation": "in another way"}) is None and declared({}) is None


def test_noise_follows_from_seed_and_key_and_is_as_strong_as_declared():
    flat = np.full((128, 128), 100, np.uint8)
    one = Degradation("mean", noise=8.0, seed=1)
    assert np.array_equal(one.applied(flat, "a"), one.applied(flat, "a"))
    assert not np.array_equal(one.applied(flat, "a"), one.applied(flat, "b"))
    assert not np.array_equal(one.applied(flat, "a"), Degradation("mean", noise=8.0, seed=2).applied(flat, "a"))
    assert abs(one.applied(flat, "a").std() - 8) < 0.3
    # Rician: where there is no signal, the magnitude of noise has the mean of a Rayleigh distribution.
    dark = Degradation("kspace", noise=8.0).applied(np.zeros((128, 128), np.uint8), "a")
    assert abs(dark.mean() - 8 * np.sqrt(np.pi / 2)) < 0.2


def test_grey_stays_grey_in_three_channels_and_colours_each_have_their_noise():
    grey = np.repeat(simulate("cxr", 1).images["frontal"][..., :1], 3, axis=2)
    coarse = Degradation(noise=5.0).applied(grey, "a")
    assert np.array_equal(coarse[..., 0], coarse[..., 1]) and np.array_equal(coarse[..., 0], coarse[..., 2])
    colour = Degradation(noise=5.0).applied(simulate("cfp", 1).images["fundus"], "a")
    assert not np.array_equal(colour[..., 0], colour[..., 1])


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [({"method": "blur"}, "method is 'blur'; expected mean, bicubic, kspace"), ({"factor": 1}, "factor is 1"),
     ({"factor": 2.5}, "factor is 2.5"), ({"noise": -1.0}, "noise is -1.0"), ({"noise": float("nan")}, "noise is nan")],
)  # fmt: skip
def test_parameters_out_of_range_are_refused(parameters, problem):
    with pytest.raises(DataError, match=problem):
        Degradation(**parameters)


def test_damaged_declarations_and_unfit_sizes_are_errors():
    for text in ("{", "[1]", '{"colour": 1}', '{"factor": 99}'):
        with pytest.raises(DataError):
            declared({DECLARED: text})
    with pytest.raises(DataError, match="10 x 8 pixels; expected multiples of 4"):
        Degradation().applied(np.zeros((8, 10), np.uint8), "a")
    with pytest.raises(DataError, match="too small"):
        whole_blocks(np.zeros((3, 9), np.uint8), 4)
