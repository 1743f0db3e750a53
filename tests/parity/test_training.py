"""A packed training batch gives the recorded layout, losses and gradients."""

from __future__ import annotations

import pytest
import torch

from unimedvl.model.unified import Losses
from unimedvl.sequence import PackedBatch, pack

TOLERANCE = 2e-4


def batch_of(case) -> PackedBatch:
    batch = pack([case.segments(sample) for sample in case.spec["samples"]], case.model.config)
    batch.noise = case.recorded("noise")
    return batch


def test_layout_masks_positions_and_labels(training):
    spec, batch = training.spec, batch_of(training)
    assert batch.lengths == spec["sample_lens"]
    spans = [span for spans in batch.spans for span in spans]
    assert [tokens for tokens, _ in spans] == spec["split_lens"]
    assert [causal for _, causal in spans] == [mode == "causal" for mode in spec["attn_modes"]]
    assert torch.equal(batch.positions[batch.order], training.recorded("position_ids"))
    assert torch.equal(batch.labels, training.recorded("labels"))
    assert batch.latent_shapes == [tuple(s) for s in training.recorded("latent_shapes").tolist()]
    for i, mask in enumerate(batch.masks()):
        assert torch.equal(mask, training.recorded(f"mask_{i}")), f"mask of sample {i}"


def test_losses_and_gradients(training, assert_close):
    model = training.model
    model.zero_grad(set_to_none=True)
    losses: Losses = model(batch_of(training))
    assert_close(losses.ce, training.recorded("ce"), "ce")
    assert_close(losses.mse, training.recorded("mse"), "mse")
    total = losses.total()
    assert_close(total[None], training.recorded("loss"), "loss")
    total.backward()
    recorded = dict(training.spec["grad_norms"])
    found = {n: p.grad.norm().item() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    off = {
        n: (found.get(n), v)
        for n, v in recorded.items()
        if abs(found.get(n, 0.0) - v) > TOLERANCE * max(1, v)
    }
    assert off == {}
    assert found.keys() <= recorded.keys(), "gradients where the published code has none"
    norm = torch.tensor([*found.values()]).norm().item()
    assert norm == pytest.approx(training.spec["total_grad_norm"], rel=TOLERANCE)
