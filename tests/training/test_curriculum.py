"""The embedded model's curriculum in miniature, as a user runs it: three stages, killed in the second, and gone on.

The recipe is the shipped one; overrides give it parts and data that take seconds, and a few steps a stage.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint import FileSystemReader

from unimedvl.training.checkpoints import read_tensors, whole_checkpoints
from unimedvl.training.parallel import World

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "nano" / "curriculum.yaml"
STEPS = (2, 3, 2)
RATES = (1.5e-3, 2.0e-5, 1.0e-7)  # so small that a later stage's first step hardly moves what it begins at
MODALITIES = ["cxr", "mri", "his"]
PARTS = {
    "preset": "nano", "folder": "parts", "modalities": MODALITIES, "texts": 400,
    "vae": {"phases": [{"steps": 2, "crop": 16, "batch": 2}], "learning_rate": 1e-3},
    "vit": {"steps": 2, "batch": 2, "side": 126, "learning_rate": 1e-3},
}  # fmt: skip
DATA = {
    "folder": "data", "inputs": [{"name": "phantoms", "folder": "phantoms"}], "alignment": {"instruments": "none"},
    "splits": {"validation": 0.3, "keep_train": False}, "processes": 1,
}  # fmt: skip


def start(folder: Path, name: str) -> subprocess.Popen:
    """`unimedvl train` on the shipped curriculum in miniature; `folder` is where it is run."""
    settings = [f"folder={name}", "start.parts=parts.json", "data.build=data.json", "data.workers=0",
                "data.lookahead=16", "validation.every=0", "save.every=1", "save.last=20", "log.every=1"]  # fmt: skip
    for number, steps in enumerate(STEPS):
        changes = {"steps": steps, "tokens": 1200, "packs": 1, "warmup": 0, "schedule": "constant"}
        settings += [f"stages.{number}.{key}={value}" for key, value in changes.items()]
        settings += [f"stages.{number}.modalities={{}}", f"stages.{number}.learning_rate={RATES[number]}"]
    command = [sys.executable, "-m", "unimedvl", "train", str(RECIPE), *settings, "--quiet"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen) -> str:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert errors == ""
    return out


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    there = FileSystemReader(checkpoint).read_metadata().state_dict_metadata
    found = {name: torch.empty(what.size, dtype=what.properties.dtype) for name, what in there.items()}
    read_tensors(checkpoint, found, World(0, 1, 0, torch.device("cpu")))
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder in which a run was never interrupted; parts and data lie beside it."""
    folder = tmp_path_factory.mktemp("curriculum")
    (folder / "phantoms").mkdir()
    (folder / "phantoms" / "phantoms.json").write_text(json.dumps({"studies": 9, "modalities": MODALITIES}))
    for name, recipe in {"parts": PARTS, "data": DATA}.items():
        (folder / f"{name}.json").write_text(json.dumps(recipe))
    assert finish(start(folder, "whole")) == "whole/export\n"
    return folder


@pytest.mark.timeout(400)
def test_killed_in_the_second_stage_it_ends_with_the_same_bytes(whole, read_log):
    process, place = start(whole, "torn"), whole / "torn" / "checkpoints"
    wanted, end = STEPS[0] + 1, time.monotonic() + 200
    while not (place / f"step-{wanted:08d}").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not (whole / "torn" / "export").exists() and len(whole_checkpoints(place)) < sum(STEPS)
    assert finish(start(whole, "torn")) == "torn/export\n"
    assert hashes(whole / "torn" / "export") == hashes(whole / "whole" / "export")
    stages = ["foundation"] * STEPS[0] + ["instruction"] * STEPS[1] + ["unified"] * STEPS[2]
    for run in ("whole", "torn"):
        lines = read_log(whole / run / "log.jsonl")
        assert [line["stage"] for line in lines] == stages
        assert [line["step"] for line in lines] == list(range(1, sum(STEPS) + 1))
    # Both runs of the torn one are told.
    assert len(json.loads((whole / "torn" / "run.json").read_text())["starts"]) == 2


@pytest.mark.timeout(400)
@pytest.mark.parametrize("stage", [1, 2])
def test_a_stage_begins_at_the_average_of_the_one_before(whole, stage):
    """After its first step, at a tiny rate, the weights still lie at that average and not at the last weights."""
    end = sum(STEPS[:stage])
    before, after = (tensors(whole / "whole" / "checkpoints" / f"step-{n:08d}") for n in (end, end + 1))
    names = [name.removeprefix("average/") for name in before if name.startswith("average/")]
    nearest = 1.5 * RATES[stage] + 1e-6  # the first step of AdamW is the rate, but for decay and rounding

    def largest(one: dict, other: dict, which: str) -> float:
        return max(float((one[f"{which}/{n}"] - other[f"average/{n}"]).abs().max()) for n in names)

    assert largest(after, before, "model") < nearest
    assert largest(before, before, "model") > 2 * nearest
