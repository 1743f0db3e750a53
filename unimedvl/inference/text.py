"""Speaking: next tokens for several contexts at once, each as it would be alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from unimedvl.inference.choosing import choose
from unimedvl.inference.context import Context, settle
from unimedvl.inference.sampling import Sampling, check_seed
from unimedvl.inference.thought import CLOSE, OPEN
from unimedvl.model.unified import UnifiedModel
from unimedvl.tokenizer import StreamDecoder, Tokenizer

__all__ = ["Piece", "Sampling", "Speech", "Spoken", "Token", "check_seed", "score", "speak", "speak_all"]

Finish = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class Token:
    """A token of an answer: its text and its bytes (which may be half a character), and its log-probability.

    top: the likeliest in its place, the likeliest first, where they were asked for.
    """

    text: str
    bytes: tuple[int, ...]
    logprob: float
    top: tuple[Token, ...] = ()


@dataclass
class Spoken:
    """One answer.

    logprobs: of each token under the model itself, before temperature and cuts, the closing one's too.
    tokens: of the answer without the closing one, where `Sampling.top_logprobs` asked for them.
    """

    text: str = ""
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: Finish = "length"
    tokens: list[Token] = field(default_factory=list)

    @property
    def confidence(self) -> float:
        """Geometric mean of the tokens' probabilities, 0 to 1."""
        return math.exp(sum(self.logprobs) / len(self.logprobs)) if self.logprobs else 0.0


@dataclass(frozen=True)
class Piece:
    """New text of answer number `row`, as it streams."""

    row: int
    text: str


class Row:
    """One answer in the making: its decoder, its random numbers, and text held back for stop strings."""

    def __init__(self, tokenizer: Tokenizer, sampling: Sampling, context: Context) -> None:
        self.context, self.sampling = context, sampling
        self.most = min(sampling.max_tokens, _room(context))
        self.spoken = Spoken()
        self.decoder: StreamDecoder = tokenizer.stream()
        self.generator = torch.Generator().manual_seed(sampling.seed or 0)
        self.following = None if sampling.constraint is None else sampling.constraint.follow(tokenizer)
        self.held = ""
        self.done = False
        self.error: Exception | None = None  # what ended this answer alone
        self.chosen: int | None = None  # the last token, which the context has not taken in

    def push(self, token: int, logprob: float, close: int) -> str:
        """Take a token; returns the text that can be shown now."""
        self.spoken.logprobs.append(logprob)
        self.chosen = token
        if token == close:
            return self._end("stop", self.held + self.decoder.flush())
        self.spoken.ids.append(token)
        self.held += self.decoder.push(token)
        places = [(self.held.find(s, self._answer_from()), s) for s in self.sampling.stop]
        found = [(at + len(s), at) for at, s in places if at >= 0]
        if found:  # the one that is complete first, wherever tokens break
            return self._end("stop", self.held[: min(found)[1]])
        if len(self.spoken.ids) >= self.most:
            return self._end("length", self.held + self.decoder.flush())
        keep = max((_overlap(self.held, stop) for stop in self.sampling.stop), default=0)
        ready, self.held = self.held[: len(self.held) - keep], self.held[len(self.held) - keep :]
        self.spoken.text += ready
        return ready

    def _answer_from(self) -> int:
        """Where in the held text the answer begins: after the reasoning, where there is any."""
        said = self.spoken.text + self.held
        if not said.lstrip().startswith(OPEN):
            return 0
        end = said.find(CLOSE)
        return len(self.held) if end < 0 else max(0, end + len(CLOSE) - len(self.spoken.text))

    def cancel(self) -> None:
        """End where it stands; what was held back is part of the text."""
        self._end("cancelled", self.held + self.decoder.flush())

    def fail(self, error: Exception) -> None:
        self.done, self.error = True, error

    def leave(self, close: int) -> None:
        """The context owes the last token, which was chosen but not taken in, and the one that closes the text."""
        if self.chosen is not None:
            self.context.owe(*([] if self.chosen == close else [self.chosen]), close)

    def _end(self, finish: Finish, text: str) -> str:
        self.done, self.held, self.spoken.finish = True, "", finish
        self.spoken.text += text
        return text


