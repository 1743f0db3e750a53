"""Records of the interleaved group, from the miniatures of data sets and from simulated studies."""

from __future__ import annotations

import numpy as np
import pytest

from unimedvl.data.error import DataError
from unimedvl.data.examples import example_of
from unimedvl.data.interleaved.degradation import DECLARED, Degradation, declared, whole_blocks
from unimedvl.data.interleaved.records import Construction, constructed
from unimedvl.data.interleaved.super_resolution import paired
from unimedvl.data.interleaved.task import opened
from unimedvl.data.interleaved.tasks import TASKS, task_of
from unimedvl.data.quality import coarse
from unimedvl.data.shards import embed, read_shard, write_shard
from unimedvl.data.slices import png
from unimedvl.data.source import Sample, answer, question
from unimedvl.data.sources import source
from unimedvl.phantoms import SIMULATORS
from unimedvl.phantoms.parser import parse
from unimedvl.tasks import MODALITY_NAMES

# The source, and the tasks that its pairs are for.
SOURCES = {
    "ixi": {"super_resolution"}, "brats2023": {"translation", "segmentation"}, "synthrad2023": {"translation"},
    "bci": {"staining"}, "icg-cxr": {"counterfactual"},
}  # fmt: skip
# The modalities whose simulated studies have a task.
SIMULATED = {name: set(SIMULATORS) for name in TASKS} | {"translation": {"mri"}, "staining": {"his"}}


def images(sample: Sample) -> list[np.ndarray]:
    return [opened(load(), "image") for load in sample.images]


@pytest.mark.parametrize("name", SOURCES)
def test_pairs_of_data_sets_keep_id_and_images_and_get_words_and_decisions(pairs, name, tmp_path):
    samples = pairs(name)
    made = [constructed(s) for s in samples]
    assert {task_of(s.record).name for s in made} == SOURCES[name]
    for before, after in zip(samples, made, strict=True):
        record = after.record
        assert (record.id, record.input_img, record.output_img) == (
            before.record.id, before.record.input_img, before.record.output_img
        )  # fmt: skip
        assert after.images == before.images and record.kept
        assert record.attributes.items() >= before.record.attributes.items()
        assert [d.rule for d in record.decisions] == ["registered", "interleaved-words"]
        assert "templates, seed 0" in record.decisions[1].by
        assert record.message[0].value.startswith("<image>\n") and record.message[1].value
        assert all(d.kept for d in coarse.decide(record, embed(after)[1]))
    write_shard(tmp_path / "made.parquet", made)
    assert [s.record.message for s in read_shard(tmp_path / "made.parquet")] == [s.record.message for s in made]


def test_the_same_seed_gives_the_same_words_and_another_gives_others(pairs):
    samples = pairs("brats2023")[:8]
    texts = [[constructed(s, Construction(seed)).record.text for s in samples] for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]


def test_what_a_data_set_says_of_change_stays_word_for_word(pairs):
    for sample in pairs("icg-cxr"):
        made = constructed(sample).record
        change, explanation = (m.value.removeprefix("<image>\n") for m in sample.record.message)
        assert change in made.message[0].value and explanation in made.message[1].value
        again = constructed(Sample(made, sample.images)).record
        assert again.message == made.message


def test_super_resolution_declares_its_degradation_and_takes_another(pairs):
    sample = pairs("ixi")[0]
    assert declared(constructed(sample).record.attributes) == Degradation("mean")
    asked = Degradation("kspace", 4, noise=3.0, seed=5)
    made = constructed(sample, Construction(degradation=asked))
    assert made.record.id == sample.record.id and DECLARED in made.record.attributes
    low, sharp = images(made)
    assert np.array_equal(sharp, images(sample)[1])
    # The input follows from the record and the output alone.
    assert np.array_equal(declared(made.record.attributes).applied(sharp, made.record.id), low)
    assert not np.array_equal(low, images(sample)[0])


def test_a_slice_of_any_source_can_be_drawn_sharper(pairs):
    sample = pairs("dicom-tree")[0]
    made = constructed(paired(sample, Degradation("bicubic")))
    assert made.record.id == f"{sample.record.id}/super_resolution"
    assert made.record.attributes["original"] == sample.record.id
    assert (made.record.main_task_type, made.record.sub_task_type) == ("interleaved", "super_resolution")
    low, sharp = images(made)
    assert np.array_equal(sharp, whole_blocks(images(sample)[0], 4)) and low.shape == sharp.shape


