"""The engine: what a request gives does not depend on what else runs, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import gc
import random
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from unimedvl.checkpoint import CheckpointError
from unimedvl.imaging import ImagingError
from unimedvl.inference.context import Context
from unimedvl.inference.engine import (
    Cancelled,
    Conversation,
    DeadlinePassed,
    Engine,
    EngineClosed,
    EngineFailed,
    EngineLimits,
    QueueFull,
    Ticket,
    Turn,
)
from unimedvl.inference.requests import Request, request_for
from unimedvl.inference.results import ImageResult
from unimedvl.inference.text import Sampling
from unimedvl.inference.unimedvl import UniMedVL
from unimedvl.phantoms import simulate

SHORT = Sampling(max_tokens=4)
# Random weights close an answer by chance: greedy they do not.
LONG = Sampling(max_tokens=300)
QUESTION = Request("ask", (), "What changed?")


@pytest.fixture
def engine(tiny):
    with Engine(tiny) as engine:
        yield engine


@contextmanager
def narrow(tiny, **limits):
    """An engine with less room."""
    with Engine(tiny, limits=EngineLimits(**limits)) as engine:
        yield engine


def requests(picture) -> list[tuple[Request, dict]]:
    """Requests of all tasks, each with its options."""
    other = np.ascontiguousarray(picture[::-1])
    chance = Sampling(temperature=1.3, top_p=0.9, max_tokens=9)
    draw = dict(steps=4, sampling=SHORT)
    return [
        (request_for("ask", picture, "Is there an effusion?"), dict(sampling=SHORT)),
        (request_for("ask", [picture, other], "What changed between the two, and where?", think=True, seed=3), {}),
        (request_for("ask", (), "Which finding is present?", seed=4), dict(sampling=chance)),
        (request_for("report", other, seed=9), dict(sampling=replace(chance, top_k=7, repetition_penalty=1.2))),
        (request_for("report", picture), dict(sampling=Sampling(max_tokens=24, stop=("e",)))),
        (request_for("generate", (), "A large left tumour", seed=2), draw),
        (request_for("generate", (), "Drusen", seed=5, think=True, size=(16, 32)), draw),
        (request_for("counterfactual", picture, change="a nodule", seed=1), draw),
        (request_for("segment", other, target="vessels", seed=8), draw | dict(steps=7)),
        (request_for("translate", picture, to="flair", seed=6), draw),
        (request_for("stain", other, her2="2+", seed=6), draw),
    ]


def alone(tiny: UniMedVL, request: Request, options: dict):
    return tiny.run([request], **options)[0]


def assert_same(result, expected) -> None:
    assert (result.text, result.thought, result.finish) == (expected.text, expected.thought, expected.finish)
    assert result.logprobs == pytest.approx(expected.logprobs, abs=1e-4)
    assert (result.confidence or 0) == pytest.approx(expected.confidence or 0, rel=1e-3)
    assert result.provenance == expected.provenance
    if isinstance(expected, ImageResult):
        off = np.abs(result.array.astype(int) - expected.array)
        assert off.max() <= 1 and (off > 0).mean() <= 0.01


@pytest.fixture(scope="module")
def expected(tiny, picture):
    """What each of `requests` gives by itself."""
    return [alone(tiny, request, options) for request, options in requests(picture)]


def at_last(what, seconds: float = 20) -> bool:
    """Whether it comes true within the time."""
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.002)
    return bool(what())


def ended(ticket: Ticket) -> float:
    return ticket.since + ticket.seconds


# The same as alone --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("limits", [{}, dict(speaking=2, drawing=2, prompt_tokens=8, prefix_bytes=0)], ids=str)
def test_results_are_those_of_each_request_alone_however_they_come_and_go(tiny, picture, expected, seed, limits):
    chance = random.Random(seed)
    asked = [*enumerate(requests(picture))] * 2
    chance.shuffle(asked)
    tickets = []
    with narrow(tiny, **limits) as engine:
        for number, (request, options) in asked:
            time.sleep(chance.choice((0, 0, 0.004, 0.02)))
            tickets.append((number, engine.submit(request, **options)))
            if chance.random() < 0.3:  # others go away in the middle
                gone = engine.submit(request, **options)
                time.sleep(chance.random() / 50)
                gone.cancel()
        for number, ticket in tickets:
            assert_same(ticket.result(60), expected[number])
        state = engine.state()
        assert state.taken == len(tickets) + state.cancelled + (state.finished - len(tickets))
        assert (state.waiting, state.reading, state.speaking, state.drawing, state.failed) == (0, 0, 0, 0, 0)


def test_a_conversation_is_answered_as_a_chat_answers_it(tiny, picture):
    chat = tiny.chat(replace(SHORT, seed=0))
    first, second = chat.send("What is this?", picture), chat.send("And now?", picture[::-1].copy())
    turns = (
        Turn("user", ("What is this?", picture)),  # its images come first, wherever they stand
        Turn("assistant", (first.text,)),
        Turn("user", (picture[::-1].copy(), "And now?")),
    )
    for prefix_bytes in (0, 2**26):
        with narrow(tiny, prefix_bytes=prefix_bytes) as engine:
            tickets = [engine.submit(Conversation(turns[:n]), sampling=SHORT) for n in (1, 3)]
            results = [ticket.result(20) for ticket in tickets]
        assert_same(results[0], first)
        if tiny.tokenizer.encode(first.text) == chat_ids(tiny, first):
            assert_same(results[1], second)
        assert results[1].provenance["settings"] == second.provenance["settings"]


def chat_ids(tiny, result) -> list[int]:
    return tiny.tokenizer.encode(result.text)


def test_a_conversation_that_draws_edits_its_image_or_draws_from_words(tiny, picture):
    draw = dict(steps=4, sampling=SHORT)
    with Engine(tiny) as engine:
        edit = Conversation((Turn("user", (picture, "Make it brighter.")),), draw=True, seed=3)
        make = Conversation((Turn("user", "Drusen"),), draw=True, seed=3, size=(16, 24))
        tickets = [engine.submit(asked, **draw) for asked in (edit, make)]
        edited, made = (ticket.result(20) for ticket in tickets)
    requests = request_for("edit", picture, "Make it brighter.", seed=3), request_for("generate", (), "Drusen", seed=3)
    for result, request in ((edited, requests[0]), (made, replace(requests[1], size=(16, 24)))):
        assert np.abs(result.array.astype(int) - alone(tiny, request, draw).array).max() <= 1
    assert edited.text == alone(tiny, requests[0], draw).text and made.text == ""
    assert edited.provenance["task"] == "chat" and edited.provenance["settings"]["drawing"]["steps"] == 4


def test_a_drawing_and_words_run_at_once(tiny):
    """While both have work neither waits for the other's end."""
    order: list[str] = []
    with Engine(tiny) as engine:
        for name, letter in (("_speak", "t"), ("_draw", "d")):
            watch(engine._rounds, name, lambda letter=letter: order.append(letter))
        drawing = engine.submit(request_for("generate", (), "Drusen"), steps=80)
        words = engine.submit(QUESTION, sampling=LONG)
        drawing.result(60), words.result(60)
    first, last = order.index("d"), len(order) - order[::-1].index("d")
    assert order[first:last].count("t") > 10 and order.count("d") >= 79


