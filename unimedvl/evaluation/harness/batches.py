"""Calls that come one by one from several threads, answered together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Given = TypeVar("Given")
# Seconds that the others are waited for.
PATIENCE = 0.05


class Batches(Generic[Asked, Given]):
    """A function of a batch that is called with one thing at a time, from any number of threads.

    One caller at a time runs the batch: its own thing, and those of all who wait. Whoever comes meanwhile is in the
    next.
    """

    def __init__(
        self, answer: Callable[[Sequence[Asked]], Sequence[Given]], most: int, patience: float = PATIENCE
    ) -> None:
        """answer: of a batch, one for each in order. most: as many as a batch may have; 1 waits for nobody.
        patience: seconds that a batch waits until it is full.
        """
        self.answer, self.most, self.patience = answer, most, patience
        self._waiting: list[tuple[Asked, Future[Given]]] = []
        self._running = False
        self._changed = threading.Condition()

    def __call__(self, asked: Asked) -> Given:
        """The answer to one thing. Raises what `answer` raised for its batch."""
        mine: Future[Given] = Future()
        with self._changed:
            self._waiting.append((asked, mine))
            self._changed.notify_all()
            self._changed.wait_for(lambda: mine.done() or not self._running)
            if mine.done():
                return mine.result()
            self._running = True
        try:
            while not mine.done():
                self._run(self._next())
        finally:
            with self._changed:
                self._running = False
                self._changed.notify_all()
        return mine.result()

    def _next(self) -> list[tuple[Asked, Future[Given]]]:
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) >= self.most, self.patience if self.most > 1 else 0)
            batch, self._waiting = self._waiting[: self.most], self._waiting[self.most :]
            return batch

    def _run(self, batch: Sequence[tuple[Asked, Future[Given]]]) -> None:
        try:
            given = self.answer([asked for asked, _ in batch])
            for (_, future), one in zip(batch, given, strict=True):
                future.set_result(one)
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            if not isinstance(error, Exception):  # an interrupt is for the thread that it reached
                raise
