"""The machine's benchmark: work is counted as the model does it, limits and ratios are computed right."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import limits, machine
from benchmarks.breakdown import PARTS, part_of
from benchmarks.limits import Chain, Weights, compare, decode_limit, products_limit
from benchmarks.passes import Passes, Sizes, random_model
from benchmarks.work import Product, Work, causal_pairs, decoding, time_products
from unimedvl.model.config import PRESETS

SIZES = Sizes(
    caption=5, latent_sides=(3,), prompt=9, seen_side=2, question=6, context=11, decode_steps=2, rows=3,
    train_seen_side=3, train_latent_side=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def passes(geometry) -> Passes:
    return Passes(random_model(geometry, torch.float32), SIZES)


def counted(passes: Passes, run) -> int:
    """FLOPs of the linear layers that a call makes; the counter doesn't know packed ones."""
    passes.model.unpack()
    with FlopCounterMode(display=False) as counter:
        run()
    by_operator = counter.get_flop_counts()["Global"]
    return sum(n for op, n in by_operator.items() if op in (torch.ops.aten.mm, torch.ops.aten.addmm))


def test_the_products_counted_are_those_that_the_model_makes(passes):
    for p in (
        passes.denoising(3), passes.denoising(2, 3), passes.prefill_text(), passes.prefill_image(),
        passes.decoding(), passes.decoding(3),
    ):  # fmt: skip
        assert counted(passes, p.run) == p.work.linear_flops * p.repeats, p.name


def test_a_training_step_makes_about_three_times_its_forward_products(passes, geometry):
    step, _ = passes.training()
    made = counted(passes, lambda: passes.model(passes._batch()))
    needed = step.work.linear_flops
    # the time may be embedded once for every token of the image
    assert needed <= made <= needed + SIZES.train_latent_side**2 * sum(p.flops for p in time_products(geometry.decoder))
    assert 2.5 < counted(passes, step.run) / made < 3.1


def test_attention_counts_visible_pairs_alone():
    assert causal_pairs(4) == 10
    assert causal_pairs(2, before=5) == 3 + 10
    mid = decoding(PRESETS["mid"], 1000)
    assert mid.cached_elements == 2 * 12 * 256 * 1000
    assert mid.attention_flops == 4 * 12 * 1024 * 1000


def test_a_chain_uses_every_weight_once():
    chain = Chain((Product(3, 8, 4, 2), Product(1, 8, 4, 3), Product(3, 4, 8)), Weights(torch.float32))
    assert len(chain.calls) == 6
    assert len({layer.weight.data_ptr() for _, layer in chain.calls}) == 6
    assert sorted((x.shape[0], *layer.weight.shape) for x, layer in chain.calls) == sorted(
        [(3, 8, 4)] * 2 + [(1, 8, 4)] * 3 + [(3, 4, 8)]
    )
    chain()


def test_a_pass_is_compared_with_the_limits_before_and_after_it(monkeypatch):
    clock = iter([1.0, 0.5, 4.0, 3.0, 1.5, 16.0, 5.0, 2.5])  # two limits, pass, two limits, pass, two limits
    monkeypatch.setattr(limits, "seconds", lambda run: next(clock))
    timing, half = compare([lambda: None, lambda: None], lambda: None, 2)
    assert (timing.lowest, timing.highest) == (0.25, 0.5)
    assert (timing.ratio, timing.measured, timing.limit) == (0.375, 10.0, 3.0)
    assert (half.ratio, half.measured, half.limit) == (0.1875, 10.0, 1.5)


def test_limits_of_products_and_of_decode():
    work = Work((Product(10, 10, 10),), attention_flops=1000, cached_elements=500)
    assert products_limit(work, 2.0) == pytest.approx(3.0)
    assert decode_limit(work, 2.0, 2, 1000.0) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("operator", "part"),
    [("aten::addmm", 0), ("aten::linear", 0), ("aten::bmm", 1), ("aten::_softmax", 1),
     ("aten::_scaled_dot_product_flash_attention_for_cpu", 1), ("aten::_fused_rms_norm", 2), ("aten::mul", 2),
     ("aten::copy_", 3), ("aten::index_select", 3), ("aten::_fused_adamw_", 4), ("aten::view", 5), ("the pass", 5),
     ("MmBackward0", 5)],
)  # fmt: skip
def test_operators_belong_to_parts(operator, part):
    assert part_of(operator) == PARTS[part]


def test_a_whole_run_tells_every_line_and_what_falls_short(tmp_path, geometry):
    found = list(machine.results(geometry, machine.Runner("fp32", 1, 1e10), SIZES, True, lambda name: None))
    assert [r.kind for r in found] == ["limit", "branches", *["limit"] * 4, "rows", "limit", "limit"]
    for r in found:
        assert 0 < r.value and r.lowest <= r.value <= r.highest
        assert (r.packed is not None and r.packed > 0) == (r.kind == "limit")
    # a model this small is all overhead: what falls short is explained, and its parts add up
    short = [r for r in found if r.met is False]
    assert short and len(machine.shortfalls(found)) == len(short)
    assert all(sum(r.why.shares.values()) == pytest.approx(1) for r in short)
    json.dumps([r.to_dict() for r in found])
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=200, file=nowhere)
        console.print(machine.results_table(found))
    assert "decode at a 11-token context" in console.export_text()


def test_fewer_branch_times_and_more_tokens_are_better():
    one = machine.Result("x", "bf16", "branches", 3.0, 3.0, 3.0, 1, 0, 1, 1, 1, aim=3.1)
    assert one.met and not replace(one, value=3.2).met
    assert not replace(one, kind="rows", aim=4.0).met and replace(one, kind="rows", value=4.0, aim=4.0).met
    assert replace(one, aim=None).met is None