def watch(owner, name: str, told) -> None:
    method = getattr(owner, name)

    def watched(*arguments):
        told()
        return method(*arguments)

    setattr(owner, name, watched)


# Events -------------------------------------------------------------------------------------------


def test_events_tell_the_text_as_it_comes_and_end_with_the_result(engine, tiny, picture):
    request = request_for("ask", picture, "Is it large?", think=True)
    events = list(engine.submit(request, sampling=Sampling(max_tokens=30)).events())
    assert [event.kind for event in events[:-1]] == ["text"] * (len(events) - 1) and len(events) > 5
    assert "".join(event.text for event in events[:-1]) == events[-1].result.text
    again = engine.submit(request, sampling=Sampling(max_tokens=30))
    assert_same(again.result(20), events[-1].result)
    assert again.answer_tokens == 30
    assert again.image_tokens == 2 * 3 + 2  # 28 x 42 pixels in patches of 14, and what opens and closes them
    words = tiny.tokenizer.encode("Think first. Is it large?")
    assert again.prompt_tokens == again.image_tokens + len(words) + 2


def test_a_drawing_tells_its_steps_and_decodes_those_that_are_asked_for(engine, picture):
    request = request_for("segment", picture, target="vessels")
    for previews, shown in ((False, []), (True, [1, 2, 3, 4, 5]), (2, [3, 5])):
        *events, last = engine.submit(request, steps=6, sampling=SHORT, previews=previews).events()
        steps = [event.step for event in events if event.kind == "step"]
        assert [(step.number, step.total) for step in steps] == [(n, 5) for n in range(1, 6)]
        assert [step.number for step in steps if step.shown] == shown
        for step in steps:
            if step.shown:
                assert step.preview()[0].shape == last.result.array.shape
            else:
                with pytest.raises(ValueError, match="ask for previews"):
                    step.preview()
        if shown:
            assert np.array_equal(steps[-1].preview()[0].numpy(), last.result.array)


