"""A training whose layers are compiled has the losses of one whose aren't. The compiler takes minutes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from unimedvl.data.shards import write_shard
from unimedvl.data.sources import source

STEPS = 2


@pytest.fixture
def recipe(tiny_folder, tmp_path) -> Path:
    """A few steps of the tiny model on three simulated studies."""
    (tmp_path / "phantoms.json").write_text(json.dumps({"studies": 3, "size": 64, "modalities": ["cxr", "mri", "his"]}))
    (tmp_path / "data" / "shards").mkdir(parents=True)
    write_shard(tmp_path / "data" / "shards" / "train-00000.parquet", source("phantoms").read(tmp_path))
    stage = {
        "name": "one", "steps": STEPS, "mixture": {"text_to_image": 1, "image_to_text": 1}, "tokens": 700, "packs": 1,
        "learning_rate": 1e-3, "warmup": 1,
    }  # fmt: skip
    values = {
        "folder": str(tmp_path / "run"), "start": {"checkpoint": str(tiny_folder)}, "bf16": False,
        "log": {"every": 1}, "data": {"folders": [str(tmp_path / "data")], "workers": 0, "lookahead": 8},
        "stages": [stage], "export": False,
    }  # fmt: skip
    (tmp_path / "recipe.json").write_text(json.dumps(values))
    return tmp_path / "recipe.json"


@pytest.mark.timeout(1800)
def test_compiled_layers_have_the_losses_of_plain_ones(recipe, environment):
    losses = []
    for name, compiled in {"plain": "false", "compiled": "true"}.items():
        folder = recipe.parent / name
        command = [sys.executable, "-m", "unimedvl", "train", str(recipe), f"folder={folder}", f"compile={compiled}"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1500)
        assert done.returncode == 0, done.stderr[-2000:]
        lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        losses.append([(line["ce"], line["mse"], line["norm"]) for line in lines])
    assert len(losses[0]) == STEPS
    for plain, compiled in zip(*losses, strict=True):
        assert compiled == pytest.approx(plain, rel=1e-3)
