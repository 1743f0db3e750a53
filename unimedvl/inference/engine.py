"""The engine: one thread that owns a model and serves many clients at once.

Continuous batching: requests of any tasks and conversations join and leave the running batch at each step. A round of
the engine takes in a bounded share of the newcomers' prompts, speaks one token in every answer, and takes one step of
every drawing. What a request gives does not depend on what else runs: texts have their own random generators, images
their own seeds, and every row sees its own context alone.

Fairness. Requests are begun first come, first served, in two lines that do not wait for each other: those that only
speak, and those that draw. Each has a number of places. Those that were begun all move on in every round, so a short
one ends before a long one that came earlier. The tokens of prompts that a round takes in are shared evenly among the
newcomers, so a short prompt does not wait for a long one, and those that speak wait for one share at most. Text and
drawings each get half of the time while both have work.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from unimedvl.inference.conversation import Conversation, Turn, prepared_conversation
from unimedvl.inference.engine_state import EngineLimits, EngineState
from unimedvl.inference.image import Cancelled
from unimedvl.inference.prepared import Prepared, prepared
from unimedvl.inference.requests import Request
from unimedvl.inference.rounds import Rounds
from unimedvl.inference.sampling import Sampling
from unimedvl.inference.ticket import DeadlinePassed, EngineClosed, EngineFailed, QueueFull, Ticket
from unimedvl.model.flow import Guidance
from unimedvl.sequence import position_count
from unimedvl.tasks import ASK, task

if TYPE_CHECKING:
    from unimedvl.inference.unimedvl import UniMedVL

__all__ = [
    "Cancelled", "Conversation", "DeadlinePassed", "Engine", "EngineClosed", "EngineFailed", "EngineLimits",
    "EngineState", "QueueFull", "Ticket", "Turn",
]  # fmt: skip

_log = logging.getLogger(__name__)
# Of how many requests the time is kept, to estimate how long the next takes.
_REMEMBERED = 32
# What an answer of one token takes: those that open and close it, and itself.
_ANSWER_POSITIONS = 3
_CLOSED = "the engine was closed"


class Engine:
    """Serves one loaded model. A context manager; `close` it when done.

    The model must not be used by anyone else while the engine runs.
    """

    def __init__(self, model: UniMedVL, *, limits: EngineLimits | None = None) -> None:
        self.model, self.limits = model, limits or EngineLimits()
        self._changed = threading.Condition()
        self._waiting: deque[Ticket] = deque()
        self._there: set[Ticket] = set()  # taken and not done
        self._begun: set[Ticket] = set()  # those of them that have a place
        self._coming = {False: 0, True: 0}  # being prepared in their callers' threads, by whether they draw
        self._rounds = Rounds(model, self.limits.prompt_tokens, self.limits.prefix_bytes, self._ended)
        self._counts = EngineState()
        self._took = {draws: deque(maxlen=_REMEMBERED) for draws in (False, True)}  # seconds of the last requests
        self._closing = self._abandoned = False
        self._failure: EngineFailed | None = None
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()
        atexit.register(self.close, finish=False)  # an interpreter that ends must not take the thread's ground away

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exception) -> None:
        self.close(finish=exception[0] is None)

    # For clients -----------------------------------------------------------------------------

    def submit(
        self,
        asked: Request | Conversation,
        *,
        sampling: Sampling | None = None,
        steps: int | None = None,
        guidance: Guidance | None = None,
        deadline: float | None = None,
        previews: bool | int = False,
    ) -> Ticket:
        """Ask something. Its images are read and its words laid out here, in the caller's thread.

        sampling, steps, guidance: as in `UniMedVL.run`. deadline: seconds from now in which it must be done.
        previews: decode what a drawing looks to become at every step, or at so many steps, evenly spread.

        Raises:
            ValueError: what can't be asked. ImagingError: an image that can't be read. CheckpointError: it draws, and
                the model was loaded for understanding only.
            QueueFull: too many wait already. EngineClosed: the engine takes nothing new.
        """
        what = (asked.task or ASK) if isinstance(asked, Conversation) else task(asked.task)
        drawing = self.model.drawing_for(what, steps, guidance)
        if deadline is not None and not deadline > 0:
            raise ValueError(f"deadline is {deadline}; it must be seconds from now, over 0")
        if previews < 0:
            raise ValueError(f"previews is {previews}; it must be True, False, or how many")
        self._reserve(what.draws)
        try:
            make = prepared_conversation if isinstance(asked, Conversation) else prepared
            ready = make(self.model, asked, sampling, drawing)
            self._check_room(ready)
            if ready.sampling.constraint is not None:
                ready.sampling.constraint.compile(self.model.tokenizer)
            ticket = Ticket(ready, deadline, previews)
        except BaseException:
            with self._changed:
                self._coming[what.draws] -= 1
            raise
        return self._enqueue(ticket)

    def state(self) -> EngineState:
        with self._changed:
            rounds = self._rounds
            return replace(
                self._counts,
                waiting=len(self._waiting),
                reading=len(rounds.reading),
                speaking=len(rounds.speaking),
                drawing=len(rounds.drawing),
                tokens=rounds.tokens,
                prompt_tokens=rounds.read_tokens,
                reused_tokens=rounds.reused_tokens,
                steps=rounds.steps,
                images=rounds.images,
                prefix_bytes=rounds.prefixes.nbytes,
                running=not self._closing,
                failure="" if self._failure is None else str(self._failure),
            )

    def close(self, finish: bool = True, timeout: float | None = None) -> None:
        """Take nothing new, and end.

        finish: let all that was taken run to its end; else, or after `timeout` seconds, it fails with EngineClosed.
        """
        with self._changed:
            self._closing = True
            self._abandoned = self._abandoned or not finish
            self._changed.notify_all()
        self._thread.join(timeout)
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()
        self._thread.join()
        atexit.unregister(self.close)

    # Places ----------------------------------------------------------------------------------

    def _reserve(self, draws: bool) -> None:
        """A place for a request that is being prepared. Raises QueueFull, EngineClosed."""
        with self._changed:
            self._check_open()
            ahead = sum(t.asked.draws == draws for t in self._waiting) + self._coming[draws]
            waiting = len(self._waiting) + sum(self._coming.values())
            if waiting >= self.limits.waiting and ahead >= self._free(draws):
                self._count("refused")
                raise QueueFull(waiting, self._wait(draws, ahead))
            self._coming[draws] += 1

    def _enqueue(self, ticket: Ticket) -> Ticket:
        with self._changed:
            self._coming[ticket.asked.draws] -= 1
            self._check_open()
            self._count("taken")
            self._waiting.append(ticket)
            self._there.add(ticket)
            self._changed.notify_all()
        return ticket

    def _check_open(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._closing:
            raise EngineClosed(_CLOSED)

    def _free(self, draws: bool) -> int:
        most = self.limits.drawing if draws else self.limits.speaking
        return most - sum(ticket.asked.draws == draws for ticket in self._begun)

    def _wait(self, draws: bool, ahead: int) -> float:
        """Seconds until a place is free, by how long the last requests took."""
        took = self._took[draws]
        mean = sum(took) / len(took) if took else 1.0
        return max(1.0, mean * (ahead + 1) / (self.limits.drawing if draws else self.limits.speaking))

    def _count(self, name: str) -> None:
        self._counts = replace(self._counts, **{name: getattr(self._counts, name) + 1})

    def _check_room(self, ready: Prepared) -> None:
        most = self.model.model.config.decoder.max_position_embeddings
        needed = sum(position_count(segment) for segment in ready.segments)
        if needed + _ANSWER_POSITIONS > most:
            raise ValueError(
                f"what is asked takes {needed} of the model's {most} positions, which leaves none to answer; shorten it"
            )

    # The thread ------------------------------------------------------------------------------

    def _work(self) -> None:
        """Rounds until it is closed. What breaks in here and is no single request's fault fails everything."""
        try:
            with torch.inference_mode():
                while self._wait_for_work():
                    self._rounds.round()
            self._end(EngineClosed(_CLOSED))
        except BaseException as error:  # noqa: BLE001 - told to everyone who waits
            _log.exception("the engine failed")
            failure = EngineFailed(f"the engine failed: {type(error).__name__}: {error}")
            failure.__cause__ = error
            with self._changed:
                self._closing, self._failure = True, failure
            self._end(failure)

    def _wait_for_work(self) -> bool:
        """Begin what there is a place for; false once it is time to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._rounds.busy or self._closing)
            if self._abandoned or not (self._waiting or self._rounds.busy):
                return False
            now, full = time.monotonic(), set()
            for ticket in list(self._waiting):
                draws, error = ticket.asked.draws, ticket.over(now)
                if error is None and not self._fits(ticket):
                    full = {False, True}  # else small ones would overtake a large one for ever
                if error is None and (draws in full or self._free(draws) <= 0):
                    full.add(draws)
                    continue
                self._waiting.remove(ticket)
                error = error or self._begin(ticket)
                if error is not None:
                    self._ended(ticket, error)
                    ticket.fail(error)
            return True

    def _fits(self, ticket: Ticket) -> bool:
        """Whether there is memory for it; what is larger than all that is allowed runs by itself."""
        tokens = sum(t.most_tokens for t in self._begun) + ticket.most_tokens
        return tokens <= self.limits.context_tokens or not self._begun

    def _begin(self, ticket: Ticket) -> Exception | None:
        self._begun.add(ticket)
        try:
            self._rounds.begin(ticket)
        except Exception as error:  # noqa: BLE001 - told to the client whose it is
            return error
        return None

    def _ended(self, ticket: Ticket, error: BaseException | None) -> None:
        with self._changed:
            self._there.discard(ticket)
            self._begun.discard(ticket)
            if error is None:
                self._count("finished")
                self._took[ticket.asked.draws].append(time.monotonic() - ticket.since - ticket.seconds_waited)
            elif isinstance(error, Cancelled):
                self._count("cancelled")
            else:
                self._count("expired" if isinstance(error, DeadlinePassed) else "failed")

    def _end(self, error: EngineClosed) -> None:
        """Fail what is left."""
        with self._changed:
            left = list(self._there)
            self._waiting.clear()
        for ticket in left:
            self._ended(ticket, error)
            ticket.fail(error)
        self._rounds.clear()