def test_tokens_are_told_with_their_alternatives_where_they_are_asked_for(engine, tiny, picture):
    request, sampling = request_for("report", picture), Sampling(max_tokens=12, top_logprobs=3)
    ticket = engine.submit(request, sampling=sampling)
    *events, last = ticket.events()
    result = last.result
    (whole,) = tiny.run([request], sampling=sampling)
    assert [token.text for token in result.tokens] == [token.text for token in whole.tokens]
    streamed = [token for event in events for token in event.tokens]
    assert streamed == list(result.tokens[: len(streamed)]) and len(streamed) > 6
    assert b"".join(bytes(token.bytes) for token in result.tokens).decode(errors="replace").strip() == result.text
    for token, logprob in zip(result.tokens, result.logprobs, strict=False):
        assert token.logprob == pytest.approx(logprob, abs=1e-5) and len(token.top) == 3
        values = [other.logprob for other in token.top]
        assert values == sorted(values, reverse=True) and values[0] == token.logprob  # greedy
    plain = tiny.run([request], sampling=replace(sampling, top_logprobs=None))[0]
    assert plain.tokens == () and len(whole.tokens) == 12 and plain.provenance == result.provenance


def test_events_and_results_can_be_awaited(engine, tiny, picture):
    request = request_for("report", picture)

    async def ask():
        tickets = [engine.submit(request, sampling=SHORT) for _ in range(3)]
        events = [event async for event in tickets[0].aevents()]
        return events, await asyncio.gather(*(ticket.aresult() for ticket in tickets))

    events, results = asyncio.run(ask())
    assert events[-1].result is results[0]
    for result in results:
        assert_same(result, tiny.report(picture, sampling=SHORT))


# Going away ---------------------------------------------------------------------------------------


def test_who_goes_away_frees_the_place_at_the_next_step(tiny):
    def cancel(ticket):
        ticket.cancel()

    def close(ticket):
        events = ticket.events()
        next(events)
        events.close()

    def leave(ticket):
        async def listen():
            async for _ in ticket.aevents():
                return

        asyncio.run(listen())

    def time_out(ticket):
        async def wait():
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ticket.aresult(), 0.05)

        asyncio.run(wait())

    with narrow(tiny, speaking=1) as engine:
        for go_away in (cancel, close, leave, time_out):
            gone, follows = (engine.submit(QUESTION, sampling=s) for s in (Sampling(max_tokens=480), SHORT))
            go_away(gone)
            assert_same(follows.result(20), alone(tiny, QUESTION, dict(sampling=SHORT)))
            with pytest.raises(Cancelled):
                gone.result(20)
            assert gone.answer_tokens < 480
        assert (engine.state().cancelled, engine.state().finished) == (4, 4)


def test_one_that_waits_or_draws_can_be_cancelled_too(tiny):
    with narrow(tiny, speaking=1, drawing=1) as engine:
        talks, waits = (engine.submit(QUESTION, sampling=LONG) for _ in range(2))
        draws = engine.submit(request_for("generate", (), "x"), steps=2000)
        waits.cancel(), draws.cancel()
        for ticket in (waits, draws):
            with pytest.raises(Cancelled):
                ticket.result(20)
        assert not talks.done or talks.result()
        assert len(talks.result(20).logprobs) == 300


