"""A training learns, goes on to the last bit where it was killed, and skips steps without a finite loss."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from unimedvl import UniMedVL
from unimedvl.training import loop
from unimedvl.training.channels import channel_weights
from unimedvl.training.checkpoints import whole_checkpoints
from unimedvl.training.error import TrainingError
from unimedvl.training.export import export_run
from unimedvl.training.loop import Stopped, train

# What a run's own time or machine decides.
MEASURED = ("seconds", "tokens/s", "mfu", "loader wait", "step seconds")


def curve(read_log, folder: Path) -> list[dict]:
    return [{k: v for k, v in line.items() if k not in MEASURED} for line in read_log(folder / "log.jsonl")]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return UniMedVL.load(folder, pack=False).model.state_dict()


def assert_same_weights(one: Path, other: Path) -> None:
    mine, theirs = weights(one), weights(other)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def in_a_process(recipe, **environment: str) -> subprocess.Popen:
    file = recipe.folder.with_suffix(".json")
    file.write_text(recipe.model_dump_json())
    code = (
        "import sys\nfrom pathlib import Path\nfrom unimedvl.training.recipe import load_recipe\n"
        "from unimedvl.training.loop import Stopped, train\n"
        "try:\n    train(load_recipe(Path(sys.argv[1])))\nexcept Stopped as stopped:\n    print(stopped)\n"
    )
    env = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    command = [sys.executable, "-W", "ignore", "-c", code, str(file)]
    return subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def until(condition, process: subprocess.Popen, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.01)


class Casts(TorchDispatchMode):
    """Counts how often a matrix that learns is converted to bf16."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.ops.aten._to_copy.default and kwargs.get("dtype") == torch.bfloat16:
            self.count += isinstance(args[0], torch.nn.Parameter) and args[0].ndim == 2
        return function(*args, **kwargs)


def test_packs_of_a_step_share_their_weights_conversions_and_change_nothing(make_recipe, read_log, monkeypatch):
    counts, logs = [], []
    for name, packs in (("two", 2), ("one", 1), ("each", 2)):
        recipe = make_recipe(name, stage={"packs": packs}, bf16=True)
        recipe = recipe.model_copy(update={"stages": (recipe.stages[0].model_copy(update={"steps": 2}),)})
        if name == "each":
            monkeypatch.setattr(loop, "_kept_casts", lambda world: contextlib.nullcontext())
        with Casts() as casts:
            train(recipe)
        counts.append(casts.count)
        logs.append(curve(read_log, recipe.folder))
    assert counts[0] == counts[1] and counts[2] == 2 * counts[1] > 0
    assert logs[0] == logs[2]


def test_losses_fall_and_the_export_answers_and_draws(make_recipe, read_log):
    stage = {"learning_rate": 1e-2, "noise": {"each": 2, "copies": 2, "pure": {"upscale": 0.5}}}
    recipe = make_recipe(stage=stage, log={"every": 8})
    long = recipe.stages[0].model_copy(update={"steps": 40})
    out = train(recipe.model_copy(update={"stages": (long,)}))
    lines = curve(read_log, recipe.folder)
    assert lines[-1]["ce"] < 0.8 * lines[0]["ce"] and lines[-1]["mse"] < 0.9 * lines[0]["mse"]
    assert {"ce/ask", "mse/generate", "fill", "norm", "rate", "tokens"} <= set(lines[-1])
    model = UniMedVL.load(out)
    assert isinstance(model.ask(torch.zeros(40, 40, 3, dtype=torch.uint8).numpy(), "Is it?").text, str)
    assert model.card["training"]["stages"][0]["steps"] == 40


@pytest.mark.parametrize("stop_after", [3, 5, 7], ids=["in the first stage", "between stages", "in the second stage"])
def test_a_run_that_is_cut_off_goes_on_to_the_last_bit(make_recipe, read_log, cut_off, stop_after):
    """Cut off right after a step, before anything else is written."""
    whole, torn = make_recipe("whole"), make_recipe("torn")
    train(whole)
    cut_off(torn, stop_after)
    train(torn)
    assert curve(read_log, torn.folder) == curve(read_log, whole.folder)
    assert_same_weights(torn.folder / "export", whole.folder / "export")


