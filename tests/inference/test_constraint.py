"""Constrained answers: always within their grammar, closed only where it ends, and as sure as the model itself was."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import jsonschema
import pytest
import torch

from unimedvl.inference.constraint import Constraint
from unimedvl.inference.engine import Engine
from unimedvl.inference.requests import request_for
from unimedvl.inference.sampling import Sampling
from unimedvl.inference.text import speak_all
from unimedvl.inference.unimedvl import UniMedVL

FINDING = {
    "type": "object",
    "properties": {
        "finding": {"enum": ["effusion", "consolidation", "Zyste \u00e4"]},
        "side": {"anyOf": [{"const": "left"}, {"const": "right"}, {"type": "null"}]},
        "size_mm": {"type": "integer", "minimum": 0, "maximum": 300},
        "words": {"type": "string", "maxLength": 6},
        "sure": {"type": "boolean"},
    },
    "required": ["finding", "side", "sure"],
    "additionalProperties": False,
}
SCHEMAS = {
    "finding": FINDING,
    "list": {"type": "array", "items": {"$ref": "#/$defs/f"}, "minItems": 1, "maxItems": 2, "$defs": {"f": FINDING}},
    "number": {"type": "integer", "minimum": -5, "maximum": 9999},
    "date": {"type": "string", "format": "date"},
}
# Warm enough that a random model writes nearly anything that it may.
WARM = Sampling(temperature=1.5, max_tokens=400)


def said(tiny, context_of, prompts, sampling):
    return speak_all([context_of(prompts[1])], tiny.tokenizer, sampling)[0]


@pytest.fixture(scope="module")
def many(tiny, context_of, prompts):
    """What is said under a constraint with several seeds."""

    def speak(constraint: Constraint, count: int):
        base = context_of(prompts[1])
        samplings = [replace(WARM, constraint=constraint, seed=seed) for seed in range(count)]
        return speak_all([base.branch() for _ in samplings], tiny.tokenizer, samplings)

    return speak


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_follows_a_schema_always_parses_and_is_valid(many, name):
    spoken = many(Constraint.json_schema(SCHEMAS[name]), 12)
    finished = [answer for answer in spoken if answer.finish == "stop"]
    assert len(finished) > 8 and len({answer.text for answer in finished}) > 4
    for answer in finished:
        jsonschema.validate(json.loads(answer.text), SCHEMAS[name])
        assert len(answer.logprobs) == len(answer.ids) + 1  # the closing token came where the grammar ends


def test_any_object_is_an_object(many):
    found = many(Constraint.json_object(), 8)
    objects = [json.loads(answer.text) for answer in found if answer.finish == "stop"]
    assert objects and all(isinstance(value, dict) for value in objects)
    assert all(answer.text.startswith("{") for answer in found)


def test_a_choice_is_one_of_the_texts(many):
    texts = ['"No\nfinding"', "Zyste \u00e4", "yes", "yes, left"]
    chosen = {answer.text for answer in many(Constraint.choice(texts), 24)}
    assert chosen <= set(texts) and len(chosen) > 1


def test_a_regular_expression_is_matched_as_a_whole(many):
    pattern = r"(left|right)/[0-9]{1,3} (mm|cm)"
    for answer in many(Constraint.regex(pattern), 8):
        assert answer.finish == "stop" and re.fullmatch(pattern, answer.text)


def test_an_answer_that_reaches_max_tokens_is_cut_there(tiny, context_of, prompts):
    constraint = Constraint.json_schema(FINDING)
    for count in (1, 5):
        answer = said(tiny, context_of, prompts, Sampling(constraint=constraint, max_tokens=count))
        assert (answer.finish, len(answer.ids)) == ("length", count)
        with pytest.raises(json.JSONDecodeError):
            json.loads(answer.text)


def test_greedy_takes_the_likeliest_of_the_tokens_that_it_may(tiny, context_of, prompts):
    texts = [b"left", b"right", b"yes"]
    logits = tiny.model.logits([context_of(prompts[1]).cache], torch.tensor([tiny.tokenizer.special.text_open]))[0]
    spelt = {token: tiny.tokenizer.token_bytes(token) for token in logits.argsort(descending=True).tolist()}
    likeliest = next(token for token, s in spelt.items() if s and any(text.startswith(s) for text in texts))
    answer = said(tiny, context_of, prompts, Sampling(constraint=Constraint.choice(text.decode() for text in texts)))
    assert answer.ids[0] == likeliest and answer.finish == "stop" and likeliest != int(logits.argmax())


@pytest.mark.parametrize("sampling", [Sampling(max_tokens=60), replace(WARM, top_k=5, seed=3)], ids=["greedy", "warm"])
def test_logprobs_are_the_models_own_before_the_constraint(tiny, context_of, prompts, packed_logprobs, sampling):
    sampling = replace(sampling, constraint=Constraint.json_schema(FINDING), top_logprobs=2)
    answer = said(tiny, context_of, prompts, sampling)
    expected = packed_logprobs(tiny, [*prompts[1], replace(tiny.prepare.text(""), ids=answer.ids)])
    assert answer.logprobs == pytest.approx(expected[: len(answer.logprobs)], abs=1e-3)
    assert answer.tokens[0].text in ("{", '{"') and answer.tokens[0].top[0].text != answer.tokens[0].text


def test_reasoning_comes_first_and_is_free(picture):
    """The embedded model, which reasons; a random one would find no end."""
    nano = UniMedVL.load()
    choice = Sampling(constraint=Constraint.choice(["yes, it is", "no, it is not"]))
    free = nano.ask(picture, "Is there an effusion?", think=True)
    result = nano.ask(picture, "Is there an effusion?", think=True, sampling=choice)
    assert result.text in ("yes, it is", "no, it is not") and result.finish == "stop"
    assert result.thought == free.thought != ""


def test_think_tags_inside_a_constrained_answer_are_part_of_it(tiny, picture):
    text = '{"said": "<think> of </think> it"}'
    result = tiny.ask(picture, "Is it?", sampling=Sampling(constraint=Constraint.choice([text])))
    assert (result.text, result.thought) == (text, "")
    with Engine(tiny) as engine:
        request = request_for("ask", picture, "Is it?")
        events = list(engine.submit(request, sampling=Sampling(constraint=Constraint.choice([text]))).events())
    assert events[-1].result.text == text and "".join(event.text for event in events) == text


def test_a_batch_of_constrained_and_free_rows_says_what_each_says_alone(tiny, picture):
    schema, choice = Constraint.json_schema(FINDING), Constraint.choice(["yes", "no"])
    samplings = [
        Sampling(max_tokens=20),
        Sampling(max_tokens=60, constraint=schema),
        replace(WARM, constraint=schema, seed=4),
        replace(WARM, max_tokens=20, seed=5, repetition_penalty=1.3),
        Sampling(constraint=choice, repetition_penalty=1.3),
    ]
    requests = [request_for("ask", picture, "Is it?", seed=number) for number in range(len(samplings))]
    with Engine(tiny) as engine:
        tickets = [engine.submit(r, sampling=s) for r, s in zip(requests, samplings, strict=True)]
        for ticket, request, sampling in zip(tickets, requests, samplings, strict=True):
            alone = tiny.run([request], sampling=sampling)[0]
            together = ticket.result(30)
            assert together.text == alone.text and together.provenance == alone.provenance
            assert together.logprobs == pytest.approx(alone.logprobs, abs=1e-4)


def test_provenance_tells_the_constraint(tiny, picture):
    sampling = Sampling(constraint=Constraint.choice(["yes", "no"]))
    told = tiny.ask(picture, "Is it?", sampling=sampling).to_dict()["provenance"]["settings"]["sampling"]
    assert json.loads(json.dumps(told))["constraint"] == {
        "kind": "choice", "content": '["yes", "no"]', "thought": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constraint.json_schema({"type": "strin"}), "the JSON schema can't be followed: .*strin"),
        (lambda: Constraint.json_schema({"type": "integer", "minimum": 2, "maximum": 1}), "Unsatisfiable schema"),
        (lambda: Constraint.json_schema({"type": "array", "uniqueItems": True}), "uniqueItems"),
        (lambda: Constraint.json_schema({"$ref": "#/none"}), "none"),
        (lambda: Constraint.json_schema({"$ref": "https://example.org/s.json"}), "does not fetch"),
        (lambda: Constraint.json_schema(["type"]), "a JSON schema is an object, not list"),
        (lambda: Constraint.json_schema({"const": {1}}), "can't be written as JSON"),
        (lambda: Constraint.regex("(yes"), "the regular expression can't be followed: .*unclosed group"),
        (lambda: Constraint.regex("(?=yes)"), "look-around"),
        (lambda: Constraint.regex(""), "is empty"),
        (lambda: Constraint.choice([]), "needs one text or more"),
        (lambda: Constraint.choice(["yes", ""]), "none of them empty"),
    ],
)
def test_what_cannot_be_followed_is_refused_in_one_line(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_without_the_library_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "llguidance", None)
    with pytest.raises(ValueError, match=r"need llguidance, which is not installed; pip install 'unimedvl\[serve\]'"):
        Constraint.json_object()