def test_a_deadline_ends_what_runs_and_what_waits(tiny):
    with narrow(tiny, speaking=1) as engine:
        late = [engine.submit(QUESTION, sampling=Sampling(max_tokens=480), deadline=d) for d in (0.15, 0.05)]
        for ticket in late:
            with pytest.raises(DeadlinePassed, match="not done within 0.[01]5 s"):
                ticket.result(20)
        assert late[1].seconds_waited is None and engine.state().expired == 2
        in_time = engine.submit(QUESTION, sampling=SHORT, deadline=60)
        assert_same(in_time.result(20), alone(tiny, QUESTION, dict(sampling=SHORT)))
        with pytest.raises(ValueError, match="deadline is 0"):
            engine.submit(QUESTION, deadline=0)


def test_waiting_for_a_result_can_be_given_up_and_taken_up_again(engine):
    ticket = engine.submit(QUESTION, sampling=LONG)
    with pytest.raises(TimeoutError, match="not done within 0.001 s"):
        ticket.result(0.001)
    assert len(ticket.result(20).logprobs) == 300


# Places -------------------------------------------------------------------------------------------


def test_a_full_queue_refuses_and_says_when_to_try_again(tiny):
    with narrow(tiny, speaking=1, drawing=1, waiting=1) as engine:
        runs = engine.submit(QUESTION, sampling=LONG)
        assert at_last(lambda: runs.seconds_waited is not None)
        waits = engine.submit(QUESTION, sampling=SHORT)
        with pytest.raises(QueueFull, match="1 requests wait already") as error:
            engine.submit(QUESTION, sampling=SHORT)
        assert 1 <= error.value.retry_after < 600
        drawn = engine.submit(request_for("generate", (), "x"), steps=3)  # there is a free place for those
        for ticket in (runs, waits, drawn):
            ticket.result(20)
        assert engine.state().refused == 1
        engine.submit(QUESTION, sampling=SHORT).result(20)


def test_what_cannot_be_asked_is_told_at_once_and_takes_no_place(tiny, tmp_path):
    wrong = [
        (Request("dance"), ValueError, "no task called 'dance'"),
        (Request("ask"), ValueError, "ask needs words"),
        (Request("report"), ValueError, "needs 1 image"),
        (Request("generate", (), "x", size=(10, 16)), ValueError, "10 x 16 can't be drawn"),
        (Request("ask", (tmp_path / "none.png",), "x"), ImagingError, "none.png"),
        (Request("ask", (), "what " * 400), ValueError, r"of the model's 512 positions"),
    ]
    with narrow(tiny, speaking=1, waiting=0) as engine:
        for request, error, message in wrong:
            with pytest.raises(error, match=message):
                engine.submit(request)
        with pytest.raises(ValueError, match="time grid has 1 points"):
            engine.submit(request_for("generate", (), "x"), steps=1)
        assert engine.submit(QUESTION, sampling=SHORT).result(20) and engine.state().taken == 1


def test_a_model_for_understanding_alone_refuses_to_draw(tiny, make_model):
    blind = UniMedVL(make_model(tiny.model.config, generation=False), tiny.tokenizer, tiny.card, tiny.weights)
    with Engine(blind) as engine:
        for asked in (request_for("generate", (), "x"), Conversation((Turn("user", "x"),), draw=True)):
            with pytest.raises(CheckpointError, match="understanding only"):
                engine.submit(asked)
        assert engine.submit(QUESTION, sampling=SHORT).result(20)


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ((), "ends with a turn of the user"),
        ((("assistant", "x"),), "ends with a turn of the user"),
        ((("user", " "),), "needs words"),
        ((("user", "x"), ("system", "y"), ("user", "z")), "a system turn comes first"),
        ((("system", ("y", b"image")), ("user", "z")), "takes no images"),
    ],
)
def test_a_conversation_that_makes_no_sense_is_refused(turns, message):
    with pytest.raises(ValueError, match=message):
        Conversation(tuple(Turn(*turn) for turn in turns))
    with pytest.raises(ValueError, match="role is 'tool'"):
        Turn("tool", "x")


