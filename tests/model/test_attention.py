"""Both forms of attention against a plain softmax over a written-out mask."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unimedvl.model import attention
from unimedvl.model.attention import CachedAttention, PackedAttention, Span, attend
from unimedvl.model.cache import Cache
from unimedvl.model.config import DecoderConfig, ModelConfig
from unimedvl.model.flex import attend_packed, block_mask
from unimedvl.sequence import Latent, Seen, Text, pack, visibility

some = settings(max_examples=40, deadline=None)
groups = st.sampled_from([(1, 1), (4, 4), (4, 2), (6, 1)])  # query heads, key heads


def plain(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Softmax attention in float64: q [n, heads, d], k and v [m, kv_heads, d], mask [n, m] to [n, heads, d]."""
    repeat = q.shape[1] // k.shape[1]
    q, k, v = q.double(), k.double().repeat_interleave(repeat, 1), v.double().repeat_interleave(repeat, 1)
    scores = torch.einsum("nhd,mhd->hnm", q, k) / math.sqrt(q.shape[-1])
    return torch.einsum("hnm,mhd->nhd", scores.masked_fill(~mask, -torch.inf).softmax(-1), v)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@some
@given(
    groups,
    st.integers(1, 5),
    st.lists(st.integers(0, 6), min_size=1, max_size=4),
    st.booleans(),
    st.integers(0, 99),
)
def test_attend_is_softmax_attention_however_the_keys_are_cut_into_blocks(heads, n, sizes, causal, seed):
    """Empty blocks aside, any cut of the keys gives the same: the new tokens are the last n."""
    num_heads, kv_heads = heads
    sizes = [s for s in sizes[:-1] if s] + [sizes[-1] + n]
    total = sum(sizes)
    q, k, v = random(n, num_heads, 8, seed=seed), random(total, kv_heads, 8, seed=seed + 1), None
    v = random(total, kv_heads, 8, seed=seed + 2)
    blocks = [
        (bk.transpose(0, 1), bv.transpose(0, 1))
        for bk, bv in zip(k.split(sizes), v.split(sizes), strict=True)
    ]
    mask = torch.ones(n, total, dtype=torch.bool)
    if causal:
        mask = mask.tril(total - n)
    expected = plain(q, k, v, mask)
    torch.testing.assert_close(attend(q, blocks, causal).double(), expected, atol=2e-6, rtol=2e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_attend_stays_right_where_scores_are_huge(causal):
    """The merge of blocks must not overflow: scores of several hundred, in two blocks."""
    q, k, v = 60 * random(3, 2, 8, seed=1), 6 * random(9, 2, 8, seed=2), random(9, 2, 8, seed=3)
    blocks = [(k[:4].transpose(0, 1), v[:4].transpose(0, 1)), (k[4:].transpose(0, 1), v[4:].transpose(0, 1))]
    mask = torch.ones(3, 9, dtype=torch.bool).tril(6) if causal else torch.ones(3, 9, dtype=torch.bool)
    torch.testing.assert_close(attend(q, blocks, causal).double(), plain(q, k, v, mask), atol=1e-3, rtol=1e-3)


def test_attend_in_bf16_is_near_the_exact_answer():
    q, k, v = (
        x.bfloat16() for x in (random(5, 4, 16, seed=1), random(40, 2, 16, seed=2), random(40, 2, 16, seed=3))
    )
    mask = torch.ones(5, 40, dtype=torch.bool).tril(35)
    for sizes in ([40], [10, 30], [34, 6]):
        blocks = [
            (bk.transpose(0, 1), bv.transpose(0, 1))
            for bk, bv in zip(k.split(sizes), v.split(sizes), strict=True)
        ]
        out = attend(q, blocks, causal=True)
        assert out.dtype == torch.bfloat16
        torch.testing.assert_close(out.double(), plain(q, k, v, mask), atol=2e-2, rtol=2e-2)


# Who sees whom -----------------------------------------------------------------------------------


def test_visibility_of_text_image_and_noised_image():
    """One text of 2, an image of 2, a noised image of 2, a text of 1: the rule written out."""
    segment = torch.tensor([0, 0, 1, 1, 2, 2, 3])
    causal = torch.tensor([1, 1, 0, 0, 0, 0, 1], dtype=torch.bool)
    noised = torch.tensor([0, 0, 0, 0, 1, 1, 0], dtype=torch.bool)
    expected = [
        "1000000",
        "1100000",
        "1111000",
        "1111000",
        "1111110",
        "1111110",
        "1111001",
    ]
    assert ["".join(str(int(x)) for x in row) for row in visibility(segment, causal, noised)] == expected


def packed(geometry: ModelConfig):
    pixels = random(3, 8, 12, seed=5).clamp(-1, 1)
    sequences = [
        [Text([1, 2, 3]), Latent(pixels, predict=True), Latent(pixels), Text([4, 5], predict=True)],
        [Seen(random(3, 14, 28, seed=6).clamp(-1, 1)), Text([6, 7])],
    ]
    return pack(sequences, geometry, torch.Generator().manual_seed(0))


def test_packed_attention_and_its_gradient_are_those_of_plain_attention(geometry):
    """In the sorted order, with grouped heads; the reference attends in natural order, one block mask."""
    batch = packed(geometry)
    tokens, order = batch.num_tokens, torch.argsort(batch.order)
    q, k, v = (random(tokens, h, 8, seed=s).requires_grad_() for h, s in ((4, 1), (2, 2), (2, 3)))
    weight = random(tokens, 32, seed=4)
    (PackedAttention(batch)(0, q, k, v) * weight).sum().backward()
    found = [x.grad.clone() for x in (q, k, v)]
    for x in (q, k, v):
        x.grad = None
    out = plain(q[batch.order], k[batch.order], v[batch.order], torch.block_diag(*batch.masks()).bool())
    out = out.flatten(1)[order]
    torch.testing.assert_close(PackedAttention(batch)(0, q, k, v).double(), out, atol=1e-5, rtol=1e-4)
    (out * weight).sum().backward()
    for gradient, x in zip(found, (q, k, v), strict=True):
        torch.testing.assert_close(gradient, x.grad, atol=1e-5, rtol=1e-4)


def test_packed_attention_by_products_is_that_of_the_fused_kernel_in_bf16(geometry, monkeypatch):
    """With gradients, and over two layers, which share how the batch is laid out."""
    batch = packed(geometry)
    results = []
    for used in (True, False):
        monkeypatch.setattr(attention, "by_products", lambda q, used=used: used)
        shapes = [(4, 1), (2, 2), (2, 3)]
        leaves = [random(batch.num_tokens, h, 8, seed=s).bfloat16().requires_grad_() for h, s in shapes]
        q, k, v = leaves
        both_layers = PackedAttention(batch)
        first = both_layers(0, q, k, v).unflatten(-1, (4, 8))
        out = both_layers(1, first, k, v)
        results.append([out, *torch.autograd.grad((out * random(*out.shape, seed=4).bfloat16()).sum(), leaves)])
    for ours, fused in zip(*results, strict=True):
        torch.testing.assert_close(ours, fused, atol=0.05 * fused.abs().max().item(), rtol=0.05)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_attention_in_one_kernel_sees_what_attention_by_sequence_sees(geometry):
    """The kernel itself needs a GPU (tests/test_cuda.py); its mask, and its numbers computed plainly, do not."""
    batch = packed(geometry)
    q, k, v = (random(1, h, batch.num_tokens, 16, seed=s) for h, s in ((4, 1), (2, 2), (2, 3)))
    out = attend_packed(q, k, v, block_mask(batch))
    expected = plain(*(x[0].transpose(0, 1) for x in (q, k, v)), torch.block_diag(*batch.masks()).bool())
    torch.testing.assert_close(out[0].transpose(0, 1).double(), expected, atol=1e-5, rtol=1e-4)


def test_cached_attention_of_several_caches_equals_packed_attention(geometry):
    """The same sequences without a noised image: what training sees is what inference sees."""
    sequences = [
        [Text([1, 2, 3]), Latent(random(3, 8, 12, seed=5).clamp(-1, 1)), Text([4, 5])],
        [Seen(random(3, 14, 28, seed=6).clamp(-1, 1)), Text([6, 7])],
    ]
    batch = pack(sequences, geometry)
    q, k, v = (random(batch.num_tokens, h, 8, seed=s) for h, s in ((4, 1), (2, 2), (2, 3)))
    spans = [Span(Cache(geometry.decoder), spans) for spans in batch.spans]
    natural = torch.argsort(batch.order)
    cached = CachedAttention(spans, batch.order, natural)(0, q, k, v)
    torch.testing.assert_close(cached, PackedAttention(batch)(0, q, k, v), atol=1e-6, rtol=1e-5)


def test_understanding_queries_keep_their_rows_where_nothing_is_sorted():
    config = DecoderConfig(32, 32, 48, 1, 4, 2)
    cache = Cache(config)
    q, k, v = random(3, 4, 8, seed=1), random(3, 2, 8, seed=2), random(3, 2, 8, seed=3)
    out = CachedAttention([Span(cache, [(3, True)])])(0, q, k, v)
    expected = plain(q, k, v, torch.ones(3, 3, dtype=torch.bool).tril())
    torch.testing.assert_close(out.double(), expected.flatten(1), atol=1e-6, rtol=1e-5)