def test_sigkill_at_any_moment_also_while_saving_changes_nothing(make_recipe, read_log):
    whole, torn = make_recipe("whole"), make_recipe("torn", save={"every": 1, "last": 1})
    train(whole)
    for step in (1, 3, 6):  # a state that is just being written, or that was
        process = in_a_process(torn)
        place = torn.folder / "checkpoints"
        until(lambda step=step, place=place: any(int(p.name[5:13]) >= step for p in place.glob("step-*")), process)
        process.kill()
        process.communicate()
    done = in_a_process(torn)
    assert done.wait(60) == 0, done.communicate()[1]
    assert curve(read_log, torn.folder) == curve(read_log, whole.folder)
    assert_same_weights(torn.folder / "export", whole.folder / "export")
    assert not list(place.glob("*.part")) and len(whole_checkpoints(place)) == 1


@pytest.mark.parametrize("send", [os.kill, os.killpg])
def test_sigterm_saves_first(make_recipe, read_log, send):
    """To the process alone, or to its whole group, as schedulers send it: workers too."""
    whole, asked = make_recipe("whole"), make_recipe("asked", save={"every": 1000})
    train(whole)
    asked = asked.model_copy(update={"data": asked.data.model_copy(update={"workers": 1})})
    process = in_a_process(asked)
    until(lambda: (asked.folder / "log.jsonl").is_file(), process)
    send(process.pid, signal.SIGTERM)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    [saved] = whole_checkpoints(asked.folder / "checkpoints")
    assert out.startswith(f"stopped and saved at step {int(saved.name[5:])};")
    train(asked)
    assert curve(read_log, asked.folder) == curve(read_log, whole.folder)


def test_stopping_within_the_process_raises_after_it_saved(make_recipe, monkeypatch):
    recipe, before = make_recipe(save={"every": 1000}), signal.getsignal(signal.SIGTERM)
    real = loop._gradient

    def gradient(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments)

    monkeypatch.setattr(loop, "_gradient", gradient)
    with pytest.raises(Stopped, match="saved at step 1"):
        train(recipe)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_step_without_a_finite_gradient_is_skipped_and_counted(make_recipe, read_log, monkeypatch):
    real, calls = loop.parallel.clip, []

    def clip(parameters, largest):
        calls.append(1)
        if len(calls) == 3:
            parameters[0].grad.fill_(torch.nan)
        return real(parameters, largest)

    monkeypatch.setattr(loop.parallel, "clip", clip)
    recipe = make_recipe()
    train(recipe)
    assert [line["skipped"] for line in curve(read_log, recipe.folder)] == [0, 0, 1, 0, 0, 0, 0, 0]
    assert all(torch.isfinite(t).all() for t in weights(recipe.folder / "export").values())


def test_losses_that_stay_without_a_finite_value_end_the_run_with_what_may_help(make_recipe, monkeypatch):
    monkeypatch.setattr(loop.parallel, "clip", lambda parameters, largest: float("nan"))
    with pytest.raises(TrainingError, match="3 steps in a row, up to step 3, .* learning_rate"):
        train(make_recipe(patience=3, stage={"tokens": 700}))


@pytest.mark.parametrize("picture", [0.0, 1.0])
def test_accumulated_packs_give_the_gradient_of_the_large_batch(make_recipe, read_log, picture):
    """One pack of all tokens and four of a quarter hold other samples; so the same samples are given to both."""
    recipe = make_recipe(stage={"packs": 4, "loss": {"picture": picture}})
    train(recipe)
    [first, *_] = curve(read_log, recipe.folder)
    assert first["norm"] == pytest.approx(_norm_of_one_batch(recipe), rel=1e-4)


