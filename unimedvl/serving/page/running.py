"""One run: handed to the engine, followed step by step, stopped when asked, and told to the log, audit and metrics."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fastapi.concurrency import run_in_threadpool

from unimedvl.serving.asking import submit
from unimedvl.serving.errors import ApiError, as_api_error, unavailable
from unimedvl.serving.logs import places
from unimedvl.serving.openai.usage import count
from unimedvl.serving.pictures import data_url, encoded_preview, encoded_result, to_be_shown
from unimedvl.serving.trace import Trace

if TYPE_CHECKING:
    from unimedvl.imaging import Image
    from unimedvl.inference.conversation import Conversation
    from unimedvl.inference.engine import Ticket
    from unimedvl.inference.job import Event
    from unimedvl.inference.requests import Request
    from unimedvl.inference.results import ImageResult, TextResult
    from unimedvl.serving.page.session import Session
    from unimedvl.serving.service import Service

logger = logging.getLogger(__name__)

PREVIEWS = 8
# The page is told of new text this often, in seconds; it is drawn anew each time.
_PAUSE = 0.08
CANCELLED = "Cancelled."


class Stopped(Exception):
    """A run without a result; the message is one sentence for the user. cancelled: the user wanted it."""

    def __init__(self, sentence: str, cancelled: bool = False) -> None:
        super().__init__(sentence)
        self.cancelled = cancelled


@dataclass(frozen=True)
class Progress:
    """How far a run is. step: of `steps`; 0 before the first. preview: a data URL. waits: for a place, or to read."""

    text: str = ""
    thought: str = ""
    step: int = 0
    steps: int = 0
    preview: str = ""
    waits: bool = True


@dataclass(frozen=True)
class Finished:
    """The end of a run. png: of a drawing, with the mark. seconds: from being asked."""

    result: TextResult | ImageResult
    png: bytes
    seconds: float


@dataclass
class Run:
    """A run that can be cancelled at any time, also before the engine has it."""

    draws: bool
    ticket: Ticket | None = None
    cancelled: bool = False
    since: float = field(default_factory=time.monotonic)

    def cancel(self) -> None:
        self.cancelled = True
        if self.ticket is not None:
            self.ticket.cancel()

    def took(self, ticket: Ticket) -> None:
        self.ticket = ticket
        if self.cancelled:
            ticket.cancel()


async def follow(
    service: Service,
    session: Session,
    who: str,
    task: str,
    asked: Request | Conversation,
    how: dict[str, Any],
    images: Sequence[Image],
) -> AsyncIterator[Progress | Finished]:
    """Run something; the last that is told is `Finished`. Closed before, it is cancelled.

    who: whose allowance it takes, as `access.allowed` counts. task: for the audit. how: options of `Engine.submit`.

    Raises:
        Stopped: it has no result, as its sentence says.
    """
    if session.run is not None:
        raise Stopped("Something runs already in this tab; wait for it, or cancel it.")
    run = session.run = Run(draws="previews" in how)
    trace = Trace(f"page_{uuid.uuid4().hex}", who=session.who, task=task, seed=asked.seed)
    trace.took(images)
    outcome = "499"
    service.running += 1  # so that a shutdown lets it end
    try:
        with service.allowance.of(who):
            async for told in _followed(service, run, trace, asked, how):
                yield told
        outcome = "200"
    except Exception as error:
        wrong = as_api_error(error)
        outcome = wrong.code or str(wrong.status)
        if wrong.status == 500:
            logger.error("%s failed: %s", trace.id, places(error))
        raise Stopped(_sentence(wrong), wrong.code == "cancelled") from error
    finally:
        run.cancel()
        session.run = None
        service.running -= 1
        await _record(service, trace, outcome)


async def _followed(
    service: Service, run: Run, trace: Trace, asked: Request | Conversation, how: dict[str, Any]
) -> AsyncIterator[Progress | Finished]:
    if service.draining:
        raise unavailable("the server is shutting down")
    yield Progress()
    (ticket,) = await run_in_threadpool(submit, service, trace, service.settings.deadline, [(asked, how)])
    run.took(ticket)
    now, last = Progress(), 0.0
    async for event in _with_pauses(ticket):
        if event is not None:
            trace.spoke()
            if event.kind == "result":
                png = await run_in_threadpool(encoded_result, event.result) if run.draws else b""
                await run_in_threadpool(getattr, event.result, "provenance")  # the first hashes the weights
                trace.gave(png or event.result.text)
                count(service, [ticket])
                yield Finished(event.result, png, time.monotonic() - run.since)
                return
            now = await _after(now, event)
        if event is None or event.kind == "step" or time.monotonic() - last > _PAUSE:
            last = time.monotonic()
            yield now


async def _with_pauses(ticket: Ticket) -> AsyncIterator[Event | None]:
    """The ticket's events, and None when nothing came for a while, so that text that was held back is shown."""
    events: asyncio.Queue = asyncio.Queue()

    async def listen() -> None:
        try:
            async for event in ticket.aevents():
                events.put_nowait(event)
        except Exception as error:  # noqa: BLE001 - raised where it is listened to
            events.put_nowait(error)

    listening = asyncio.ensure_future(listen())
    held = False
    try:
        while True:
            try:
                event = await asyncio.wait_for(events.get(), 2 * _PAUSE if held else None)
            except TimeoutError:
                held = False
                yield None
                continue
            if isinstance(event, Exception):
                raise event
            held = True
            yield event
            if event.kind == "result":
                return
    finally:
        ticket.cancel()
        listening.cancel()


async def _after(now: Progress, event: Event) -> Progress:
    if event.kind == "text":
        return replace(now, text=now.text + event.text, waits=False)
    if event.kind == "thought":
        return replace(now, thought=now.thought + event.text, waits=False)
    step = event.step
    preview = now.preview
    if to_be_shown(step):
        preview = data_url(await run_in_threadpool(encoded_preview, step, "jpeg", 85), "jpeg")
    return replace(now, step=step.number, steps=step.total, preview=preview, waits=False)


def _sentence(error: ApiError) -> str:
    if error.code == "cancelled":
        return CANCELLED
    sentence = error.message[:1].upper() + error.message[1:]
    wait = error.headers.get("Retry-After")
    if wait is not None and error.status == 429:
        sentence += f", in about {wait} s"
    return sentence if sentence.endswith((".", "?", "!")) else f"{sentence}."


async def _record(service: Service, trace: Trace, outcome: str) -> None:
    """Its line in the log and in the audit; never text or pixels."""
    logger.info("%s %s %s %.3f s", trace.id, trace.task, outcome, trace.seconds)
    if service.audit is None:
        return
    try:
        await run_in_threadpool(lambda: service.audit.record(trace.line(service, outcome)))
    except Exception as error:  # noqa: BLE001 - the answer is there; what can be done is to tell
        service.metrics.unwritten.inc()
        logger.error("%s: its line of the audit could not be written: %s", trace.id, type(error).__name__)
