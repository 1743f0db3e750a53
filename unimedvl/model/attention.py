"""Attention: one rule of who sees whom, in the two forms that the model meets.

`PackedAttention` serves training: whole sequences at once, the mask made from per-token metadata.
`CachedAttention` serves inference: new tokens over a cache, no mask but the causal one of text.
Both are called by the decoder as ``attention(layer, q, k, v)`` with rows in the batch's sorted
order and give the same numbers (tests/model/test_attention.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from unimedvl.model.cache import Cache
from unimedvl.model.flex import BlockMask, attend_packed, block_mask, in_one_kernel
from unimedvl.model.products import Folding, attend_products, attend_sequences, by_products, fold
from unimedvl.sequence import PackedBatch

# From so many keys on, products are faster for a single token too.
_LONG = 768


class _Rearrange(torch.autograd.Function):
    """Rows by index, whose gradient is again rows by index: a scatter would be slow and unordered."""

    @staticmethod
    def forward(ctx, x: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (inverse,) = ctx.saved_tensors
        return grad.contiguous().index_select(0, inverse), None, None


class PackedAttention:
    """Attention of a packed batch: sequence by sequence on a CPU, in one kernel on a GPU. Nothing is padded."""

    def __init__(self, batch: PackedBatch) -> None:
        self.batch = batch
        self.order, self.inverse = batch.order, torch.argsort(batch.order)
        self._folding: Folding | None = None

    @cached_property
    def _blocks(self) -> BlockMask:
        return block_mask(self.batch)

    @cached_property
    def _masks(self) -> list[Tensor]:
        return self.batch.masks()

    @property
    def _biases(self) -> list[Tensor]:
        """The masks as what is added to scores."""
        zero = torch.zeros((), dtype=torch.bfloat16)
        return [zero.masked_fill(~mask, -torch.inf) for mask in self.batch.masks()]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [T, heads, dim], k and v [T, kv_heads, dim] to [T, heads * dim]."""
        if by_products(q):
            if self._folding is None:  # one for all layers
                runs = [(1, n) for n in self.batch.lengths]
                self._folding = fold(runs, q.shape[1], k.shape[1], self.order, self._biases)
            return attend_sequences(q, k, v, self._folding).flatten(1)
        q, k, v = (
            _Rearrange.apply(x, self.order, self.inverse).transpose(0, 1).unsqueeze(0) for x in (q, k, v)
        )
        out = attend_packed(q, k, v, self._blocks) if in_one_kernel(q) else self._by_sequence(q, k, v)
        out = out.squeeze(0).transpose(0, 1).flatten(1)
        return _Rearrange.apply(out, self.inverse, self.order)

    def _by_sequence(self, *qkv: Tensor) -> Tensor:
        gqa = qkv[0].shape[1] != qkv[1].shape[1]
        parts = zip(*(x.split(self.batch.lengths, 2) for x in qkv), strict=True)
        attended = [
            F.scaled_dot_product_attention(*part, mask, enable_gqa=gqa)
            for part, mask in zip(parts, self._masks, strict=True)
        ]
        return torch.cat(attended, dim=2)


@dataclass(frozen=True)
class Span:
    """New tokens of one cache, in natural order: per segment the number of tokens and whether causal."""

    cache: Cache
    segments: list[tuple[int, bool]]

    @property
    def tokens(self) -> int:
        return sum(n for n, _ in self.segments)


