"""docs/fine-tuning.md runs as written, with fewer studies and steps, and the tuned model has learnt the reports."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from unimedvl import UniMedVL

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "fine-tuning.md").read_text()
COMMANDS = [line for block in re.findall(r"```console\n(.*?)```", PAGE, re.S) for line in block.splitlines()]
FEWER = ["stages.0.steps=6", "stages.0.tokens=700", "stages.0.warmup=1", "validation.every=6", "validation.packs=1"]
# Nano as it is: one step that moves nothing.
BEFORE = ["folder=runs/before", "stages.0.steps=1", "stages.0.learning_rate=1.0e-12", "export=false"]


def run(command: list[str], folder: Path) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "unimedvl", *command]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return done.stdout


def shorter(words: list[str]) -> list[str]:
    if words[:2] == ["phantoms", "write"]:
        words = ["16" if word == "80" else word for word in words]
    if words[0] == "train" and words[1].endswith(".yaml"):
        words += FEWER
    return [*words, "--max-tokens", "8"] if words[0] == "ask" else words


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[Path, list[tuple[list[str], str]]]:
    """The folder in which all commands of the guide ran, and what each said."""
    folder = tmp_path_factory.mktemp("guide")
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    [recipe] = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    (folder / "my-data.yaml").write_text(recipe)
    said = []
    for command in COMMANDS:
        program, *words = shlex.split(command)
        assert program == "unimedvl"
        said.append((words, run(shorter(words), folder)))
        if "privacy-key" in words:  # pseudonyms, and with them the split of the patients, follow from it
            (folder / words[-1]).write_text("the same in every run of this test")
    full = next(words for words, _ in said if words[:2] == ["train", "recipes/finetune/full.yaml"])
    run([*shorter(full), *BEFORE], folder)
    return folder, said


def held_out(read_log, folder: Path) -> float:
    return next(v for line in reversed(read_log(folder / "log.jsonl")) if (v := line.get("held-out ce/report")))


@pytest.mark.timeout(400)
def test_all_commands_run_and_the_tuned_models_answer(done):
    folder, said = done
    answers = [out for words, out in said if words[0] == "ask"]
    assert len(answers) == 2 and all(out.strip() for out in answers)
    report = json.loads((folder / "runs" / "my-data" / "report.json").read_text())
    assert report["total"]["read"] == report["total"]["kept"] == 32  # a report and a question of each study


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", ["finetune", "finetune-lora"])
def test_the_loss_on_reports_of_patients_held_out_has_fallen(done, read_log, name):
    runs = done[0] / "runs"
    assert held_out(read_log, runs / name) < 0.97 * held_out(read_log, runs / "before")


@pytest.mark.timeout(400)
def test_the_tuned_weights_are_others_than_nanos_and_adapters_merge_alike(done):
    runs = done[0] / "runs"
    nano = UniMedVL.load(pack=False).model.state_dict()
    tuned, merged, again = (
        UniMedVL.load(runs / place, pack=False).model.state_dict()
        for place in ("finetune/export", "finetune-lora/export", "merged")
    )

    def changed(other: dict) -> set[str]:
        return {n.split(".")[0] for n in nano if not torch.equal(nano[n], other[n])}

    assert "language_model" in changed(tuned) and "vit_model" not in changed(tuned) and "vae" not in changed(tuned)
    assert "language_model" in changed(merged)
    assert all(torch.equal(merged[n], again[n]) for n in merged)
