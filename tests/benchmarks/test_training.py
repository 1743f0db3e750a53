"""The training benchmark takes real steps of the loop, and says what it measured and what fell short."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.training import SIZES, Measured, layers_that_fit, main, recipe_of
from benchmarks.training import _arguments as arguments
from unimedvl.model.config import PRESETS

FOUND = Measured("mid", 12, 10, "bf16", 100.0, 1.0, 100.0, 0.75, 0.7, 0.8, 0.7, 0.99, 0.01, (1.0, 1.0))


def test_a_run_measures_the_loop_on_packed_records_and_writes_it(tmp_path, capsys):
    file = tmp_path / "training.json"
    small = ["--geometry", "nano", "--layers", "1", "--side", "128", "--tokens", "700", "--packs", "1"]
    small += ["--steps", "1", "--studies", "4", "--workers", "0"]
    assert main([*small, "--device", "cpu", "--profile", "--cpu-time", "--json", str(file)]) == 0
    told = json.loads(file.read_text())["measured"]
    assert 0 < told["lowest"] <= told["mfu"] <= told["highest"] < 1
    assert told["layers"] == 1 and 0.8 < told["fill"] <= 1 and 0 < told["loader_wait"] < 1
    assert told["tokens_per_second"] > 0 and told["why"]["shares"]["products"] > 0
    out = capsys.readouterr().out
    assert "MFU" in out and "Time of a step" in out


@pytest.mark.parametrize(
    ("changes", "met"),
    [
        ({}, {"mfu": True, "loader wait": True}),
        ({"mfu": 0.69, "loader_wait": 0.02}, {"mfu": False, "loader wait": False}),
        ({"aim": None}, {"loader wait": True}),
    ],
)
def test_what_falls_short_is_told(changes, met):
    assert replace(FOUND, **changes).met == met


def test_a_gpu_gets_as_many_layers_as_its_memory_holds():
    config, size = PRESETS["14b"], SIZES["14b"]
    recipe = recipe_of(Path("run"), Path("data"), size, arguments(["--geometry", "14b"]))
    one, many = (layers_that_fit(config, recipe, size.side, memory) for memory in (80e9, 140e9))
    assert 1 <= one < many < config.decoder.num_layers
    assert layers_that_fit(config, recipe, size.side, 1e12) == config.decoder.num_layers
    with pytest.raises(ValueError, match="not one layer of the geometry fits into 1.0 GB"):
        layers_that_fit(config, recipe, size.side, 1e9)
