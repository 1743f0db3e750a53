"""What a client of the engine holds: the events of one thing asked, its result, and a way to stop it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

from unimedvl.inference.image import Cancelled
from unimedvl.inference.job import Event
from unimedvl.inference.prefixes import keys_of
from unimedvl.inference.prepared import Prepared
from unimedvl.inference.results import ImageResult, TextResult
from unimedvl.sequence import position_count, token_count


class EngineClosed(RuntimeError):
    """The engine takes nothing new: it was closed."""


class EngineFailed(EngineClosed):
    """The engine broke, and everything in it: the error says why."""


class QueueFull(RuntimeError):
    """Too many wait already. retry_after: seconds until there may be a place."""

    def __init__(self, waiting: int, retry_after: float) -> None:
        super().__init__(f"{waiting} requests wait already; try again in {retry_after:.0f} s")
        self.retry_after = retry_after


class DeadlinePassed(TimeoutError):
    """The request was not done when its deadline passed."""


class Ticket:
    """One thing asked. One reader takes its events; any number may wait for its result.

    prompt_tokens: what the model takes in, of which image_tokens are of images and reused_tokens were taken in for
    another before. answer_tokens: spoken so far. seconds_waited, seconds: until it was begun, and until it was done,
    counted from `Engine.submit`; None until then. most_tokens: that its context may come to hold.
    """

    def __init__(self, asked: Prepared, deadline: float | None, previews: bool | int) -> None:
        """deadline: in seconds from now."""
        self.asked, self.previews = asked, previews
        self.keys = keys_of(asked.segments)
        config = asked.owner.model.config
        counts = [(token_count(s, config), hasattr(s, "pixels")) for s in asked.segments]
        self.prompt_tokens = sum(n for n, _ in counts)
        self.image_tokens = sum(n for n, image in counts if image)
        self.reused_tokens = self.answer_tokens = 0
        self.most_tokens = self.prompt_tokens + _most_made(asked)
        self.since = time.monotonic()
        self.until = None if deadline is None else self.since + deadline
        self.seconds_waited: float | None = None
        self.seconds: float | None = None
        self.cancelled = False  # the client has gone away
        self._changed = threading.Condition()  # there are new events, or it is done
        self._done = threading.Event()  # apart, so that who waits for the result alone is not woken by each token
        self._events: deque[Event] = deque()
        self._error: BaseException | None = None
        self._result: TextResult | ImageResult | None = None
        self._listeners: dict[Callable[[], None], bool] = {}  # and whether they listen to events as well

    @property
    def done(self) -> bool:
        return self._done.is_set()

    # For the client --------------------------------------------------------------------------

    def events(self) -> Iterator[Event]:
        """What happens, as it happens; the last event holds the result. Closed before that, it cancels.

        Raises what `result` raises.
        """
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._events or self.done)
                    event = self._next()
                if event is None:
                    return
                yield event
        finally:
            self.cancel()

    async def aevents(self) -> AsyncIterator[Event]:
        """`events` in an event loop."""
        loop, changed = asyncio.get_running_loop(), asyncio.Event()
        with self._listening(lambda: loop.call_soon_threadsafe(changed.set), events=True):
            try:
                while True:
                    changed.clear()
                    with self._changed:
                        ready = bool(self._events) or self.done
                        event = self._next() if ready else None
                    if not ready:
                        await changed.wait()
                    elif event is None:
                        return
                    else:
                        yield event
            finally:
                self.cancel()

    def result(self, timeout: float | None = None) -> TextResult | ImageResult:
        """Wait for the result.

        Raises:
            TimeoutError: not done within `timeout` seconds; it goes on.
            Cancelled: it was cancelled. DeadlinePassed: its deadline passed. EngineFailed: the engine broke.
            ValueError: what was asked turned out not to fit the model. And whatever else failed it.
        """
        if not self._done.wait(timeout):
            raise TimeoutError(f"not done within {timeout} s")
        return self._outcome()

    async def aresult(self) -> TextResult | ImageResult:
        """`result` in an event loop. A task that is cancelled while it waits cancels the request."""
        loop, changed = asyncio.get_running_loop(), asyncio.Event()
        with self._listening(lambda: loop.call_soon_threadsafe(changed.set), events=False):
            try:
                if not self.done:
                    await changed.wait()
            finally:
                self.cancel()
        return self._outcome()

    def cancel(self) -> None:
        """Stop it: its place is free at the next step. Nothing happens where it is done."""
        if not self.done:
            self.cancelled = True

    # For the engine --------------------------------------------------------------------------

    def over(self, now: float) -> BaseException | None:
        """Why nobody waits for it any more. now: the monotonic clock."""
        if self.cancelled:
            return Cancelled("the request was cancelled")
        if self.until is not None and now > self.until:
            return DeadlinePassed(f"not done within {self.until - self.since:g} s")
        return None

    def tell(self, event: Event) -> None:
        with self._changed:
            self._events.append(event)
            self._notify()

    def finish(self, result: TextResult | ImageResult) -> None:
        self._end(Event("result", result=result), None)

    def fail(self, error: BaseException) -> None:
        self._end(None, error)

    def _end(self, event: Event | None, error: BaseException | None) -> None:
        with self._changed:
            if self.done:
                return
            self.seconds = time.monotonic() - self.since
            if event is not None:
                self._events.append(event)
                self._result = event.result
            self._error = error
            self._done.set()
            self._notify()

    def _notify(self) -> None:
        self._changed.notify_all()
        for listener in [each for each, events in self._listeners.items() if events or self.done]:
            try:
                listener()
            except RuntimeError:  # the listener's event loop is closed
                del self._listeners[listener]

    def _next(self) -> Event | None:
        """The next event, or None at the end. Raises what failed it."""
        if self._events:
            return self._events.popleft()
        if self._error is not None:
            raise self._error
        return None

    def _outcome(self) -> TextResult | ImageResult:
        if self._error is not None:
            raise self._error
        return self._result

    @contextmanager
    def _listening(self, listener: Callable[[], None], events: bool) -> Iterator[None]:
        """Call the listener when it is done, and at every event too where it wants those, while the block lasts."""
        with self._changed:
            self._listeners[listener] = events
        try:
            yield
        finally:
            with self._changed:
                self._listeners.pop(listener, None)


def _most_made(asked: Prepared) -> int:
    """Tokens that the answer and the drawing take in the context at most."""
    positions = asked.owner.model.config.decoder.max_position_embeddings
    used = sum(position_count(segment) for segment in asked.segments)
    answer = min(asked.sampling.max_tokens, positions - used) if "answer" in asked.parts else 0
    return answer + asked.shape[0] * asked.shape[1]
