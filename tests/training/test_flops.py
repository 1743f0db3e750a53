"""The counted operations of a step are those that PyTorch's own counter finds in a real one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from unimedvl.model.config import DecoderConfig, ModelConfig, SpecialTokens, VaeConfig, VitConfig, preset
from unimedvl.model.unified import UnifiedModel
from unimedvl.sequence import Latent, PackedBatch, Seen, Text, pack
from unimedvl.training.flops import Load, flops_of, load_of, step_flops, visible_pairs
from unimedvl.training.recipe import Lora

GEOMETRY = ModelConfig(
    decoder=DecoderConfig(64, 32, 48, 3, 4, 2, rope_theta=1e4, max_position_embeddings=512),
    vit=VitConfig(24, 40, 3, 2, patch_size=14, max_patches_per_side=4),
    vae=VaeConfig(8, (1, 2), 2, z_channels=4, norm_groups=4),
    special=SpecialTokens(60, 61, 62, 63),
    max_latent_size=8,
)
PREFIXES = {
    "vit": ("vit_model.",),
    "connector": ("connector.",),
    "decoder": ("language_model.",),
    "flow": ("vae2llm.", "llm2vae.", "time_embedder."),
}


def image(height: int, width: int) -> torch.Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(height)) * 2 - 1


@pytest.fixture(scope="module")
def batch() -> PackedBatch:
    """Every kind of segment, images of several sizes, and one that stands twice."""
    twice, drawn = image(16, 32), Latent(image(32, 16), predict=True)
    sequences = [
        [Seen(image(28, 42)), Text([1, 2, 3]), Text([4, 5, 6, 7], predict=True)],
        [Latent(twice), Seen(image(42, 42)), Text([8] * 9), drawn, Text([3], predict=True)],
        [Text([9] * 5), Latent(twice, predict=True)],
    ]
    return pack(sequences, GEOMETRY, torch.Generator().manual_seed(0))


def counted(batch: PackedBatch, frozen: tuple[str, ...], recompute: bool = False) -> int:
    """What PyTorch counts; attention by its two products, which the CPU's fused kernel hides from the counter."""
    model = UnifiedModel(GEOMETRY)
    model.initialise(torch.Generator().manual_seed(0))
    model.vae.requires_grad_(False)
    for name, parameter in model.named_parameters():
        if any(name.startswith(prefix) for module in frozen for prefix in PREFIXES[module]):
            parameter.requires_grad_(False)
    model.stack.checkpointing = recompute
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss = model(batch).total()
        if loss.requires_grad:
            loss.backward()
    return counter.get_total_flops()


def whole_rows(batch: PackedBatch) -> Load:
    """The load as the CPU has it: it computes all pairs of a sequence and masks those that don't see each other."""
    return replace(load_of(batch, GEOMETRY), pairs=sum(n * n for n in batch.lengths))


@pytest.mark.parametrize(
    "frozen",
    [
        (),
        ("vit",),
        ("flow",),
        ("vit", "connector"),
        ("decoder",),
        ("decoder", "vit"),
        ("decoder", "vit", "connector"),
        ("decoder", "flow", "vit"),
        ("decoder", "flow", "vit", "connector"),
    ],
    ids="-".join,
)
def test_counts_are_those_of_a_real_step(batch, frozen):
    assert step_flops(whole_rows(batch), GEOMETRY, frozen).model == counted(batch, frozen)


def test_recomputed_layers_cost_one_forward_pass_more(batch):
    """PyTorch stops a recomputation before the last product, whose result nobody needs."""
    flops = step_flops(whole_rows(batch), GEOMETRY, recompute=True)
    found = counted(batch, (), recompute=True)
    d = GEOMETRY.decoder
    last = 2 * load_of(batch, GEOMETRY).generation * d.hidden_size * d.intermediate_size * d.num_layers
    assert flops.hardware - last == found
    assert flops.model == counted(batch, ())


def test_visible_pairs_are_those_of_the_masks(batch):
    assert load_of(batch, GEOMETRY).pairs == sum(int(mask.sum()) for mask in batch.masks())


def test_a_noised_image_is_seen_by_itself_alone():
    assert visible_pairs([(3, True, False), (4, False, True), (2, True, False)]) == 6 + 4 * (3 + 4) + (2 * 3 + 3)


def test_loads_of_parts_add_up_to_the_load_of_the_whole():
    parts = [[Text([1, 2], predict=True), Latent(image(16, 16), predict=True)], [Text([3]), Latent(image(16, 16))]]
    one, two, both = (load_of(pack(s, GEOMETRY), GEOMETRY) for s in (parts[:1], parts[1:], parts))
    assert one + two == both
    assert step_flops(one * 3, GEOMETRY).model == pytest.approx(3 * step_flops(one, GEOMETRY).model)


def test_adapters_leave_the_gradients_of_weights_out(batch):
    load = load_of(batch, GEOMETRY)
    whole, adapted = step_flops(load, GEOMETRY), step_flops(load, GEOMETRY, lora=Lora(rank=2))
    assert 0 < adapted.parts["adapters"] < whole.model / 2
    assert adapted.parts["head"] * 3 == whole.parts["head"] * 2
    assert adapted.parts["attention"] == whole.parts["attention"]
    assert adapted.parts["vit"] < whole.parts["vit"] / 2


def test_a_token_of_the_published_model_costs_six_times_the_weights_it_passes():
    config = preset("14b")
    flops = step_flops(Load(understanding=1000), config)
    weights = 28 * (2 * 3584**2 + 2 * 3584 * 512 + 3 * 3584 * 18944)
    assert flops.model == 6 * 1000 * weights
    assert 6.5e9 < weights < 6.6e9


def test_the_one_number_is_the_steps(batch):
    flops = step_flops(load_of(batch, GEOMETRY), GEOMETRY, ("vit",), recompute=True)
    assert flops_of(batch, GEOMETRY, ("vit",), False) == flops.model
    assert flops_of(batch, GEOMETRY, ("vit",), True) == flops.hardware > flops.model


def test_an_unknown_module_is_named():
    with pytest.raises(ValueError, match="frozen: no module called 'llm'; there are decoder, connector, vit, flow"):
        step_flops(Load(), GEOMETRY, ("llm",))
