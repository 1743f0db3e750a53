"""Attention of a whole packed batch in one kernel, for GPUs (FlexAttention, Dong et al., arXiv 2412.05496).

Blocks of the batch in which nobody sees anybody are left out, so a batch of many sequences costs what its
sequences cost.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from unimedvl.sequence import PackedBatch, sees

# The narrowest head, and the fewest tokens, that the kernel is made for.
_NARROWEST, _FEWEST = 16, 128


def in_one_kernel(q: Tensor) -> bool:
    """Whether attention of queries [1, heads, T, dim] can be done here: on a GPU, and not of a toy's size."""
    return q.is_cuda and q.shape[-1] >= _NARROWEST and q.shape[2] >= _FEWEST


def block_mask(batch: PackedBatch) -> BlockMask:
    """The attention rule of `sequence.sees` within each sequence of a batch, and nothing between them."""
    segment, causal, noised = batch.segment, batch.causal, batch.noised
    tokens = len(segment)
    lengths = torch.tensor(batch.lengths, device=segment.device)
    sequence = torch.arange(len(lengths), device=segment.device).repeat_interleave(lengths, output_size=tokens)

    def rule(_, __, i: Tensor, j: Tensor) -> Tensor:
        seen = sees(segment[i], segment[j], i >= j, causal[i], noised[j])
        return (sequence[i] == sequence[j]) & seen

    return create_block_mask(rule, None, None, tokens, tokens, device=segment.device)


def attend_packed(q: Tensor, k: Tensor, v: Tensor, mask: BlockMask) -> Tensor:
    """q [1, heads, T, dim], k and v [1, kv_heads, T, dim], in natural order, to q's shape."""
    attention = _compiled() if q.is_cuda else flex_attention  # plain, it gives the kernel's numbers slowly
    return attention(q.to(v.dtype), k.to(v.dtype), v, block_mask=mask, enable_gqa=q.shape[1] != k.shape[1])


@cache
def _compiled():
    """One kernel for batches of all lengths, made when first needed."""
    return torch.compile(flex_attention, dynamic=True)
