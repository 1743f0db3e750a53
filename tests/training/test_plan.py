"""Plans: memory is what a real step keeps, work and time follow from it, and what would help is worked out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from unimedvl.checkpoint import CheckpointError
from unimedvl.cli.main import main
from unimedvl.model.config import DecoderConfig, ModelConfig, SpecialTokens, VaeConfig, VitConfig, preset
from unimedvl.model.unified import UnifiedModel
from unimedvl.model.vae import Autoencoder
from unimedvl.sequence import Latent, PackedBatch, Seen, Text, pack
from unimedvl.training.activations import Precision, activations
from unimedvl.training.error import TrainingError
from unimedvl.training.expected import Typical, pack_load, sample_load
from unimedvl.training.flops import Load, load_of, step_flops
from unimedvl.training.footprint import Setting, counts, memory, parameters
from unimedvl.training.plan import Machines, make_plan
from unimedvl.training.recipe import KINDS, Lora, Recipe, Stage, load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
# No width is a number of rows in `batch`, so that a copy of a weight can be told from an activation.
GEOMETRY = ModelConfig(
    decoder=DecoderConfig(1200, 96, 288, 4, 4, 2),
    vit=VitConfig(72, 192, 4, 3, max_patches_per_side=16),
    vae=VaeConfig(16, (1, 2, 2), 2, z_channels=4, norm_groups=4),
    special=SpecialTokens(1196, 1197, 1198, 1199),
    max_latent_size=32,
)
STAGE = dict(steps=100, mixture={"image_to_text": 1, "text_to_image": 1}, tokens=20000, packs=8, learning_rate=1e-4)


@pytest.fixture(scope="module")
def batch() -> PackedBatch:
    image = torch.zeros
    sequences = [
        [Seen(image(3, 140, 154)), Text([1] * 31), Text([2] * 41, predict=True)],
        [Text([1] * 53), Latent(image(3, 8 * 17, 8 * 19), predict=True)],
    ]
    return pack(sequences, GEOMETRY, torch.Generator().manual_seed(0))


@pytest.fixture
def model(monkeypatch) -> UnifiedModel:
    """Attention fused, as on a GPU: in bf16 a CPU may take another way, which keeps all scores."""
    for module in ("attention", "vit"):
        monkeypatch.setattr(f"unimedvl.model.{module}.by_products", lambda q: False)
    model = UnifiedModel(GEOMETRY)
    model.initialise(torch.Generator().manual_seed(0))
    model.vae.requires_grad_(False)
    return model


def on_a_cpu(batch: PackedBatch) -> Load:
    """There all pairs of a sequence have a place in its mask."""
    return replace(load_of(batch, GEOMETRY), pairs=sum(n * n for n in batch.lengths))


def kept_bytes(model: UnifiedModel, batch: PackedBatch, bf16: bool) -> int:
    """Bytes of distinct storages that autograd keeps, weights and autocast's copies of them aside."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    shapes = {s for p in model.parameters() for s in (tuple(p.shape), tuple(p.shape[::-1]))}
    kept = {}

    def keep(x):
        if not (x.dtype == torch.bfloat16 and tuple(x.shape) in shapes):
            kept.setdefault(x.untyped_storage().data_ptr(), x)  # held, so that no address comes twice
        return x

    with (
        torch.autocast("cpu", torch.bfloat16, enabled=bf16),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x),
    ):
        model(batch).total()
    return sum(x.untyped_storage().nbytes() for at, x in kept.items() if at not in weights)


@pytest.mark.parametrize("frozen", [(), ("vit",)], ids=["all", "frozen-vit"])
@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bf16"])
def test_activations_are_what_a_real_step_keeps(model, batch, bf16, recompute, frozen):
    model.stack.checkpointing = recompute
    model.vit_model.requires_grad_("vit" not in frozen)
    precision = Precision(bf16, gpu=False)
    planned = activations(on_a_cpu(batch), GEOMETRY, precision, recompute, vit="vit" not in frozen)
    assert planned.kept == pytest.approx(kept_bytes(model, batch, bf16), rel=0.05)


