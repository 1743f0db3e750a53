"""What a sample becomes: conditions left out, targets noised, losses weighed, and its length known without pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unimedvl.data.record import Record
from unimedvl.sequence import Latent, Seen, Text, pack
from unimedvl.tasks import TASKS
from unimedvl.training.batches import PackedSamples, seed_of, training_batch
from unimedvl.training.error import TrainingError
from unimedvl.training.mixture import Bucket, bucket_weights, mixture_of, records_of
from unimedvl.training.packing import Pack
from unimedvl.training.recipe import Drop, Stage
from unimedvl.training.samples import Samples, drop_conditions, focus, noise_wholly

IMAGE = torch.zeros(3, 14, 14)
LATENT = torch.zeros(3, 4, 4)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@settings(max_examples=10, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
def test_each_kind_of_condition_is_left_out_at_its_own_rate(text, vit, vae, seed):
    kinds = {Text: Text([1], droppable=True), Seen: Seen(IMAGE, droppable=True), Latent: Latent(LATENT, droppable=True)}
    segments = [Text([2]), *(s for s in kinds.values() for _ in range(400))]
    drop = Drop(text=text, vit=vit, vae=vae)
    kept = drop_conditions(segments, drop, np.random.default_rng(seed))
    for kind, rate in ((Text, text), (Seen, vit), (Latent, vae)):
        there = sum(isinstance(s, kind) and s.droppable for s in kept)
        assert there / 400 == pytest.approx(1 - rate, abs=0.12)


def test_what_must_stay_stays_and_keeps_its_order():
    kept_always = [Latent(LATENT), Seen(IMAGE), Text([1]), Text([2], True), Latent(LATENT, True)]
    segments = [*kept_always, Text([3], droppable=True)]
    assert drop_conditions(segments, Drop(text=1, vit=1, vae=1), rng()) == segments[:-1]
    assert drop_conditions(segments, Drop(text=0, vit=0, vae=0), rng()) == segments


def test_targets_alone_are_noised_wholly_at_their_rate(tiny):
    segments = [Latent(LATENT), Text([1], True), *[Latent(LATENT, True)] * 400]
    given, text, *targets = noise_wholly(segments, 0.3, rng())
    assert given is segments[0] and text is segments[1]
    assert np.mean([t.timestep_logit is not None for t in targets]) == pytest.approx(0.3, abs=0.1)
    assert noise_wholly(segments, 0.0, rng()) == segments
    assert pack([noise_wholly([Latent(LATENT, True)], 1.0, rng())], tiny.model.config).timesteps.tolist() == [1.0]


def test_focus_weighs_targets_alone():
    where = torch.zeros(4, 4, dtype=torch.bool)
    where[0, 0] = True
    given, target = focus([Latent(LATENT), Latent(LATENT, True)], where, 2.0)
    assert given.weight is None and target.weight[0].tolist() == [3, 1, 1, 1]


@pytest.fixture
def samples(data_folder, tiny):
    def make(seed: int = 0, **changes) -> Samples:
        values = {"mixture": {"text_to_image": 1, "image_to_text": 1, "interleaved": 1}} | changes
        stage = Stage(name="one", steps=1, tokens=700, packs=1, learning_rate=1, **values)
        mixture = mixture_of(records_of([data_folder], "train"), stage, seed, 4)
        return Samples(mixture, stage, tiny.model.config, tiny.prepare, seed)

    return make


def test_the_length_of_a_sample_is_known_without_its_pixels(samples, tiny):
    ours = samples(noise={"each": 2, "copies": 2})
    tasks = set()
    for position in range(60):
        task, sequences = ours.sequences(position)
        tasks.add(task)
        assert ours.tokens(position) == pack(sequences, tiny.model.config).num_tokens
    assert {"ask", "report", "generate", "upscale", "segment", "counterfactual"} <= tasks


def test_a_target_stands_in_its_sequence_and_its_sequence_in_the_pack_as_often_as_asked(samples):
    ours = samples(noise={"each": 3, "copies": 2}, mixture={"generate": 1}, drop={"text": 0})
    _, sequences = ours.sequences(0)
    assert len(sequences) == 2
    for sequence in sequences:
        targets = [s for s in sequence if isinstance(s, Latent)]
        assert len(targets) == 3 and len({id(t.pixels) for t in targets}) == 1


@pytest.mark.parametrize(("planning", "spoken"), [(0.0, 0), (1.0, 1)])
def test_an_image_is_planned_in_words_as_often_as_asked(samples, tiny, planning, spoken):
    ours = samples(planning=planning, mixture={"generate": 1}, drop={"text": 0})
    for position in range(5):
        [sequence] = ours.sequences(position)[1]
        request, *plan, target = sequence
        assert len(plan) == spoken and isinstance(target, Latent)
        assert tiny.tokenizer.decode(request.ids).startswith("Think first. ") == bool(spoken)


def test_a_sample_depends_on_seed_and_position_alone(samples):
    one, again, other = (samples(seed).sequences(7) for seed in (0, 0, 1))
    assert str(one) == str(again) != str(other)


def test_tasks_that_are_kept_lose_no_condition(samples):
    gone, kept = samples(drop={"text": 1, "vit": 1, "vae": 1}, mixture={"upscale": 1}), samples(
        drop={"text": 1, "vit": 1, "vae": 1, "keep": ["upscale"]}, mixture={"upscale": 1}
    )
    assert [len(s.sequences(0)[1][0]) for s in (gone, kept)] == [2, 5]


# ------------------------------------------------------------------------------------------- mixture

BUCKETS = [
    Bucket("image_to_text", "ask", "cxr"), Bucket("image_to_text", "ask", "mri"),
    Bucket("image_to_text", "report", "cxr"), Bucket("interleaved", "upscale", "mri"),
]  # fmt: skip


def test_a_kind_takes_in_its_tasks_but_those_that_are_named_beside_it():
    weights = bucket_weights(BUCKETS, {"image_to_text": 2, "report": 1, "interleaved": 0}, {})
    assert weights == {BUCKETS[0]: 1, BUCKETS[1]: 1, BUCKETS[2]: 1}


def test_modalities_share_the_weight_of_what_has_them():
    weights = bucket_weights(BUCKETS, {"ask": 1, "upscale": 1}, {"mri": 3})
    assert weights == {BUCKETS[0]: 0.25, BUCKETS[1]: 0.75, BUCKETS[3]: 1}


def test_what_no_record_is_of_is_told():
    with pytest.raises(TrainingError, match="no record is of stain; there are ask, image_to_text, interleaved"):
        bucket_weights(BUCKETS, {"stain": 1}, {})


def test_a_mixture_draws_what_it_names_and_records_alone_say_the_same(samples):
    ours = samples(mixture={"report": 1})
    for position in range(20):
        assert ours.mixture[position].record == ours.mixture.record(position)
        assert ours.mixture.record(position).sub_task_type == "report"


def test_a_folder_without_shards_is_told(tmp_path):
    with pytest.raises(TrainingError, match="no shards/train-.*parquet; a finished data build has them"):
        records_of([tmp_path], "train")


# ------------------------------------------------------------------------------------------- batches


def test_a_batch_of_one_kind_is_filled_up_with_what_counts_nothing(tiny):
    config = tiny.model.config
    sequences = [[Seen(torch.zeros(3, 28, 28)), Text([1, 2], predict=True)]]
    batch = training_batch(sequences, ["ask"], 10, config, torch.Generator())
    assert (batch.labels, batch.targets) == (3, 0) and len(batch.batch.targets) == 1
    alone, filled = tiny.model(pack(sequences, config)), tiny.model(batch.batch)
    torch.testing.assert_close(filled.ce[: batch.labels], alone.ce)
    assert list(TASKS)[batch.label_tasks[0]] == "ask"


def test_a_batch_of_every_kind_is_not_filled(samples):
    ours = samples()
    made = PackedSamples(ours, 0)[0, 0, Pack(tuple(range(12)), sum(ours.tokens(p) for p in range(12)))]
    assert made.batch.num_tokens == made.tokens
    assert (made.labels, made.targets) == (len(made.batch.labels), len(made.batch.targets))


def test_seeds_are_of_all_their_numbers_in_order():
    assert len({seed_of(*n) for n in ((0, 1), (1, 0), (0, 1, 0), (1,), (0,))}) == 5
    assert seed_of(3, 4) == seed_of(3, 4)


def test_regions_of_a_record_are_where_its_loss_is_weighed():
    from unimedvl.data.error import DataError
    from unimedvl.data.examples import focus_of

    values = {"main_task_type": "generation", "sub_task_type": "text_to_image", "modality": "cxr", "dataset": "x"}
    record = Record(**values, message=({"from": "human", "value": "a"},), attributes={"region": "0.5 0 1 0.25"})
    where = focus_of(record)
    assert where.sum() == 32 * 16 and where[0, 32] and not where[16, 32] and not where[0, 31]
    with pytest.raises(DataError, match="region: expected left, top"):
        focus_of(record.model_copy(update={"attributes": {"region": "0.5 0"}}))
