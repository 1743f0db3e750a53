"""`unimedvl train` with real trainings of a tiny model: run, stopped, planned, exported, merged, and refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from unimedvl import UniMedVL
from unimedvl.checkpoint import fingerprint
from unimedvl.data.shards import write_shard
from unimedvl.data.source import Sample
from unimedvl.data.sources import source


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory) -> Path:
    """A shard as a data build leaves it. Not to be written to."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "phantoms.json").write_text(json.dumps({"studies": 3, "size": 64, "modalities": ["cxr", "mri", "his"]}))
    items = [item for item in source("phantoms").read(folder) if isinstance(item, Sample)]
    (folder / "shards").mkdir()
    write_shard(folder / "shards" / "train-00000.parquet", items)
    return folder


@pytest.fixture
def recipe(tiny_folder, data_folder, tmp_path) -> Path:
    """A training in two stages, one of them a file of its own; it writes to `run` where it is started."""
    stage = {
        "mixture": {"text_to_image": 1, "image_to_text": 1}, "tokens": 700, "packs": 1, "learning_rate": 1e-3,
        "warmup": 1,
    }  # fmt: skip
    (tmp_path / "second.yaml").write_text(yaml.safe_dump({"name": "second", "steps": 2} | stage))
    file = tmp_path / "recipe.yaml"
    values = {
        "folder": "run", "start": {"checkpoint": str(tiny_folder)}, "bf16": False, "log": {"every": 1},
        "data": {"folders": [str(data_folder)], "workers": 0, "lookahead": 8},
        "stages": [{"name": "first", "steps": 2} | stage, "second.yaml"],
    }  # fmt: skip
    file.write_text(yaml.safe_dump(values))
    return file


def steps_of(folder: Path) -> list[tuple[str, int]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(line["stage"], line["step"]) for line in lines]


def test_a_training_runs_as_the_recipe_and_what_is_over_it_say(run, recipe):
    ended = run("train", recipe, "stages.0.steps=3", "card={name: mine}", "--quiet", tiny=False)
    assert (ended.status, ended.out) == (0, "run/export\n"), ended.err
    assert steps_of(Path("run")) == [("first", 1), ("first", 2), ("first", 3), ("second", 4), ("second", 5)]
    assert UniMedVL.load("run/export").card["name"] == "mine"


def test_run_may_be_named_and_json_tells_the_recipe_that_ran(run, recipe):
    ended = run("train", "run", recipe, "seed=3", "--json", "--quiet", tiny=False)
    assert ended.status == 0, ended.err
    assert ended.json["checkpoint"] == "run/export"
    assert (ended.json["recipe"]["seed"], ended.json["recipe"]["stages"][1]["name"]) == (3, "second")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["stages.0.learning_rat=1"], "stages.0.learning_rat: no such field; there are name, steps, "),
        (["stages.0.steps=0"], "stages.0.steps: Input should be greater than 0"),
        (["stages.0.mixture={song: 1}"], "no kind of record or task called 'song'"),
        (["stages.0.mixture={text: 1}"], "mixture: no record is of text; there are "),
        (["data.folders=[nowhere]"], "nowhere: no shards/train-*.parquet"),
        (["start.checkpoint=nowhere"], "nowhere: no such folder"),
        (["stages.0.steps"], "'stages.0.steps' is no override; write key=value"),
        (["stages.0.frozen=[decoder, connector, vit, flow]"], "first: frozen leaves nothing to train"),
    ],
)
def test_bad_input_is_one_line_and_status_2(run, recipe, changes, message):
    ended = run("train", recipe, *changes, "--quiet", tiny=False)
    assert (ended.status, ended.out, ended.err.count("\n")) == (2, "", 1), ended.err
    assert message in ended.err and not list(Path().rglob("step-*"))


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "No such file"), ("[1, 2]", "a recipe is a mapping"), ("a: [", "not YAML"), ("preset: nano", "folder")],
)
def test_what_is_no_recipe_is_one_line_and_status_2(run, text, message):
    if text is not None:
        Path("recipe.yaml").write_text(text)
    ended = run("train", "recipe.yaml", "--quiet", tiny=False)
    assert (ended.status, ended.out, ended.err.count("\n")) == (2, "", 1), ended.err
    assert "recipe.yaml" in ended.err and message in ended.err


def test_a_run_of_another_recipe_is_refused_and_left_as_it_is(run, recipe):
    assert run("train", recipe, "--quiet", tiny=False).status == 0
    before = {p: p.stat().st_mtime_ns for p in Path("run").rglob("*")}
    ended = run("train", recipe, "seed=1", "--quiet", tiny=False)
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert "begun with seed 0, which now is 1; train in another folder" in ended.err
    assert {p: p.stat().st_mtime_ns for p in Path("run").rglob("*")} == before


