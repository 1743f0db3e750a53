"""Benchmarks of simulated studies: an oracle scores all, a model that knows nothing what chance gives."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from unimedvl.evaluation.benchmarks import BENCHMARKS
from unimedvl.evaluation.models import Settings, open_model
from unimedvl.evaluation.run import items_of
from unimedvl.evaluation.suite import Entry
from unimedvl.phantoms.study import FIRST_TRAINING_SEED

PHANTOMS = [name for name, b in BENCHMARKS.items() if b.simulated and b.area != "trust"]
# What an oracle gets where a classifier or a measure errs itself, or where the headline is in decibels.
LEAST = {
    "phantoms-text-to-image": 0.95, "phantoms-super-resolution": 20.0, "phantoms-translation": 20.0,
    "phantoms-staining": 0.9, "phantoms-counterfactual": 0.9,
}  # fmt: skip
COUNT = {"phantoms-staining": 8, "phantoms-super-resolution": 3, "phantoms-translation": 4}


def scored(name: str, model: str, count: int | None = None):
    benchmark = BENCHMARKS[name]
    items, broken = items_of(benchmark, None, Entry(benchmark=name, count=count or COUNT.get(name, 20)))
    assert not broken
    predictions = open_model(f"baseline:{model}", Settings()).answer(items)
    return items, benchmark.score(list(zip(items, predictions, strict=True)))


@pytest.mark.parametrize("name", PHANTOMS)
def test_an_oracle_scores_all_that_can_be(name):
    items, found = scored(name, "oracle")
    headline = found.scores[0]
    assert headline.value >= LEAST.get(name, 1.0) and headline.n == len(items)
    assert len(found.values) == len(items) and all(found.values)
    assert not headline.unparsed and not headline.failed


@pytest.mark.parametrize("name", PHANTOMS)
def test_held_out_items_are_the_same_every_time_and_each_has_its_own_name(name):
    items, again = (list(islice(BENCHMARKS[name].read(None), 12)) for _ in range(2))
    assert len({i.id for i in items}) == 12
    assert [i.key({}) for i in items] == [i.key({}) for i in again]
    assert all(i.seed < FIRST_TRAINING_SEED for i in items)


def test_one_that_always_says_yes_is_right_as_often_as_the_answer_is_yes():
    items, found = scored("phantoms-closed", "yes", 200)
    closed = [i for i in items if i.kind == "closed"]
    first = [i.answers == ("A",) for i in items if i.kind == "choice"]
    expected = (sum(i.answers == ("yes",) for i in closed) + sum(first)) / len(items)
    assert found.scores[0].value == pytest.approx(expected)
    of_closed = next(s for s in found.scores if s.group == "kind: closed")
    assert 0.4 < of_closed.value < 0.6


def test_random_answers_score_what_chance_gives():
    items, found = scored("phantoms-closed", "random", 300)
    chance = np.mean([0.5 if i.kind == "closed" else 1 / len(i.options) for i in items])
    assert abs(found.scores[0].value - chance) < 0.09


def test_what_cannot_be_read_is_wrong_and_counted():
    items, _ = scored("phantoms-closed", "oracle", 30)
    model = open_model("baseline:oracle", Settings())
    said = model.answer(items)
    said[0] = type(said[0])("perhaps")
    said[1] = type(said[1])(error="ValueError: no")
    headline = BENCHMARKS["phantoms-closed"].score(list(zip(items, said, strict=True))).scores[0]
    assert (headline.unparsed, headline.failed) == (1, 1) and headline.value == pytest.approx(28 / 30)


def test_giving_the_input_back_gains_nothing():
    for name in ("phantoms-super-resolution", "phantoms-translation"):
        _, found = scored(name, "copy")
        assert found.scores[0].value == pytest.approx(0.0, abs=1e-9)
    _, found = scored("phantoms-counterfactual", "copy")
    values = {s.metric: s.value for s in found.scores if not s.group}
    assert values["asked change"] < 0.3 < values["all else unchanged"]
    assert values["PSNR over copying"] == pytest.approx(0.0, abs=1e-9)


def test_noise_is_no_kind_of_image_that_was_asked_for():
    _, found = scored("phantoms-text-to-image", "random", 26)
    values = {s.metric: s.value for s in found.scores if not s.group}
    assert values["asked modality"] < 0.4 and values["very view"] < 0.4
