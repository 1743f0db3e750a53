"""The nearest training image is found, and copies of training images show as memorised."""

from __future__ import annotations

import numpy as np
import pytest

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.metrics.nearest import memorised_score, nearest


def sample(n: int, seed: int, d: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def test_the_nearest_is_that_of_the_smallest_angle() -> None:
    training = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    found = nearest(np.array([[5.0, 0.5], [0.1, 0.9], [1.0, 1.2], [0.0, -1.0]]), training)
    assert found.index.tolist() == [0, 1, 2, 0]
    assert found.cosine[2] == pytest.approx(2.2 / np.sqrt(2 * 2.44))
    assert found.cosine[3] == pytest.approx(0.0)


def test_many_images_are_looked_up_in_chunks() -> None:
    training = sample(50, 0)
    found = nearest(np.tile(training, (45, 1)), training)  # 2250 rows
    assert found.index.tolist() == list(range(50)) * 45 and np.allclose(found.cosine, 1.0)


def test_new_images_are_as_near_as_held_out_ones() -> None:
    score, _ = memorised_score(sample(400, 1), sample(300, 2), sample(400, 3), "an encoder")
    assert 0.01 < score.value < 0.10 and not score.higher
    assert score.beside.startswith("an encoder; 400 drawn, 300 training, 400 held out; cosine over 0.")


def test_copies_of_training_images_are_memorised() -> None:
    training = sample(300, 2)
    drawn = np.concatenate([training[:100] + 0.01 * sample(100, 4), sample(100, 5)])
    score, found = memorised_score(drawn, training, sample(400, 3), "an encoder", group="modality: ct")
    assert 0.5 <= score.value < 0.6 and score.group == "modality: ct"
    assert found.index[:100].tolist() == list(range(100))


def test_too_few_held_out_images_are_an_error() -> None:
    with pytest.raises(EvaluationError, match="at least 20 of them, got 19"):
        memorised_score(sample(5, 0), sample(5, 1), sample(19, 2), "an encoder")


@pytest.mark.parametrize("training", [np.zeros((0, 16)), np.zeros((3, 16)), np.ones((3, 15)), np.ones(16)])
def test_what_are_no_features_is_an_error(training: np.ndarray) -> None:
    with pytest.raises(EvaluationError, match="features"):
        nearest(sample(2, 0), training)
