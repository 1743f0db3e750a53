"""The next token of each row: its constraint and its penalty, then the likeliest, or one by chance."""

from __future__ import annotations

import math
from collections.abc import Sequence as Seq
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from unimedvl.inference.text import Row


def choose(logits: Tensor, rows: Seq[Row]) -> tuple[Tensor, Tensor]:
    """The next token of each row and its log-probability: [B, vocabulary] to [B] and [B].

    A row for which it fails is failed.
    """
    logits = logits.float()
    logprobs = logits.log_softmax(-1)
    if any(r.following is not None or r.sampling.repetition_penalty != 1 for r in rows):
        logits = torch.stack([_allowed(line, row) for line, row in zip(logits, rows, strict=True)])
    tokens = logits.argmax(-1)
    chance = [i for i, row in enumerate(rows) if row.sampling.temperature]
    if chance:
        tokens = tokens.index_copy(0, *_drawn(logits, rows, chance))
    if any(row.following is not None for row in rows):
        for row, token in zip(rows, tokens.tolist(), strict=True):
            if row.following is not None and row.error is None:
                row.following.take(token)
    return tokens, logprobs.gather(1, tokens[:, None]).squeeze(1)


def _allowed(logits: Tensor, row: Row) -> Tensor:
    """Scores [vocabulary] under the row's penalty, minus infinity for what its constraint does not allow."""
    penalty = row.sampling.repetition_penalty
    if penalty != 1 and row.spoken.ids:
        seen = torch.tensor(sorted(set(row.spoken.ids)), device=logits.device)
        value = logits[seen]
        logits = logits.index_copy(0, seen, torch.where(value > 0, value / penalty, value * penalty))
    if row.following is None:
        return logits
    try:
        allowed = row.following.allowed(len(logits))
    except Exception as error:  # noqa: BLE001 - told to the row whose it is
        row.fail(error)
        return logits
    return logits.masked_fill(~allowed.to(logits.device), -math.inf)


def _drawn(logits: Tensor, rows: Seq[Row], chance: Seq[int]) -> tuple[Tensor, Tensor]:
    """Tokens by chance for the rows of these numbers, of those that their settings leave: numbers and tokens."""
    settings = [rows[i].sampling for i in chance]
    which, size = torch.tensor(chance, device=logits.device), logits.shape[1]
    temperature, top_p = (
        torch.tensor(values, device=logits.device)[:, None]
        for values in ([s.temperature for s in settings], [s.top_p for s in settings])
    )
    ordered, index = (logits[which] / temperature).sort(dim=-1, descending=True, stable=True)
    if any(s.top_k for s in settings):
        most = torch.tensor([min(s.top_k or size, size) for s in settings], device=logits.device)
        ordered = ordered.masked_fill(torch.arange(size, device=logits.device) >= most[:, None], -math.inf)
    probabilities = ordered.softmax(-1)
    total = probabilities.cumsum(-1)
    # the first token that passes top_p still belongs
    kept = total - probabilities < top_p
    total = (probabilities * kept).cumsum(-1)
    points = torch.stack([torch.rand((), generator=rows[i].generator) for i in chance]).to(total.device)
    at = torch.searchsorted(total, points[:, None] * total[:, -1:]).clamp(max=size - 1)
    return which, index.gather(1, at).squeeze(1)
