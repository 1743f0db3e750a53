"""Reports of real data sets in their published form: the report itself scores all, an empty one nothing."""

from __future__ import annotations

import math

import pytest

from unimedvl.evaluation.benchmark import Broken
from unimedvl.evaluation.benchmarks import BENCHMARKS, reports
from unimedvl.evaluation.item import Prediction


@pytest.fixture(autouse=True)
def all_patients(monkeypatch):
    """A miniature has too few patients for a tenth of them."""
    monkeypatch.setattr(reports, "held_out", lambda dataset, patient: True)


@pytest.mark.parametrize("name", ["openi", "mimic-cxr"])
def test_the_report_itself_scores_all_and_an_empty_one_nothing(name, published, predicted):
    benchmark = BENCHMARKS[f"{name}-reports"]
    items = [found for found in benchmark.read(published(name)) if not isinstance(found, Broken)]
    assert items and all(i.images and len(i.answers[0]) > 10 and i.groups["modality"] == "cxr" for i in items)
    full = {s.metric: s for s in benchmark.score(predicted(items, lambda i: i.answers[0])).scores}
    assert full["BLEU-4"].value > 0.99 and full["ROUGE-L"].value == pytest.approx(1.0)
    none = {s.metric: s for s in benchmark.score(predicted(items, lambda i: Prediction(error="no"))).scores}
    assert none["BLEU-1"].value == 0 and none["BLEU-1"].failed == len(items)
    for metric, score in full.items():
        assert not math.isnan(score.value) or "not measured" in score.beside or len(items) < 2, metric
