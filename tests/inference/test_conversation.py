"""A conversation remembers exactly what was said: its cache is that of the whole sequence at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from unimedvl.inference.context import settle
from unimedvl.inference.text import Sampling, speak_all
from unimedvl.model.flow import Guidance
from unimedvl.sequence import Text

ENDS = {
    "by-its-own": Sampling(max_tokens=30),
    "by-length": Sampling(max_tokens=2),
    "by-a-stop-string": Sampling(max_tokens=30, temperature=1.3, seed=5),  # its stop string is found below
    "cancelled": Sampling(max_tokens=30),
}


@pytest.mark.parametrize("end", ENDS)
def test_however_an_answer_ends_the_context_holds_it_closed(closing, prompts, context_of, end):
    sampling, calls = ENDS[end], iter([False, True])
    stop = (lambda: next(calls)) if end == "cancelled" else (lambda: False)
    if end == "by-a-stop-string":
        (free,) = speak_all([context_of(prompts[1], closing)], closing.tokenizer, sampling)
        sampling = replace(sampling, stop=(free.text[3:5],))
    context = context_of(prompts[1], closing)
    (spoken,) = speak_all([context], closing.tokenizer, sampling, stop)
    expected = {"by-length": "length", "cancelled": "cancelled"}.get(end, "stop")
    assert spoken.finish == expected and spoken.ids
    settle([context])
    whole = context_of([*prompts[1], Text(spoken.ids)], closing)
    assert (context.length, context.cache.position) == (whole.length, whole.cache.position)
    torch.testing.assert_close(context.cache.keys(), whole.cache.keys(), atol=1e-4, rtol=1e-4)


def test_an_answer_cancelled_before_its_first_token_leaves_the_context_as_it_was(tiny, prompts, context_of):
    context = context_of(prompts[0])
    before = context.length
    (spoken,) = speak_all([context], tiny.tokenizer, Sampling(), lambda: True)
    settle([context])
    assert (spoken.finish, spoken.ids, context.length) == ("cancelled", [], before)


def test_a_chat_of_several_turns_and_images_equals_the_whole_sequence_at_once(
    closing, picture, pixels, context_of
):
    sampling, prepare = Sampling(max_tokens=6), closing.prepare
    chat = closing.chat(sampling)
    results = [
        chat.send("What is this?", picture),
        chat.send("And this one, compared with the first?", [255 - picture, picture]),
        chat.send("So?"),
    ]
    segments, images = [], [[pixels], [-pixels, pixels], []]
    questions = ["What is this?", "And this one, compared with the first?", "So?"]
    for result, question, new in zip(results, questions, images, strict=True):
        segments += [prepare.seen(image) for image in new] + [prepare.text(question)]
        (spoken,) = speak_all([context_of(segments, closing)], closing.tokenizer, sampling)
        assert result.logprobs == pytest.approx(tuple(spoken.logprobs), abs=1e-3)
        assert result.text == spoken.text.strip()
        segments.append(Text(spoken.ids))
    settle([chat.context])
    whole = context_of(segments, closing)
    assert chat.context.length == whole.length
    torch.testing.assert_close(chat.context.cache.keys(), whole.cache.keys(), atol=1e-4, rtol=1e-4)
    assert [len(r.provenance["inputs"]) for r in results] == [1, 3, 3]


def test_a_chat_streams_what_it_sends(tiny, picture):
    events = list(tiny.chat(Sampling(max_tokens=6)).stream("What is this?", picture))
    sent = tiny.chat(Sampling(max_tokens=6)).send("What is this?", picture)
    assert [e.kind for e in events[:-1]] == ["text"] * (len(events) - 1)
    assert events[-1].result == sent
    assert "".join(e.text for e in events[:-1]).strip() == sent.text


# What guidance compares with ---------------------------------------------------------------------


def test_poorer_contexts_are_what_precedes_the_last_text_and_the_texts_alone(tiny, prompts, context_of):
    first, second, image = *prompts[2][::3], prompts[2][1]
    context = context_of([first, image])
    context.extend([second])
    full, without_text, without_image = context.branches(Guidance(4.0, 2.0))
    taken = ((full, [first, image, second]), (without_text, [first, image]), (without_image, [first, second]))
    for cache, segments in taken:
        expected = context_of(segments).cache
        assert (cache.length, cache.position) == (expected.length, expected.position)
        torch.testing.assert_close(cache.keys(), expected.keys(), atol=1e-4, rtol=1e-4)
    assert len(context.branches(Guidance(4.0, 1.0))) == 2
    assert len(context.branches(Guidance(1.0, 2.0))) == 1


def test_a_branch_of_a_context_goes_on_by_itself(tiny, prompts, context_of):
    context = context_of(prompts[1])
    other = context.branch()
    other.extend(prompts[0])
    context.extend(prompts[3])
    for grown, extra in ((other, prompts[0]), (context, prompts[3])):
        whole = context_of([*prompts[1], *extra])
        torch.testing.assert_close(grown.cache.keys(), whole.cache.keys(), atol=1e-4, rtol=1e-4)
        alone = grown.branches(Guidance(4.0, 2.0))[2]
        texts = [s for s in [*prompts[1], *extra] if isinstance(s, Text)]
        torch.testing.assert_close(alone.keys(), context_of(texts).cache.keys(), atol=1e-4, rtol=1e-4)


def test_the_models_own_answer_is_no_part_of_the_poorer_contexts(tiny, prompts, context_of):
    """A reply before the drawing belongs to the full context alone, as in the published inference."""
    context = context_of(prompts[3])
    (spoken,) = speak_all([context], tiny.tokenizer, Sampling(max_tokens=4))
    settle([context])
    full, without_text, without_image = context.branches(Guidance(4.0, 2.0))
    *images, text = prompts[3]
    taken = ((full, [*images, text, Text(spoken.ids)]), (without_text, images), (without_image, [text]))
    for cache, segments in taken:
        torch.testing.assert_close(cache.keys(), context_of(segments).cache.keys(), atol=1e-4, rtol=1e-4)


def test_a_turn_that_fails_leaves_nothing_behind(tiny, picture):
    chat = tiny.chat(Sampling(max_tokens=4))
    first = chat.send("What is shown?", picture)
    length, inputs = chat.context.length, list(chat.inputs)
    with pytest.raises(ValueError, match="positions"):
        chat.send("what " * 3000, picture[::-1])
    assert chat.inputs == inputs and chat.context.length == length
    other = tiny.chat(Sampling(max_tokens=4))
    assert other.send("What is shown?", picture).text == first.text
    again, expected = chat.send("And now?"), other.send("And now?")
    assert again.text == expected.text and again.logprobs == pytest.approx(expected.logprobs, abs=1e-4)
    assert len(again.provenance["inputs"]) == 1
    assert again.provenance["settings"]["turns_before"] == [
        {"request": "What is shown?", "new_inputs": 1, "answer": first.text}
    ]


def test_a_turn_whose_stream_is_closed_is_forgotten(tiny, picture):
    chat = tiny.chat(Sampling(max_tokens=8))
    stream = chat.stream("What is shown?", picture)
    next(stream)
    stream.close()
    assert chat.context.length == 0 and not chat.inputs and not chat.turns
    fresh = tiny.chat(Sampling(max_tokens=8))
    assert chat.send("What is shown?", picture).text == fresh.send("What is shown?", picture).text
