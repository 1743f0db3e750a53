"""Findings are counted by name, and what isn't on the machine is said and has no value."""

from __future__ import annotations

import math
import random

import pytest

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.metrics.findings import (
    FINDING_F1,
    LABELLERS,
    finding_counts,
    finding_scores,
    label_counts,
    labeller_scores,
)
from unimedvl.phantoms import simulate
from unimedvl.phantoms.reports import report
from unimedvl.phantoms.terms import VocabularyError


def test_findings_are_counted_by_name() -> None:
    text = "There is a right pleural effusion and cardiomegaly. No pneumothorax."
    assert finding_counts(text, {"pleural effusion", "nodule"}, "cxr") == (1, 1, 1)
    assert finding_counts("The lungs are clear.", set(), "cxr") == (0, 0, 0)


@pytest.mark.parametrize("modality", ["cxr", "ct", "mri", "cfp"])
def test_a_studys_own_report_states_all_its_findings(modality: str) -> None:
    studies = [simulate(modality, seed, 64) for seed in range(8)]
    truths = [{finding.name for finding in study.findings} for study in studies]
    scores, values = finding_scores([report(s, random.Random(0)) for s in studies], truths, [modality] * 8)
    assert scores[0].value == 1.0 and all(v == {FINDING_F1: 1.0} for v in values)


def test_f1_is_over_all_findings_and_not_a_mean_over_items() -> None:
    texts = ["Pleural effusion, cardiomegaly and a nodule.", "The lungs are clear."]
    truths = [{"pleural effusion", "cardiomegaly", "nodule"}, {"pneumothorax"}]
    (score,), values = finding_scores(texts, truths, ["cxr", "cxr"], group="modality: cxr")
    assert score.value == pytest.approx(2 * 3 / (2 * 3 + 0 + 1)) and score.group == "modality: cxr"
    assert [v[FINDING_F1] for v in values] == [1.0, 0.0]
    assert score.beside == "read by the phantoms' parser; precision 1.00 (3 of 3), recall 0.75 (3 of 4)"


def test_no_items_have_no_value() -> None:
    (score,), values = finding_scores([], [], [])
    assert math.isnan(score.value) and values == []


def test_what_does_not_belong_together_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="1 texts, 2 truths and 1 modalities"):
        finding_scores([""], [set(), set()], ["cxr"])
    with pytest.raises(VocabularyError, match="no modality 'xr'"):
        finding_counts("", set(), "xr")


def test_labels_are_counted() -> None:
    assert label_counts([1, 1, 0, 0, 1], [1, 0, 1, 0, 1]) == (2, 1, 1)


def test_each_labeller_is_named_and_says_what_it_lacks() -> None:
    scores = labeller_scores([], [])
    assert [s.metric for s in scores] == ["RadGraph F1 (radgraph-xl, partial)", "CheXbert F1 (14 labels, micro)"]
    for labeller, score in zip(LABELLERS, scores, strict=True):
        what = labeller.missing()
        assert score.beside == (f"not measured: {what}" if what else "") and math.isnan(score.value)
        assert "\n" not in what and what.startswith(labeller.name if what else "")


def test_a_labeller_that_lacks_something_says_so_when_asked() -> None:
    for labeller in LABELLERS:
        if what := labeller.missing():
            with pytest.raises(EvaluationError) as error:
                labeller.score(["a"], ["a"])
            assert str(error.value) == what