def _room(context: Context) -> int:
    """Tokens that the model has positions for, beside those that open and close the answer."""
    most, used = context.model.config.decoder.max_position_embeddings, context.cache.position
    if used + 3 > most:
        raise ValueError(f"the conversation fills the model's {most} positions; shorten it or start a new one")
    return most - used - 2


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-n:])), 0)


class Speech:
    """Answers in the making that share each step. Rows join and leave between steps.

    Each row draws from its own generator, so an answer does not depend on its neighbours.
    """

    def __init__(self, model: UnifiedModel, tokenizer: Tokenizer, seated: int = 2) -> None:
        """seated: from so many rows on they get seats (`model/seats.py`)."""
        self.model, self.tokenizer, self.seated = model, tokenizer, seated
        self.special = model.config.special
        self.rows: list[Row] = []  # first those that have seats, in their order
        self.seats = model.new_seats()
        self._chosen: tuple[list[Row], Tensor] = ([], torch.empty(0))  # where they still are on the device

    def join(self, context: Context, sampling: Sampling) -> Row:
        """A new row, which speaks from the next step on. Raises ValueError where the context is full."""
        settle([context])
        row = Row(self.tokenizer, sampling, context)
        if self.seated > 1:
            context.cache.reserve(min(row.most, 1024) + 2)
        self.rows.append(row)
        return row

    @torch.inference_mode()
    def step(self) -> list[tuple[Row, str]]:
        """One token for every row: the rows and the text that each can show now. Rows that end leave.

        What fails for one row ends that one (`row.error`), not its neighbours.
        """
        logits, rows = self._logits()
        if not rows:
            return []
        tokens, logprobs = choose(logits, rows)
        self._tell(rows, logits, tokens)
        said = []
        # One transfer per step for the whole batch: whoever streams needs the tokens now.
        for row, token, logprob in zip(rows, tokens.tolist(), logprobs.tolist(), strict=True):
            if row.error is None:
                said.append((row, row.push(token, logprob, self.special.text_close)))
        self._chosen = (rows, tokens)
        for row in [row for row in self.rows if row.done]:
            self.leave(row)
        return said

    @torch.inference_mode()
    def leave(self, row: Row) -> None:
        """Take a row out; one that has not ended is cancelled. Its context can go on."""
        self._stand(row)
        self.rows.remove(row)
        self._chosen = ([], torch.empty(0))  # which would keep its context
        if not row.done:
            row.cancel()
        row.leave(self.special.text_close)

    def _sit(self) -> None:
        """Give seats to those who have none, where several speak; take them from those who have outgrown them."""
        for row in self.rows[: len(self.seats.taken)]:
            if not self.seats.fits(row.context.cache):
                self._stand(row)
        if len(self.rows) < self.seated:
            return
        for row in self.rows[len(self.seats.taken) :]:
            if self.seats.fits(row.context.cache):
                self.seats.sit(row.context.cache)
        self._order()

    def _stand(self, row: Row) -> None:
        if row.context.cache in self.seats.taken:
            self.seats.rise(row.context.cache)
            self._order()

    def _order(self) -> None:
        places = {id(cache): number for number, cache in enumerate(self.seats.taken)}
        self.rows.sort(key=lambda row: places.get(id(row.context.cache), len(places)))

    def _ids(self) -> Tensor:
        before, tokens = self._chosen
        if len(before) == len(self.rows) and all(a is b for a, b in zip(before, self.rows, strict=True)):
            return tokens
        first = self.special.text_open
        return torch.tensor([first if r.chosen is None else r.chosen for r in self.rows], device=self.model.device)

    def _logits(self) -> tuple[Tensor, list[Row]]:
        """Scores of the next tokens of the rows that can be scored, and these rows."""
        self._sit()
        ids = self._ids()
        try:
            return self.model.logits([r.context.cache for r in self.rows], ids, self.seats), list(self.rows)
        except Exception as error:  # noqa: BLE001 - told to the row whose it is
            if len(self.rows) == 1:
                self._fail(self.rows[0], error)
                return torch.empty(0), []
        scored = []  # nothing was kept in the caches, so each can be tried alone
        for row, token in zip(list(self.rows), ids, strict=True):
            self._stand(row)
            try:
                scored.append((self.model.logits([row.context.cache], token[None]), row))
            except Exception as error:  # noqa: BLE001
                self._fail(row, error)
        return torch.cat([x for x, _ in scored]) if scored else torch.empty(0), [row for _, row in scored]

    def _fail(self, row: Row, error: Exception) -> None:
        raise_if_lost(error)
        row.fail(error)
        self._stand(row)
        self.rows.remove(row)

    def _tell(self, rows: Seq[Row], logits: Tensor, tokens: Tensor) -> None:
        """The likeliest tokens in the place of those chosen, for the rows that ask."""
        for i, row in enumerate(rows):
            if row.sampling.top_logprobs is None:
                continue
            token, logprobs = int(tokens[i]), logits[i].float().log_softmax(-1)
            if token == self.special.text_close:
                continue
            top = logprobs.topk(min(row.sampling.top_logprobs, len(logprobs)))
            alternatives = zip(top.indices.tolist(), top.values.tolist(), strict=True)
            alike = tuple(self._token(other, value) for other, value in alternatives)
            row.spoken.tokens.append(self._token(token, logprobs[token].item(), alike))

    def _token(self, token: int, logprob: float, top: tuple[Token, ...] = ()) -> Token:
        spelt = self.tokenizer.token_bytes(token)
        return Token(spelt.decode("utf-8", errors="replace"), tuple(spelt), logprob, top)


