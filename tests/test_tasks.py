"""Every task lays out its sequence in the published order, for training and for inference."""

from __future__ import annotations

import json

import pytest
import torch

from unimedvl.data.examples import example_of
from unimedvl.data.sources import source
from unimedvl.inference.unimedvl import UniMedVL
from unimedvl.sequence import Latent, Seen, Segment, Text
from unimedvl.tasks import EDITING, TASKS, TEXT_TO_IMAGE, Example, task

# S seen, L clean latent, T target latent, t given text, A predicted text; repeated targets count once.
# The orders are those of arXiv 2510.15710 and the authors' loaders.
ORDERS = {
    "ask": {"S" + "tA" * turns for turns in range(1, 6)},
    "report": {"StA"},
    "generate": {"tT", "tAT"},
    "edit": {"LStAT"},
    "stain": {"LStAT"},
    "upscale": {"LStAT"},
    "segment": {"LStAT"},
    "reconstruct": {"LStAT"},
    "translate": {"LStTA"},
    "counterfactual": {"LStTA"},
}


def order(segments: list[Segment]) -> str:
    letters = ""
    for segment in segments:
        if isinstance(segment, Text):
            letters += "A" if segment.predict else "t"
        elif isinstance(segment, Seen):
            letters += "S"
        else:
            letters += "T" if segment.predict else "L"
    return letters.replace("TT", "T")


@pytest.fixture
def prepare(tiny: UniMedVL):
    return tiny.prepare


def made_up(name: str) -> Example:
    image = torch.zeros(3, 40, 48)
    inputs = (image,) * TASKS[name].inputs
    return Example(name, inputs, (("request", "answer"),), (image, image) if TASKS[name].draws else ())


@pytest.mark.parametrize("name", TASKS)
def test_every_task_lays_out_the_published_order(prepare, name):
    laid = order(TASKS[name].sequence(made_up(name), prepare))
    assert laid in ORDERS[name] or (name == "ask" and laid == "tA") or (name == "generate" and laid == "tAT")


def test_simulated_records_lay_out_the_published_order(prepare, tmp_path):
    told = {"studies": 12, "size": 64, "turns": 5, "modalities": ["cxr", "mri", "his"]}
    (tmp_path / "phantoms.json").write_text(json.dumps(told))
    tasks = set()
    for item in source("phantoms").read(tmp_path):
        made = example_of(item)
        tasks.add(made.task)
        assert order(TASKS[made.task].sequence(made, prepare)) in ORDERS[made.task]
    assert tasks == set(ORDERS) - {"edit"}


def test_the_conversation_keeps_its_turns_and_images_in_order(prepare):
    images = (torch.zeros(3, 40, 48), torch.ones(3, 40, 48))
    turns = (("one", "two"), ("three", "four"))
    segments = TASKS["ask"].sequence(Example("ask", images, turns), prepare)
    assert order(segments) == "SStAtA"
    spoken = [prepare.tokenizer.decode(s.ids) for s in segments if isinstance(s, Text)]
    assert spoken == ["one", "two", "three", "four"]
    assert segments[0].pixels.max() < segments[1].pixels.min()


def test_text_alone_is_a_conversation_without_images(prepare):
    assert order(TASKS["ask"].sequence(Example("ask", (), (("q", "a"),)), prepare)) == "tA"


def test_a_plan_comes_between_caption_and_image_only_where_there_is_one(prepare):
    image = torch.zeros(3, 32, 32)
    for answer, laid in (("", "tT"), ("a plan", "tAT")):
        segments = TASKS["generate"].sequence(
            Example("generate", (), (("caption", answer),), (image,)), prepare
        )
        assert order(segments) == laid


@pytest.mark.parametrize("name", TASKS)
def test_the_prompt_is_the_sequence_cut_before_what_is_predicted(prepare, name):
    made = made_up(name)
    whole = TASKS[name].sequence(made, prepare)
    given = TASKS[name].prompt(made.images, "request", prepare)
    first = next(i for i, s in enumerate(whole) if getattr(s, "predict", False))
    assert order(given) == order(whole[:first])
    assert not any(getattr(s, "predict", False) for s in given)
    for a, b in zip(given, whole, strict=False):
        assert torch.equal(a.pixels, b.pixels) if hasattr(a, "pixels") else a.ids == b.ids


def test_what_is_given_may_be_dropped_but_the_question_on_an_image(prepare):
    for name in TASKS:
        dropped = order([s for s in TASKS[name].sequence(made_up(name), prepare) if s.droppable])
        assert dropped == {"ask": "", "report": "S", "generate": "t"}.get(name, "LSt")
    asked = TASKS["ask"].sequence(Example("ask", (torch.zeros(3, 42, 42),), (("q", "a"),)), prepare)
    assert order([s for s in asked if s.droppable]) == "S"


def test_two_noises_of_one_target_share_the_image(prepare):
    segments = TASKS["stain"].sequence(made_up("stain"), prepare)
    targets = [s for s in segments if isinstance(s, Latent) and s.predict]
    assert len(targets) == 2 and targets[0].pixels is targets[1].pixels


def test_too_few_images_are_refused_by_name(prepare):
    with pytest.raises(ValueError, match="stain needs 1 image, got 0"):
        TASKS["stain"].prompt((), "x", prepare)


def test_an_unknown_task_is_named_with_those_there_are():
    with pytest.raises(ValueError, match="no task called 'paint'; there are ask, report, generate"):
        task("paint")


def test_guidance_defaults_are_the_published_ones():
    text, edit = TEXT_TO_IMAGE.guidance, EDITING.guidance
    assert (TEXT_TO_IMAGE.steps, TEXT_TO_IMAGE.shift) == (EDITING.steps, EDITING.shift) == (50, 3.0)
    assert (text.text_scale, text.interval, text.renorm) == (4.0, (0.4, 1.0), "global")
    assert (edit.text_scale, edit.interval, edit.renorm) == (4.0, (0.0, 1.0), "text_channel")
    assert 1.5 <= edit.image_scale <= 2.0 and not text.uses_image
    assert all(t.drawing == EDITING for t in TASKS.values() if "both" in t.layout)