def _norm_of_one_batch(recipe) -> float:
    """The gradient's norm where the first step's four packs are one batch of the model's own losses."""
    from unimedvl.training.parallel import World
    from unimedvl.training.run import open_run

    world = World(0, 1, 0, torch.device("cpu"))
    run = open_run(recipe.model_copy(update={"folder": recipe.folder / "other"}), world)
    stage = recipe.stages[0]
    loop.choose(run.learnt, stage)
    [mine] = [next(iter(loop.step_batches(run, stage, 0)))]
    model = run.begun.model
    counts = channel_weights(model.vae, stage.loss.picture)
    ce, mse = [], []
    for batch in mine:
        losses = model(batch.batch)
        ce.append(losses.ce[: batch.labels])
        errors = (losses.mse.unflatten(1, (-1, len(counts))) * counts).flatten(1).mean(1)
        mse.append((errors * losses.mse_weights)[: batch.targets])
    (stage.loss.ce * torch.cat(ce).mean() + stage.loss.mse * torch.cat(mse).mean()).backward()
    return float(torch.nn.utils.get_total_norm([p.grad for p in run.learnt.values() if p.grad is not None]))


def test_each_stage_begins_at_the_average_of_the_one_before(make_recipe, monkeypatch):
    recipe = make_recipe(save={"every": 1, "last": 9})
    train(recipe)
    export_run(recipe, recipe.folder / "first", step=5)
    begun = {}
    monkeypatch.setattr(
        loop, "adamw",
        lambda chosen, stage, real=loop.adamw: begun.setdefault(
            stage.name, {n: p.detach().clone() for n, p in chosen.items()}
        ) and real(chosen, stage),
    )  # fmt: skip
    train(make_recipe("again", save={"every": 1, "last": 9}))
    after = weights(recipe.folder / "first")
    for name, p in begun["two"].items():
        torch.testing.assert_close(after[name].float(), p.bfloat16().float())


def test_frozen_modules_stay_as_they_were(make_recipe, tiny_folder):
    recipe = make_recipe(stage={"frozen": ["vit", "flow"]})
    before, after = weights(tiny_folder), weights(train(recipe))
    changed = {n.split(".")[0] for n in before if not torch.equal(before[n].bfloat16(), after[n].bfloat16())}
    assert changed == {"language_model", "connector"}


def test_a_run_of_another_recipe_is_not_gone_on_with(make_recipe):
    train(make_recipe())
    with pytest.raises(TrainingError, match=r"stages\.0\.learning_rate 0\.001, which now is 0\.5; train in another"):
        train(make_recipe(stage={"learning_rate": 0.5}))


def test_the_folder_tells_what_ran(make_recipe):
    recipe = make_recipe()
    train(recipe)
    told = json.loads((recipe.folder / "run.json").read_text())
    assert told["recipe"]["stages"][0]["steps"] == 5
    [start] = told["starts"]
    assert start["versions"]["torch"] == torch.__version__ and start["machine"]["cores"]
    assert list((recipe.folder / "tensorboard").iterdir())


def test_held_out_losses_and_pictures_are_the_same_whenever_they_are_made(make_recipe, read_log):
    settings = {"every": 4, "packs": 1, "grid": 2}
    recipes = [make_recipe(name, validation=settings) for name in ("one", "other")]
    for recipe in recipes:
        train(recipe)
    one, other = (
        [line for line in curve(read_log, r.folder) if any("held-out" in k for k in line)] for r in recipes
    )
    assert one == other and [line["step"] for line in one] == [4, 5, 8]
    assert {"held-out ce", "held-out mse"} <= set(one[0])
    pictures = [sorted((r.folder / "pictures").iterdir()) for r in recipes]
    assert [p.read_bytes() for p in pictures[0]] == [p.read_bytes() for p in pictures[1]] and len(pictures[0]) == 3


def test_validation_leaves_the_training_as_it_is(make_recipe):
    plain, looked_at = make_recipe("plain"), make_recipe("looked-at", validation={"every": 2, "packs": 1})
    assert_same_weights(train(plain), train(looked_at))


def test_too_little_room_is_told_before_the_first_step(make_recipe, monkeypatch):
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(TrainingError, match="0.0 GB are free and .* lower save.last"):
        train(make_recipe())
