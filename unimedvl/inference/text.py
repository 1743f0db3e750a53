"""Speaking: next tokens for several contexts at once, each as it would be alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from unimedvl.inference.context import Context, settle
from unimedvl.inference.thought import CLOSE, OPEN
from unimedvl.tokenizer import StreamDecoder, Tokenizer

Finish = Literal["stop", "length", "cancelled"]
# Logits divided by less are no numbers any more.
_LEAST_TEMPERATURE = 1e-4


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    temperature: 0 takes the likeliest. top_k: only the k likeliest (0: all). top_p: only the
        likeliest that together have this probability. repetition_penalty: over 1 makes tokens of
        the answer so far less likely (CTRL, arXiv 1909.05858). seed: the same gives the same; the
        request's own where None.
    stop: texts that end the answer and are not part of it; reasoning before it may hold them. max_tokens: at
        most so many.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    max_tokens: int = 256

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            object.__setattr__(self, "stop", (self.stop,))
        if not (self.temperature == 0 or _LEAST_TEMPERATURE <= self.temperature < math.inf):
            raise ValueError(
                f"temperature is {self.temperature}; it must be 0, or a number of {_LEAST_TEMPERATURE:g} or more"
            )
        if not 0 < self.repetition_penalty < math.inf:
            raise ValueError(f"repetition_penalty is {self.repetition_penalty}; it must be a number over 0")
        if self.seed is not None:
            check_seed(self.seed)
        if "" in self.stop:
            raise ValueError("a stop text is empty, which would end every answer at once; leave it out")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; it must be over 0 and at most 1")
        if self.top_k < 0 or self.max_tokens < 1:
            raise ValueError("top_k must be 0 or more, max_tokens 1 or more")


def check_seed(seed: int) -> None:
    """Raises ValueError for what can't seed a random generator."""
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ValueError(f"seed is {seed}; it must be a whole number from 0 to {2**63 - 1}")


@dataclass
class Spoken:
    """One answer. logprobs: of each token under the model itself, before temperature and cuts."""

    text: str = ""
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: Finish = "length"

    @property
    def confidence(self) -> float:
        """Geometric mean of the tokens' probabilities, 0 to 1."""
        return math.exp(sum(self.logprobs) / len(self.logprobs)) if self.logprobs else 0.0


@dataclass(frozen=True)
class Piece:
    """New text of answer number `row`, as it streams."""

    row: int
    text: str


class _Row:
    """One answer in the making: its decoder, its random numbers, and text held back for stop strings."""

    def __init__(self, tokenizer: Tokenizer, sampling: Sampling, context: Context) -> None:
        self.context, self.sampling = context, sampling
        self.most = min(sampling.max_tokens, _room(context))
        self.spoken = Spoken()
        self.decoder: StreamDecoder = tokenizer.stream()
        self.generator = torch.Generator().manual_seed(sampling.seed or 0)
        self.held = ""
        self.done = False
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


def speak(
    contexts: Seq[Context],
    tokenizer: Tokenizer,
    sampling: Sampling | Seq[Sampling],
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Piece]:
    """Answer in every context; yields text as it comes and returns the list of `Spoken`.

    Rows that end leave the batch at once. Each row draws from its own generator, so an answer does
    not depend on its neighbours.
    """
    model = contexts[0].model
    special = model.config.special
    samplings = [sampling] * len(contexts) if isinstance(sampling, Sampling) else list(sampling)
    settle(contexts)
    rows = [_Row(tokenizer, s, c) for s, c in zip(samplings, contexts, strict=True)]
    for row in rows:
        row.context.cache.reserve(min(row.most, 1024) + 2)
    active = list(range(len(rows)))
    ids = torch.full((len(rows),), special.text_open, device=model.device)
    try:
        while active and not cancelled():
            logits = model.logits([rows[i].context.cache for i in active], ids)
            tokens, logprobs = choose(logits, [rows[i] for i in active])
            # One transfer per step for the whole batch: whoever streams needs the tokens now.
            for i, token, logprob in zip(list(active), tokens.tolist(), logprobs.tolist(), strict=True):
                text = rows[i].push(token, logprob, special.text_close)
                if text:
                    yield Piece(i, text)
            keep = [n for n, i in enumerate(active) if not rows[i].done]
            ids = tokens if len(keep) == len(active) else tokens[keep]
            active = [active[n] for n in keep]
    finally:  # also where nobody listens any more: the context must stay one that can go on
        for i in active:
            rows[i].cancel()
        for row in rows:
            _finish(row, special.text_close)
    return [row.spoken for row in rows]


def _finish(row: _Row, close: int) -> None:
    """The last token was chosen but not taken in, and the text must be closed before anything follows."""
    if row.chosen is None:
        return
    if row.chosen != close:
        device = row.context.model.device
        row.context.model.logits([row.context.cache], torch.tensor([row.chosen], device=device))
    row.context.owe(close)


def choose(logits: Tensor, rows: Seq[_Row]) -> tuple[Tensor, Tensor]:
    """The next token of each row and its log-probability: [B, vocabulary] to [B] and [B]."""
    logits = logits.float()
    logprobs = logits.log_softmax(-1)
    if all(r.sampling.temperature == 0 and r.sampling.repetition_penalty == 1 for r in rows):
        tokens = logits.argmax(-1)
    else:
        tokens = torch.stack([_choose_one(line, row) for line, row in zip(logits, rows, strict=True)])
    return tokens, logprobs.gather(1, tokens[:, None]).squeeze(1)


def _choose_one(logits: Tensor, row: _Row) -> Tensor:
    sampling = row.sampling
    if sampling.repetition_penalty != 1 and row.spoken.ids:
        seen = torch.tensor(sorted(set(row.spoken.ids)), device=logits.device)
        value = logits[seen]
        penalised = torch.where(value > 0, value / sampling.repetition_penalty, value * sampling.repetition_penalty)
        logits = logits.index_copy(0, seen, penalised)
    if sampling.temperature == 0:
        return logits.argmax(-1)
    ordered, index = (logits / sampling.temperature).sort(descending=True, stable=True)
    if sampling.top_k:
        ordered = ordered[: sampling.top_k]
    probabilities = ordered.softmax(-1)
    total = probabilities.cumsum(-1)
    # the first token that passes top_p still belongs
    kept = total - probabilities < sampling.top_p
    total = (probabilities * kept).cumsum(-1)
    point = torch.rand((), generator=row.generator).to(total.device) * total[-1]
    return index[torch.searchsorted(total, point).clamp(max=len(total) - 1)]


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
