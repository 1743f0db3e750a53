"""docs/training.md says what the code does: its recipe is one, its fields are all there, and so is what is free."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from unimedvl.training.loop import train
from unimedvl.training.recipe import Recipe, Stage
from unimedvl.training.run import FREE

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text()


def test_the_recipe_of_the_guide_is_one():
    [block] = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    recipe = Recipe.model_validate(yaml.safe_load(block))
    assert [s.name for s in recipe.stages] == ["reading", "all"]


@pytest.mark.parametrize("model", [Recipe, Stage])
def test_the_guide_names_every_field(model):
    named = {word for cell in re.findall(r"^\| ([^|]*) \|", PAGE, re.M) for word in re.findall(r"`(\w+)`", cell)}
    assert set(model.model_fields) <= named


def test_the_guide_names_what_changes_nothing_of_what_is_learnt():
    [said] = re.findall(r"change nothing of what is learnt: (.*?)\.\n", PAGE, re.S)
    assert set(re.findall(r"`(\w+)`", said)) == set(FREE)


def test_a_run_holds_what_the_guide_says(make_recipe):
    recipe = make_recipe(validation={"every": 8, "packs": 1, "grid": 1})
    train(recipe)
    rows = re.findall(r"^\| (`.*?) \|", PAGE.split("## What a run's folder holds")[1], re.M)
    said = {name.split("/")[0] for row in rows for name in re.findall(r"`([\w./-]+)`", row)}
    assert said == {p.name for p in recipe.folder.iterdir()}