def test_contexts_that_would_take_too_much_memory_wait_for_each_other(tiny):
    """One that is larger than the bound runs alone; none is overtaken for ever, and drawings wait as well."""
    with narrow(tiny, context_tokens=150) as engine:
        most = 0

        def look() -> None:
            nonlocal most
            most = max(most, sum(ticket.most_tokens for ticket in engine._begun))

        watch(engine._rounds, "round", look)
        sizes = [60, 60, 60, 400, 20, 20, 60]
        tickets = [engine.submit(QUESTION, sampling=Sampling(max_tokens=size)) for size in sizes]
        drawn = engine.submit(request_for("generate", (), "x"), steps=3)
        assert [len(ticket.result(30).logprobs) for ticket in tickets] == sizes and drawn.result(30)
    assert most == tickets[3].most_tokens
    assert ended(tickets[2]) < ended(tickets[3]) < ended(tickets[4])


# Fairness -----------------------------------------------------------------------------------------


def test_a_short_request_behind_long_ones_ends_before_them(tiny):
    with Engine(tiny) as engine:
        longs = [engine.submit(QUESTION, sampling=replace(LONG, seed=n, temperature=0.1)) for n in range(6)]
        short = engine.submit(QUESTION, sampling=SHORT)
        for ticket in (*longs, short):
            ticket.result(60)
        lengths = [ticket.answer_tokens for ticket in longs]
        assert min(lengths) > 50 and all(ended(short) < ended(ticket) for ticket in longs)


def test_a_short_prompt_does_not_wait_for_a_long_one_and_those_that_speak_go_on(tiny):
    with narrow(tiny, prompt_tokens=1, prefix_bytes=0) as engine:
        begun: list[int] = []
        watch(engine._rounds, "_speak", lambda: begun.append(len(engine._rounds.reading)))
        speaks = engine.submit(QUESTION, sampling=LONG)
        assert at_last(lambda: speaks.answer_tokens > 0)
        long = engine.submit(Request("ask", (), "what " * 100), sampling=SHORT)
        short = engine.submit(QUESTION, sampling=SHORT)
        results = [ticket.result(60) for ticket in (speaks, long, short)]
    assert_same(results[1], alone(tiny, Request("ask", (), "what " * 100), dict(sampling=SHORT)))
    assert ended(short) < ended(long) < ended(speaks)
    assert sum(count > 0 for count in begun) > 2  # tokens were spoken while the long prompt was taken in


# Beginnings ---------------------------------------------------------------------------------------


def test_questions_on_one_image_take_it_in_once_and_are_answered_as_alone(tiny, picture):
    asked = [request_for("ask", picture, question) for question in ("Is it?", "Is it?", "What changed?", "Where?")]
    with Engine(tiny) as engine:
        tickets = [engine.submit(request, sampling=SHORT) for request in asked]  # before any is done
        for ticket, request in zip(tickets, asked, strict=True):
            assert_same(ticket.result(20), alone(tiny, request, dict(sampling=SHORT)))
        image = tickets[0].image_tokens
        assert [ticket.reused_tokens for ticket in tickets] == [0, tickets[0].prompt_tokens, image, image]
        state = engine.state()
        assert state.prompt_tokens == sum(t.prompt_tokens - t.reused_tokens for t in tickets)
        assert state.reused_tokens == sum(t.reused_tokens for t in tickets) and state.prefix_bytes > 0


def test_a_conversation_goes_on_from_its_answer_and_says_what_it_would_from_the_start(tiny, picture):
    def ask(engine, prefix):
        turns, results = (), []
        for question in ("What is this?", "Is there an effusion?", "Why?"):
            turns = (*turns, Turn("user", (picture, question) if not turns else question))
            ticket = engine.submit(Conversation(turns), sampling=Sampling(max_tokens=12))
            results.append((ticket.result(20), ticket.reused_tokens, ticket.prompt_tokens))
            turns = (*turns, Turn("assistant", results[-1][0].text))
        return results

    with narrow(tiny, prefix_bytes=0) as fresh, Engine(tiny) as kept:
        whole, reused = ask(fresh, 0), ask(kept, 2**26)
    for (result, none, size), (again, some, same) in zip(whole, reused, strict=True):
        assert_same(again, result)
        assert (none, size) == (0, same) and (some > 0 or result is whole[0][0])


