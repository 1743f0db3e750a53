"""Runs of a tab: followed to their end, cancelled, refused in a sentence, and audited without words."""

from __future__ import annotations

import asyncio
import sqlite3

import numpy as np
import pytest

from unimedvl.imaging import read_image
from unimedvl.inference.engine import Engine, EngineLimits
from unimedvl.inference.requests import request_for
from unimedvl.serving.audit_table import audit
from unimedvl.serving.page.running import CANCELLED, Finished, Progress, Stopped, follow
from unimedvl.serving.page.session import Session

SMALL = {"size": (64, 64)}


@pytest.fixture(scope="module")
def image(photo):
    return read_image(photo)


def ask(image, question: str = "Is there an effusion?"):
    return request_for("ask", (image,), question)


def draw():
    return request_for("generate", (), "Chest X-ray with an effusion", **SMALL)


def run(service, asked, how=None, session=None, meanwhile=None) -> list[Progress | Finished]:
    """All that a run tells. meanwhile: called with the session at each of them."""
    session = session or Session(None)

    async def go() -> list:
        told = []
        async for now in follow(service, session, "me", asked.task, asked, how or {}, asked.images):
            told.append(now)
            if meanwhile is not None:
                meanwhile(session, now)
        return told

    try:
        return asyncio.run(go())
    finally:
        assert session.run is None and service.running == 0


def test_a_text_is_told_as_it_grows_and_ends_with_the_result(running, image):
    *before, end = run(running.service, ask(image, "Describe the findings."))
    texts = [now.text for now in before]
    assert isinstance(end, Finished) and end.png == b"" and end.seconds > 0
    assert before[0].waits and all(later.startswith(now) for now, later in zip(texts, texts[1:], strict=False))
    assert texts[-1].strip() and end.result.text.strip().startswith(texts[-1].strip())


def test_a_drawing_tells_its_steps_with_previews_and_ends_with_a_marked_png(running, tmp_path):
    from unimedvl.imaging import read_provenance

    *before, end = run(running.service, draw(), {"steps": 5, "previews": 3})
    steps = [now.step for now in before if now.steps]
    assert steps == sorted(steps) and steps[-1] == before[-1].steps
    assert any(now.preview.startswith("data:image/jpeg;base64,") for now in before)
    (tmp_path / "x.png").write_bytes(end.png)
    assert read_provenance(tmp_path / "x.png")["task"] == "generate"


def test_a_cancelled_run_frees_its_place(running, engine, wait_until):
    before, long = engine.state().cancelled, {"steps": 200, "previews": False}
    with pytest.raises(Stopped, match=CANCELLED) as stopped:
        run(running.service, draw(), long, meanwhile=lambda s, now: now.steps and s.run.cancel())
    assert stopped.value.cancelled
    assert wait_until(lambda: engine.state().cancelled == before + 1 and engine.state().drawing == 0)


def test_a_run_that_is_cancelled_before_the_engine_has_it_does_not_begin(running, engine):
    with pytest.raises(Stopped, match=CANCELLED):
        run(running.service, draw(), {"steps": 200, "previews": False}, meanwhile=lambda s, now: s.run.cancel())


def test_a_tab_that_goes_away_cancels_what_it_runs(running, engine, wait_until):
    async def leave() -> None:
        events = follow(running.service, Session(None), "me", "generate", draw(), {"steps": 200, "previews": False}, ())
        async for now in events:
            if now.step:
                await events.aclose()
                return

    asyncio.run(leave())
    assert wait_until(lambda: engine.state().drawing == 0)


def test_one_thing_runs_in_a_tab_at_a_time(running, image):
    session = Session(None)
    refused = []

    def again(session: Session, now) -> None:
        async def second() -> None:
            async for _ in follow(running.service, session, "me", "ask", ask(image), {}, ()):
                raise AssertionError("it ran")

        if not refused:
            try:
                second().send(None)
            except Stopped as stopped:
                refused.append(str(stopped))

    run(running.service, ask(image), session=session, meanwhile=again)
    assert "runs already" in refused[0]


def test_what_can_not_be_asked_is_told_in_a_sentence(running):
    small = read_image(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(Stopped, match=r"^Seed|^[A-Z].*\.$"):
        run(running.service, request_for("generate", (), "x", size=(65, 64)), {"previews": False})
    with pytest.raises(Stopped, match=r"positions"):
        run(running.service, ask(small, "word " * 5000))


def test_a_full_queue_and_a_passed_deadline_are_told_in_a_sentence(serve, nano, image):
    with Engine(nano, limits=EngineLimits(speaking=1, waiting=0)) as full, serve(full) as running:
        first = full.submit(ask(image, "Describe the findings."))
        with pytest.raises(Stopped, match="many requests are waiting.* in about .* s"):
            run(running.service, ask(image))
        first.cancel()
    with Engine(nano) as engine, serve(engine, deadline=0.05) as running, pytest.raises(Stopped, match="deadline"):
        run(running.service, draw(), {"steps": 200, "previews": False})


def test_a_model_that_is_being_loaded_is_told(serve, image):
    import threading

    wait = threading.Event()

    def load() -> Engine:
        wait.wait(30)
        raise ValueError("never loaded")

    with serve(load) as running:
        with pytest.raises(Stopped, match="still being loaded"):
            run(running.service, ask(image))
        wait.set()


def test_the_audit_has_a_line_without_words(serve, engine, image, tmp_path):
    with serve(engine, audit=f"sqlite:///{tmp_path}/audit.db") as running:
        run(running.service, ask(image, "Secret words?"))
    with sqlite3.connect(tmp_path / "audit.db") as database:
        rows = database.execute(f"select * from {audit.name}").fetchall()
    assert len(rows) == 1 and "ask" in rows[0] and "200" in rows[0] and image.sha256 in str(rows[0])
    assert b"Secret" not in (tmp_path / "audit.db").read_bytes()
