"""The table of the embedded model: each aim has its figure; an oracle meets it, a model that knows nothing doesn't."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.nano import AIMS, COUNTS, VAE, autoencoder, lines, main, measure, sheets, table

SMALL = [name for name in COUNTS if name != VAE]


@pytest.fixture(scope="module")
def of_baselines(tmp_path_factory) -> dict[str, tuple[Path, dict]]:
    made = {}
    for kind in ("oracle", "yes"):
        folder = tmp_path_factory.mktemp(kind)
        made[kind] = folder, measure(f"baseline:{kind}", folder, SMALL, 26)
    return made


def test_every_aim_is_of_a_benchmark_that_is_measured_and_an_oracle_meets_it(of_baselines):
    found = lines(of_baselines["oracle"][1]["scores"])
    assert [aim for aim, _ in found] == [aim for aim in AIMS if aim.benchmark != VAE]
    for aim, score in found:
        assert score.met or (aim.name == "text to image: asked finding" and score.value > 0.7), aim.name


def test_a_model_that_knows_nothing_misses_every_aim(of_baselines):
    assert not any(score.met for _, score in lines(of_baselines["yes"][1]["scores"]))


def test_sheets_show_what_was_drawn_beside_the_truth(of_baselines, tmp_path):
    folder, _ = of_baselines["oracle"]
    sheets(folder, tmp_path)
    names = {f.stem for f in tmp_path.glob("*.png")}
    assert {"text-to-image", "super-resolution", "translation", "staining", "counterfactual", "segmentation"} <= names


def test_the_autoencoder_is_measured_by_view(tmp_path):
    whole, *views = autoencoder("nano", 13, tmp_path)
    assert whole.n == 13 and len(views) == 13 and whole.value > 20
    assert (tmp_path / "sheets" / f"{VAE}.png").is_file()


def test_table_and_json_hold_every_figure(of_baselines, tmp_path, capsys):
    console = Console(record=True, width=170, file=io.StringIO())
    console.print(table(lines(of_baselines["oracle"][1]["scores"]), "oracle"))
    told = console.export_text()
    assert "modality named, ten of them" in told and "simulated" in told
    file = tmp_path / "nano.json"
    arguments = ["--model", "baseline:yes", "--tasks", "phantoms-modality", "--count", "13", "--json", str(file)]
    assert main([*arguments, "--folder", str(tmp_path / "f"), "--check"]) == 1
    content = json.loads(file.read_text())
    assert content["table"][0]["at_least"] == 0.99 and content["results"]["versions"]["torch"]
    assert "modality named" in capsys.readouterr().out
