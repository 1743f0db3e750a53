"""Dice and Hausdorff distances have the values that their definitions give by hand; empty masks what is declared."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.metrics.masks import HAUSDORFF, HAUSDORFF_95, dice, hausdorff, mask_of, mask_scores

EMPTY = np.zeros((31, 41), bool)


def box(top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = EMPTY.copy()
    mask[top : top + height, left : left + width] = True
    return mask


def test_dice_of_half_an_overlap() -> None:
    assert dice(box(5, 5, 10, 10), box(5, 10, 10, 10)) == pytest.approx(0.5)  # 2 * 50 / 200
    assert dice(box(5, 5, 10, 10), box(5, 5, 10, 5)) == pytest.approx(2 * 50 / 150)


def test_hausdorff_of_a_shift_is_its_length() -> None:
    assert hausdorff(box(5, 5, 10, 10), box(8, 9, 10, 10)) == pytest.approx(5.0)  # 3 down and 4 across
    assert hausdorff(box(5, 5, 10, 10), box(5, 5, 10, 10)) == 0.0


def test_hausdorff_takes_the_larger_direction() -> None:
    far = box(5, 5, 10, 10) | box(5, 30, 1, 1)
    assert hausdorff(far, box(5, 5, 10, 10)) == hausdorff(box(5, 5, 10, 10), far) == pytest.approx(30 - 14)


def test_the_percentile_leaves_out_a_stray_pixel() -> None:
    far = box(5, 5, 10, 10) | box(5, 30, 1, 1)  # 1 of 37 outline pixels
    assert hausdorff(far, box(5, 5, 10, 10), percentile=95) == 0.0


def test_spacing_counts_rows_and_columns_apart() -> None:
    assert hausdorff(box(5, 5, 10, 10), box(8, 5, 10, 10), spacing=(2.0, 0.5)) == pytest.approx(6.0)
    assert hausdorff(box(5, 5, 10, 10), box(5, 8, 10, 10), spacing=(2.0, 0.5)) == pytest.approx(1.5)


def test_empty_masks_are_worth_what_is_declared() -> None:
    assert (dice(EMPTY, EMPTY), hausdorff(EMPTY, EMPTY)) == (1.0, 0.0)
    for pair in ((EMPTY, box(5, 5, 3, 3)), (box(5, 5, 3, 3), EMPTY)):
        assert (dice(*pair), hausdorff(*pair), hausdorff(*pair, percentile=95)) == (0.0, math.inf, math.inf)


def test_scores_count_what_was_empty() -> None:
    masks, truths = [box(5, 5, 10, 10), EMPTY, EMPTY], [box(8, 9, 10, 10), box(1, 1, 2, 2), EMPTY]
    scores, values = mask_scores(masks, truths)
    assert [s.metric for s in scores] == ["Dice", HAUSDORFF, HAUSDORFF_95]
    assert [s.higher for s in scores] == [True, False, False]
    assert values[0][HAUSDORFF] == pytest.approx(5.0)
    assert scores[0].value == pytest.approx((2 * 42 / 200 + 0 + 1) / 3)
    assert scores[1].value == pytest.approx((5 + 50 + 0) / 3)  # the diagonal of 30 by 40
    assert all("1 with one mask empty, 1 with both" in s.beside for s in scores)


def test_a_drawn_mask_is_true_from_mid_grey_on() -> None:
    drawn = np.array([[[127, 127, 127], [128, 128, 128], [255, 255, 0]]], np.uint8)
    assert mask_of(drawn).tolist() == [[False, True, True]]
    assert math.isclose(mask_of(drawn[..., 0]).sum(), 2)


@pytest.mark.parametrize("truth", [np.zeros((31, 40), bool), np.zeros((31, 41), np.uint8)])
def test_what_is_no_mask_of_that_shape_is_an_error(truth: np.ndarray) -> None:
    with pytest.raises(EvaluationError, match="of one shape"):
        dice(EMPTY, truth)
