"""`unimedvl eval run` on every real data set in miniature, in its published form: the oracle is right, random isn't."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from unimedvl.cli.main import main
from unimedvl.data.miniatures import write_miniature
from unimedvl.evaluation.benchmarks import BENCHMARKS, paired_sets, reports

# Which data set each benchmark reads; those of a data build have tests of their own.
SOURCES = {
    "vqa-rad": "vqa-rad", "slake": "slake", "pathvqa": "pathvqa", "omnimedvqa": "omnimedvqa",
    "gmai-mmbench": "gmai-mmbench", "pmc-vqa": "pmc-vqa", "pmc-vqa-2": "pmc-vqa", "medxpertqa-mm": "medxpertqa",
    "staining": "bci", "super-resolution": "ixi", "translation": "brats2023", "translation-mr-ct": "synthrad2023",
    "segmentation": "brats2023", "counterfactual": "icg-cxr", "openi-reports": "openi",
    "mimic-cxr-reports": "mimic-cxr", "slake-trust": "slake",
}  # fmt: skip


@pytest.fixture
def suite(tmp_path, monkeypatch) -> Path:
    """All of them in one suite. A miniature has too few patients for a tenth of them to be held out."""
    for module in (paired_sets, reports):
        monkeypatch.setattr(module, "held_out", lambda dataset, patient: True)
    entries = []
    for benchmark, source in SOURCES.items():
        folder = tmp_path / "data" / source
        if not folder.exists():
            write_miniature(source, folder)
        entries.append({"benchmark": benchmark, "folder": str(folder)})
    pairs = [str(file) for file in (tmp_path / "data" / "icg-cxr").rglob("*.json")]
    (tmp_path / "data" / "icg-cxr" / "icg-cxr-v1" / "test.json").write_text(json.dumps(pairs))
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump({"name": "all", "benchmarks": entries, "keep": 2}))
    return file


def test_every_benchmark_with_data_is_named():
    asked = {name for name, b in BENCHMARKS.items() if b.needs_data and b.area != "trust"}
    assert asked - set(SOURCES) == {"text-to-image", "gmai-mmbench-test"}


def test_every_table_comes_out_of_one_command(suite, tmp_path, capsys):
    headlines = {}
    for kind in ("oracle", "random"):
        folder = tmp_path / kind
        status = main(["eval", "run", str(suite), "--model", f"baseline:{kind}", "--folder", str(folder)])
        assert status == 0, capsys.readouterr().err
        content = json.loads((folder / "results.json").read_text())
        assert not content["simulated"] and [b["name"] for b in content["benchmarks"]] == list(SOURCES)
        headlines[kind] = {b["name"]: b["scores"][0] for b in content["benchmarks"]}
        report = (folder / "report.md").read_text()
        assert "61.9" in report and "75.4" in report and "20.27" in report  # what is published stands beside
    for name, score in headlines["oracle"].items():
        if score["metric"] in ("accuracy", "Dice"):
            assert score["value"] == 1.0, name
        elif score["value"] is not None and score["unit"] == "dB":
            assert score["value"] > headlines["random"][name]["value"], name
    shares = [s["value"] for s in headlines["random"].values() if s["metric"] in ("accuracy", "Dice")]
    assert len(shares) == 10 and sum(shares) / len(shares) < 0.6  # of miniatures, one item may be right by chance
