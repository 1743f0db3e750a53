"""The whole model: inference gives what the training forward gives, however it is cut up."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unimedvl.checkpoint import empty_model
from unimedvl.model import cache as cache_module
from unimedvl.model.attention import PackedAttention
from unimedvl.model.cache import Cache
from unimedvl.model.decoder import GENERATION
from unimedvl.model.unified import UnifiedModel
from unimedvl.sequence import Latent, Seen, Segment, Text, pack

some = settings(max_examples=15, deadline=None)
TIGHT = dict(atol=2e-5, rtol=1e-4)
LOOSE = dict(atol=0.15, rtol=0.1)  # bf16 keeps 8 bits, and scores here are of the order of 1


@torch.no_grad()
def packed_logits(model: UnifiedModel, segments: list[Segment]) -> Tensor:
    """Scores at every text token, in natural order, by the training forward without a cache."""
    batch = pack([segments], model.config)
    latents = model.encode_images(batch) if batch.images else None
    und, gen = model._embed(batch, latents)
    und, _ = model.stack(und, gen, model.stack.rotations(batch.positions, len(und)), PackedAttention(batch))
    rows = [row for row in batch.order.tolist() if row < len(batch.ids) and int(batch.ids[row]) < 62]
    return model.language_model.lm_head(und[rows])


def cached_logits(model: UnifiedModel, segments: list[Segment], cut: bool) -> Tensor:
    """The same by a cache: segments taken in at once (or one by one) and texts spoken token by token."""
    special, cache, out, waiting = model.config.special, model.new_cache(), [], []
    for segment in segments:
        if not isinstance(segment, Text):
            waiting.append(segment)
            continue
        for part in [[s] for s in waiting] if cut else [waiting] * bool(waiting):
            model.extend([cache], [part])
        waiting = []
        for token in (special.text_open, *segment.ids, special.text_close):
            out.append(model.logits([cache], torch.tensor([token])))
    return torch.cat(out) if out else torch.empty(0, model.config.decoder.vocab_size)


@pytest.mark.parametrize("cut", [False, True])
def test_speaking_with_a_cache_equals_the_packed_forward(model, drawn_contexts, cut):
    @some
    @given(drawn_contexts)
    def check(context):
        segments = [*context, Text([1, 2])]
        torch.testing.assert_close(
            cached_logits(model, segments, cut), packed_logits(model, segments), **TIGHT
        )

    check()


def taken_in(model: UnifiedModel, parts: list[list[Segment]]) -> Cache:
    cache = model.new_cache()
    for part in parts:
        model.extend([cache], [part])
    return cache


def test_prefill_in_one_pass_equals_segment_by_segment(model, drawn_contexts):
    @some
    @given(drawn_contexts)
    def check(context):
        whole, cut = taken_in(model, [context]), taken_in(model, [[s] for s in context])
        assert (whole.length, whole.position) == (cut.length, cut.position)
        torch.testing.assert_close(whole.keys(), cut.keys(), **TIGHT)

    check()


def test_several_contexts_at_once_equal_one_by_one(model, drawn_contexts):
    @some
    @given(st.lists(drawn_contexts, min_size=2, max_size=3))
    def check(several):
        caches = [model.new_cache() for _ in several]
        model.extend(caches, several)
        for cache, context in zip(caches, several, strict=True):
            alone = taken_in(model, [context])
            assert (cache.length, cache.position) == (alone.length, alone.position)
            torch.testing.assert_close(cache.keys(), alone.keys(), **TIGHT)
        tokens = torch.arange(len(several))
        alone = [model.logits([taken_in(model, [c])], t[None]) for c, t in zip(several, tokens, strict=True)]
        torch.testing.assert_close(model.logits(caches, tokens), torch.cat(alone), **TIGHT)

    check()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_many_small_blocks_give_the_numbers_of_one_block(
    make_model, geometry, make_image, monkeypatch, dtype
):
    """Blocks are merged by their log-sum-exp; texts longer than a block attend causally over a prefix."""
    model = make_model(geometry).to(dtype)
    segments = [Text([1, 2, 3, 4]), Seen(make_image(28, 14, 1)), Text([5, 6, 7]), Text([8, 9])]
    one = taken_in(model, [[s] for s in segments])
    monkeypatch.setattr(cache_module, "_HEADROOM", 1)
    small = model.new_cache()
    for segment in segments:
        small = small.branch()  # the next segment starts a block of its own
        model.extend([small], [[segment]])
    assert len(small._shared) >= 3
    bounds = TIGHT if dtype == torch.float32 else LOOSE
    torch.testing.assert_close(small.keys(), one.keys(), **bounds)
    token = torch.tensor([3])
    torch.testing.assert_close(model.logits([small], token), model.logits([one], token), **bounds)


def test_a_noised_image_is_unseen_by_what_follows(model, make_image):
    """The losses of a text do not depend on the noise of an image before it, but on the clean image."""
    pixels = make_image(8, 8, 3)
    for predict, same in ((True, True), (False, False)):
        losses = []
        for other in (pixels, make_image(8, 8, 4)):
            batch = pack(
                [[Text([1]), Latent(other, predict, timestep_logit=0.0), Text([2, 3], True)]], model.config
            )
            losses.append(model(batch).ce)
        assert torch.equal(*losses) == same


def test_an_image_under_several_noises_is_encoded_once_and_each_has_its_own_loss(model, make_image):
    pixels = make_image(8, 8, 3)
    targets = [Latent(pixels, True, timestep_logit=x) for x in (-1.0, 1.0)]
    batch = pack([[Text([1]), *targets]], model.config, torch.Generator().manual_seed(0))
    assert len(batch.images) == 1 and batch.image_of == [0, 0]
    both = model(batch).mse
    for i, target in enumerate(targets):
        alone = pack([[Text([1]), target]], model.config)
        alone.noise = batch.noise.split(4)[i]
        torch.testing.assert_close(model(alone).mse, both.split(4)[i], **TIGHT)


def test_an_encoded_latent_is_the_image_it_came_from(model, make_image):
    pixels = make_image(8, 12, 3)
    encoded = Latent(model.vae.encode(pixels[None])[0].detach(), encoded=True)
    keys = [taken_in(model, [[segment]]).keys() for segment in (Latent(pixels), encoded)]
    torch.testing.assert_close(*keys, **TIGHT)


# Drawing -----------------------------------------------------------------------------------------


def test_velocity_of_several_images_and_branches_equals_one_by_one(model, make_image):
    contexts = [
        [taken_in(model, [[Text([1, 2, 3])]]), model.new_cache(), taken_in(model, [[Text([4])]])],
        [taken_in(model, [[Latent(make_image(8, 8, 1)), Text([7, 8])]]), taken_in(model, [[Text([9])]])],
    ]
    shapes, cells = [(2, 3), (3, 1)], [6, 3]
    latents = torch.randn(9, model.config.latent_token_dim, generator=torch.Generator().manual_seed(0))
    lengths = [c.length for branches in contexts for c in branches]
    together = model.velocity(model.canvas(contexts, shapes), latents, 0.7)
    alone = [
        model.velocity(model.canvas([[cache]], [shape]), x, 0.7)
        for branches, shape, x in zip(contexts, shapes, latents.split(cells), strict=True)
        for cache in branches
    ]
    torch.testing.assert_close(together, torch.cat(alone), **TIGHT)
    assert not torch.allclose(alone[0], alone[1], atol=1e-2)  # the contexts do matter
    assert [c.length for branches in contexts for c in branches] == lengths


def test_velocity_equals_the_training_forward(model, make_image):
    """The flow loss recomputed from `velocity` over a cache: both see the same noised tokens."""
    pixels, text = make_image(8, 12, 5), Text([4, 5])
    batch = pack(
        [[text, Latent(pixels, True, timestep_logit=0.4)]], model.config, torch.Generator().manual_seed(1)
    )
    clean, t = model.encode_images(batch), batch.timesteps[0].item()
    canvas = model.canvas([[taken_in(model, [[text]])]], [(2, 3)])
    v = model.velocity(canvas, (1 - t) * clean + t * batch.noise, t)
    torch.testing.assert_close((v - (batch.noise - clean)).square(), model(batch).mse, **TIGHT)


# Forms of the model ------------------------------------------------------------------------------


def test_a_model_for_understanding_alone_has_no_generation_weights_and_speaks_the_same(
    geometry, model, make_image
):
    part = empty_model(geometry, generation=False)
    names = part.state_dict().keys()
    assert not any(
        GENERATION in n or n.startswith(("vae", "llm2vae", "time_embedder", "latent_pos")) for n in names
    )
    weights = model.state_dict()
    part.load_state_dict({n: weights[n] for n in names}, assign=True)
    context = [[Seen(make_image(14, 28, 2)), Text([1, 2, 3])]]
    token = torch.tensor([5])
    scores = [m.logits([taken_in(m, context)], token) for m in (part, model)]
    assert torch.equal(*scores)


def test_recomputing_layers_in_the_backward_pass_changes_no_gradient(make_model, geometry, make_image):
    model = make_model(geometry)
    segments = [
        Seen(make_image(14, 28, 1)),
        Text([1, 2], True),
        Latent(make_image(8, 8, 1), True, timestep_logit=0.1),
    ]
    batch = pack([segments], geometry, torch.Generator().manual_seed(0))
    gradients = []
    for recompute in (False, True):
        model.zero_grad()
        model.stack.checkpointing = recompute
        model(batch).total().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 50
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_a_target_token_counts_by_its_weight(model, geometry, make_image):
    weight = torch.tensor([[1.0, 3.0], [0.0, 1.0]])
    target = Latent(make_image(8, 8, 1), True, timestep_logit=0.1, weight=weight)
    losses = model(pack([[target]], geometry, torch.Generator().manual_seed(0)))
    torch.testing.assert_close(losses.total(), (losses.mse * weight.flatten()[:, None]).mean())
    assert losses.total() != losses.mse.mean()


def test_bf16_runs_every_path_near_float32(make_model, geometry, model, make_image):
    half = make_model(geometry).bfloat16()
    context = [Latent(make_image(8, 8, 1)), Seen(make_image(14, 28, 2)), Text([1, 2, 3])]
    caches = [taken_in(m, [context]) for m in (half, model)]
    scores = [m.logits([c], torch.tensor([5])).float() for m, c in zip((half, model), caches, strict=True)]
    torch.testing.assert_close(*scores, **LOOSE)
    x = torch.randn(4, geometry.latent_token_dim, generator=torch.Generator().manual_seed(0))
    velocities = [
        m.velocity(m.canvas([[c]], [(2, 2)]), x, 0.6) for m, c in zip((half, model), caches, strict=True)
    ]
    torch.testing.assert_close(*velocities, **LOOSE)
    pixels = half.pixels(x, (2, 2))
    assert pixels.dtype == torch.float32 and pixels.shape == (3, 8, 8) and pixels.abs().max() <= 1
    target = Latent(make_image(8, 8, 1), True, timestep_logit=0.1)
    batch = pack([[*context, Text([4], True), target]], geometry, torch.Generator().manual_seed(0))
    totals = [m(batch).total() for m in (half, model)]
    torch.testing.assert_close(totals[0].float(), totals[1], rtol=0.05, atol=0)
    totals[0].backward()
    assert all(p.grad.isfinite().all() for p in half.parameters() if p.grad is not None)
