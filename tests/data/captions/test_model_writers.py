"""Captioners as writers: a real local server, the embedded stand-in, and answers that are kept."""

from __future__ import annotations

import json

import pytest

from unimedvl.data.captions.answers import Answers
from unimedvl.data.captions.chat import EndpointChat
from unimedvl.data.captions.generation import generation_samples
from unimedvl.data.captions.writer import CaptionerWriter
from unimedvl.data.error import DataError
from unimedvl.data.quality.embedded import StandInCaptioner
from unimedvl.data.quality.endpoint import EndpointCaptioner

CAPTION = "Chest X-ray with a left pleural effusion."


def wish(asked: dict) -> str:
    return asked["messages"][0]["content"][1]["text"]


def good(asked: dict) -> str:
    """A model that does as it is told."""
    if "Describe it" in wish(asked):
        return "A frontal chest X-ray. The heart and both lungs are in view. Fluid blunts the left costophrenic angle."
    if "Write one paragraph" in wish(asked):
        words = "with a left pleural effusion; fluid blunts the left costophrenic angle."
        return f'"Generate a realistic chest X-ray {words}"'
    return "It is a chest X-ray. The left pleural effusion blunts the angle. The image shows a left pleural effusion."


def bad(asked: dict) -> str:
    """A model that takes left for right, and makes a diagnosis."""
    return good(asked).replace("left", "right").replace("Fluid", "Heart failure and fluid")


def test_a_server_writes_all_three_texts_and_is_asked_for_each_with_the_image(captioned, serving):
    with serving(good) as server:
        writer = CaptionerWriter(EndpointCaptioner(server.url, "medgemma"))
        plain, planned = generation_samples(captioned("cxr", 0, text=CAPTION), writer)
    assert plain.record.message[0].value.startswith("Generate a realistic chest X-ray with a left pleural effusion;")
    assert planned.record.message[1].value.endswith("The image shows a left pleural effusion. </think>")
    assert "left costophrenic angle" in plain.record.attributes["description"]
    assert len(server.asked) == 3 and all(a["messages"][0]["content"][0]["type"] == "image_url" for a in server.asked)
    assert CAPTION not in wish(server.asked[0]) and CAPTION in wish(server.asked[1])
    assert "medgemma at 127.0.0.1" in plain.record.decisions[1].by


def test_what_a_server_gets_wrong_is_refused_and_the_caption_stands(captioned, serving):
    with serving(bad) as server:
        writer = CaptionerWriter(EndpointCaptioner(server.url, "medgemma"))
        (made,) = generation_samples(captioned("cxr", 0, text=CAPTION), writer)
    assert made.record.message[0].value == CAPTION and "description" not in made.record.attributes
    assert "a diagnosis in the description: heart failure" in made.record.decisions[0].reason
    assert all(d.score > 0 for d in made.record.decisions)


def test_a_second_run_gives_the_same_and_asks_nothing(captioned, serving, tmp_path):
    sample = captioned("cxr", 0, text=CAPTION)
    with serving(good) as server:
        captioner = EndpointCaptioner(server.url, "medgemma")
        first = generation_samples(sample, CaptionerWriter(captioner, Answers(tmp_path)))
        again = generation_samples(sample, CaptionerWriter(captioner, Answers(tmp_path)))
        assert len(server.asked) == 3
        generation_samples(captioned("cxr", 1, text=CAPTION), CaptionerWriter(captioner, Answers(tmp_path)))
        # Another image is asked about anew.
        assert len(server.asked) == 6
    assert [s.record for s in first] == [s.record for s in again]
    # With everything kept, no server is needed.
    third = generation_samples(sample, CaptionerWriter(captioner, Answers(tmp_path)))
    assert [s.record for s in third] == [s.record for s in first]
    assert not list(tmp_path.rglob("*.part"))


def test_a_damaged_answer_is_an_error_that_names_its_file(tmp_path):
    answers = Answers(tmp_path)
    assert answers.of("model", "asked", "", lambda: "said") == "said"
    assert answers.of("model", "asked", "", lambda: "other") == "said"
    assert answers.of("another", "asked", "", lambda: "other") == "other"
    for file in tmp_path.rglob("*.json"):
        assert "answer" in json.loads(file.read_text())
        file.write_text("{")
    with pytest.raises(DataError, match="no answer of a model.*remove it to ask again"):
        answers.of("model", "asked", "", lambda: "said")


def test_the_stand_in_captioner_describes_and_templates_write_the_rest(captioned):
    writer = CaptionerWriter(StandInCaptioner())
    sample = captioned("cxr", 0)
    made = generation_samples(sample, writer)
    assert "embedded templates" in writer.name and "stand-in captioner" in made[0].record.decisions[0].by
    assert made[0].record.decisions[1].score == 0
    assert [s.record for s in generation_samples(sample, writer)] == [s.record for s in made]


def test_a_captioner_with_a_prompt_of_its_own_gets_it_back(captioned):
    class Held:
        """Holds a model, as MedGemma's captioner does, and must not be copied."""

        name, prompt = "held", "its own"

        def captions(self, image, record, n):
            assert "modality" in self.prompt or "Think aloud" in self.prompt
            return [good({"messages": [{"content": [None, {"text": self.prompt}]}]})] * n

    captioner = Held()
    assert len(generation_samples(captioned("cxr", 0, text=CAPTION), CaptionerWriter(captioner))) == 2
    assert captioner.prompt == "its own"


def test_a_chat_sends_words_alone_and_says_what_is_wrong(serving, tmp_path):
    with serving(lambda asked: "said " + asked["messages"][0]["content"]) as server:
        assert EndpointChat(server.url, "qwen", seed=3, temperature=0.0).say("this") == "said this"
    (asked,) = server.asked
    assert (asked["n"], asked["seed"], asked["temperature"]) == (1, 3, 0.0)
    with pytest.raises(DataError, match="no answer in 1 tries"):
        EndpointChat(server.url, "qwen", tries=1).say("this")