class CachedAttention:
    """Attention of new tokens of several caches; each segment sees all that precedes it.

    order: natural order as rows of the sorted batch, and inverse its inverse; None where the
    sorted order is the natural one (text alone).
    """

    def __init__(self, spans: list[Span], order: Tensor | None = None, inverse: Tensor | None = None) -> None:
        self.spans, self.order, self.inverse = spans, order, inverse
        for span in spans:
            span.cache.reserve(span.tokens)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [T, heads, dim], k and v [T, kv_heads, dim] to [T, heads * dim]."""
        if self.order is not None:
            q, k, v = (x.index_select(0, self.order) for x in (q, k, v))
        out = torch.empty_like(q)
        sizes = [span.tokens for span in self.spans]
        for span, *qkv, into in zip(self.spans, *(x.split(sizes) for x in (q, k, v, out)), strict=True):
            blocks = span.cache.write(layer, *qkv[1:])
            self._segments(span, qkv[0], blocks, into)
        out = out.flatten(1)
        return out if self.inverse is None else out.index_select(0, self.inverse)

    @staticmethod
    def _segments(span: Span, q: Tensor, blocks: list[tuple[Tensor, Tensor]], out: Tensor) -> None:
        if len(span.segments) == 1:
            out.copy_(attend(q, blocks, span.segments[0][1]))
            return
        own_keys, own_values = blocks[-1]
        before = own_keys.shape[1] - span.tokens
        done = 0
        for n, causal in span.segments:
            end = before + done + n
            seen = [*blocks[:-1], (own_keys[:, :end], own_values[:, :end])]
            out[done : done + n] = attend(q[done : done + n], seen, causal)
            done += n


def attend(q: Tensor, blocks: list[tuple[Tensor, Tensor]], causal: bool) -> Tensor:
    """Attention of the last n tokens over all blocks: q [n, heads, dim] to the same.

    blocks: (keys, values), each [kv_heads, tokens, dim]. causal: among the n last tokens
    themselves each sees only those before it; earlier tokens are seen by all.
    """
    n = q.shape[0]
    if by_products(q) and (n > 1 or sum(k.shape[1] for k, _ in blocks) >= _LONG):
        k, v = blocks[0] if len(blocks) == 1 else (torch.cat(parts, 1) for parts in zip(*blocks, strict=True))
        return attend_products(q, k, v, causal)
    if not causal or n == 1:
        parts = [(k, v, False) for k, v in blocks]
    else:
        k, v = blocks[-1]
        split = k.shape[1] - n
        parts = [(k, v, False) for k, v in blocks[:-1]]
        if split:
            parts.append((k[:, :split], v[:, :split], False))
        parts.append((k[:, split:], v[:, split:], True))
    if len(parts) == 1:
        return _attend_one(q, *parts[0])
    outs, weights = zip(*(_attend_weighed(q, *part) for part in parts), strict=True)
    # softmax over the union = the parts' softmaxes weighed by their sums of exponentials
    share = torch.stack(weights).softmax(0).unsqueeze(-1)
    return (torch.stack(outs).float() * share).sum(0).to(q.dtype)


def _fold(q: Tensor, kv_heads: int) -> Tensor:
    """Query heads that share a key head become rows of it: [n, heads, d] to [1, kv_heads, group * n, d]."""
    n, heads, d = q.shape
    if n == 1:
        return q.view(1, kv_heads, -1, d)
    return q.view(n, kv_heads, heads // kv_heads, d).permute(1, 2, 0, 3).reshape(1, kv_heads, -1, d)


def _unfold(x: Tensor, n: int) -> Tensor:
    """Inverse of `_fold` for [1, kv_heads, group * n, ...]: [n, heads, ...]."""
    if n == 1:
        return x.flatten(1, 2)
    x = x.squeeze(0).unflatten(1, (-1, n))
    return x.movedim(2, 0).flatten(1, 2)


def _attend_one(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    if causal:
        q, k, v = (x.unsqueeze(0) for x in (q.transpose(0, 1), k, v))
        gqa = q.shape[1] != k.shape[1]
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=gqa)
        return out.squeeze(0).transpose(0, 1)
    out = F.scaled_dot_product_attention(_fold(q, k.shape[0]), k.unsqueeze(0), v.unsqueeze(0))
    return _unfold(out, q.shape[0])


def _attend_weighed(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    """Output [n, heads, dim] and the log of the sum of exponentials [n, heads] in float32."""
    n, kv_heads = q.shape[0], k.shape[0]
    folded, k, v = _fold(q, kv_heads), k.unsqueeze(0), v.unsqueeze(0)
    if not causal and q.device.type == "cpu":
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(folded, k, v)
        return _unfold(out, n), _unfold(lse.float(), n)
    if not causal and q.is_cuda:
        out, lse, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(folded, k, v, None, True)
        return _unfold(out, n), _unfold(lse[..., : folded.shape[2]].float(), n)  # the kernel pads its rows
    scores = (folded @ k.transpose(-1, -2)).float() / math.sqrt(q.shape[-1])
    if causal:
        index = torch.arange(n, device=q.device)
        hidden = index[None, :] > index[:, None]
        scores = scores.masked_fill(hidden.repeat(scores.shape[2] // n, 1), -torch.inf)
    lse = scores.logsumexp(-1)
    out = (scores - lse.unsqueeze(-1)).exp().to(v.dtype) @ v
    return _unfold(out, n), _unfold(lse, n)
