"""Pairs lie on each other: simulated ones do, shifted ones are found out."""

from __future__ import annotations

import numpy as np
import pytest

from unimedvl.data.error import DataError
from unimedvl.data.interleaved.registration import MOST, registered, shift
from unimedvl.phantoms import simulate

PAIRS = [("mri", "t2", "flair"), ("mri", "t1", "t2"), ("his", "he", "ihc")]


@pytest.mark.parametrize(("modality", "one", "two"), PAIRS)
def test_views_of_a_study_pass_and_shifted_ones_do_not(modality, one, two):
    for seed in range(3):
        images = simulate(modality, seed, 128).images
        decision = registered(images[one], images[two])
        assert decision.kept and decision.score == 0 and not decision.reason
        moved = registered(images[one], np.roll(images[two], (4, 0), (0, 1)))
        assert not moved.kept and moved.score == 4 / 128
        assert moved.reason == f"the images lie apart by 3.1% of the side, over {MOST:.1%}"


def test_an_image_lies_on_itself_and_a_blank_one_says_nothing():
    image = simulate("cxr", 1).images["frontal"]
    assert shift(image, image) == 0
    assert shift(image, np.zeros_like(image)) == 0
    assert shift(image, 255 - image) == 0


def test_other_sizes_are_no_pair():
    with pytest.raises(DataError, match="images of 32 x 64 and 64 x 64 pixels; expected two of one size"):
        registered(np.zeros((64, 32), np.uint8), np.zeros((64, 64), np.uint8))


def test_where_contents_cannot_be_compared_sizes_decide():
    image = simulate("cxr", 1).images["frontal"]
    assert registered(image, np.roll(image, 20, 0), aligned=False).kept