def test_a_drawing_from_the_beginning_of_a_longer_one_is_what_it_is_alone(tiny, picture):
    """Guidance compares it with what came before its own last text, and not before that of the longer one."""
    first = Turn("user", (picture, "Show this with a nodule."))
    longer = (first, Turn("assistant", ("done",)), Turn("user", (picture[::-1].copy(), "Now without.")))
    shown, asked = Conversation(longer, draw=True, seed=3), Conversation((first,), draw=True, seed=3)
    assert tiny.drawing_for(asked.task).guidance.text_scale > 1
    with Engine(tiny) as engine:
        alone = engine.submit(asked, steps=4, sampling=SHORT).result(20).array
    with Engine(tiny) as engine:
        engine.submit(shown, steps=4, sampling=SHORT).result(20)
        ticket = engine.submit(asked, steps=4, sampling=SHORT)
        after = ticket.result(20).array
    assert ticket.reused_tokens == ticket.prompt_tokens
    assert np.abs(after.astype(int) - alone).max() <= 1


@pytest.mark.parametrize("cancelled", [False, True])
def test_an_idle_engine_holds_no_contexts(tiny, cancelled):
    def contexts() -> set[int]:
        gc.collect()
        return {id(thing) for thing in gc.get_objects() if type(thing) is Context}

    before = contexts()
    with narrow(tiny, prefix_bytes=0) as engine:
        for request, options in ((Request("generate", (), "CT"), {"steps": 900 if cancelled else 2}),
                                 (QUESTION, {"sampling": LONG if cancelled else SHORT})):  # fmt: skip
            for event in engine.submit(request, **options).events():
                if cancelled and event.kind != "result":
                    break
        until = time.monotonic() + 20
        while contexts() - before and time.monotonic() < until:
            time.sleep(0.02)
        assert not contexts() - before and engine.state().cancelled == 2 * cancelled


def test_kept_beginnings_stay_within_their_memory(tiny, picture):
    most = 200_000
    with narrow(tiny, prefix_bytes=most) as engine:
        for number in range(12):
            request = request_for("ask", np.roll(picture, number, 0), "What is shown?")
            result = engine.submit(request, sampling=SHORT).result(20)
            assert 0 < engine.state().prefix_bytes <= most
        assert_same(result, alone(tiny, request, dict(sampling=SHORT)))
    assert engine.state().prefix_bytes == 0


# Failures -----------------------------------------------------------------------------------------


def test_a_failure_is_its_own_requests_alone(tiny, picture, monkeypatch):
    """What the model can't do for one of a batch ends that one: while it reads, speaks or draws."""
    model, words = tiny.model, request_for("ask", (), "what " * 40)  # told by its length
    drawn = request_for("generate", (), "x", size=(8, 12))  # by its size
    bad = np.zeros_like(picture)

    def breaks(name, when):
        method = getattr(type(model), name)

        def broken(*arguments):
            if when(*arguments[1:]):
                raise RuntimeError(f"{name} broke")
            return method(*arguments)

        monkeypatch.setattr(type(model), name, broken)

    breaks("logits", lambda caches, *_: any(cache.position > 50 for cache in caches))
    breaks("velocity", lambda canvas, *_: any(span.tokens == 8 for span in canvas.spans))
    black = lambda s: hasattr(s, "pixels") and bool((s.pixels == -1).all())  # noqa: E731
    breaks("extend", lambda caches, sequences: any(black(s) for q in sequences for s in q))
    good = requests(picture)[:1] + requests(picture)[5:9]
    with Engine(tiny) as engine:
        broken = [engine.submit(r, sampling=SHORT, steps=4) for r in (words, drawn, request_for("report", bad))]
        fine = [engine.submit(request, **options) for request, options in good]
        for ticket, name in zip(broken, ("logits", "velocity", "extend"), strict=True):
            with pytest.raises(RuntimeError, match=f"{name} broke"):
                ticket.result(20)
        results = [ticket.result(20) for ticket in fine]
        assert (engine.state().failed, engine.state().finished) == (3, len(good))
    monkeypatch.undo()
    for result, (request, options) in zip(results, good, strict=True):
        assert_same(result, alone(tiny, request, options))


