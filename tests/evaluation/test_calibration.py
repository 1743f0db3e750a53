"""Figures of calibration against values worked out by hand, and against torchmetrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_calibration_error

from unimedvl.evaluation.calibration import calibration, reliability, risk_coverage
from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.score import Score

# Ten answers of 0.95, of which eight are right, and ten of 0.55, of which six are.
SURE = [0.95] * 10 + [0.55] * 10
RIGHT = [True] * 8 + [False] * 2 + [True] * 6 + [False] * 4
ANSWERS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40)


def named(scores: list[Score]) -> dict[str, Score]:
    return {score.metric: score for score in scores}


def test_errors_are_the_gaps_between_confidence_and_accuracy() -> None:
    scores = named(calibration(SURE, RIGHT))
    assert scores["ECE"].value == pytest.approx((0.15 + 0.05) / 2)
    assert scores["ECE, equal mass"].value == pytest.approx((0.15 + 0.05) / 2)
    assert scores["MCE"].value == pytest.approx(0.15)
    squares = 8 * 0.05**2 + 2 * 0.95**2 + 6 * 0.45**2 + 4 * 0.55**2
    assert scores["Brier score"].value == pytest.approx(squares / 20)
    assert not any(scores[name].higher for name in ("ECE", "MCE", "Brier score", "AURC"))


def test_bins_are_declared_beside_the_errors() -> None:
    scores = named(calibration(SURE, RIGHT, bins=5))
    assert scores["ECE"].beside.startswith("5 bins of equal width; ")
    assert scores["ECE, equal mass"].beside.startswith("5 bins of equal mass; ")


def test_bins_of_a_reliability_plot_hold_all_items_and_no_empty_bin() -> None:
    low, high = reliability(SURE, RIGHT)
    assert (low.low, low.high, low.n, low.accuracy) == (pytest.approx(0.5), pytest.approx(0.6), 10, 0.6)
    assert (high.low, high.high, high.n, high.accuracy) == (pytest.approx(0.9), 1.0, 10, 0.8)
    assert high.accuracy_low < 0.8 < high.accuracy_high


def test_a_confidence_of_one_is_in_the_last_bin() -> None:
    (only,) = reliability([1.0, 0.95], [True, False])
    assert (only.n, only.confidence, only.accuracy) == (2, pytest.approx(0.975), 0.5)
    assert named(calibration([1.0, 0.95], [True, False]))["ECE"].value == pytest.approx(0.475)


@settings(max_examples=40, deadline=None)
@given(ANSWERS, st.integers(1, 12))
def test_bins_of_equal_width_give_the_error_of_torchmetrics(answers: list, bins: int) -> None:
    sure, right = np.array([min(c, 0.999) for c, _ in answers]), [r for _, r in answers]
    found = reliability(sure, right, bins)
    error = sum(b.n * abs(b.confidence - b.accuracy) for b in found) / len(sure)
    asked = torch.tensor(sure, dtype=torch.float64), torch.tensor(right).long()
    assert error == pytest.approx(float(binary_calibration_error(*asked, n_bins=bins)), abs=1e-9)


def test_bins_of_equal_mass_share_the_items() -> None:
    sure = np.linspace(0.8, 0.99, 100)
    assert [b.n for b in reliability(sure, [True] * 100, 4, "mass")] == [25] * 4
    assert [b.n for b in reliability([0.7] * 9, [True] * 9, 4, "mass")] == [9]


def test_risk_is_the_share_of_errors_among_the_most_confident() -> None:
    coverage, risk = risk_coverage([0.7, 0.9, 0.8], [True, True, False])
    assert coverage == pytest.approx([1 / 3, 2 / 3, 1])
    assert risk == pytest.approx([0, 1 / 2, 1 / 3])
    area = named(calibration([0.7, 0.9, 0.8], [True, True, False]))["AURC"]
    assert area.value == pytest.approx(5 / 18)
    assert area.beside == "0.333 where confidence says nothing"


@settings(max_examples=40, deadline=None)
@given(ANSWERS, st.randoms(use_true_random=False))
def test_the_order_of_items_changes_no_curve(answers: list, chance) -> None:
    coarse = [(round(c, 1), r) for c, r in answers]
    mixed = list(coarse)
    chance.shuffle(mixed)
    first, second = (risk_coverage(*zip(*these, strict=True))[1] for these in (coarse, mixed))
    assert first == pytest.approx(second)


def test_accuracy_after_abstaining_is_of_the_most_confident() -> None:
    scores = named(calibration(SURE, RIGHT, abstain=(0, 0.5, 0.75)))
    assert scores["accuracy, 0 % abstained"].value == pytest.approx(0.7)
    half = scores["accuracy, 50 % abstained"]
    assert (half.value, half.n) == (pytest.approx(0.8), 10)
    assert (half.low, half.high) == pytest.approx((0.490, 0.943), abs=1e-3)  # Wilson's of 8 of 10
    assert scores["accuracy, 75 % abstained"].n == 5
    tenth = named(calibration([0.5] * 10, [True] * 10, abstain=(0.9,)))["accuracy, 90 % abstained"]
    assert tenth.n == 1


def test_the_interval_of_a_calibrated_model_holds_no_error_and_tells_what_chance_makes() -> None:
    chance = np.random.default_rng(1)
    sure = chance.uniform(0.4, 1, 300)
    scores = named(calibration(sure, chance.random(300) < sure))
    for name in ("ECE", "ECE, equal mass", "MCE"):
        expected = float(scores[name].beside.split("; ")[1].split()[0])
        assert scores[name].low == 0
        assert 0 < scores[name].value < 2.5 * expected


def test_the_interval_of_an_overconfident_model_holds_its_true_error() -> None:
    chance = np.random.default_rng(2)
    sure = chance.uniform(0.5, 1, 600)
    ece = named(calibration(sure, chance.random(600) < sure - 0.2))["ECE"]
    assert 0 < ece.low <= 0.2 <= ece.high < 0.3


def test_nothing_to_judge_gives_no_figures() -> None:
    assert reliability([], []) == []
    assert [len(part) for part in risk_coverage([], [])] == [0, 0]
    scores = calibration([], [])
    assert scores and all(math.isnan(s.value) and s.n == 0 for s in scores)


def test_further_fields_are_passed_on() -> None:
    assert {s.group for s in calibration(SURE, RIGHT, group="modality: ct")} == {"modality: ct"}


@pytest.mark.parametrize(
    ("sure", "right", "said"),
    [
        ([0.5], [True, False], "1 confidences and 2 rights"),
        ([1.5], [True], "a confidence of 1.5; it must be from 0 to 1"),
        ([math.nan], [True], "a confidence of nan"),
        ([0.5], [0.5], "neither right nor wrong"),
    ],
)
def test_what_cannot_be_judged_is_refused(sure: list, right: list, said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        reliability(sure, right)


def test_bins_and_abstentions_that_make_no_sense_are_refused() -> None:
    with pytest.raises(EvaluationError, match="bins is 0"):
        reliability([0.5], [True], 0)
    with pytest.raises(EvaluationError, match="bins by 'size'; it must be one of width, mass"):
        reliability([0.5], [True], 3, "size")
    with pytest.raises(EvaluationError, match="abstention of 1"):
        calibration([0.5], [True], abstain=(1,))
