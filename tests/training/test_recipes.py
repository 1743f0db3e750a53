"""Recipes: what is wrong is one line that names the field; overrides reach every field."""

from __future__ import annotations

from pathlib import Path

import pytest

from unimedvl.phantoms.examples import MAKERS
from unimedvl.recipes import RecipeError
from unimedvl.training.recipe import Stage, load_recipe

SHIPPED = Path(__file__).parents[2] / "recipes" / "nano.yaml"


@pytest.fixture
def write(tmp_path):
    def make(text: str) -> Path:
        file = tmp_path / "recipe.yaml"
        file.write_text(text)
        return file

    return make


def test_the_shipped_recipe_is_whole_and_trains_on_tasks_that_there_are():
    recipe = load_recipe(SHIPPED)
    tasks = {task for stage in recipe.unified.stages for task in stage.mixture}
    assert recipe.preset == "nano" and tasks == set(MAKERS)


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("vae.seed=7", lambda r: r.vae.seed == 7),
        ("unified.learning_rate=2.0e-4", lambda r: r.unified.learning_rate == 2e-4),
        ("unified.stages=[{steps: 7, mixture: {ask: 1}}]", lambda r: r.unified.steps == 7),
        ("unified.stages.1.mixture.ask=0.5", lambda r: r.unified.stages[1].mixture["ask"] == 0.5),
        ("unified.drop.text=0", lambda r: r.unified.drop["text"] == 0),
        ("vit.bf16=false", lambda r: r.vit.bf16 is False),
        ("folder=/tmp/a=b", lambda r: r.folder == Path("/tmp/a=b")),
        ("vae.phases=[{steps: 9, crop: 32, batch: 1}]", lambda r: r.vae.phases[0].crop == 32),
    ],
)
def test_an_override_reaches_its_field(override, read):
    assert read(load_recipe(SHIPPED, [override]))


def test_later_overrides_win():
    assert load_recipe(SHIPPED, ["vit.steps=5", "vit.steps=6"]).vit.steps == 6


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("vit.stepz=5", "vit.stepz: no such field; there are steps, batch, side"),
        ("unified.stages.0.modalities={pet: 1}", "unified.stages.0.modalities: no modality called 'pet'"),
        ("unified.stages.0.pure_noise={draw: 1}", "unified.stages.0.pure_noise: no task called 'draw'"),
        ("unified.stages.0.steps=0", "unified.stages.0.steps: Input should be greater than 0"),
        ("unified.ema=1", "unified.ema: Input should be less than 1"),
        ("vae.learning_rate=fast", "vae.learning_rate: Input should be a valid number"),
        ("unified.drop.sound=0.1", "unified.drop.sound"),
        (
            "vae.phases=[{steps: 1, crop: 30, batch: 1}]",
            "vae.phases.0.crop: Input should be a multiple of 16",
        ),
        ("vae", "'vae' is no override; write key=value"),
        ("preset.x=1", "preset.x"),
        ("vae.phases.9.steps=1", "vae.phases.9"),
        ("vit.steps=[", "vit.steps"),
    ],
)
def test_a_wrong_key_or_value_is_one_line_that_names_it(override, message):
    with pytest.raises(RecipeError) as error:
        load_recipe(SHIPPED, [override])
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("preset: [nano", "not YAML"),
        ("preset: nano\nfolder: x\n", "vae: Field required"),
        ("", "mapping"),
        ("- preset", "mapping"),
    ],
)
def test_a_file_that_is_no_recipe_is_one_line_that_names_it(write, text, message):
    file = write(text)
    for overrides in ([], ["vit.steps=3"]):
        with pytest.raises(RecipeError, match=message) as error:
            load_recipe(file, overrides)
        assert str(file) in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"none.yaml: No such file"):
        load_recipe(tmp_path / "none.yaml")


def test_a_stage_with_a_rate_of_its_own_begins_a_schedule(unified_recipe):
    rates = (None, None, 5e-4, None, 1e-4)
    stages = [Stage(steps=10 * (n + 1), mixture={"ask": 1}, learning_rate=rate) for n, rate in enumerate(rates)]
    recipe = unified_recipe.model_copy(update={"stages": stages, "learning_rate": 1e-3})
    expected = [(0, 30, 1e-3)] * 30 + [(30, 70, 5e-4)] * 70 + [(100, 50, 1e-4)] * 50
    assert [recipe.schedule(step) for step in range(recipe.steps)] == expected
