"""Softmax attention as two batched matrix products, for bf16 on the CPU.

PyTorch's fused kernel computes bf16 there at the rate of float32; processors that multiply bf16 are
up to twice as fast this way. Scores are rounded to bf16, the softmax is computed in float32.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

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


def _scores(q: Tensor, k: Tensor) -> Tensor:
    """[heads, n, dim] and [heads, m, dim] to [heads, n, m]."""
    return torch.baddbmm(q.new_empty(()), q, k.transpose(1, 2), beta=0, alpha=q.shape[-1] ** -0.5)


def attend_batch(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Attention with gradients: q [batch, heads, n, dim], k and v [batch, kv_heads, n, dim] to q's shape.

    bias: [n, n], added to the scores; minus infinity where a row does not see a column.
    """
    heads, n, dim = q.shape[1:]
    group = heads // k.shape[1]
    # Query heads that share a key head become rows of it.
    folded, k, v = q.reshape(-1, group * n, dim), k.flatten(0, 1), v.flatten(0, 1)
    if bias is None:
        scores = _scores(folded, k)
    else:
        bias = bias.repeat(group, 1).expand(len(folded), -1, -1)
        scores = torch.baddbmm(bias, folded, k.transpose(1, 2), alpha=dim**-0.5)
    return torch.bmm(scores.softmax(-1).to(v.dtype), v).view(q.shape)
