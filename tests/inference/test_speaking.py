"""Speaking: the same tokens alone or in a batch, stops where told, and knows how sure it was."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unimedvl.inference.context import settle
from unimedvl.inference.text import Row, Sampling, Speech, Spoken, score, speak, speak_all
from unimedvl.model.seats import Seats
from unimedvl.sequence import Text

GREEDY = Sampling(max_tokens=12)
SAMPLED = Sampling(temperature=1.2, max_tokens=12)


def drain(stream) -> tuple[list, list[Spoken]]:
    pieces = []
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            return pieces, end.value


@pytest.fixture(scope="module")
def say(tiny, context_of):
    """What the model says after one prompt."""
    return lambda prompt, sampling: speak_all([context_of(prompt)], tiny.tokenizer, sampling)[0]


def test_an_answer_ends_where_the_model_has_no_more_positions(tiny, prompts, context_of):
    most = tiny.model.config.decoder.max_position_embeddings
    context = context_of(prompts[0])
    context.cache.position = most - 6
    (spoken,) = speak_all([context], tiny.tokenizer, replace(SAMPLED, seed=1))
    assert spoken.finish == "length" and len(spoken.ids) == 4
    settle([context])
    assert context.cache.position == most
    with pytest.raises(ValueError, match=f"fills the model's {most} positions"):
        speak_all([context], tiny.tokenizer, GREEDY)
    with pytest.raises(ValueError, match=f"would reach {most + 3} positions"):
        context.extend([Text([1])])


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_a_ragged_batch_says_what_each_prompt_gets_alone(tiny, prompts, context_of, say, sampling):
    samplings = [replace(sampling, seed=i, max_tokens=12 - 3 * i) for i in range(4)]
    together = speak_all([context_of(p) for p in prompts], tiny.tokenizer, samplings)
    alone = [say(p, s) for p, s in zip(prompts, samplings, strict=True)]
    assert [s.ids for s in together] == [s.ids for s in alone]
    assert [len(s.ids) for s in together] == [12, 9, 6, 3]
    assert len({tuple(s.ids[:3]) for s in together}) > 1
    for a, b in zip(together, alone, strict=True):
        assert a.text == b.text and a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


def test_rows_that_join_late_and_outgrow_their_seats_say_what_they_would_alone(tiny, prompts, context_of, say):
    samplings = [replace(SAMPLED, seed=i, max_tokens=60 - 10 * i) for i in range(4)]
    speech = Speech(tiny.model, tiny.tokenizer)
    speech.seats = Seats(tiny.model.config.decoder, capacity=48)
    waiting, rows, seated = list(zip(prompts, samplings, strict=True)), [], []
    while waiting or speech.rows:
        if waiting:
            prompt, sampling = waiting.pop()
            rows.insert(0, speech.join(context_of(prompt), sampling))
        speech.step()
        seated.append(len(speech.seats.taken))
    assert max(seated) > 1 and seated[-1] == 0 and rows[0].context.length > 48
    for row, prompt, sampling in zip(rows, prompts, samplings, strict=True):
        alone = say(prompt, sampling)
        assert row.spoken.ids == alone.ids and row.spoken.logprobs == pytest.approx(alone.logprobs, abs=1e-4)
        settle([row.context])
        whole = context_of([*prompt, Text(alone.ids)])
        torch.testing.assert_close(row.context.cache.keys(), whole.cache.keys(), atol=1e-4, rtol=1e-4)


def test_pieces_joined_are_the_text_and_decode_to_the_ids(tiny, prompts, context_of):
    stream = speak([context_of(p) for p in prompts], tiny.tokenizer, replace(SAMPLED, max_tokens=40))
    pieces, spoken = drain(stream)
    for row, answer in enumerate(spoken):
        joined = "".join(piece.text for piece in pieces if piece.row == row)
        assert joined == answer.text == tiny.tokenizer.decode(answer.ids)
    assert len(pieces) > 40


def test_stops_at_the_stop_string_that_is_complete_first_wherever_tokens_break(
    tiny, prompts, say, context_of
):
    """Any part of what would be said ends the answer before it, streamed or not."""
    free = say(prompts[1], replace(SAMPLED, max_tokens=24)).text

    @settings(max_examples=15, deadline=None)
    @given(st.integers(0, len(free) - 1), st.integers(1, 6), st.integers(0, len(free) - 1))
    def check(first, length, second):
        stops = (free[first : first + length], free[second : second + 3])
        sampling = replace(SAMPLED, max_tokens=24, stop=stops)
        pieces, (spoken,) = drain(speak([context_of(prompts[1])], tiny.tokenizer, sampling))
        assert spoken.finish == "stop"
        assert spoken.text == free[: min((free.index(s) + len(s), free.index(s)) for s in stops)[1]]
        assert "".join(piece.text for piece in pieces) == spoken.text

    check()


def test_text_held_back_for_a_stop_string_that_never_comes_is_given_in_the_end(prompts, say):
    free = say(prompts[0], GREEDY)
    spoken = say(prompts[0], replace(GREEDY, stop=(free.text[-1] + "\u2603",)))
    assert spoken == free


def test_length_is_at_most_max_tokens(prompts, say):
    for count in (1, 5):
        spoken = say(prompts[2], replace(SAMPLED, max_tokens=count))
        assert len(spoken.ids) == count and spoken.finish == "length"


def test_the_closing_token_ends_the_answer_and_is_no_part_of_it(closing, prompts, context_of):
    (spoken,) = speak_all([context_of(prompts[1], closing)], closing.tokenizer, GREEDY)
    assert spoken.finish == "stop" and 0 < len(spoken.ids) < 8
    assert len(spoken.logprobs) == len(spoken.ids) + 1


@pytest.mark.parametrize(
    "sampling",
    [Sampling(1.5, top_k=1, max_tokens=12), Sampling(1.5, top_p=1e-6, max_tokens=12)],
    ids=["k", "p"],
)
def test_only_the_likeliest_token_allowed_is_greedy(prompts, say, sampling):
    assert say(prompts[1], sampling).ids == say(prompts[1], GREEDY).ids


def test_seeds_decide_what_is_sampled(prompts, say):
    answers = [say(prompts[1], replace(SAMPLED, seed=seed)).ids for seed in (1, 1, 2)]
    assert answers[0] == answers[1] != answers[2]


def test_top_k_and_top_p_allow_the_likeliest_tokens_alone(tiny, prompts, context_of):
    """Over many seeds, the first token is always among the k likeliest, or those that make up p."""
    logits = tiny.model.logits(
        [context_of(prompts[1]).cache], torch.tensor([tiny.model.config.special.text_open])
    )[0]
    ordered = logits.argsort(descending=True).tolist()
    share = logits.softmax(-1)[ordered].cumsum(0)
    within = int((share < 0.3).sum()) + 1
    for cut, allowed in ((dict(top_k=5), 5), (dict(top_p=0.3), within)):
        samplings = [Sampling(1.0, max_tokens=1, seed=seed, **cut) for seed in range(60)]
        base = context_of(prompts[1])
        spoken = speak_all([base.branch() for _ in samplings], tiny.tokenizer, samplings)
        drawn = {s.ids[0] for s in spoken}
        assert drawn <= set(ordered[:allowed]) and len(drawn) > min(3, allowed - 1)


def test_sampling_follows_the_probabilities(tiny, prompts, context_of):
    """Draws of the first token at temperature 1, counted: the likeliest one about as often as it is likely."""
    logits = tiny.model.logits(
        [context_of(prompts[0]).cache], torch.tensor([tiny.model.config.special.text_open])
    )[0]
    likeliest, share = logits.argmax().item(), (4 * logits).softmax(-1).max().item()
    samplings = [Sampling(0.25, max_tokens=1, seed=seed) for seed in range(200)]
    base = context_of(prompts[0])
    spoken = speak_all([base.branch() for _ in samplings], tiny.tokenizer, samplings)
    count = sum(s.ids == [likeliest] for s in spoken)
    assert count / 200 == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 200))


def test_a_repetition_penalty_keeps_tokens_from_coming_back(prompts, say):
    free, never = say(prompts[1], replace(GREEDY, max_tokens=30)), replace(GREEDY, max_tokens=30)
    never = say(prompts[1], replace(never, repetition_penalty=1e6))
    assert len(set(free.ids)) < len(free.ids)
    assert len(set(never.ids)) == len(never.ids) == 30


@pytest.mark.parametrize("sampling", [GREEDY, replace(SAMPLED, top_k=20, seed=4)], ids=["greedy", "sampled"])
def test_logprobs_and_confidence_are_those_of_a_forward_without_a_cache(
    tiny, prompts, say, packed_logprobs, sampling
):
    for prompt in prompts[1], prompts[3]:
        spoken = say(prompt, sampling)
        answer = tiny.prepare.text("")
        expected = packed_logprobs(tiny, [*prompt, replace(answer, ids=spoken.ids)])[:-1]
        assert spoken.logprobs == pytest.approx(expected, abs=1e-3)
        assert spoken.confidence == pytest.approx(math.exp(sum(expected) / len(expected)), rel=1e-3)


def test_score_is_the_log_probability_of_the_whole_answer_and_leaves_the_context(
    tiny, prompts, context_of, packed_logprobs
):
    context = context_of(prompts[1])
    before = context.length
    answers = ["No.", "There is a small left effusion."]
    expected = [sum(packed_logprobs(tiny, [*prompts[1], tiny.prepare.text(a)])) for a in answers]
    assert score(context, tiny.tokenizer, answers) == pytest.approx(expected, abs=1e-3)
    assert context.length == before


def test_cancelling_ends_every_answer_where_it_is(tiny, prompts, context_of):
    contexts, calls = [context_of(p) for p in prompts[:2]], iter([False, False, False, True])
    spoken = speak_all(contexts, tiny.tokenizer, GREEDY, lambda: next(calls))
    assert [(s.finish, len(s.ids)) for s in spoken] == [("cancelled", 3)] * 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(temperature=-1), "temperature is -1; it must be 0, or a number of 0.0001 or more"),
        (dict(temperature=float("nan")), "temperature is nan"),
        (dict(temperature=1e-320), "temperature is 1e-320"),
        (dict(repetition_penalty=float("inf")), "repetition_penalty is inf"),
        (dict(seed=2**64), "seed is 18446744073709551616; it must be a whole number from 0"),
        (dict(seed=1.5), "seed is 1.5"),
        (dict(top_p=0), "top_p is 0; it must be over 0"),
        (dict(top_k=-1), "top_k must be 0 or more"),
        (dict(max_tokens=0), "max_tokens 1 or more"),
        (dict(repetition_penalty=0), "repetition_penalty is 0; it must be a number over 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**wrong)


def test_one_stop_text_needs_no_tuple():
    assert Sampling(stop="Impression").stop == ("Impression",)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("<think>One. Two.</think>Three. Four.", "<think>One. Two.</think>Three"),
        ("One. Two.", "One"),
        ("<think>One. Two.", "<think>One. Two."),
    ],
)
def test_a_stop_text_in_the_reasoning_ends_nothing(tiny, prompts, context_of, said, text):
    row = Row(tiny.tokenizer, Sampling(stop=(".",)), context_of(prompts[0]))
    pieces = [row.push(token, 0.0, -1) for token in tiny.tokenizer.encode(said) if not row.done]
    if not row.done:
        row.cancel()
    assert row.spoken.text == text and text.startswith("".join(pieces))