@pytest.mark.parametrize("task", TASKS)
def test_simulated_studies_get_the_words_of_the_tasks_that_they_have(task, phantoms):
    for modality in SIMULATORS:
        pairs = phantoms(task, modality, 2, 4)
        assert bool(pairs) == (modality in SIMULATED[task])
        for made in map(constructed, pairs):
            record, (before, after) = made.record, images(made)
            assert record.kept and task_of(record).name == task and record.modality in MODALITY_NAMES
            assert before.shape[:2] == after.shape[:2] == (64, 64)
            said = " ".join(m.value for m in record.message)
            for wish in TASKS[task].kept:
                assert task_of(record).wished(record)[wish] in said
            if task == "super_resolution":
                assert np.array_equal(declared(record.attributes).applied(after, record.id), before)


def test_a_change_of_a_simulated_finding_is_told_and_explained(phantoms):
    for sample in phantoms("counterfactual", "cxr", 2, 12):
        made = constructed(sample).record
        told, reply = made.attributes, made.message[1].value
        assert told["change_in_words"] in made.message[0].value and told["explanation"] in reply
        (said,) = {(f.name, f.negated) for f in parse(reply, "cxr")}
        assert said == (told["finding"], told["change"] == "resolved")
        if told["change"] in ("resolved", "new"):
            assert "lung" in told["explanation"] or "the heart" in told["explanation"].lower()


def test_a_change_that_is_worded_as_a_request_is_asked_as_it_is(pairs):
    sample = pairs("icg-cxr")[0]
    turns = question("Show this image without it."), answer("It is gone.")
    asked = sample.record.model_copy(update={"message": turns})
    made = constructed(Sample(asked, sample.images)).record
    assert made.message[0].value == "<image>\nShow this image without it."


def test_a_degradation_in_a_sources_own_words_is_kept_as_it_is(pairs):
    sample = pairs("ixi")[0]
    told = sample.record.attributes | {"degradation": "in some way"}
    made = constructed(Sample(sample.record.model_copy(update={"attributes": told}), sample.images)).record
    assert made.attributes["degradation"] == "in some way" and DECLARED not in made.attributes
    assert "4x" in made.message[0].value


def test_records_are_examples_of_the_models_tasks(phantoms):
    made = constructed(phantoms("translation", "mri", 4)[0])
    example = example_of(made)
    assert example.task == "translate" and len(example.images) == len(example.targets) == 1
    assert example.turns == ((made.record.message[0].value.removeprefix("<image>\n"), made.record.message[1].value),)


def test_pairs_that_cannot_be_used_are_errors_that_say_why(pairs, phantoms):
    sample = pairs("bci")[0]

    def changed(images=sample.images, **update):
        return constructed(Sample(sample.record.model_copy(update=update), images))

    with pytest.raises(DataError, match="bci 00000_train_1\\+: attributes: no her2, which staining needs"):
        changed(attributes={})
    with pytest.raises(DataError, match="her2: expected 0, 1\\+, 2\\+, 3\\+, found '4'"):
        changed(attributes={"her2": "4"})
    with pytest.raises(DataError, match="no interleaved task takes interleaved translation with source 'T1'"):
        changed(sub_task_type="translation", attributes={"source": "T1", "target": "US"})
    with pytest.raises(DataError, match="expected one input and one output image, found 1 and 0"):
        changed(output_img=())
    with pytest.raises(DataError, match="no image that can be read"):
        changed(images=(sample.images[0], lambda: b"nothing"))
    small = phantoms("staining", "his", 4)[0].images[1]
    with pytest.raises(DataError, match="not registered: images of 128 x 128 and 64 x 64 pixels"):
        changed(images=(sample.images[0], small))
    with pytest.raises(DataError, match="expected one image to be drawn, found 0"):
        paired(Sample(sample.record.model_copy(update={"input_img": (), "output_img": ()}), ()))


def test_a_pair_that_lies_apart_is_dropped_by_its_decision(pairs):
    sample = pairs("bci")[0]
    moved = png(np.roll(images(sample)[1], 6, 0))
    record = constructed(Sample(sample.record, (sample.images[0], lambda: moved))).record
    assert not record.kept and "lie apart by 4.7%" in record.decisions[0].reason


def test_every_source_of_pairs_is_taken():
    tasks = {name for names in SOURCES.values() for name in names}
    assert tasks == set(TASKS)
    for name in SOURCES:
        assert {t.sub_task_type for t in TASKS.values() if t.name in SOURCES[name]} == set(source(name).tasks)
