"""Scores: known values, chance where answers are random, and what can't be read is wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.scores import bootstrap, f1, letter, mean, psnr, right_answer, share, wilson, yes_or_no
from unimedvl.phantoms.vocabulary import MODALITIES


def test_wilson_gives_the_published_values_and_stays_within_0_and_1():
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson(50, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_the_bootstrap_interval_of_a_mean_is_that_of_the_normal_law():
    values = np.random.default_rng(0).normal(3.0, 1.0, 400)
    low, high = bootstrap(values)
    half = 1.96 * values.std() / math.sqrt(400)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)
    assert bootstrap(values) == bootstrap(values)


def test_psnr_of_a_known_error_and_of_equal_images():
    black = np.zeros((4, 4, 3), np.uint8)
    assert psnr(black + np.uint8(255), black) == 0
    assert psnr(black + np.uint8(10), black) == pytest.approx(20 * math.log10(25.5))
    assert psnr(black, black) == 100
    with pytest.raises(ValueError, match="uint8"):
        psnr(black.astype(float), black)


def test_micro_f1_counts_names_over_all_texts():
    perfect = f1("report", "", [{"a"}, set(), {"a", "b"}], [{"a"}, set(), {"a", "b"}])
    assert (perfect.value, perfect.low, perfect.high) == (1, 1, 1)
    half = f1("report", "", [{"a"}, {"b"}], [{"a"}, {"c"}])
    assert half.value == pytest.approx(0.5)
    assert half.beside == "precision 0.50, recall 0.50"
    assert f1("report", "", [{"a"}], [set()]).value == 0


def test_a_share_knows_whether_its_target_is_met():
    assert share("t", "", [True] * 9 + [False], 0.9).met
    assert not share("t", "", [True] * 8 + [False] * 2, 0.9).met
    assert share("t", "", [True]).met is None
    assert mean("t", "", [1.0, 3.0], "dB", 2.0).met
    assert share("t", "", [True] * 3 + [False]).text() == "75.0 % (30.1 to 95.4)"


@pytest.mark.parametrize(
    ("answer", "read"),
    [("yes", "yes"), (" No.", "no"), ("Yes, there is.", "yes"), ("nodule", None), ("", None), ("maybe yes", None)],
)
def test_only_a_plain_yes_or_no_is_read(answer, read):
    assert yes_or_no(answer) == read


@pytest.mark.parametrize(("answer", "read"), [("B", "B"), ("c)", None), ("A) left", "A"), ("Axial", None), ("", None)])
def test_only_a_plain_letter_is_read(answer, read):
    assert letter(answer) == read


def test_an_open_answer_must_be_the_canonical_words():
    for modality in MODALITIES.values():
        for view in modality.views:
            assert right_answer("open", f"{view.kind.upper()}.", view.kind)
            assert not any(
                right_answer("open", other.kind, view.kind)
                for m in MODALITIES.values() for other in m.views if other.kind != view.kind
            )  # fmt: skip


def test_random_closed_answers_score_at_chance():
    rng = np.random.default_rng(0)
    truths = rng.choice(["yes", "no"], 2000)
    right = [right_answer("closed", a, t) for a, t in zip(rng.choice(["yes", "no"], 2000), truths, strict=True)]
    assert 0.46 < share("closed", "", right).value < 0.54
