"""Ranks that share a training, as real processes: the same losses as one, whatever they share, and none hangs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from unimedvl import UniMedVL
from unimedvl.training.loop import train

CODE = """
import sys
from pathlib import Path
import torch
from unimedvl.training.recipe import load_recipe
from unimedvl.training.loop import train
try:
    train(load_recipe(Path(sys.argv[1])))
except ValueError as error:
    raise SystemExit(str(error))
"""
TOLERANCE = 1e-5


def with_ranks(recipe, ranks: int = 2, check: bool = True) -> subprocess.CompletedProcess:
    script, file = recipe.folder.with_suffix(".py"), recipe.folder.with_suffix(".json")
    script.write_text(CODE)
    file.write_text(recipe.model_dump_json())
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(ranks), str(script), str(file)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=110)
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done


def losses(read_log, folder: Path) -> dict[int, tuple[float, float, float]]:
    """By step, of the lines that tell of training."""
    lines = [line for line in read_log(folder / "log.jsonl") if "norm" in line]
    return {line["step"]: (line.get("ce", 0.0), line.get("mse", 0.0), line["norm"]) for line in lines}


def assert_same_losses(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for step, values in one.items():
        assert values == pytest.approx(other[step], rel=TOLERANCE, abs=TOLERANCE)


@pytest.mark.parametrize(
    "devices", [{}, {"shard": 1}, {"offload": True}], ids=["fully sharded", "a copy on each", "offloaded"]
)
def test_two_ranks_have_the_losses_and_weights_of_one(make_recipe, read_log, devices):
    alone, both = make_recipe("alone"), make_recipe("both", devices=devices)
    out = train(alone)
    with_ranks(both)
    assert_same_losses(losses(read_log, both.folder), losses(read_log, alone.folder))
    mine, theirs = (UniMedVL.load(f, pack=False).model.state_dict() for f in (out, both.folder / "export"))
    for name in mine:
        torch.testing.assert_close(mine[name], theirs[name], atol=2e-2, rtol=2e-2)  # one last digit of bf16


def test_hybrid_sharding_over_four_ranks_has_the_losses_of_one(make_recipe, read_log):
    stage = {"packs": 4, "tokens": 400}
    alone, four = make_recipe("alone", stage=stage), make_recipe("four", stage=stage, devices={"shard": 2})
    train(alone)
    with_ranks(four, 4)
    assert_same_losses(losses(read_log, four.folder), losses(read_log, alone.folder))


def test_looking_at_held_out_records_leaves_the_training_of_two_ranks_as_it_is(make_recipe, read_log):
    """Gathered for that, weights would stay as the average has them, into the steps that follow and the next stage."""
    alone, both = make_recipe("alone"), make_recipe("both", validation={"every": 2, "packs": 2})
    train(alone)
    with_ranks(both)
    assert_same_losses(losses(read_log, both.folder), losses(read_log, alone.folder))


def test_another_number_of_ranks_goes_on_with_the_same_data(make_recipe, read_log):
    whole, handed = make_recipe("whole"), make_recipe("handed")
    train(whole)
    first = handed.stages[0]
    handed = handed.model_copy(update={"export": False})
    with_ranks(handed.model_copy(update={"stages": handed.stages, "folder": handed.folder}))
    for path in (handed.folder / "checkpoints").iterdir():  # as if it had been killed in the first stage
        if int(path.name[5:]) > 4:
            import shutil

            shutil.rmtree(path)
    assert first.steps > 4
    train(handed)
    assert_same_losses(losses(read_log, handed.folder), losses(read_log, whole.folder))


def test_ranks_without_images_or_texts_in_a_step_wait_for_nobody(make_recipe, read_log):
    """Packs so small that they hold a sample or two: of text alone to read, or of an image alone to draw."""
    stage = {"tokens": 120, "packs": 2, "mixture": {"ask": 1, "generate": 1}, "drop": {"text": 0.5, "vit": 0.9}}
    alone, both = make_recipe("alone", stage=stage), make_recipe("both", stage=stage)
    train(alone)
    with_ranks(both)
    assert_same_losses(losses(read_log, both.folder), losses(read_log, alone.folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage": {"packs": 3}}, "packs is 3; it must be a multiple of the 2 ranks"),
        ({"devices": {"shard": 3}}, "devices.shard is 3; it must divide the 2 ranks"),
    ],
)
def test_what_ranks_can_not_share_is_one_line(make_recipe, changes, message):
    done = with_ranks(make_recipe(**changes), check=False)
    assert done.returncode and message in done.stderr
