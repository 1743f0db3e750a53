"""Packs of a build of the demo kind, with texts, images and pairs of all data sets, are full, and no sample is lost."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from unimedvl.checkpoint import open_checkpoint
from unimedvl.data.build.recipe import load_recipe
from unimedvl.data.build.run import run_build
from unimedvl.data.examples import focus_of
from unimedvl.model.config import preset
from unimedvl.sequence import Text, token_count
from unimedvl.tokenizer import Tokenizer
from unimedvl.training.batches import PackedSamples
from unimedvl.training.mixture import mixture_of, records_of
from unimedvl.training.packing import Waiting, packs
from unimedvl.training.recipe import Data, Stage
from unimedvl.training.samples import Samples, prepare_for

ROOT = Path(__file__).parents[2]
FEWER = ("inputs.0.limit=40", "alignment.instruments=none", "processes=1")
BUDGET, PACKS = 4000, 60
STAGE = Stage(
    name="all", steps=1, mixture={"text": 1, "text_to_image": 1, "image_to_text": 1, "interleaved": 1}, tokens=BUDGET,
    packs=1, learning_rate=1e-3, noise={"each": 2}, vit_sides=(126, 126), vae_sides=(128, 128),
)  # fmt: skip


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> Samples:
    """The stream of the embedded model's geometry over the shipped demo recipe with fewer simulated studies."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        run_build(load_recipe(Path("recipes/data/demo.yaml"), [f"folder={folder}", *FEWER]))
    nano = open_checkpoint(None)
    config, mixture = preset("nano"), mixture_of(records_of([folder], "train"), STAGE, 0, Data(folders=[folder]).window)
    return Samples(mixture, STAGE, config, prepare_for(STAGE, config, Tokenizer.load(nano.folder), None), 0)


@pytest.mark.timeout(300)
def test_packs_are_full_and_every_sample_is_whole_in_one_of_them_or_waits(samples):
    waiting = Waiting()
    made = list(islice(packs(samples.tokens, BUDGET, Data(folders=["x"]).lookahead, waiting), PACKS))
    assert sum(p.tokens for p in made) >= 0.97 * BUDGET * PACKS
    assert max(p.tokens for p in made) <= BUDGET
    assert waiting.left_out == 0
    stood = Counter(position for p in made for position in p.positions)
    assert set(stood.values()) == {1}
    assert sorted([*stood, *waiting.tokens]) == list(range(waiting.position))
    # What was planned without pixels is what the batch has with them: nothing is cut.
    for number, planned in enumerate(made[:3]):
        batch = PackedSamples(samples, 0)[0, number, planned]
        assert batch.tokens == planned.tokens
        lengths = [
            sum(token_count(segment, samples.config) for sequence in samples.sequences(p)[1] for segment in sequence)
            for p in planned.positions
        ]
        assert sum(lengths) == planned.tokens


def test_a_part_of_the_body_called_region_is_no_box_of_a_drawing(samples):
    """Some data sets name a part of the body as simulated studies name the boxes of what is drawn."""
    numbers = range(400)
    records = [samples.mixture.record(n) for n in numbers]
    named = next(r for r in records if r.attributes.get("region") in ("brain", "pelvis"))
    assert focus_of(named) is None
    boxed = next(r for r in records if r.dataset == "phantoms" and "region" in r.attributes)
    assert focus_of(boxed).any()


def test_texts_without_images_are_learnt_as_questions(samples):
    kinds = {samples.mixture.record(n).modality: n for n in range(200)}
    task, [sequence] = samples.sequences(kinds["text"])
    assert task == "ask" and {type(segment) for segment in sequence} == {Text}
    assert [segment.predict for segment in sequence] == [False, True]
