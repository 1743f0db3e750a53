"""Recipes: what is wrong is one line that names the field; overrides reach every field, of stages in files too."""

from __future__ import annotations

from pathlib import Path

import pytest

from unimedvl.recipes import RecipeError, differences
from unimedvl.training.recipe import load_recipe

SHIPPED = Path(__file__).parents[2] / "recipes" / "nano" / "curriculum.yaml"


@pytest.fixture
def write(tmp_path):
    def make(text: str, name: str = "recipe.yaml") -> Path:
        file = tmp_path / name
        file.write_text(text)
        return file

    return make


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("seed=7", lambda r: r.seed == 7),
        ("stages.0.learning_rate=2.0e-4", lambda r: r.stages[0].learning_rate == 2e-4),
        ("stages.1.mixture.ask=0.5", lambda r: r.stages[1].mixture["ask"] == 0.5),
        ("stages.2.noise.pure.upscale=0.25", lambda r: r.stages[2].noise.pure["upscale"] == 0.25),
        ("stages.2.drop.text=0", lambda r: r.stages[2].drop.text == 0),
        ("devices.offload=true", lambda r: r.devices.offload),
        ("save.every=9", lambda r: r.save.every == 9),
        ("lora={rank: 4}", lambda r: r.lora.rank == 4),
        ("folder=/tmp/a=b", lambda r: r.folder == Path("/tmp/a=b")),
    ],
)
def test_an_override_reaches_its_field(override, read):
    assert read(load_recipe(SHIPPED, [override]))


def test_later_overrides_win():
    assert load_recipe(SHIPPED, ["seed=5", "seed=6"]).seed == 6


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sede=5", "sede: no such field; there are folder, start, data, stages"),
        ("stages.0.stepz=5", "stages.0.stepz: no such field; there are name, steps, mixture"),
        ("stages.0.modalities={pet: 1}", "stages.0.modalities: no modality called 'pet'; there are cfp, cxr"),
        ("stages.0.mixture={draw: 1}", "stages.0.mixture: no kind of record or task called 'draw'; there are text,"),
        ("stages.0.mixture={ask: 0}", "stages.0.mixture: weights must be 0 or more, and one of them over 0"),
        ("stages.0.noise.pure={draw: 1}", "noise.pure: no task called 'draw'"),
        ("stages.0.frozen=[vae]", "stages.0.frozen.0: Input should be 'decoder', 'connector', 'vit' or 'flow'"),
        ("stages.0.steps=0", "stages.0.steps: Input should be greater than 0"),
        ("stages.0.ema=1", "stages.0.ema: Input should be less than 1"),
        ("stages.0.learning_rate=fast", "stages.0.learning_rate: Input should be a valid number"),
        ("stages.1.name=foundation", "stages: two stages are called 'foundation'"),
        ("start={}", "start: give either checkpoint (nano, a folder or a hub id) or parts (a recipe)"),
        ("data={}", "data: give folders of finished data builds, or build, a data recipe"),
        ("seed", "'seed' is no override; write key=value, as in stages.0.steps=100"),
        ("stages.9.steps=1", "stages.9.steps: the recipe has no such field"),
        ("seed=[", "seed: the value is not YAML"),
    ],
)
def test_a_wrong_key_or_value_is_one_line_that_names_it(override, message):
    with pytest.raises(RecipeError) as error:
        load_recipe(SHIPPED, [override])
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("folder: [nano", "not YAML"),
        ("folder: nano\n", "start: Field required"),
        ("", "a recipe is a mapping"),
        ("folder: a\nstages: [there.yaml]\n", "there.yaml: No such file"),
    ],
)
def test_a_file_that_is_no_recipe_is_one_line_that_names_it(write, text, message):
    with pytest.raises(RecipeError) as error:
        load_recipe(write(text))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_where_two_recipes_differ_is_named_by_its_path():
    one = {"a": {"b": [1, 2]}, "c": 3}
    assert list(differences(one, {"a": {"b": [1, 5]}, "c": 3})) == [("a.b.1", 2, 5)]
    assert list(differences(one, {"a": {"b": [1]}, "d": 3})) == [
        ("a.b", [1, 2], [1]), ("c", 3, None), ("d", None, 3)
    ]  # fmt: skip
