"""`/v1/chat/completions` as OpenAI's own client uses it, over the embedded model."""

from __future__ import annotations

import base64
import io
import json
import math
from typing import Literal

import numpy as np
import openai
import pytest
from PIL import Image
from pydantic import BaseModel

from unimedvl import UniMedVL
from unimedvl.inference.context import Context
from unimedvl.inference.prepared import as_pixels
from unimedvl.tasks import TASKS

SMALL = {"size": "64x64", "num_inference_steps": 4}


def data_url(array: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def picture(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def said(text: str, *urls: str) -> dict:
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"role": "user", "content": [{"type": "text", "text": text}, *images]}


@pytest.fixture(scope="module")
def answer(client: openai.OpenAI):
    """A chat with the usual model, and what is given."""
    return lambda messages, **given: client.chat.completions.create(model="nano", messages=messages, **given)


def test_a_question_on_an_image_is_answered_as_the_model_answers_it(answer, nano: UniMedVL, photo: np.ndarray):
    question = "Is there a pleural effusion?"
    reply = answer([said(question, data_url(photo))])
    assert reply.choices[0].message.content == nano.ask(photo, question).text
    assert reply.choices[0].finish_reason == "stop" and reply.choices[0].message.role == "assistant"
    assert "Not for clinical use" in reply.notice and reply.object == "chat.completion"


def test_usage_counts_what_the_model_takes_in_and_says(answer, nano: UniMedVL, photo: np.ndarray):
    reply = answer([said("Is there a pleural effusion?", data_url(photo))])
    result = nano.ask(photo, "Is there a pleural effusion?")
    context = Context(nano.model)
    pixels = (as_pixels(nano.read(photo)),)
    context.extend(TASKS["ask"].prompt(pixels, "Is there a pleural effusion?", nano.prepare))
    assert reply.usage.prompt_tokens == context.length
    assert reply.usage.completion_tokens == len(result.logprobs)
    assert reply.usage.total_tokens == context.length + len(result.logprobs)
    assert 0 < reply.usage.prompt_tokens_details.image_tokens < context.length


def test_turns_are_answered_as_a_chat_answers_them(answer, nano: UniMedVL, photo: np.ndarray):
    chat = nano.chat()
    first, second = "What modality is this?", "Is there a pleural effusion?"
    one = chat.send(first, photo).text
    two = chat.send(second).text
    back = {"role": "assistant", "content": one}
    reply = answer([said(first, data_url(photo)), back, {"role": "user", "content": second}])
    assert reply.choices[0].message.content == two


def test_a_system_message_and_several_images_are_taken_in(answer, photo: np.ndarray):
    plain = answer([said("Which is brighter?", data_url(photo), data_url(255 - photo))])
    with_system = answer(
        [{"role": "developer", "content": "Be brief."}, {"role": "system", "content": "Answer yes or no."},
         said("Which is brighter?", data_url(photo), data_url(255 - photo))]
    )  # fmt: skip
    one = answer([said("Which is brighter?", data_url(photo))])
    assert with_system.usage.prompt_tokens > plain.usage.prompt_tokens > one.usage.prompt_tokens


def test_a_stream_says_the_same_in_pieces_and_ends_with_usage(answer):
    messages = [{"role": "user", "content": "What does a chest X-ray with an effusion show?"}]
    whole = answer(messages)
    chunks = list(answer(messages, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant" and len({c.id for c in chunks}) == 1
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert all(c.usage is None for c in chunks[:-1])


def test_logprobs_are_told_whole_and_in_a_stream(answer):
    messages = [{"role": "user", "content": "What is a chest X-ray?"}]
    told = answer(messages, logprobs=True, top_logprobs=3).choices[0].logprobs.content
    chunks = answer(messages, logprobs=True, top_logprobs=3, stream=True)
    streamed = [t for c in chunks if c.choices[0].logprobs for t in c.choices[0].logprobs.content]
    assert [t.token for t in streamed] == [t.token for t in told] and told
    for token in told:
        assert len(token.top_logprobs) == 3 and token.logprob == pytest.approx(token.top_logprobs[0].logprob)
        assert bytes(token.bytes).decode() == token.token
        assert math.exp(token.logprob) <= 1


def test_seeds_decide_and_several_answers_differ_by_theirs(answer):
    messages = [{"role": "user", "content": "Describe a finding."}]
    given = {"temperature": 1.5, "seed": 5, "n": 4, "max_tokens": 12}
    texts = [c.message.content for c in answer(messages, **given).choices]
    assert texts == [c.message.content for c in answer(messages, **given).choices]
    assert len(set(texts)) > 1
    alone = answer(messages, **given | {"n": 1, "seed": 7})
    assert alone.choices[0].message.content == texts[2] and alone.choices[0].seed == 7


def test_a_seed_that_is_not_given_is_drawn_and_told(answer):
    messages = [{"role": "user", "content": "Describe a finding."}]
    first = answer(messages, temperature=1.5, max_tokens=12).choices[0]
    again = answer(messages, temperature=1.5, max_tokens=12, seed=first.seed).choices[0]
    assert first.message.content == again.message.content and first.seed > 0


def test_stop_texts_and_lengths_end_an_answer(answer):
    messages = [{"role": "user", "content": "What is a chest X-ray?"}]
    whole = answer(messages).choices[0].message.content
    assert "-" in whole
    assert answer(messages, stop=["-"]).choices[0].message.content == whole.partition("-")[0]
    cut = answer(messages, max_completion_tokens=1).choices[0]
    assert cut.finish_reason == "length" and whole.startswith(cut.message.content)


class Finding(BaseModel):
    present: bool
    side: Literal["left", "right", "both"]


def test_answers_follow_a_schema_and_parse(client: openai.OpenAI, photo: np.ndarray):
    reply = client.chat.completions.parse(
        model="nano", messages=[said("Is there an effusion?", data_url(photo))], response_format=Finding
    )
    assert isinstance(reply.choices[0].message.parsed, Finding)


def test_answers_are_json_objects_where_that_is_asked(answer):
    messages = [{"role": "user", "content": "Describe a finding as JSON."}]
    found = answer(messages, response_format={"type": "json_object"}, max_tokens=24, seed=1).choices[0]
    if found.finish_reason == "stop":
        assert isinstance(json.loads(found.message.content), dict)
    assert found.message.content.startswith("{")


@pytest.mark.parametrize("stream", [False, True])
def test_an_image_stands_beside_the_text_or_in_it(answer, stream: bool):
    messages = [{"role": "user", "content": "A chest X-ray with cardiomegaly"}]

    def message(carrier: str) -> dict:
        extra = {**SMALL, "image_carrier": carrier}
        reply = answer(messages, modalities=["text", "image"], seed=3, stream=stream, extra_body=extra)
        if not stream:
            return reply.choices[0].message.model_dump(warnings=False)
        deltas = [c.choices[0].delta.model_dump(warnings=False) for c in reply]
        return next(d for d in deltas if d.get("images") or isinstance(d.get("content"), list))

    beside, within = message("images"), message("content")
    first, second = beside["images"][0]["image_url"]["url"], within["content"][0]["image_url"]["url"]
    assert picture(first).shape == (64, 64, 3)
    assert np.array_equal(picture(first), picture(second))  # manifests hold the time
    assert stream or beside["content"] == ""


def test_a_stream_shows_images_on_the_way(answer):
    extra = {"size": "64x64", "num_inference_steps": 7, "partial_images": 2}
    messages = [{"role": "user", "content": "A chest X-ray with cardiomegaly"}]
    chunks = answer(messages, modalities=["image"], stream=True, seed=3, extra_body=extra)
    images = [i for c in chunks for i in getattr(c.choices[0].delta, "images", None) or []]
    assert [i.get("partial", False) for i in images] == [True, True, False]
    shown = [picture(i["image_url"]["url"]).astype(float) for i in images]
    assert np.abs(shown[1] - shown[2]).mean() < np.abs(shown[0] - shown[2]).mean()


def test_an_image_is_edited_in_a_conversation_and_handed_back(answer, photo: np.ndarray):
    first = said("Show this image with a pleural effusion.", data_url(photo))
    reply = answer([first], modalities=["text", "image"], seed=3, extra_body=SMALL).choices[0].message
    back = {"role": "assistant", "content": reply.content, "images": reply.images}
    second = answer([first, back, said("Is there a pleural effusion?")])
    assert second.choices[0].message.content
    assert second.usage.prompt_tokens_details.image_tokens > 90  # both images


def test_images_come_as_files_of_a_form(running, photo: np.ndarray):
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, "PNG")
    asked = {"messages": [said("Is there a pleural effusion?", "attachment://scan.png")]}
    files = {"file": ("scan.png", stream.getvalue(), "image/png")}
    form = running.http.post("/v1/chat/completions", data={"request": json.dumps(asked)}, files=files)
    asked["messages"][0]["content"][1]["image_url"]["url"] = data_url(photo)
    plain = running.http.post("/v1/chat/completions", json=asked)
    assert form.status_code == plain.status_code == 200
    assert form.json()["choices"] == plain.json()["choices"]
    asked["messages"][0]["content"][1]["image_url"]["url"] = "attachment://other.png"
    missing = running.http.post("/v1/chat/completions", data={"request": json.dumps(asked)}, files=files)
    assert missing.status_code == 400 and missing.json()["error"]["param"] == "messages[0].content[1].image_url.url"


ASK = [{"role": "user", "content": "Is it?"}]


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"logit_bias": {"5": 10}}, "logit_bias"),
        ({"audio": {"voice": "alloy", "format": "wav"}, "modalities": ["audio"]}, "audio"),
        ({"modalities": ["audio"]}, "modalities[0]"),
        ({"extra_body": {"tempurature": 1}}, "tempurature"),
        ({"temperature": 3}, "temperature"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"n": 9}, "n"),
        ({"max_tokens": 5000}, "max_tokens"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"extra_body": {"size": "64x64"}}, "size"),
        ({"modalities": ["image"], "response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "no"}}}},
         "response_format"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [*ASK, {"role": "assistant", "content": "no"}]}, "messages"),
        ({"messages": [said("What?", "http://127.0.0.1/x.png")]}, "messages[0].content[1].image_url.url"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused_by_name(answer, given: dict, param: str):
    with pytest.raises(openai.BadRequestError) as caught:
        answer(given.pop("messages", ASK), **given)
    assert caught.value.param == param and caught.value.type == "invalid_request_error"


def test_what_changes_nothing_is_taken(answer):
    plain = answer(ASK).choices[0].message.content
    harmless = {
        "user": "x", "metadata": {"a": "b"}, "store": False, "service_tier": "auto", "presence_penalty": 0, "tools": [],
        "frequency_penalty": 0, "logit_bias": {}, "parallel_tool_calls": True, "modalities": ["text"],
        "response_format": {"type": "text"}, "top_p": 1, "temperature": 0,
    }  # fmt: skip
    assert answer(ASK, **harmless).choices[0].message.content == plain


def test_another_model_is_not_found(client: openai.OpenAI):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-5", messages=ASK)
    assert caught.value.code == "model_not_found" and caught.value.request_id.startswith("req_")


@pytest.mark.parametrize(
    ("url", "kind", "status"),
    [
        ("data:image/png;base64,QUJD", openai.APIStatusError, 415),
        ("data:image/png;base64,!!!", openai.BadRequestError, 400),
        ("data:text/html;base64,QUJD", openai.APIStatusError, 415),
    ],
)
def test_what_is_no_image_is_refused_with_its_status(answer, url: str, kind: type, status: int):
    with pytest.raises(kind) as caught:
        answer([said("What is it?", url)])
    assert caught.value.status_code == status


def test_reasoning_stands_apart_from_the_answer(answer):
    messages = [{"role": "user", "content": "Is a chest X-ray a CT?"}]
    reply, plain = answer(messages, reasoning_effort="low"), answer(messages, reasoning_effort="none")
    assert "<think>" not in reply.choices[0].message.content
    assert reply.usage.prompt_tokens > plain.usage.prompt_tokens
