"""Softmax attention as two batched matrix products, for bf16 on the CPU.

PyTorch's fused kernel computes bf16 there at the rate of float32; processors that multiply bf16 are
up to twice as fast this way. Scores are rounded to bf16, the softmax is computed in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Scores held at once in inference: few enough for the caches of a core, many enough for full products.
_SCORES = 2**20


@cache
def _multiplies_bf16() -> bool:
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def by_products(q: Tensor) -> bool:
    """Whether attention of these queries is faster as products than in PyTorch's fused kernel."""
    return q.dtype == torch.bfloat16 and q.device.type == "cpu" and _multiplies_bf16()


def attend_products(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """Attention of the last n tokens over all: q [n, heads, dim] to the same, without gradient.

    k, v: [kv_heads, tokens, dim]. causal: the n last keys are the queries' own, and each sees only
    those before it.
    """
    n, heads, dim = q.shape
    kv_heads, total, _ = k.shape
    rows = max(32, _SCORES // (heads * total))
    grouped = q.view(n, kv_heads, heads // kv_heads, dim).permute(1, 2, 0, 3)
    out = torch.empty_like(q)
    into = out.view(n, kv_heads, -1, dim).permute(1, 2, 0, 3)
    # Slices of a cache would be copied by each product, and the keys slowly, for they are turned.
    keys, values, hidden = (None, None, _later(min(n, rows))) if causal else (k.contiguous(), v.contiguous(), None)
    for start in range(0, n, rows):
        end = min(n, start + rows)
        if causal:
            seen = total - n + end
            keys, values = k[:, :seen].contiguous(), v[:, :seen].contiguous()
        scores = _scores(grouped[:, :, start:end].reshape(kv_heads, -1, dim), keys)
        if causal:
            own = scores.unflatten(1, (-1, end - start))[..., start - end :]
            own += hidden[: end - start, : end - start]
        into[:, :, start:end] = torch.bmm(scores.softmax(-1), values).unflatten(1, (-1, end - start))
    return out


def _later(n: int) -> Tensor:
    """To be added to the scores of n causal tokens among themselves: minus infinity above the diagonal."""
    return torch.full((n, n), -torch.inf, dtype=torch.bfloat16).triu(1)


def _scores(q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
    """[heads, n, dim] and [heads, m, dim] to [heads, n, m]; bias [n, m] is added."""
    start, kept = (q.new_empty(()), 0) if bias is None else (bias.expand(len(q), -1, -1), 1)
    return torch.baddbmm(start, q, k.transpose(1, 2), beta=kept, alpha=q.shape[-1] ** -0.5)


@dataclass(frozen=True)
class Folding:
    """How rows of heads are laid out for products: query heads that share a key head become rows of it.

    runs: (sequences, tokens of each) that are multiplied in one call. queries, keys: for each place of the layout the
    row of a head [T * heads] that stands there; queries_back, keys_back: the inverse. biases: for each run what is
    added to the scores of those who share a key head, [group * tokens, tokens].
    """

    runs: list[tuple[int, int]]
    queries: Tensor
    keys: Tensor
    queries_back: Tensor
    keys_back: Tensor
    biases: list[Tensor] | None = None


def fold(
    runs: list[tuple[int, int]],
    heads: int,
    kv_heads: int,
    order: Tensor | None = None,
    biases: list[Tensor] | None = None,
) -> Folding:
    """The layout of sequences one after another.

    order [T]: the row of each of their tokens, where not the same. biases: for runs of one sequence each, [n, n], minus
    infinity where a row does not see a column.
    """
    sizes = [count * n for count, n in runs]
    tokens = (torch.arange(sum(sizes)) if order is None else order).split(sizes)

    def rows(heads: int) -> Tensor:
        each = [part.view(count, 1, n) for part, (count, n) in zip(tokens, runs, strict=True)]
        return torch.cat([(part * heads + torch.arange(heads)[:, None]).flatten() for part in each])

    queries = rows(heads)
    keys = queries if heads == kv_heads else rows(kv_heads)
    repeated = None if biases is None else [bias.repeat(heads // kv_heads, 1) for bias in biases]
    return Folding(runs, queries, keys, torch.argsort(queries), torch.argsort(keys), repeated)


def attend_sequences(q: Tensor, k: Tensor, v: Tensor, folding: Folding) -> Tensor:
    """Attention of each sequence within itself, with gradients: q [T, heads, dim], k and v [T, kv_heads, dim].

    Returns q's shape. What is kept for the backward pass are the folded rows and the softmax.
    """
    return _Attend.apply(q, k, v, folding)


class _Attend(torch.autograd.Function):
    """Rows are moved once on the way in and once on the way out; products write where their results belong."""

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor, folding: Folding) -> Tensor:
        rows = _moved(q, folding.queries), _moved(k, folding.keys), _moved(v, folding.keys)
        out = torch.empty_like(rows[0])
        kept = []
        for i, (a, b, c, into) in enumerate(_runs(folding, k.shape[1], *rows, out)):
            scores = _scores(a, b, folding.biases and folding.biases[i])
            kept.append(torch._softmax(scores, -1, False))
            torch.bmm(kept[-1], c, out=into)
        ctx.save_for_backward(*rows, *kept)
        ctx.folding, ctx.kv_heads = folding, k.shape[1]
        return _moved(out, folding.queries_back).view(q.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        folding = ctx.folding
        q, k, v, *kept = ctx.saved_tensors
        grads = [torch.empty_like(x) for x in (q, k, v)]
        scale = q.shape[-1] ** -0.5
        runs = _runs(folding, ctx.kv_heads, q, k, v, _moved(grad, folding.queries), *grads)
        for weights, (a, b, c, g, to_a, to_b, to_c) in zip(kept, runs, strict=True):
            torch.bmm(weights.transpose(1, 2), g, out=to_c)
            of_scores = torch._softmax_backward_data(torch.bmm(g, c.transpose(1, 2)), weights, -1, weights.dtype)
            torch.baddbmm(to_a, of_scores, b, beta=0, alpha=scale, out=to_a)
            torch.baddbmm(to_b, of_scores.transpose(1, 2), a, beta=0, alpha=scale, out=to_b)
        back = folding.queries_back, folding.keys_back, folding.keys_back
        of_q, of_k, of_v = (_moved(x, rows).unflatten(0, (len(grad), -1)) for x, rows in zip(grads, back, strict=True))
        return of_q, of_k, of_v, None


def _moved(x: Tensor, rows: Tensor) -> Tensor:
    """Rows [..., dim] of a tensor in another order: [rows, dim]."""
    return x.reshape(-1, x.shape[-1]).index_select(0, rows)


def _runs(folding: Folding, kv_heads: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The folded tensors of each run: [sequences * kv_heads, rows, dim]."""
    sizes = [count * n for count, n in folding.runs]
    tokens = sum(sizes)
    parts = zip(*(x.split([n * (len(x) // tokens) for n in sizes]) for x in tensors), strict=True)
    for (count, _), part in zip(folding.runs, parts, strict=True):
        yield tuple(x.view(count * kv_heads, -1, x.shape[-1]) for x in part)