def test_sigterm_saves_ends_with_143_and_the_same_command_goes_on(run, recipe):
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "ignore", "-m", "unimedvl", "train", str(recipe), "stages.0.steps=500"]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not Path("run/log.jsonl").is_file():
        assert process.poll() is None and time.monotonic() < end, process.communicate()[1]
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, ""), err
    [saved] = [int(p.name[5:]) for p in Path("run/checkpoints").glob("step-*")]
    assert err.splitlines()[-1] == f"stopped and saved at step {saved}; start it again to go on"
    done = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    while steps_of(Path("run"))[-1][1] <= saved:
        assert done.poll() is None and time.monotonic() < end + 60, done.communicate()[1]
        time.sleep(0.02)
    done.send_signal(signal.SIGTERM)
    assert done.wait(60) == 143
    assert [step for _, step in steps_of(Path("run"))] == list(range(1, len(steps_of(Path("run"))) + 1))


def test_a_plan_tells_memory_and_time_and_trains_nothing(run, recipe):
    ended = run("train", "plan", recipe, "stages.0.steps=7", "--gpus", "2", "--json", tiny=False)
    assert ended.status == 0, ended.err
    assert (ended.json["steps"], ended.json["fits"], ended.json["machines"]["gpus"]) == (9, True, 2)
    shown = run("train", "plan", recipe, "--gpus", "2", tiny=False)
    assert "at most at once" in shown.out and "moving average" in shown.out
    assert list(Path().iterdir()) == []


def test_export_writes_any_checkpoint_its_average_or_the_weights_themselves(run, recipe):
    assert run("train", recipe, "save={every: 1, last: 9}", "export=false", "--quiet", tiny=False).out == "run\n"
    for folder, more in {"newest": (), "raw": ("--raw",), "third": ("--step", "3"), "last": ("--step", "4")}.items():
        ended = run("train", "export", "run", folder, *more, tiny=False)
        assert (ended.status, ended.out) == (0, f"{folder}\n"), ended.err
    assert fingerprint("newest") == fingerprint("last")
    assert len({fingerprint(folder) for folder in ("newest", "raw", "third")}) == 3
    for arguments, message in {
        ("nowhere", "there"): "nowhere: no folder of a training",
        ("run", "there", "--step", "9"): "9",
    }.items():
        ended = run("train", "export", *arguments, tiny=False)
        assert (ended.status, ended.err.count("\n")) == (2, 1), ended.err
        assert message in ended.err and not Path("there").exists()


def test_merge_puts_trained_adapters_into_the_checkpoint_they_belong_to(run, recipe):
    lora = ["lora={rank: 2, alpha: 4}", "stages.0.learning_rate=0.01"]
    ended = run("train", recipe, *lora, "--quiet", tiny=False)
    assert ended.status == 0, ended.err
    merged = run("train", "merge", "run/export/adapters", "merged", "--json", tiny=False)
    assert merged.status == 0, merged.err
    assert fingerprint("merged") == fingerprint("run/export") != merged.json["base_sha256"]
    ended = run("train", "merge", "run", "again", tiny=False)
    assert (ended.status, ended.err.count("\n")) == (2, 1) and not Path("again").exists()


def test_a_recipe_of_parts_trains_tokenizer_autoencoder_and_vit(run):
    parts = {
        "preset": "nano", "folder": "parts", "texts": 300, "modalities": ["cxr"],
        "vae": {"phases": [{"steps": 1, "crop": 16, "batch": 1}], "learning_rate": 1e-3, "bf16": False},
        "vit": {"steps": 2, "batch": 1, "side": 42, "learning_rate": 1e-3, "bf16": False},
    }  # fmt: skip
    Path("parts.yaml").write_text(yaml.safe_dump(parts))
    ended = run("train", "parts.yaml", "vit.steps=1", "--json", "--quiet", tiny=False)
    assert ended.status == 0, ended.err
    assert (ended.json["checkpoint"], ended.json["recipe"]["vit"]["steps"]) == ("parts", 1)
    assert {"tokenizer", "vae.pt", "vit.pt"} <= {p.name for p in Path("parts").iterdir()}
    wrong = run("train", "parts.yaml", "vit.step=1", "--quiet", tiny=False)
    assert (wrong.status, wrong.err.count("\n")) == (2, 1)
    assert "vit.step: no such field" in wrong.err
