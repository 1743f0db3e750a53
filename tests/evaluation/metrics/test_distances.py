"""Fréchet distance and KID have the values of their closed forms and of the kept libraries."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import poly_mmd

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.metrics.distances import frechet, frechet_score, kernel_score, kid


def gaussian(n: int, d: int, seed: int, mean: float = 0.0, spread: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, spread, (n, d))


class Given(torch.nn.Module):
    """Features in the place of images."""

    num_features = 5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_frechet_of_one_dimension_is_the_closed_form() -> None:
    # (m1 - m2)^2 + (s1 - s2)^2 of {0, 2} (mean 1, variance 2) and {4, 12} (mean 8, variance 32)
    assert frechet(np.array([[0.0], [2.0]]), np.array([[4.0], [12.0]])) == pytest.approx(
        7**2 + (math.sqrt(32) - math.sqrt(2)) ** 2
    )


def test_frechet_of_a_shift_is_its_squared_length() -> None:
    one = gaussian(40, 3, 0)
    assert frechet(one, one + [3.0, 0.0, 4.0]) == pytest.approx(25.0)
    assert frechet(one, one) == pytest.approx(0.0, abs=1e-9)


def test_frechet_is_that_of_torchmetrics() -> None:
    one, other = gaussian(60, 5, 1), gaussian(80, 5, 2, 0.3, 1.5)
    theirs = FrechetInceptionDistance(Given()).set_dtype(torch.float64)
    for features, real in ((one, True), (other, False)):
        theirs.update(torch.from_numpy(features), real=real)
    assert frechet(one, other) == pytest.approx(float(theirs.compute()), rel=1e-8)


@pytest.mark.filterwarnings("ignore::scipy.linalg.LinAlgWarning")
@given(st.integers(2, 30), st.integers(2, 30), st.integers(1, 8), st.integers(0, 99))
def test_frechet_is_that_of_the_matrix_square_root(n: int, m: int, d: int, seed: int) -> None:
    one, other = gaussian(n, d, seed), gaussian(m, d, seed + 1, 0.5, 2.0)
    a, b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (one, other))
    nudge = 1e-10 * np.eye(d)  # the square root of a singular matrix needs it
    root = scipy.linalg.sqrtm((a + nudge) @ (b + nudge)).real
    expected = ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(a + b - 2 * root)
    assert frechet(one, other) == pytest.approx(expected, abs=1e-3, rel=1e-4)
    assert frechet(one, other) == pytest.approx(frechet(other, one), abs=1e-8)


def test_kid_by_hand() -> None:
    # d = 1, k(x, y) = (x y + 1)^3 of {0, 1} and {0, 2}: within 1 and 1, between mean of 1, 1, 1, 27
    one, other = np.array([[0.0], [1.0]]), np.array([[0.0], [2.0]])
    assert kid(one, other) == pytest.approx(1 + 1 - 2 * 30 / 4)


def test_kid_is_that_of_torchmetrics() -> None:
    one, other = gaussian(50, 8, 3), gaussian(50, 8, 4, 0.2)
    theirs = float(poly_mmd(torch.from_numpy(one), torch.from_numpy(other)))
    assert kid(one, other) == pytest.approx(theirs, rel=1e-9)


def test_kid_of_one_distribution_is_nought_on_average() -> None:
    values = [kid(gaussian(20, 4, 2 * k), gaussian(30, 4, 2 * k + 1)) for k in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(200)
    assert min(values) < 0 < max(values)


def test_scores_name_the_encoder_and_both_numbers() -> None:
    drawn, real = gaussian(40, 6, 5, 0.5), gaussian(50, 6, 6)
    for score in (frechet_score(drawn, real, "an encoder", resamples=40), kernel_score(drawn, real, "an encoder")):
        assert score.beside == "an encoder; 40 drawn, 50 real"
        assert score.low < score.value < score.high and not score.higher and score.n == 40


@pytest.mark.parametrize(("distance", "score"), [(frechet, frechet_score), (kid, kernel_score)])
def test_intervals_cover_what_sets_of_this_size_give_on_average(distance: Callable, score: Callable) -> None:
    def sets(k: int) -> tuple[np.ndarray, np.ndarray]:
        return gaussian(60, 4, 2 * k, 0.5), gaussian(60, 4, 2 * k + 1)

    average = np.mean([distance(*sets(k)) for k in range(100, 400)])
    scores = [score(*sets(k), "an encoder", resamples=60) for k in range(50)]
    assert 0.8 < np.mean([s.low <= average <= s.high for s in scores]) <= 1.0
    assert np.mean([average < s.low for s in scores]) < 0.15 > np.mean([average > s.high for s in scores])


def test_fewer_images_than_features_are_warned_of() -> None:
    score = frechet_score(gaussian(8, 8, 0), gaussian(30, 8, 1), "an encoder", resamples=5)
    assert "of 8 images the covariance of 8 features is rank deficient" in score.beside
    enough = frechet_score(gaussian(9, 8, 0), gaussian(30, 8, 1), "an encoder", resamples=5)
    assert "rank" not in enough.beside


def test_one_image_has_no_distance() -> None:
    for of in (frechet_score, kernel_score):
        score = of(gaussian(1, 4, 0), gaussian(9, 4, 1), "an encoder")
        assert math.isnan(score.value) and score.n == 1


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (gaussian(5, 3, 0), "two rows or more"),
        (gaussian(1, 4, 0), "two rows or more"),
        (np.full((5, 4), np.nan), "finite"),
    ],
)
def test_what_are_no_features_is_an_error(other: np.ndarray, message: str) -> None:
    for of in (frechet, kid):
        with pytest.raises(EvaluationError, match=message):
            of(gaussian(5, 4, 1), other)
