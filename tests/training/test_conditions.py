"""What may be left out of a training sample, how often, and what a batch is made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from unimedvl.training.unified import TaskBatches, drop_conditions, focus, noise_wholly

from unimedvl.phantoms import SIMULATORS
from unimedvl.sequence import Latent, Seen, Text, pack, token_count
from unimedvl.training.recipe import Stage

IMAGE = torch.zeros(3, 14, 14)
LATENT = torch.zeros(3, 4, 4)


@settings(max_examples=10, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
def test_texts_and_images_are_left_out_at_their_own_rate(text, image, seed):
    segments = [Text([1], droppable=True)] * 400 + [Seen(IMAGE, droppable=True)] * 400
    kept = drop_conditions(segments, {"text": text, "image": image}, np.random.default_rng(seed))
    texts = sum(isinstance(s, Text) for s in kept)
    assert texts / 400 == pytest.approx(1 - text, abs=0.12)
    assert (len(kept) - texts) / 400 == pytest.approx(1 - image, abs=0.12)


def test_what_must_stay_stays_and_keeps_its_order():
    kept_always = [Latent(LATENT), Seen(IMAGE), Text([1]), Text([2], True), Latent(LATENT, True)]
    segments = [*kept_always, Text([3], droppable=True)]
    kept = drop_conditions(segments, {"text": 1.0, "image": 1.0}, np.random.default_rng(0))
    assert kept == segments[:-1]
    assert drop_conditions(segments, {}, np.random.default_rng(0)) == segments


def test_targets_alone_are_noised_wholly_at_their_rate():
    segments = [Latent(LATENT), Text([1], True), *[Latent(LATENT, True)] * 400]
    given, text, *targets = noise_wholly(segments, 0.3, np.random.default_rng(0))
    assert given is segments[0] and text is segments[1]
    assert np.mean([t.timestep_logit is not None for t in targets]) == pytest.approx(0.3, abs=0.1)
    assert noise_wholly(segments, 0.0, np.random.default_rng(0)) == segments


def test_focus_weighs_targets_alone_and_only_where_all_words_are_there(tiny, unified_recipe):
    where = torch.zeros(4, 4, dtype=torch.bool)
    where[0, 0] = True
    given, target = focus([Latent(LATENT), Latent(LATENT, True)], where, 2.0)
    assert given.weight is None and target.weight[0].tolist() == [3, 1, 1, 1]
    stage = Stage(steps=1, mixture={"generate": 1.0}, focus={"generate": 4.0})
    weighed = {}
    for drop in (0.0, 1.0):
        recipe = unified_recipe.model_copy(update={"stages": [stage], "drop": {"text": drop}})
        weighed[drop] = {x for b in batches(tiny, recipe, 0) for x in b.target_weights.tolist()}
    assert weighed == {0.0: {1.0, 5.0}, 1.0: {1.0}}


def test_a_target_noised_wholly_is_its_noise(tiny):
    target = noise_wholly([Latent(LATENT, True)], 1.0, np.random.default_rng(0))
    assert pack([target], tiny.model.config).timesteps.tolist() == [1.0]


def batches(tiny, recipe, start: int, count: int = 2) -> list:
    data = TaskBatches(recipe, recipe.stages[0], tiny.model.config, tiny.prepare, tuple(SIMULATORS))
    return [data[step] for step in range(start, start + count)]


def test_batches_hold_enough_tokens_and_depend_on_seed_and_step_alone(tiny, unified_recipe):
    a, b, later = (batches(tiny, unified_recipe, start) for start in (0, 0, 5))
    for x, y in zip(a, b, strict=True):
        assert x.num_tokens >= unified_recipe.tokens
        assert x.ids.tolist() == y.ids.tolist() and torch.equal(x.noise, y.noise)
    assert a[0].ids.tolist() != later[0].ids.tolist()
    other = batches(tiny, unified_recipe.model_copy(update={"seed": 1}), 0)
    assert a[0].ids.tolist() != other[0].ids.tolist()


@pytest.mark.parametrize(("name", "draws", "reads"), [("report", False, True), ("generate", True, False)])
def test_a_mixture_of_one_task_holds_that_task_alone(tiny, unified_recipe, name, draws, reads):
    stage = Stage(steps=1, mixture={name: 2.0, "ask": 0.0})
    recipe = unified_recipe.model_copy(update={"stages": [stage], "drop": {}})
    for batch in batches(tiny, recipe, 0):
        assert bool(len(batch.targets)) == draws
        assert bool(batch.patch_lengths) == reads


def test_the_size_of_a_sequence_is_known_before_it_is_packed(tiny):
    """A step is filled by counting tokens; the packed batch must have as many."""
    segments = [Text([1, 2]), Seen(torch.zeros(3, 28, 42)), Latent(torch.zeros(3, 8, 12)), Text([3])]
    config = tiny.model.config
    assert sum(token_count(s, config) for s in segments) == pack([segments], config).num_tokens
