"""`unimedvl eval`: a suite from nothing to a report, two results compared, and what is wrong in one line."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import yaml

from unimedvl.data.miniatures import write_miniature

SUITE = {
    "name": "small", "keep": 2,
    "benchmarks": [{"benchmark": "phantoms-closed", "count": 24}, {"benchmark": "phantoms-segmentation", "count": 4}],
}  # fmt: skip


@pytest.fixture
def run(run):
    """Without a model of the fixture's: commands here name their own."""
    return partial(run, tiny=False)


@pytest.fixture
def suite(tmp_path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(SUITE))
    return file


def test_a_suite_leaves_json_a_report_plots_and_a_gallery(run, suite, tmp_path):
    done = run("eval", "run", suite, "--model", "baseline:oracle", "--folder", tmp_path / "a")
    assert done.status == 0, done.err
    assert "phantoms-closed: accuracy 100.0 %" in done.out and "report.md" in done.out
    assert "simulated" in done.err
    for name in ("results.json", "report.md", "gallery.html", "items/phantoms-closed.jsonl"):
        assert (tmp_path / "a" / name).is_file(), name
    assert list((tmp_path / "a" / "plots").iterdir())
    told = run("eval", "run", suite, "benchmarks.0.count=10", "--model", "baseline:yes", "--json",
               "--folder", tmp_path / "b")  # fmt: skip
    assert told.json["benchmarks"][0]["data"]["items"] == 10
    assert told.json["command"].startswith(f"unimedvl eval run {suite} benchmarks.0.count=10 --model baseline:yes")


def test_results_are_compared_and_put_into_a_readme(run, suite, tmp_path):
    for kind in ("oracle", "yes"):
        run("eval", "run", suite, "--model", f"baseline:{kind}", "--folder", tmp_path / kind)
    compared = run("eval", "compare", tmp_path / "oracle", tmp_path / "yes")
    assert compared.status == 0 and "holds: A is better" in compared.out
    assert run("eval", "compare", tmp_path / "oracle", tmp_path / "yes", "--json").json
    both = run("eval", "report", tmp_path / "oracle", tmp_path / "yes")
    assert "baseline:oracle" in both.out and "baseline:yes" in both.out
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- scoreboard -->\nold\n<!-- /scoreboard -->\nafter\n")
    assert run("eval", "report", tmp_path / "oracle", "--readme", readme).status == 0
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text and "imulated" in text


def test_a_model_of_ones_own_is_asked(run, suite, tmp_path, model_folder):
    done = run("eval", "run", suite, "max_tokens=2", "steps=2", "--model", model_folder, "--folder", tmp_path / "m")
    assert done.status == 0, done.err
    content = json.loads((tmp_path / "m" / "results.json").read_text())
    assert content["model"]["name"] == "tiny" and content["model"]["weights_sha256"]


def test_benchmarks_are_listed_with_their_protocols(run):
    listed = run("eval", "benchmarks", "--json").json
    by_name = {b["name"]: b for b in listed}
    assert {"vqa-rad", "staining", "text-to-image", "phantoms-closed", "openi-reports"} <= set(by_name)
    assert all(b["protocol"]["split"] and b["protocol"]["prompt"] for b in listed)
    assert "judge" in run("eval", "benchmarks").out


def test_a_table_for_another_harness_is_written(run, tmp_path):
    write_miniature("slake", tmp_path / "slake")
    done = run("eval", "tsv", "slake", tmp_path / "slake", tmp_path / "LMUData", "--json")
    assert done.status == 0, done.err
    assert Path(done.json["file"]).name == "SLAKE.tsv" and done.json["items"] > 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run", "every"), "no suite called 'every'; there are medical, phantoms"),
        (("run", "phantoms", "--model", "baseline:best"), "no baseline called 'best'"),
        (("run", "phantoms", "benchmarks.0.cuont=3"), "benchmarks.0.cuont: no such field; there are benchmark, folder"),
        (("run", "medical"), "vqa-rad: where is its data? give benchmarks.N.folder=DIR"),
        (("compare", "here", "there"), "no such file; `unimedvl eval run` writes it"),
        (("tsv", "pathvqa", ".", "."), "pathvqa: no table of it is written; there are vqa-rad, slake"),
    ],
)
def test_what_is_wrong_is_one_line(run, monkeypatch, arguments, told):
    monkeypatch.delenv("LMUData", raising=False)
    monkeypatch.setenv("HOME", "/nowhere")
    done = run("eval", *arguments)
    assert done.status == 2 and told in done.err and done.err.count("\n") == 1, done.err