def raise_if_lost(error: Exception) -> None:
    """Raises an error after which the device does nothing right any more, for nobody."""
    if isinstance(error, torch.AcceleratorError):
        raise error


def speak(
    contexts: Seq[Context],
    tokenizer: Tokenizer,
    sampling: Sampling | Seq[Sampling],
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Piece]:
    """Answer in every context; yields text as it comes and returns the list of `Spoken`."""
    samplings = [sampling] * len(contexts) if isinstance(sampling, Sampling) else list(sampling)
    settle(contexts)
    speech = Speech(contexts[0].model, tokenizer)
    rows = [speech.join(c, s) for c, s in zip(contexts, samplings, strict=True)]
    number = {id(row): i for i, row in enumerate(rows)}
    try:
        while speech.rows and not cancelled():
            for row, text in speech.step():
                if text:
                    yield Piece(number[id(row)], text)
            for row in rows:
                if row.error is not None:
                    raise row.error
    finally:  # also where nobody listens any more: the context must stay one that can go on
        for row in list(speech.rows):
            speech.leave(row)
    return [row.spoken for row in rows]


def speak_all(
    contexts: Seq[Context],
    tokenizer: Tokenizer,
    sampling: Sampling | Seq[Sampling],
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Spoken]:
    """`speak` without the stream."""
    stream = speak(contexts, tokenizer, sampling, cancelled)
    while True:
        try:
            next(stream)
        except StopIteration as end:
            return end.value


def score(context: Context, tokenizer: Tokenizer, texts: Seq[str]) -> list[float]:
    """Log-probability of each text as the answer in this context; the context stays as it is."""
    settle([context])
    special = context.model.config.special
    totals = []
    for text in texts:
        cache = context.cache.branch()
        ids = [special.text_open, *tokenizer.encode(text), special.text_close]
        total = 0.0
        for token, following in zip(ids, ids[1:], strict=False):
            logits = context.model.logits([cache], torch.tensor([token], device=context.model.device))
            total += logits[0].float().log_softmax(-1)[following].item()
        totals.append(total)
    return totals
