"""From captioned samples to records to draw from: what is written, what is refused, and what stays beside it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unimedvl.data.captions import lexicon
from unimedvl.data.captions.embedded import EmbeddedWriter
from unimedvl.data.captions.generation import generation_samples
from unimedvl.data.captions.original import original_of
from unimedvl.data.captions.rules import faults
from unimedvl.data.error import DataError
from unimedvl.data.examples import example_of
from unimedvl.data.quality import coarse
from unimedvl.data.record import Record, sha256
from unimedvl.data.shards import read_shard, write_shard
from unimedvl.data.source import Sample, answer, pictures
from unimedvl.data.sources import source
from unimedvl.phantoms import SIMULATORS
from unimedvl.phantoms.parser import parse
from unimedvl.tasks import THINK_FIRST

RULES = ["caption-description", "caption-prompt", "caption-plan"]


class Careless(EmbeddedWriter):
    """Turns the sides of the prompt and the plan round."""

    def prompt(self, image, record, description):
        return super().prompt(image, record, description).replace("left", "right")

    def plan(self, image, record, prompt):
        return super().plan(image, record, prompt).replace("left", "right")


@pytest.mark.parametrize("modality", SIMULATORS)
@pytest.mark.parametrize("kind", ["caption", "report"])
def test_the_embedded_writer_stands_every_rule_on_simulated_studies(captioned, modality, kind):
    for seed in range(5):
        made = generation_samples(captioned(modality, seed, kind), EmbeddedWriter())
        assert [s.record.sub_task_type for s in made] == ["text_to_image"] * 2
        decisions = made[0].record.decisions
        assert [d.rule for d in decisions] == RULES
        assert all(d.kept and d.score == 0 and not d.reason for d in decisions), decisions


def test_prompt_and_plan_say_what_the_caption_says(captioned):
    for seed in range(12):
        plain, planned = (s.record for s in generation_samples(captioned("cxr", seed), EmbeddedWriter()))
        found = {(f.name, f.side) for f in parse(plain.attributes["caption"], "cxr")}
        assert {(f.name, f.side) for f in parse(plain.message[0].value, "cxr")} == found
        assert {(f.name, f.side) for f in parse(planned.message[1].value, "cxr")} == found
        assert planned.message[0].value == f"{THINK_FIRST} {plain.message[0].value}" and not plain.message[1].value
        assert planned.message[1].value.startswith("<think>") and planned.message[1].value.endswith("</think>")


def test_the_original_stays_beside_what_was_written_and_the_image_becomes_the_output(captioned, tmp_path):
    sample = captioned("mri", 3)
    made = generation_samples(sample, EmbeddedWriter(seed=1))
    record = made[0].record
    assert (record.main_task_type, record.id, record.input_img) == ("generation", "mri-3-caption/text_to_image", ())
    assert record.attributes["original"] == sample.record.id
    assert record.attributes["caption"] == sample.record.message[1].value
    assert record.attributes["description"].startswith(("This is", "The image is", "It is"))
    assert (record.patient, record.split, record.licence) == ("p3", "test", "Apache-2.0")
    assert "embedded templates 1, seed 1" in record.decisions[0].by
    write_shard(tmp_path / "made.parquet", made)
    again = list(read_shard(tmp_path / "made.parquet"))
    assert [s.record.message for s in again] == [s.record.message for s in made]
    assert again[0].record.output_img[0].sha256 == sha256(sample.images[0]())
    assert all(d.kept for d in coarse.decide(record, [sample.images[0]()], coarse.CoarseSettings(shortest_side=64)))


def test_records_are_examples_to_draw_from_with_and_without_a_plan(captioned):
    plain, planned = (example_of(s) for s in generation_samples(captioned("cxr", 3), EmbeddedWriter()))
    assert plain.task == planned.task == "generate" and len(plain.targets) == 1 and not plain.images
    assert plain.turns[0][1] == "" and planned.turns[0][1].startswith("<think>")


def test_a_text_that_breaks_a_rule_is_refused_with_the_reason_and_the_caption_stands(captioned):
    sample = captioned("cxr", 0, text="Chest X-ray with a left pleural effusion.")
    (made,) = generation_samples(sample, Careless())
    assert made.record.message[0].value == "Chest X-ray with a left pleural effusion."
    described, prompt, plan = made.record.decisions
    assert described.score == 0 and made.record.kept
    for decision in (prompt, plan):
        assert decision.score > 0 and decision.reason.startswith("not used: ")
        assert "the original does not say right of pleural effusion" in decision.reason


def test_the_same_record_and_seed_give_the_same_texts_and_seeds_differ(captioned):
    def texts(seed):
        return [generation_samples(captioned("cfp", n), EmbeddedWriter(seed))[1].record.text for n in range(5)]

    assert texts(0) == texts(0) != texts(1)
    assert len({text.split(" ")[2] for text in texts(0)}) > 1


def test_no_diagnosis_of_the_caption_is_in_the_description(captioned):
    plain, planned = generation_samples(captioned("his", 4), EmbeddedWriter())
    assert "DCIS" in plain.record.message[0].value
    assert "carcinoma" not in plain.record.attributes["description"] and "DCIS" in planned.record.message[1].value


def test_labels_of_the_source_are_described_too(captioned):
    sample = captioned(
        "cxr", 0, text="Chest X-ray.", attributes={"positive": "Lung Opacity, Pneumonia", "negative": "Edema"}
    )
    description = generation_samples(sample, EmbeddedWriter())[0].record.attributes["description"]
    assert "opacity and no oedema" in description and "neumonia" not in description


@pytest.mark.parametrize("name", ["rocov2", "quilt-1m", "medtrinity", "openi"])
def test_captions_of_data_sets_are_taken(miniature, name):
    items = source(name).read(miniature(name))
    samples = [i for i in items if isinstance(i, Sample) and len(i.record.input_img) == 1]
    made = [s.record for sample in samples for s in generation_samples(sample, EmbeddedWriter())]
    assert samples and len(made) == 2 * len(samples)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sub_task_type": "vqa"}, "expected a record for understanding with caption or report"),
        ({"main_task_type": "generation"}, "expected a record for understanding"),
        ({"input_img": ()}, "expected one image, found 0"),
    ],
)
def test_a_record_without_one_captioned_image_is_an_error(captioned, change, reason):
    sample = captioned("cxr", 1)
    with pytest.raises(DataError, match=reason):
        generation_samples(Sample(sample.record.model_copy(update=change), sample.images), EmbeddedWriter())


RECORD = Record(
    main_task_type="understanding", sub_task_type="caption", modality="cxr", dataset="invented", id="1",
    input_img=pictures(["1.png"]), message=(answer("A chest X-ray."),),
)  # fmt: skip
KINDS = ("site", "finding", "diagnosis", None)
NAMES = {kind: [n for n, (k, _) in lexicon.terms().items() if k == kind] for kind in KINDS}
SIDE = st.sampled_from(["left ", "right ", "bilateral ", ""])
FINDING, SITE = st.sampled_from(NAMES["finding"] + NAMES[None]), st.sampled_from(NAMES["site"])
SENTENCES = st.one_of(
    st.builds("There is a small {}{} in the {}{}.".format, SIDE, FINDING, SIDE, SITE),
    st.builds("No {} or {} is seen.".format, FINDING, st.sampled_from(NAMES["diagnosis"])),
    st.builds("The {}{} is consistent with {}.".format, SIDE, SITE, st.sampled_from(NAMES["diagnosis"])),
    st.builds("{}{} with {}{}, measuring 12 x 7 mm.".format, SIDE, FINDING, SIDE, FINDING),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(SENTENCES, min_size=1, max_size=4), st.sampled_from(["cxr", "ct", "mri", "cfp", "his", "mixed"]))
def test_the_prompt_of_the_embedded_writer_stands_the_rules_whatever_the_caption(sentences, modality):
    record = RECORD.model_copy(update={"message": (answer(" ".join(sentences)),), "modality": modality})
    writer = EmbeddedWriter()
    prompt = writer.prompt(b"", record, writer.description(b"", record))
    assert faults("prompt", prompt, original_of(record)) == []
