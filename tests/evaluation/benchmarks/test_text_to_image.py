"""Captions of a data build's test split are drawn, and held against its held-out and its training images."""

from __future__ import annotations

import json

import pytest

from unimedvl.data.build.recipe import BuildRecipe
from unimedvl.data.build.run import run_build
from unimedvl.evaluation.benchmarks import BENCHMARKS
from unimedvl.evaluation.benchmarks.text_to_image import _training
from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.models import Settings, open_model
from unimedvl.phantoms.study import FIRST_TRAINING_SEED

TEXT_TO_IMAGE = BENCHMARKS["text-to-image"]


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """A build of studies of which half are held out."""
    folder = tmp_path_factory.mktemp("build")
    told = {"studies": 60, "first_seed": FIRST_TRAINING_SEED - 30, "modalities": ["cxr", "cfp"], "questions": 0}
    (folder / "phantoms.json").write_text(json.dumps(told))
    recipe = BuildRecipe.model_validate({
        "folder": folder / "data", "inputs": [{"name": "phantoms", "folder": folder}],
        "alignment": {"instruments": "none"}, "processes": 1, "duplicates": {"texts": {"fewest_words": 1000}},
    })  # fmt: skip
    run_build(recipe)
    return recipe.folder


def test_the_images_themselves_are_at_no_distance_and_nothing_is_memorised(build):
    items = list(TEXT_TO_IMAGE.read(build))
    assert len(items) >= 20 and {i.groups["modality"] for i in items} == {"cxr", "cfp"}
    oracle = open_model("baseline:oracle", Settings()).answer(items)
    found = TEXT_TO_IMAGE.score(list(zip(items, oracle, strict=True)))
    scores = {(s.metric, s.group): s for s in found.scores}
    assert scores["Fréchet distance", ""].value == pytest.approx(0, abs=1e-3)
    assert "nano ViT" in scores["Fréchet distance", ""].beside or "Inception" in scores["Fréchet distance", ""].beside
    assert ("Fréchet distance", "modality: cxr") in scores
    assert "not measured" in scores["image-text score", ""].beside or scores["image-text score", ""].n == len(items)
    memorised = next(s for s in found.scores if "training" in s.metric)
    assert memorised.value < 0.2 and set(found.beside) == {i.id for i in items}


def test_drawing_training_images_again_is_told(build):
    items, training = list(TEXT_TO_IMAGE.read(build)), _training(build)
    noise = open_model("baseline:random", Settings()).answer(items)
    copied = [type(p)(drawn=lambda n=n: training[n % len(training)]) for n, p in enumerate(noise)]
    scores = TEXT_TO_IMAGE.score(list(zip(items, copied, strict=True))).scores
    memorised = next(s for s in scores if "training" in s.metric)
    assert memorised.value == 1.0


def test_noise_is_farther_than_a_copy(build):
    items = list(TEXT_TO_IMAGE.read(build))
    noise = open_model("baseline:random", Settings()).answer(items)
    scores = TEXT_TO_IMAGE.score(list(zip(items, noise, strict=True))).scores
    assert scores[0].metric == "Fréchet distance" and scores[0].value > 1


def test_a_folder_that_is_no_build_is_one_clear_line(tmp_path):
    with pytest.raises(EvaluationError, match=r"no shards/test-\*\.parquet; a finished data build"):
        list(TEXT_TO_IMAGE.read(tmp_path))
