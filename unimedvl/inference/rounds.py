"""What the engine does in a round: take in prompts, speak a token, draw a step, for all requests that were begun."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from unimedvl.inference.context import Context, Intake, settle, take_in
from unimedvl.inference.image import Easel, Picture, Step, decoded
from unimedvl.inference.job import Event, text_events
from unimedvl.inference.prefixes import Prefixes, keys_of
from unimedvl.inference.text import Row, Speech, Spoken, raise_if_lost
from unimedvl.inference.thought import ThoughtFilter, split_thought
from unimedvl.inference.ticket import Ticket
from unimedvl.sequence import Text

if TYPE_CHECKING:
    from unimedvl.inference.unimedvl import UniMedVL

# A newcomer's share of a round's prompt tokens is not cut below this: small products waste time, and a small image with
# its question should pass at once. It is also how long the pieces are that texts are cut to.
_LEAST_SHARE = 128
# Room for an answer behind its prompt that is set aside at once; longer ones get more when they come there.
_ANSWER = 256
# Tokens that open and close texts and images, beside those of the prompt, and those that a context may owe.
_MARKERS = 8


class Errand:
    """A request that was begun: its context, which of its parts are still to come, and what it has so far."""

    def __init__(self, ticket: Ticket) -> None:
        self.ticket, self.asked = ticket, ticket.asked
        self.context: Context | None = None
        self.intake: Intake | None = None  # none before its prompt is begun
        self.taken = 0
        self.parts = deque(self.asked.parts)
        self.row: Row | None = None
        self.picture: Picture | None = None
        self.spoken: Spoken | None = None
        self.drawn: Tensor | None = None
        self.thoughts = ThoughtFilter(self.asked.sampling.thinks)
        self.told = 0  # tokens of the answer that events have told

    def start(self, taken: int, context: Context) -> None:
        """Begin the prompt. taken: how many of its segments the context holds already."""
        self.taken, self.context = taken, context
        self.ticket.reused_tokens = context.length
        context.cache.reserve(_room(self.ticket, context), headroom=0)
        self.intake = Intake(context, self.asked.segments[taken:], _LEAST_SHARE)


class Rounds:
    """Serves the requests that were begun. Everything in here runs in the engine's thread."""

    def __init__(
        self,
        owner: UniMedVL,
        prompt_tokens: int,
        prefix_bytes: int,
        ended: Callable[[Ticket, BaseException | None], None],
    ) -> None:
        """ended: told of every ticket that is done, with what failed it."""
        self.owner, self.model, self.prompt_tokens, self.ended = owner, owner.model, prompt_tokens, ended
        self.speech, self.easel = Speech(owner.model, owner.tokenizer, seated=1), Easel(owner.model)
        self.prefixes = Prefixes(prefix_bytes)
        self.reading: list[Errand] = []
        self.speaking: dict[int, Errand] = {}  # by the identity of their rows
        self.drawing: list[Errand] = []
        self.tokens = self.read_tokens = self.reused_tokens = self.steps = self.images = 0
        self._clocks = {"text": 0.0, "drawing": 0.0}

    @property
    def errands(self) -> list[Errand]:
        return [*self.reading, *self.speaking.values(), *self.drawing]

    @property
    def busy(self) -> bool:
        return bool(self.reading or self.speaking or self.drawing)

    def begin(self, ticket: Ticket) -> None:
        """Take a ticket on."""
        ticket.seconds_waited = time.monotonic() - ticket.since
        self.reading.append(Errand(ticket))

    def round(self) -> None:
        """A share of the prompts and a token in every answer, or a step of every drawing, whichever had less time."""
        self._sweep()
        text = bool(self.reading or self.speaking)
        if text and self.drawing:
            turn = min(self._clocks, key=self._clocks.get)
        else:  # who has nothing to do saves no time up
            turn = "text" if text else "drawing"
            self._clocks = dict.fromkeys(self._clocks, 0.0)
        start = time.perf_counter()
        if turn == "text":
            self._read()
            self._speak()
        elif self.drawing:
            self._draw()
        self._clocks[turn] += time.perf_counter() - start

    def clear(self) -> None:
        """Let go of all memory."""
        self.reading, self.speaking, self.drawing = [], {}, []
        self.speech, self.easel = Speech(self.model, self.owner.tokenizer, seated=1), Easel(self.model)
        self.prefixes.clear()

    # Prompts ---------------------------------------------------------------------------------

    def _read(self) -> None:
        """A share of each newcomer's prompt; those that got one this round are last in the next."""
        for errand in list(self.reading):
            self._each(self._start, [errand])
        some = [errand for errand in self.reading if errand.intake is not None and not errand.intake.done]
        share = max(_LEAST_SHARE, self.prompt_tokens // max(1, len(some)))
        left = self.prompt_tokens
        for number, errand in enumerate(some):
            left -= sum(bit.tokens for bit in errand.intake.next(share))
            if left <= 0:
                some = some[: number + 1]
                break
        if some:
            self._each(partial(self._take_in, share), some)
            self.reading = [e for e in self.reading if e not in some] + [e for e in some if e in self.reading]
        for errand in [errand for errand in self.reading if errand.intake is not None and errand.intake.done]:
            self._each(self._begin_parts, [errand])

    def _start(self, errands: Seq[Errand]) -> None:
        """Begin a prompt, from the longest beginning that is kept; not while another takes in more of it."""
        for errand in errands:
            if errand.intake is not None:
                continue
            keys = errand.ticket.keys
            found, context = self.prefixes.find(keys) or (0, None)
            begun = (other.ticket.keys for other in self.reading if other.intake is not None)
            if self.prefixes.most and any(found < min(len(keys), len(k)) and k[found] == keys[found] for k in begun):
                continue
            errand.start(found, context or Context(self.model))
            self.reused_tokens += errand.context.length

    def _take_in(self, share: int, errands: Seq[Errand]) -> None:
        before = [errand.context.length for errand in errands]
        take_in([errand.intake for errand in errands], share)
        self.read_tokens += sum(e.context.length - n for e, n in zip(errands, before, strict=True))

    def _begin_parts(self, errands: Seq[Errand]) -> None:
        """The prompts are taken in. Where their segments end is remembered, for others that begin so."""
        for errand in errands:
            self.reading.remove(errand)
            for number, context in errand.intake.boundaries() if self.prefixes.most else ():
                self.prefixes.keep(errand.ticket.keys[errand.taken + number], context)
            self._next(errand)

    # Words -----------------------------------------------------------------------------------

    def _speak(self) -> None:
        if not self.speaking:
            return
        rows = {id(row): row for row in self.speech.rows}
        for row, text in self.speech.step():
            errand = self.speaking[id(row)]
            errand.ticket.answer_tokens += 1
            self.tokens += 1
            if text:
                self._tell(errand, errand.thoughts.push(text))
        for key, row in rows.items():
            if row.error is not None:
                self._leave(self.speaking[key], row.error)
            elif row.done:
                self._each(self._said, [self.speaking.pop(key)])

    def _said(self, errands: Seq[Errand]) -> None:
        for errand in errands:
            errand.spoken = errand.row.spoken
            self._tell(errand, errand.thoughts.flush())
            self._keep_answer(errand)
            self._next(errand)

    def _tell(self, errand: Errand, pieces: list[tuple[str, bool]]) -> None:
        row = errand.row.spoken
        for event in text_events(pieces):
            tokens, errand.told = tuple(row.tokens[errand.told :]), len(row.tokens)
            errand.ticket.tell(replace(event, tokens=tokens) if tokens else event)

    def _keep_answer(self, errand: Errand) -> None:
        """A conversation that goes on repeats the answer; where its words give the same ids, it can go on from here."""
        if not self.prefixes.most or errand.asked.draws:
            return
        spoken, thinks = errand.spoken, errand.asked.sampling.thinks
        if self.owner.tokenizer.encode(split_thought(spoken.text, thinks)[1]) == spoken.ids:
            (key,) = keys_of([Text(spoken.ids)], errand.ticket.keys[-1])
            self.prefixes.keep(key, errand.context.branch())

    # Drawings --------------------------------------------------------------------------------

    def _draw(self) -> None:
        self._each(self._begin_pictures, [errand for errand in self.drawing if errand.picture is None])
        self._each(self._step, [errand for errand in self.drawing if errand.picture is not None])
        for errand in list(self.drawing):
            self._each(self._show, [errand])
        for errand in [errand for errand in self.drawing if errand.picture.done]:
            self.drawing.remove(errand)
            self.images += 1
            self._next(errand)
        if not self.drawing:  # there may be no other round for a while
            self.easel.forget()

    def _begin_pictures(self, errands: Seq[Errand]) -> None:
        settle([errand.context for errand in errands])
        for errand in errands:
            asked = errand.asked
            errand.picture = Picture(errand.context, asked.shape, asked.drawing, asked.seed)

    def _step(self, errands: Seq[Errand]) -> None:
        self.easel.step([errand.picture for errand in errands])
        self.steps += len(errands)

    def _show(self, errands: Seq[Errand]) -> None:
        """Tell of a step; the image of the last one is the drawing itself."""
        for errand in errands:
            picture, ticket = errand.picture, errand.ticket
            if picture.done:
                errand.drawn = decoded(self.model, picture.x, picture.shape)
            seen: Tensor | None = None
            if _previews(ticket.previews, picture.number, picture.total):
                seen = errand.drawn if picture.done else decoded(self.model, picture.end, picture.shape)
            show = partial(_preview, seen)
            ticket.tell(Event("step", step=Step(picture.number, picture.total, show, seen is not None)))

    # Coming and going ------------------------------------------------------------------------

    def _next(self, errand: Errand) -> None:
        """On to the next part, or to the end."""
        part = errand.parts.popleft() if errand.parts else None
        if part == "target":
            self.drawing.append(errand)
        elif part == "answer":
            try:
                errand.row = self.speech.join(errand.context, errand.asked.sampling)
            except Exception as error:  # noqa: BLE001 - told to the client whose it is
                self._leave(errand, error)
            else:
                self.speaking[id(errand.row)] = errand
        else:
            self._leave(errand, None)

    def _each(self, work: Callable[[Seq[Errand]], None], errands: list[Errand]) -> None:
        """Do it for all together; where that fails, for each alone, so that one fails by itself."""
        if not errands:
            return
        try:
            work(errands)
            return
        except Exception as error:  # noqa: BLE001
            raise_if_lost(error)
            if len(errands) == 1:
                self._leave(errands[0], error)
                return
        for errand in errands:
            self._each(work, [errand])

    def _sweep(self) -> None:
        """Those that nobody waits for any more leave."""
        now = time.monotonic()
        for errand in self.errands:
            error = errand.ticket.over(now)
            if error is not None:
                self._leave(errand, error)
        if not self.drawing:
            self.easel.forget()

    def _leave(self, errand: Errand, error: BaseException | None) -> None:
        """The errand is over: its place is free."""
        if errand in self.reading:
            self.reading.remove(errand)
        if errand in self.drawing:
            self.drawing.remove(errand)
        if errand.row is not None and self.speaking.pop(id(errand.row), None) and errand.row in self.speech.rows:
            self.speech.leave(errand.row)
        result = None
        if error is None:
            try:
                result = errand.asked.result(errand.spoken, errand.drawn)
            except Exception as failure:  # noqa: BLE001 - told to the client whose it is
                error = failure
        self.ended(errand.ticket, error)
        errand.ticket.finish(result) if error is None else errand.ticket.fail(error)


def _room(ticket: Ticket, context: Context) -> int:
    """Tokens that a request will write into its context, as far as that is known; more can follow."""
    asked = ticket.asked
    answer = min(asked.sampling.max_tokens, _ANSWER) if "answer" in asked.parts else 0
    drawn = asked.shape[0] * asked.shape[1] if asked.draws else 0
    return ticket.prompt_tokens - context.length + answer + drawn + _MARKERS


def _previews(wanted: bool | int, number: int, total: int) -> bool:
    """Whether a step is shown, of `wanted` evenly spread ones; the last is among them."""
    if isinstance(wanted, bool):
        return wanted
    return number * wanted // total > (number - 1) * wanted // total


def _preview(seen: Tensor | None) -> list[Tensor]:
    if seen is None:
        raise ValueError("this step was not decoded; ask for previews when you submit")
    return [seen]
