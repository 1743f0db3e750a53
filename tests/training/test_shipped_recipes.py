"""Every recipe of a training that is shipped is whole, and the published ones have the published numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from unimedvl.recipes import read_yaml
from unimedvl.training.plan import Machines, make_plan
from unimedvl.training.recipe import Stage, load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
CURRICULUM = RECIPES / "14b" / "curriculum.yaml"
WHOLE = [CURRICULUM, RECIPES / "finetune" / "full.yaml", RECIPES / "finetune" / "lora.yaml"]
# Steps, rate, tokens, sides and mixture of each stage (arXiv 2510.15710 and its repository).
PUBLISHED = [
    (85000, 5e-5, 18500, (980, 378), (1024, 512), (), (5, 25, 75, 0)),
    (120000, 2.5e-5, 20000, (518, 224), (1024, 512), ("vit",), (5, 45, 40, 10)),
    (70000, 1e-5, 27000, (980, 378), (1024, 32), ("vit",), (3, 35, 37, 25)),
]
KINDS = ("text", "text_to_image", "image_to_text", "interleaved")


@pytest.mark.parametrize("file", WHOLE, ids=lambda f: f"{f.parent.name}-{f.stem}")
def test_a_shipped_recipe_loads_and_can_be_planned(file):
    recipe = load_recipe(file)
    assert make_plan(recipe, Machines(2 if recipe.start.checkpoint == "nano" else 8)).stages


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_stage_is_a_file_of_its_own(number):
    stage = Stage.model_validate(read_yaml(RECIPES / "14b" / f"stage{number}.yaml"))
    assert stage == load_recipe(CURRICULUM).stages[number - 1]


@pytest.mark.parametrize("number", range(3))
def test_the_published_stages_have_the_published_numbers(number):
    stage = load_recipe(CURRICULUM).stages[number]
    mixture = tuple(stage.mixture.get(kind, 0) for kind in KINDS)
    own = (
        stage.steps, stage.learning_rate, stage.tokens, stage.vit_sides, stage.vae_sides, stage.frozen, mixture,
    )  # fmt: skip
    assert own == PUBLISHED[number]
    assert (stage.drop.text, stage.drop.vit, stage.drop.vae) == (0.3, 0.05, 0.05)
    assert (stage.schedule, stage.warmup, stage.ema) == ("constant", 2000, 0.995)
    assert (stage.loss.ce, stage.loss.mse, stage.noise.shift) == (0.25, 1.0, 1.0)
    o = stage.optimiser
    assert (o.betas, o.eps, o.weight_decay, o.clip) == ((0.9, 0.95), 1e-15, 0.0, 1.0)


def test_the_readmes_mixtures_can_be_copied_from_the_curriculum():
    overrides = re.findall(r"^#\s+'(stages\.\d\.mixture=.*)'$", CURRICULUM.read_text(), re.MULTILINE)
    assert len(overrides) == 3
    for stage, (*_, mixture) in zip(load_recipe(CURRICULUM, overrides).stages, PUBLISHED, strict=True):
        assert tuple(stage.mixture.get(kind, 0) for kind in KINDS) == (0, *mixture[1:])


@pytest.mark.parametrize("file", WHOLE[1:], ids=lambda f: f.stem)
def test_the_overrides_for_the_published_model_are_right(file):
    """Those of the comment at its head: what begins a line, up to its remark."""
    head = file.read_text().split("folder:")[0]
    overrides = re.findall(r"(?:^#\s+|\s)((?:start|stages|lora|recompute)[\w.]*=\S+)", head, re.MULTILINE)
    recipe = load_recipe(file, overrides)
    assert recipe.start.checkpoint == "General-Medical-AI/UniMedVL" and recipe.recompute
    made = make_plan(recipe, Machines(8 if recipe.lora is None else 2))
    assert made.fits and made.config.decoder.num_layers == 28
