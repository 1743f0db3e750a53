"""AUROC and F1 have the values that counting by hand gives."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.metrics.classification import auroc, f1


def test_auroc_is_the_share_of_pairs_in_the_right_order() -> None:
    # there: 0.9, 0.4; not: 0.5, 0.4, 0.1. Right: 3 + 1, and half of a tie, of 6.
    score = auroc([0.9, 0.4, 0.5, 0.4, 0.1], [True, True, False, False, False])
    assert score.value == pytest.approx(4.5 / 6)
    assert score.n == 5 and score.beside == "2 there, 3 not" and score.low <= score.value <= score.high


def test_auroc_of_chance_is_a_half_within_its_interval() -> None:
    rng = np.random.default_rng(0)
    score = auroc(rng.random(200).tolist(), (rng.random(200) < 0.3).tolist())
    assert score.low < 0.5 < score.high
    # the standard error of Hanley and McNeil for 0.5 is near sqrt((n + 1) / (12 n1 n0))
    assert (score.high - score.low) / 4 == pytest.approx(math.sqrt(201 / (12 * 60 * 140)), rel=0.35)


def test_auroc_without_both_classes_is_undefined() -> None:
    for truths in ([True, True], [False, False], []):
        assert math.isnan(auroc([0.1, 0.2][: len(truths)], truths).value)


def test_f1_by_hand() -> None:
    score = f1([True, True, True, False, False], [True, True, False, True, False], group="modality: cxr")
    assert score.value == pytest.approx(4 / 6)  # 2 found, 1 false, 1 missed
    assert score.beside == "2 found, 1 false, 1 missed" and score.group == "modality: cxr"


def test_f1_of_nothing_to_find_and_nothing_found_is_one() -> None:
    assert f1([False, False], [False, False]).value == 1.0
    assert math.isnan(f1([], []).value)


def test_what_does_not_belong_together_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="3 scores for 2 truths"):
        auroc([0.1, 0.2, 0.3], [True, False])
    with pytest.raises(EvaluationError, match="finite"):
        auroc([0.1, math.nan], [True, False])