class Living(TorchDispatchMode):
    """The most bytes of storages that operations made and that live at the same time."""

    def __init__(self, weights) -> None:
        super().__init__()
        self.weights = {p.untyped_storage()._cdata for p in weights}
        self.living, self.most = {}, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            storage = x.untyped_storage() if isinstance(x, torch.Tensor) else None
            if storage is not None and storage._cdata not in self.weights:
                self.living[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.living = {at: found for at, found in self.living.items() if not found[0].expired()}
        self.most = max(self.most, sum(n for _, n in self.living.values()))
        return out


def test_a_step_needs_at_most_what_is_kept_and_worked_with(model, batch):
    with Living(model.parameters()) as living:
        model(batch).total().backward()
    planned = activations(on_a_cpu(batch), GEOMETRY, Precision(False, gpu=False), False)
    assert 0.9 * planned.peak < living.most < 1.1 * planned.peak


def test_the_encoder_needs_five_images_of_its_first_layers_channels():
    config = replace(GEOMETRY, vae=VaeConfig(16, (1, 2, 4, 4), 2, z_channels=4, norm_groups=4))
    vae, pixels = Autoencoder(config.vae), torch.zeros(2, 3, 64, 96)
    with torch.no_grad(), Living(vae.parameters()) as living:
        vae.encode(pixels)
    planned = activations(Load(pixels=2 * 64 * 96), config, Precision(False), False)
    assert planned.encoding == pytest.approx(living.most, rel=0.1)


def test_parameters_are_those_of_the_published_model():
    found = parameters(preset("14b"))
    assert sum(found.values()) - found["autoencoder"] == pytest.approx(14.607e9, rel=1e-4)
    assert found["understanding"] + found["embeddings"] == pytest.approx(7.616e9, rel=1e-3)
    assert found["generation"] == pytest.approx(6.526e9, rel=1e-3)
    assert found["vit"] == pytest.approx(0.403e9, rel=2e-3)
    assert found["autoencoder"] == pytest.approx(0.084e9, rel=5e-3)


def test_parameters_are_those_of_a_model_and_adapters_those_of_its_linear_layers():
    model, lora = UnifiedModel(GEOMETRY), Lora(rank=4)
    found = counts(GEOMETRY, (), lora)
    assert sum(found.parts.values()) == sum(p.numel() for p in model.parameters())
    adapted = [model.connector.fc1, model.connector.fc2]
    adapted += [m for m in model.stack.layers.modules() if isinstance(m, torch.nn.Linear)]
    assert found.trained == sum(4 * (m.in_features + m.out_features) for m in adapted)


def test_weights_and_what_goes_with_them_are_shared_out():
    config, stage = preset("14b"), Stage(name="a", **STAGE)
    load = Load(understanding=1000, generation=1000)
    one, eight = (memory(config, stage, load, Setting(ranks=8, shard=n)) for n in (1, 8))
    trained = counts(config, (), None).trained
    assert one.gradients == 4 * trained and one.optimiser == 8 * trained and one.average == 4 * trained
    assert eight.optimiser == trained and eight.gathered == one.gathered and eight.kept == one.kept
    offloaded = memory(config, stage, load, Setting(ranks=8, shard=8, offload=True))
    assert offloaded.optimiser == offloaded.gradients == 0
    assert offloaded.host + offloaded.weights == pytest.approx(
        eight.weights + eight.gradients + eight.optimiser + eight.average
    )


def test_adapters_need_no_moments_of_the_base_and_int8_halves_it():
    config, stage, load = preset("14b"), Stage(name="a", **STAGE), Load(understanding=1000)
    bf16, int8 = (memory(config, stage, load, Setting(1, 1, lora=Lora(base=b))) for b in ("bfloat16", "int8"))
    layers = 28 * 2 * (2 * 3584**2 + 2 * 3584 * 512 + 3 * 3584 * 18944) + 3584 * (1152 + 3584)
    assert bf16.weights - int8.weights == layers
    assert bf16.optimiser < 0.1 * bf16.weights


def test_a_rate_of_nothing_is_frozen():
    load, config = Load(understanding=100, patches=100), preset("nano")
    still, slow = (memory(config, Stage(name="a", rates={"vit": r}, **STAGE), load, Setting(1, 1)) for r in (0, 0.1))
    assert still.optimiser == slow.optimiser - 8 * parameters(config)["vit"]


# What a pack holds ------------------------------------------------------------------------------


def test_a_typical_sample_is_counted_as_it_is_packed():
    stage = Stage(name="a", **(STAGE | {"vit_sides": (42, 14), "vae_sides": (32, 8)}))
    seen, both, drawn = Seen(torch.zeros(3, 42, 42)), Latent(torch.zeros(3, 32, 32)), torch.zeros(3, 32, 32)
    sequence = [both, seen, Text([1] * 5), Text([1] * 7, predict=True), Latent(drawn, predict=True)]
    packed = load_of(pack([sequence], GEOMETRY), GEOMETRY)
    assert sample_load("interleaved", stage, GEOMETRY, Typical(64, 5, 7)) == packed
    assert sample_load("stain", stage, GEOMETRY, Typical(64, 5, 7)) == packed


def test_each_noise_of_a_target_takes_its_tokens_and_encodes_its_image_once():
    plain, noised = (
        sample_load("generate", Stage(name="a", noise={"each": n}, **STAGE), preset("14b"), Typical()) for n in (1, 3)
    )
    assert noised.targets == 3 * plain.targets and noised.pixels == plain.pixels


@pytest.mark.parametrize("kind", KINDS)
def test_a_pack_is_filled(kind):
    stage = Stage(name="a", **(STAGE | {"mixture": {kind: 2.0}}))
    load, samples = pack_load(stage, preset("14b"), Typical())
    assert load.tokens == pytest.approx(20000)
    assert load.tokens / samples == pytest.approx(sample_load(kind, stage, preset("14b"), Typical()).tokens)


def test_a_pack_too_small_for_a_sample_is_one_clear_line():
    stage = Stage(name="a", **(STAGE | {"tokens": 100}))
    with pytest.raises(TrainingError, match="a: a typical sample of image_to_text takes 1,567 tokens, and a pack has"):
        pack_load(stage, preset("14b"), Typical())


# Plans ------------------------------------------------------------------------------------------


def recipe(**changes) -> Recipe:
    stage = STAGE | changes.pop("stage", {})
    values = {"folder": "runs/a", "start": {"checkpoint": "ByteDance-Seed/BAGEL-7B-MoT"}, "data": {"folders": ["a"]}}
    return Recipe.model_validate(values | {"stages": [{"name": "a", **stage}]} | changes)


def test_time_follows_from_the_work_and_the_rate():
    made = make_plan(recipe(stage={"packs": 16}), Machines(8, memory=1000, peak=100, efficiency=0.5))
    stage = made.stages[0]
    own = step_flops(stage.load, made.config).model
    assert stage.flops.model == pytest.approx(16 * own)
    assert stage.seconds == pytest.approx(2 * own / 50e12)  # two packs of each device
    assert made.days == pytest.approx(100 * stage.seconds / 86400) and made.fits and stage.remedies == ()
    assert stage.mfu == 0.5


def test_recomputed_activations_cost_time_and_count_nothing_in_mfu():
    kept, again = (make_plan(recipe(recompute=r), Machines()).stages[0] for r in (False, True))
    assert again.flops.model == kept.flops.model and again.seconds > 1.25 * kept.seconds
    assert again.mfu < kept.mfu == 0.4
    assert again.memory.kept < kept.memory.kept / 5


def test_remedies_are_worked_out_and_the_last_one_fits():
    made = make_plan(recipe(devices={"shard": 8}), Machines(16, memory=80))
    assert not made.fits
    remedies = {r.change: r for r in made.stages[0].remedies}
    assert not remedies["devices.offload=true"].fits and remedies["devices.offload=true"].host > 30e9
    fields = {"recompute=true": {"recompute": True}, "devices.shard=16": {"devices": {"shard": 16}}}
    for change, values in fields.items():
        again = make_plan(recipe(**({"devices": {"shard": 8}} | values)), Machines(16, memory=80))
        assert remedies[change].needed == again.stages[0].memory.peak
        assert remedies[change].fits == again.fits
    assert made.stages[0].remedies[-1].fits


def test_the_devices_that_are_named_are_enough_and_half_of_them_are_not():
    def changes(gpus: int) -> list[str]:
        return [r.change for r in make_plan(recipe(recompute=True), Machines(gpus, memory=50)).stages[0].remedies]

    assert "--gpus 64" in changes(8)
    assert make_plan(recipe(recompute=True), Machines(64, memory=50)).fits
    assert not make_plan(recipe(recompute=True), Machines(32, memory=50)).fits


@pytest.mark.parametrize("gpus", [1, 2])
def test_where_nothing_helps_the_plan_says_so(gpus):
    stage = make_plan(recipe(recompute=True), Machines(gpus, memory=1)).stages[0]
    assert stage.remedies and not any(r.fits for r in stage.remedies)


def test_the_smaller_pack_that_is_named_fits_and_a_larger_does_not():
    machines = Machines(8, memory=110)
    made = make_plan(recipe(), machines)
    change = next(r.change for r in made.stages[0].remedies if r.change.startswith("stages.0.tokens="))
    tokens = int(change.partition("=")[2])
    assert make_plan(recipe(stage={"tokens": tokens}), machines).fits
    assert not make_plan(recipe(stage={"tokens": tokens + 100}), machines).fits


def test_packs_that_ranks_cannot_share_are_planned_as_many_as_they_can():
    stage = make_plan(recipe(), Machines(64)).stages[0]
    assert stage.packs == 64 and "stages.0.packs=64" in stage.notes[0]


def test_ranks_that_cannot_be_split_are_one_clear_line():
    with pytest.raises(TrainingError, match="devices.shard is 3; it must divide the 8 ranks"):
        make_plan(recipe(devices={"shard": 3}), Machines(8))


def test_a_hub_id_that_is_neither_cached_nor_known_is_one_clear_line():
    with pytest.raises(CheckpointError, match="A plan needs its geometry: name a folder, or one of General-Medical-AI"):
        make_plan(recipe(start={"checkpoint": "somebody/something"}), Machines())


def test_a_checkpoint_that_is_there_gives_its_geometry_and_its_sizes():
    made = make_plan(recipe(start={"checkpoint": "nano"}), Machines(1))
    assert made.config.decoder.hidden_size == 256 and made.geometry == "checkpoint nano"
    assert made.stages[0].load.patches < 100 * made.stages[0].samples


@pytest.mark.parametrize("change", [{"gpus": 0}, {"memory": -1}, {"efficiency": 1.5}, {"efficiency": 0}])
def test_machines_that_cannot_be_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        Machines(**change)


# The command ------------------------------------------------------------------------------------


def test_the_command_prints_one_document(capsys):
    file = str(RECIPES / "14b" / "curriculum.yaml")
    assert main(["train", "plan", file, "recompute=false", "--nodes", "2", "--memory", "80", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [s["steps"] for s in told["stages"]] == [85000, 120000, 70000]
    assert told["machines"]["gpus"] == 16 and not told["fits"]
    assert told["days"] == pytest.approx(sum(s["days"] for s in told["stages"]))
    assert any(r["fits"] for r in told["stages"][0]["remedies"])
    expected = make_plan(load_recipe(Path(file), ["recompute=false"]), Machines(16))
    assert told["stages"][2]["memory"]["peak"] == expected.stages[2].memory.peak


def test_the_command_prints_tables_and_says_whether_it_fits(capsys):
    assert main(["train", "plan", str(RECIPES / "finetune" / "lora.yaml"), "--gpus", "2", "--memory", "24"]) == 0
    out = capsys.readouterr().out
    assert "adapters of rank 16" in out and "it fits into 21.6 GB" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "plan", "none.yaml"], "none.yaml: No such file"),
        (["train", "plan", "{lora}", "--gpus", "3", "--nodes", "2"], "--gpus 3: 2 machines of 8 have 16"),
        (["train", "plan", "{lora}", "--image", "0"], "an image of 1 px or more"),
        (["train", "plan", "{lora}", "stages.0.token=5"], "stages.0.token: no such field"),
    ],
)
def test_wrong_use_is_one_line(arguments, message, capsys):
    lora = str(RECIPES / "finetune" / "lora.yaml")
    assert main([lora if a == "{lora}" else a for a in arguments]) == 2
    assert message in capsys.readouterr().err
