"""What docs/data-build.md shows runs as written, with fewer records; the shipped recipe takes in simulations alone."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from unimedvl.cli.main import main
from unimedvl.data.build.instruments import kind_of
from unimedvl.data.build.recipe import BuildRecipe, load_recipe

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "data-build.md").read_text()
FEWER = ("inputs.0.limit=20", "alignment.instruments=none", "processes=1")


def test_the_command_of_the_guide_builds(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    ((command),) = re.findall(r"```console\n(.*?)\n```", PAGE, re.S)
    program, *words = shlex.split(command)
    assert program == "unimedvl"
    assert main([*words, f"folder={tmp_path}", *FEWER, "--json", "--quiet"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["sources"]["phantoms"]["read"] == 20 and told["total"]["kept"] == sum(told["splits"].values())


def test_the_recipes_of_the_guide_are_some():
    whole, *parts = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.S))
    assert BuildRecipe.model_validate(whole).evaluation[0].splits == ("test",)
    published, served = (BuildRecipe.model_validate(whole | part) for part in parts)
    assert {role: choice["transformers"] for role, choice in published.alignment.chosen.model_dump().items()} == {
        "captioner": "google/medgemma-27b-it",
        "encoder": "intfloat/e5-large-v2",
        "matcher": "google/medsiglip-448",
    }
    assert kind_of(served.alignment.chosen.captioner) == kind_of(served.inputs[0].captions.writer) == "endpoint"
    assert kind_of(served.alignment.chosen.encoder) == "embedded" and served.inputs[1].pairs.rewriter.key == "LLM_KEY"
    assert served.inputs[0].captions.writer.failures == 5  # as the guide says


@pytest.mark.parametrize("file", sorted((ROOT / "recipes" / "data").glob("*.yaml")), ids=lambda f: f.stem)
def test_shipped_recipes_take_in_simulations_alone(file):
    assert all(entry.simulated for entry in load_recipe(file).inputs)
