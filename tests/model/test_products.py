"""Attention as products against a plain softmax, in chunks, causal, with gradients."""

from __future__ import annotations

import math

import pytest
import torch

from unimedvl.model import attention, products
from unimedvl.model.attention import attend
from unimedvl.model.products import attend_products, attend_sequences, fold


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def plain(q, k, v, mask):
    """q [heads, n, d], k and v [kv_heads, m, d], mask [n, m]; in the tensors' own type."""
    repeat = q.shape[0] // k.shape[0]
    k, v = k.repeat_interleave(repeat, 0), v.repeat_interleave(repeat, 0)
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
    return scores.masked_fill(~mask, -torch.inf).softmax(-1) @ v


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (6, 1)])
@pytest.mark.parametrize(("n", "total"), [(1, 1), (7, 7), (70, 70), (70, 91), (33, 400)])
def test_products_are_softmax_attention_chunk_by_chunk(monkeypatch, causal, heads, n, total):
    monkeypatch.setattr(products, "_SCORES", 1)  # the smallest chunks: 32 queries
    q = random(n, heads[0], 8, seed=1).bfloat16()
    k, v = (random(heads[1], total, 8, seed=s).bfloat16() for s in (2, 3))
    mask = torch.ones(n, total, dtype=torch.bool)
    if causal:
        mask = mask.tril(total - n)
    expected = plain(q.transpose(0, 1).double(), k.double(), v.double(), mask).transpose(0, 1)
    out = attend_products(q, k, v, causal)
    assert out.dtype == torch.bfloat16 and out.shape == q.shape
    torch.testing.assert_close(out.double(), expected, atol=3e-2, rtol=3e-2)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_sequences_have_the_values_and_the_gradients_of_softmax_attention(masked, kv_heads):
    """Two of one length and one of another, whose rows lie in any order."""
    lengths = [10, 10, 7]
    order = torch.randperm(27, generator=torch.Generator().manual_seed(0))
    q = random(27, 4, 8, seed=1)
    k, v = (random(27, kv_heads, 8, seed=s) for s in (2, 3))
    masks = [torch.ones(n, n, dtype=torch.bool) for n in lengths]
    biases, runs = None, [(2, 10), (1, 7)]
    if masked:
        masks = [(random(n, n, seed=4 + i) > 0) | torch.eye(n, dtype=torch.bool) for i, n in enumerate(lengths)]
        biases, runs = [torch.zeros(m.shape).masked_fill(~m, -torch.inf) for m in masks], [(1, n) for n in lengths]

    def at_once(q, k, v):
        return attend_sequences(q, k, v, fold(runs, 4, kv_heads, order, biases))

    def one_by_one(q, k, v):
        parts = zip(*(x[order].split(lengths) for x in (q, k, v)), masks, strict=True)
        out = torch.cat([plain(*(x.transpose(0, 1) for x in part), mask).transpose(0, 1) for *part, mask in parts])
        return out[order.argsort()]

    results = []
    for run in (at_once, one_by_one):
        leaves = [x.clone().requires_grad_() for x in (q, k, v)]
        out = run(*leaves)
        results.append([out, *torch.autograd.grad((out * random(27, 4, 8, seed=9)).sum(), leaves)])
    for ours, exact in zip(*results, strict=True):
        torch.testing.assert_close(ours, exact, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("new", "total"), [(6, 40), (1, attention._LONG)])
def test_both_forms_agree_in_bf16_on_any_processor(monkeypatch, new, total):
    """Whichever form a processor is given, blocks and all: the answers are as near as bf16 lets them be."""
    q = random(new, 4, 16, seed=1).bfloat16()
    k, v = (random(2, total, 16, seed=s).bfloat16() for s in (2, 3))
    first = total // 2
    blocks = [(k[:, :first], v[:, :first]), (k[:, first:], v[:, first:])]
    outs = []
    for used in (True, False):
        monkeypatch.setattr(attention, "by_products", lambda q, used=used: used)
        outs.append(attend(q, blocks, causal=True))
    torch.testing.assert_close(*outs, atol=2e-2, rtol=2e-2)
