"""Trust: a model that sees is told from one that guesses from words, and one that wavers from one that doesn't."""

from __future__ import annotations

import hashlib
from itertools import islice

import pytest

from unimedvl.evaluation.benchmarks import BENCHMARKS
from unimedvl.evaluation.item import Prediction
from unimedvl.evaluation.trust import BLIND, ORIGINAL, VARIANT

TRUST = BENCHMARKS["phantoms-closed-trust"]


@pytest.fixture(scope="module")
def items():
    return list(islice(TRUST.read(None), 7 * 40))


def figures(items, answer):
    found = TRUST.score([(item, answer(item)) for item in items])
    assert len(found.values) == len(items)
    return {(s.metric, s.group): s for s in found.scores}


def test_each_question_is_asked_in_every_variant(items):
    names = [i.groups[VARIANT] for i in items[:7]]
    assert names[0] == ORIGINAL and names[-1] == BLIND and len(set(names)) == 7
    plain, *others = items[:7]
    assert all(i.answers == plain.answers for i in others) and not others[-1].images
    assert len({i.key({}) for i in items[:7]}) == 7


def test_one_that_sees_and_never_wavers(items):
    right = figures(items, lambda i: Prediction(i.answers[0] if i.images else "", confidence=1.0))
    assert right["accuracy", ""].value == 1 and right["agreement in every variant", ""].value == 1
    assert right["accuracy", f"{VARIANT}: {BLIND}"].value == 0
    assert right["ECE", ""].value == pytest.approx(0, abs=1e-9)
    assert right["gap of accuracy", "by topic"].value == 0 if ("gap of accuracy", "by topic") in right else True


def test_one_that_guesses_from_words_is_as_good_without_the_image(items):
    guess = figures(items, lambda i: Prediction(i.answers[0], confidence=0.5))
    assert guess["accuracy", f"{VARIANT}: {BLIND}"].value == 1
    assert guess["ECE", ""].value == pytest.approx(0.5)


def test_one_that_wavers_agrees_less(items):
    def waver(item):
        even = hashlib.sha256(item.id.encode()).digest()[0] % 2
        return Prediction("yes" if even else "no", confidence=0.5)

    found = figures([i for i in items if i.kind == "closed"], waver)
    assert found["agreement in every variant", ""].value < 0.3
