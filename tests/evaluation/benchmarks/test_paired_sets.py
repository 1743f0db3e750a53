"""Data sets of pairs in their published form: an oracle scores all, giving the input back gains nothing."""

from __future__ import annotations

import json
import math

import pytest

from unimedvl.data.miniatures import write_miniature
from unimedvl.evaluation.benchmark import Broken
from unimedvl.evaluation.benchmarks import BENCHMARKS
from unimedvl.evaluation.benchmarks.paired_sets import held_out
from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.item import Prediction
from unimedvl.evaluation.models import Settings, open_model

# Benchmark, source, and the headline's value for the oracle at least.
SETS = {
    "staining": ("bci", 5.0), "super-resolution": ("ixi", 5.0), "translation": ("brats2023", 5.0),
    "translation-mr-ct": ("synthrad2023", 5.0), "segmentation": ("brats2023", 1.0), "counterfactual": ("icg-cxr", 0.0),
}  # fmt: skip


@pytest.fixture(autouse=True)
def all_patients(monkeypatch):
    """A miniature has too few patients for a tenth of them."""
    from unimedvl.evaluation.benchmarks import paired_sets

    monkeypatch.setattr(paired_sets, "held_out", lambda dataset, patient: True)


def asked(name: str, tmp_path):
    write_miniature(SETS[name][0], tmp_path / "data")
    if name == "counterfactual":  # the miniature's own pairs are of its parents' other splits
        pairs = [str(file) for file in (tmp_path / "data").rglob("*.json")]
        (tmp_path / "data" / "icg-cxr-v1" / "test.json").write_text(json.dumps(pairs))
    found = list(BENCHMARKS[name].read(tmp_path / "data"))
    return [item for item in found if not isinstance(item, Broken)]


def scored(name: str, items, model: str):
    predictions = open_model(f"baseline:{model}", Settings()).answer(items)
    return BENCHMARKS[name].score(list(zip(items, predictions, strict=True)))


@pytest.mark.parametrize("name", SETS)
def test_an_oracle_is_right_and_a_copy_gains_nothing(name, tmp_path):
    items = asked(name, tmp_path)
    assert items and len({i.id for i in items}) == len(items)
    assert all(i.images and i.text and i.target().any() for i in items)
    oracle = {s.metric: s for s in scored(name, items, "oracle").scores if not s.group}
    first = next(iter(oracle.values()))
    assert first.value >= SETS[name][1] or math.isnan(first.value)
    if name != "segmentation":
        assert oracle["SSIM"].value == pytest.approx(1.0)
        copied = {s.metric: s.value for s in scored(name, items, "copy").scores if not s.group}
        gain = next(m for m in copied if m.startswith("PSNR over"))
        assert abs(copied[gain]) < 1e-6 < oracle[gain].value


@pytest.mark.parametrize("name", SETS)
def test_what_failed_is_counted(name, tmp_path):
    items = asked(name, tmp_path)
    found = BENCHMARKS[name].score([(i, Prediction(error="ValueError: no")) for i in items])
    assert len(found.values) == len(items)
    assert any(s.failed == len(items) for s in found.scores)


def test_counterfactuals_tell_what_the_classifier_of_findings_needs(tmp_path):
    found = {s.metric: s for s in scored("counterfactual", asked("counterfactual", tmp_path), "oracle").scores}
    assert found["ROUGE-L"].value == pytest.approx(1.0) and found["BLEU-3"].value > 0.9
    for metric in ("AUROC", "F1"):
        assert not math.isnan(found[metric].value) or "not measured" in found[metric].beside


def test_the_tenth_is_a_tenth_and_the_same_for_everyone():
    patients = [f"IXI{n:03d}" for n in range(2000)]
    chosen = [p for p in patients if held_out("ixi", p)]
    assert 150 < len(chosen) < 250
    assert held_out("ixi", "IXI007") is held_out("ixi", "IXI007")
    assert [p for p in patients if held_out("brats2023", p)] != chosen


def test_a_folder_of_another_form_is_one_clear_line(tmp_path):
    with pytest.raises(EvaluationError, match="expected"):
        list(BENCHMARKS["staining"].read(tmp_path))
    with pytest.raises(EvaluationError, match="bci: no data"):
        list(BENCHMARKS["staining"].read(None))
