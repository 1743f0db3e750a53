"""The contract of lmms-eval, without the suite; tests/e2e runs the suite itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from PIL import Image

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.harness.lmms import Chat, Simple, parts_of, sampling_of
from unimedvl.evaluation.harness.message import Part
from unimedvl.inference.text import Sampling

WORDS = ("Is there an effusion?", "What changed?", "Is it pale?")
SHORT = {"max_new_tokens": 5, "temperature": 0, "do_sample": False, "until": ["\n\n"]}


@pytest.fixture
def rows(picture):
    return {"toy": {"test": [{"image": Image.fromarray(picture), "question": words} for words in WORDS]}}


@pytest.fixture
def chat(tiny, rows) -> Chat:
    model = Chat(owner=tiny, batch_size="2", device=None)
    model.task_dict = rows
    return model


@pytest.fixture
def simple(tiny, rows) -> Simple:
    model = Simple(owner=tiny)
    model.task_dict = rows
    return model


def messages(row) -> list[dict]:
    content = [{"type": "image", "url": row["image"]}, {"type": "text", "text": row["question"]}]
    return [{"role": "user", "content": content}]


def images(row) -> list:
    return [row["image"]]


def chats(kwargs=SHORT, to_messages=messages) -> list:
    """Requests of the chat form on the toy rows."""
    return [SimpleNamespace(args=(words, to_messages, kwargs, n, "toy", "test")) for n, words in enumerate(WORDS)]


def test_generation_arguments_become_sampling():
    default = Sampling(seed=3, max_tokens=512)
    given = {"max_new_tokens": 32, "temperature": 0.7, "top_p": None, "until": "\n\n", "num_beams": 1}
    assert sampling_of(given, default) == Sampling(0.7, seed=3, stop=("\n\n",), max_tokens=32)
    assert sampling_of({"temperature": 0.7, "do_sample": False, "until": ["", "END"]}, default).temperature == 0
    assert sampling_of({"temperature": 1e-7}, default) == default
    assert sampling_of({"max_gen_toks": 9, "top_k": 4}, default) == Sampling(seed=3, top_k=4, max_tokens=9)
    for wrong in ({"top_p": 2}, {"max_new_tokens": "many"}):
        with pytest.raises(EvaluationError, match="generation_kwargs"):
            sampling_of(wrong, default)


def test_turns_become_pieces_in_order():
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image", "url": "a.png"}, {"type": "text", "text": "Left?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Yes."}]},
    ]
    wanted = (Part("Be brief."), Part(image="a.png"), Part("Left?"), Part("Yes.", own=True))
    assert parts_of(turns) == wanted
    with pytest.raises(EvaluationError, match="video"):
        parts_of([{"role": "user", "content": [{"type": "video", "url": "a.mp4"}]}])


def test_both_forms_answer_as_ask_does(chat, simple, tiny, picture):
    wanted = [tiny.ask(picture, words, sampling=Sampling(stop=("\n\n",), max_tokens=5)).text for words in WORDS]
    assert [answer.text for answer in chat.generate_until(chats())] == wanted
    plain = [SimpleNamespace(args=(w, SHORT, images, n, "toy", "test")) for n, w in enumerate(WORDS)]
    assert [answer.text for answer in simple.generate_until(plain)] == wanted


def test_requests_pass_in_batches_with_progress(chat):
    heard, kept = [], []
    chat.told = lambda done, total: heard.append((done, total))
    chat.keep = lambda kind, asked, answer: kept.append((kind, asked[0]))
    chat.generate_until(chats())
    assert heard == [(2, 3), (3, 3)]
    assert kept == [("generate_until", words) for words in WORDS]


def test_a_request_that_fails_is_empty_and_the_rest_goes_on(chat, caplog):
    def broken(row):
        return messages(row) if row["question"] != WORDS[1] else [{"role": "user", "content": [{"type": "audio"}]}]

    answers = chat.generate_until(chats(to_messages=broken))
    assert [bool(answer.error) for answer in answers] == [False, True, False] and answers[1].text == ""
    assert "1 of 3 requests were not answered" in caplog.text
    assert all(answer.error for answer in chat.generate_until(chats({"top_p": 3})))


def test_a_likelihood_is_of_the_whole_answer_and_told_with_what_the_model_says(simple, closing, picture):
    simple.owner = closing
    said = closing.ask(picture, WORDS[0], sampling=Sampling(max_tokens=20))
    assert said.finish == "stop" and said.text
    asked = [SimpleNamespace(args=(WORDS[0], c, images, 0, "toy", "test")) for c in ("Yes.", f" {said.text} ", "No.")]
    values = simple.loglikelihood(asked)
    assert [greedy for _, greedy in values] == [False, True, False]
    by_row = [SimpleNamespace(args=(WORDS[0], lambda row: "Yes.", images, 0, "toy", "test"))]
    assert simple.loglikelihood(by_row)[0][0] == pytest.approx(values[0][0], abs=1e-4)


def test_arguments_that_are_not_known_are_refused(tiny):
    with pytest.raises(EvaluationError, match=r"model_args: beams .*pretrained"):
        Chat(owner=tiny, beams=3)
    with pytest.raises(EvaluationError, match="batch_size is 'auto'"):
        Chat(owner=tiny, batch_size="auto")


def test_what_is_not_supported_says_what_to_do(chat):
    with pytest.raises(EvaluationError, match="--force_simple"):
        chat.loglikelihood([])
    with pytest.raises(EvaluationError, match="generate_until"):
        chat.generate_until_multi_round([])
