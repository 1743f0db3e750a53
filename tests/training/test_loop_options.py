"""What changes how a training is computed or told changes nothing that is learnt; adapters through the whole loop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from unimedvl import UniMedVL
from unimedvl.checkpoint import fingerprint
from unimedvl.cli.main import main
from unimedvl.model import decoder
from unimedvl.training.loop import train

# What a run's own time or machine decides.
MEASURED = ("seconds", "tokens/s", "mfu", "loader wait", "step seconds")


def curve(read_log, folder: Path) -> list[dict]:
    return [{k: v for k, v in line.items() if k not in MEASURED} for line in read_log(folder / "log.jsonl")]


def state(folder: Path) -> dict[str, torch.Tensor]:
    return UniMedVL.load(folder, pack=False).model.state_dict()


def test_recomputed_activations_give_the_same_losses_and_weights(make_recipe, read_log, monkeypatch):
    kept, again = make_recipe("kept"), make_recipe("again", recompute=True)
    one = train(kept)
    checkpointed, real = [], decoder.checkpoint
    monkeypatch.setattr(decoder, "checkpoint", lambda *a, **k: checkpointed.append(1) or real(*a, **k))
    other = train(again)
    assert checkpointed
    assert curve(read_log, kept.folder) == curve(read_log, again.folder)
    mine, theirs = state(one), state(other)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_tensorboard_has_the_numbers_of_the_log(make_recipe, read_log):
    recipe = make_recipe(validation={"every": 4, "packs": 1})
    train(recipe)
    board = EventAccumulator(str(recipe.folder / "tensorboard")).Reload()
    shown = {(tag, e.step): e.value for tag in board.Tags()["scalars"] for e in board.Scalars(tag)}
    told = {
        (name, line["step"]): value
        for line in read_log(recipe.folder / "log.jsonl")
        for name, value in line.items()
        if name not in ("step", "seconds") and isinstance(value, int | float)
    }
    assert shown.keys() == told.keys() and {"ce", "mse", "held-out ce"} <= {tag for tag, _ in shown}
    for key, value in told.items():
        assert shown[key] == pytest.approx(value, rel=1e-5)


def test_tensorboard_of_a_run_that_went_on_has_each_step_once(make_recipe, cut_off):
    recipe = make_recipe(save={"every": 3})
    cut_off(recipe, 4)
    train(recipe)
    board = EventAccumulator(str(recipe.folder / "tensorboard")).Reload()
    assert [e.step for e in board.Scalars("ce")] == list(range(1, 9))


@pytest.mark.parametrize("base", ["float32", "int8"])
def test_adapters_learn_and_their_export_is_their_merge(make_recipe, read_log, tiny_folder, tmp_path, capsys, base):
    lora = {"rank": 4, "alpha": 8, "base": base}
    recipe = make_recipe(stage={"learning_rate": 2e-2, "warmup": 0}, lora=lora)
    recipe = recipe.model_copy(update={"stages": (recipe.stages[0].model_copy(update={"steps": 16}),)})
    out = train(recipe)
    lines = curve(read_log, recipe.folder)
    early, late = (sum(line["ce"] for line in some) for some in (lines[:4], lines[-4:]))
    assert late < 0.97 * early
    assert main(["train", "merge", str(out / "adapters"), str(tmp_path / "merged"), "--quiet"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'merged'}\n"
    assert fingerprint(tmp_path / "merged") == fingerprint(out)
    before, after = state(tiny_folder), state(out)
    changed = {n for n in before if not torch.equal(before[n], after[n])}
    assert changed and all("_proj" in n or n.startswith("connector") for n in changed)
    assert not any(n.endswith(("bias", "norm.weight")) for n in changed)
    told = json.loads((out / "adapters" / "adapter.json").read_text())
    assert told["rank"] == 4


def test_adapters_go_on_where_they_were_cut_off(make_recipe, read_log, cut_off):
    lora = {"rank": 2, "alpha": 4, "base": "float32"}
    whole, torn = make_recipe("whole", lora=lora), make_recipe("torn", lora=lora)
    one = train(whole)
    cut_off(torn, 6)
    other = train(torn)
    assert curve(read_log, torn.folder) == curve(read_log, whole.folder)
    assert (one / "adapters" / "adapters.safetensors").read_bytes() == (
        other / "adapters" / "adapters.safetensors"
    ).read_bytes()