def test_what_breaks_the_engine_is_told_to_all_and_it_refuses_from_then_on(tiny):
    with Engine(tiny, limits=EngineLimits(speaking=2)) as engine:
        tickets = [engine.submit(QUESTION, sampling=LONG) for _ in range(4)]

        def broken() -> None:
            raise MemoryError("no room")

        engine._rounds.round = broken
        for ticket in tickets:
            with pytest.raises(EngineFailed, match="the engine failed: MemoryError: no room"):
                list(ticket.events())
        with pytest.raises(EngineFailed, match="no room"):
            engine.submit(QUESTION)
        assert not engine.state().running and "no room" in engine.state().failure
    assert not engine._thread.is_alive()


def test_a_device_that_is_lost_is_no_single_requests_fault(tiny, monkeypatch):
    def lost(*arguments):
        raise torch.AcceleratorError("the device is lost")

    with Engine(tiny) as engine:
        monkeypatch.setattr(type(tiny.model), "logits", lost)
        tickets = [engine.submit(QUESTION, sampling=SHORT) for _ in range(2)]
        for ticket in tickets:
            with pytest.raises(EngineFailed, match="the device is lost"):
                ticket.result(20)
        with pytest.raises(EngineFailed):
            engine.submit(QUESTION)


def test_closing_finishes_what_was_taken_and_refuses_what_comes(tiny):
    engine = Engine(tiny, limits=EngineLimits(speaking=1))
    tickets = [engine.submit(QUESTION, sampling=Sampling(max_tokens=60)) for _ in range(3)]
    closing = threading.Thread(target=engine.close)
    closing.start()
    assert at_last(lambda: not engine.state().running)
    with pytest.raises(EngineClosed, match="the engine was closed"):
        engine.submit(QUESTION)
    assert len({ticket.result(20).text for ticket in tickets}) == 1
    closing.join(20)
    assert not engine._thread.is_alive() and not engine.state().failure
    engine.close()  # again does nothing


@pytest.mark.parametrize("how", [dict(finish=False), dict(timeout=0.05)], ids=str)
def test_closing_at_once_or_after_a_time_fails_what_is_left(tiny, how):
    engine = Engine(tiny, limits=EngineLimits(speaking=1, drawing=1))
    tickets = [engine.submit(QUESTION, sampling=Sampling(max_tokens=480)) for _ in range(2)]
    tickets.append(engine.submit(request_for("generate", (), "x"), steps=5000))
    engine.close(**how)
    with pytest.raises(EngineClosed):
        tickets[2].result(20)
    assert all(ticket.done for ticket in tickets) and not engine._thread.is_alive()


@pytest.mark.parametrize("wrong", ["speaking", "drawing", "prompt_tokens", "context_tokens"])
def test_limits_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{wrong} is 0; it must be 1 or more"):
        EngineLimits(**{wrong: 0})
    with pytest.raises(ValueError, match="waiting is -1"):
        EngineLimits(waiting=-1)


# The guide ----------------------------------------------------------------------------------------


def test_the_guides_python_runs(tmp_path, monkeypatch, capsys):
    guide = Path(__file__).parents[2] / "docs" / "engine.md"
    (block,) = re.findall(r"```python\n(.*?)```", guide.read_text(), re.S)
    for name, modality in (("cxr.png", "cxr"), ("fundus.png", "cfp")):
        PillowImage.fromarray(next(iter(simulate(modality, 3).images.values()))).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, str(guide), "exec"), {})
    previews, _, reused, told, state = capsys.readouterr().out.splitlines()[1:]
    assert "torch.Size" in previews and "of" in reused and '"effusion": ' in told and "failed=0" in state
