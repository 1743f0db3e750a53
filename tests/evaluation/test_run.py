"""A suite leaves results that say all, goes on where it was interrupted, and tells what is missing before it begins."""

from __future__ import annotations

import json

import pytest

from unimedvl.evaluation.benchmarks import BENCHMARKS
from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.predict import Asked
from unimedvl.evaluation.results import read_results
from unimedvl.evaluation.run import CACHE, run_suite
from unimedvl.evaluation.suite import SHIPPED, Suite, load_suite
from unimedvl.imaging import read_provenance
from unimedvl.recipes import RecipeError

SMALL = Suite.model_validate({
    "name": "small", "keep": 2,
    "benchmarks": [{"benchmark": "phantoms-closed", "count": 12}, {"benchmark": "phantoms-segmentation", "count": 4}],
})  # fmt: skip


def asked(kind: str = "oracle") -> Asked:
    return Asked(f"baseline:{kind}", SMALL.settings, batch=5)


def test_results_hold_what_is_needed_to_print_them_and_to_repeat_them(tmp_path):
    told = []
    made = run_suite(SMALL, asked(), tmp_path / "r", told.append, command=["unimedvl", "eval"])
    read = read_results(tmp_path / "r")
    assert read.content == made.content and read.name == "baseline:oracle on small"
    assert read.content["simulated"] is True and "simulated" in read.content["notice"]
    assert "Not for clinical use" in read.content["notice"]
    assert read.content["settings"]["benchmarks"][0]["count"] == 12 and read.content["versions"]["torch"]
    for benchmark in read.content["benchmarks"]:
        assert benchmark["scores"][0]["value"] == 1.0 and benchmark["protocol"]["split"]
        lines = read.items(benchmark["name"])
        assert len(lines) == benchmark["data"]["items"] and all(line["values"] for line in lines)
    outlined = read.items("phantoms-segmentation")
    assert [("drawn" in line) for line in outlined] == [True, True, False, False]
    for kind in ("drawn", "target"):
        assert (tmp_path / "r" / outlined[0][kind]).is_file()
    assert (tmp_path / "r" / outlined[0]["images"][0]).is_file()
    assert (told[-1].benchmark, told[-1].done, told[-1].total) == ("phantoms-segmentation", 4, 4)


def test_an_interrupted_suite_goes_on_and_a_repeated_one_asks_nothing(tmp_path, monkeypatch):
    from unimedvl.evaluation import models

    count, stop = 0, 7
    oracle = models.BASELINES["oracle"]

    def counted(item):
        nonlocal count
        if count == stop:
            raise KeyboardInterrupt
        count += 1
        return oracle(item)

    monkeypatch.setitem(models.BASELINES, "oracle", counted)
    with pytest.raises(KeyboardInterrupt):
        run_suite(SMALL, asked(), tmp_path)
    assert not (tmp_path / "results.json").exists() and (tmp_path / CACHE).exists()
    stop = -1
    run_suite(SMALL, asked(), tmp_path)
    assert count == 7 + 16 - 5  # the batch of five that was whole was kept
    run_suite(SMALL, asked(), tmp_path)
    assert count == 7 + 16 - 5


def test_what_the_model_drew_is_marked_in_the_gallery_and_not_in_what_is_scored(tmp_path, tiny_folder):
    entries = [{"benchmark": "phantoms-segmentation", "count": 1}]
    suite = Suite.model_validate({"name": "x", "keep": 1, "steps": 2, "benchmarks": entries})
    run_suite(suite, Asked(str(tiny_folder), suite.settings), tmp_path)
    (line,) = read_results(tmp_path).items("phantoms-segmentation")
    came = read_provenance(tmp_path / line["drawn"])
    assert came["task"] == "segment" and len(came["model"]["weights_sha256"]) == 64
    assert read_provenance(tmp_path / line["target"]) is None


def test_missing_data_is_told_before_anything_is_asked(tmp_path, monkeypatch):
    monkeypatch.delenv("LMUData", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    entries = [{"benchmark": "phantoms-closed", "count": 2}, {"benchmark": "slake"}]
    with pytest.raises(EvaluationError, match="slake: where is its data"):
        run_suite(Suite.model_validate({"name": "x", "benchmarks": entries}), asked(), tmp_path / "r")
    entries[1]["folder"] = str(tmp_path / "none")
    with pytest.raises(EvaluationError, match="slake: .*none: no such folder"):
        run_suite(Suite.model_validate({"name": "x", "benchmarks": entries}), asked(), tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_benchmark_that_does_not_exist_is_named_with_those_that_do(tmp_path):
    with pytest.raises(EvaluationError, match="no suite called 'all'; there are medical, phantoms"):
        load_suite("all")
    with pytest.raises(RecipeError, match=r"benchmarks\.0\.benchmark: no benchmark called 'vqa'; there are vqa-rad"):
        load_suite("phantoms", ["benchmarks=[{benchmark: vqa}]"])
    with pytest.raises(RecipeError, match="benchmarks: phantoms-open is named twice"):
        load_suite("phantoms", ["benchmarks=[{benchmark: phantoms-open}, {benchmark: phantoms-open}]"])


def test_every_shipped_suite_names_benchmarks_that_there_are():
    for file in SHIPPED.glob("*.yaml"):
        suite = load_suite(file.stem)
        assert suite.name == file.stem and all(e.benchmark in BENCHMARKS for e in suite.benchmarks)
    published = {"vqa-rad", "slake", "pathvqa", "omnimedvqa", "gmai-mmbench", "text-to-image", "staining",
                 "super-resolution", "translation", "counterfactual"}  # fmt: skip
    assert published <= {e.benchmark for e in load_suite("medical").benchmarks}


def test_results_that_are_not_there_are_one_clear_line(tmp_path):
    with pytest.raises(EvaluationError, match="unimedvl eval run"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(EvaluationError, match="not JSON"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text(json.dumps({}))
    assert read_results(tmp_path).items("x") == []
