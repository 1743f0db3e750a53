"""Adapters change what they should, train alike on one process and two, and merge into what they were trained as."""

from __future__ import annotations

import copy
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import typer
from torch import Tensor, nn

from unimedvl import UniMedVL
from unimedvl.checkpoint import CheckpointError, fingerprint, load_model, open_checkpoint, save_model
from unimedvl.checkpoint.adapters import Base, check_base, read_adapters
from unimedvl.cli.command import ended
from unimedvl.cli.options import ModelOptions
from unimedvl.inference.text import Sampling
from unimedvl.model.linear import Linear
from unimedvl.model.unified import UnifiedModel
from unimedvl.sequence import Latent, PackedBatch, Seen, Text, pack
from unimedvl.training.error import TrainingError
from unimedvl.training.lora import (
    AdaptedLinear,
    add_adapters,
    load_adapters,
    merge_adapters,
    merge_into,
    quantised,
    save_adapters,
)
from unimedvl.training.recipe import Lora

HELD = ("float32", "bfloat16", "int8")
SHORT = Sampling(max_tokens=8)


def lora(**changes) -> Lora:
    return Lora(**{"rank": 4, "alpha": 8.0, "base": "float32"} | changes)


def stir(model: nn.Module, seed: int = 1) -> None:
    """Give every adapter a B that matters, as training would."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        if name.endswith("lora_B"):
            p.data.normal_(std=0.1, generator=generator)


def batch_for(model: UnifiedModel, seed: int = 0) -> PackedBatch:
    """A question on a seen image with its answer, and a drawing."""
    generator = torch.Generator().manual_seed(seed)

    def image(h: int, w: int) -> Tensor:
        return torch.rand(3, h, w, generator=generator) * 2 - 1

    asked = [Seen(image(28, 42)), Text([5, 6, 7]), Text([8, 9, 10], predict=True)]
    drawn = [Text([11, 12]), Latent(image(8, 12), predict=True)]
    return pack([asked, drawn], model.config, generator)


def numbers(model: UnifiedModel) -> Tensor:
    losses = model(batch_for(model))
    return torch.cat([losses.ce, losses.mse.flatten()])


@pytest.fixture
def fresh(model: UnifiedModel) -> UnifiedModel:
    return copy.deepcopy(model)


@pytest.fixture
def base(tiny_folder: Path) -> Base:
    return Base("tiny", fingerprint(tiny_folder))


@pytest.fixture
def trained(tiny_folder: Path, base: Base, tmp_path: Path) -> tuple[UnifiedModel, Path]:
    """The tiny model with adapters that matter, and their folder."""
    model = load_model(tiny_folder)
    add_adapters(model, lora())
    stir(model)
    save_adapters(model, tmp_path / "adapters", lora(), base)
    return model, tmp_path / "adapters"


# Layers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", HELD)
def test_a_model_with_new_adapters_gives_what_it_gave(model, fresh, held):
    add_adapters(fresh, lora(base=held))
    tolerance = {"float32": 1e-6, "bfloat16": 0.05, "int8": 0.1}[held]
    torch.testing.assert_close(numbers(fresh), numbers(model), atol=tolerance, rtol=tolerance)
    assert fresh.dtype == model.dtype  # whatever the weights are held in


def test_the_chosen_modules_are_adapted_and_nothing_else_is_trained(model):
    decoder = model.config.decoder.num_layers * 7
    for modules, count in ((("understanding",), decoder), (("generation",), decoder), (("connector",), 2)):
        adapted = copy.deepcopy(model)
        names = add_adapters(adapted, lora(modules=modules))
        assert len(names) == count and set(names) <= model.state_dict().keys()
        assert all(("_moe_gen" in n) == ("generation" in modules) for n in names)
        trains = {n for n, p in adapted.named_parameters() if p.requires_grad}
        owners = [n.removesuffix(".weight") for n in names]
        assert trains == {f"{o}.{leaf}" for o in owners for leaf in ("lora_A", "lora_B")}


def test_adapted_layers_compute_the_published_sum_and_gradients():
    torch.manual_seed(0)
    plain = Linear(24, 16)
    layer = AdaptedLinear(plain, lora(rank=3, alpha=6.0))
    stir(layer)
    x = torch.randn(2, 5, 24, requires_grad=True)
    wanted = F.linear(x, plain.weight + 2 * layer.lora_B @ layer.lora_A, plain.bias)
    torch.testing.assert_close(layer(x), wanted)
    leaves = (x, layer.lora_A, layer.lora_B)
    ours = torch.autograd.grad(layer(x).square().sum(), leaves)
    theirs = torch.autograd.grad(wanted.square().sum(), leaves)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("held", HELD)
@pytest.mark.parametrize("compiled", [False, True])
def test_no_wide_copy_of_a_frozen_weight_is_kept_for_the_backward_pass(held, compiled):
    layer = AdaptedLinear(Linear(512, 512, bias=False), lora(base=held))
    run = torch.compile(layer, backend="aot_eager_decomp_partition", fullgraph=True) if compiled else layer
    own = {p.untyped_storage().data_ptr() for p in layer.parameters()}
    kept = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    x = torch.randn(4, 512, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t), torch.autocast("cpu", torch.bfloat16):
        run(x).sum().backward()
    assert layer.base.untyped_storage().data_ptr() in kept
    assert sum(size for place, size in kept.items() if place not in own) < 40_000  # in bf16 it takes 524,288


@pytest.mark.parametrize("held", HELD)
def test_adapters_train_under_bf16_autocast_and_with_recomputed_layers(fresh, held):
    add_adapters(fresh, lora(base=held))
    stir(fresh)
    grads = []
    for recompute in (False, True):
        fresh.stack.checkpointing = recompute
        fresh.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            fresh(batch_for(fresh)).total().backward()
        grads.append([p.grad for p in fresh.parameters() if p.requires_grad])
    for once, again in zip(*grads, strict=True):
        assert once.dtype == torch.float32 and once.abs().sum() > 0
        torch.testing.assert_close(once, again)


@pytest.mark.parametrize("held", HELD)
def test_a_compiled_layer_gives_what_it_gave(held):
    torch.manual_seed(0)
    layer = AdaptedLinear(Linear(32, 16), lora(base=held))
    stir(layer)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    x = torch.randn(6, 32, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        plain, ours = layer(x), compiled(x)
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours, plain)
    leaves = (x, layer.lora_A, layer.lora_B)
    for a, b in zip(*(torch.autograd.grad(out.float().square().sum(), leaves) for out in (ours, plain)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-2, rtol=1e-2)


def test_whole_numbers_of_eight_bits_are_off_by_half_a_step_at_most():
    weight = torch.randn(64, 96, generator=torch.Generator().manual_seed(0))
    weight[3], weight[5] = 0, weight[5] * 1e-6
    held, scale = quantised(weight)
    assert (held.dtype, scale.dtype) == (torch.int8, torch.bfloat16)
    error = (held.float() * scale.float()[:, None] - weight).abs()
    assert (error <= 0.5001 * scale.float()[:, None]).all()
    assert (error.square().mean() / weight.square().mean()).sqrt() < 0.009


@pytest.mark.parametrize("held", HELD)
def test_a_model_moved_to_another_type_keeps_what_its_adapters_hold(fresh, held):
    add_adapters(fresh.to(torch.bfloat16), lora(base=held))
    layer = fresh.connector.fc1
    before, types = numbers(fresh.float()), [p.dtype for p in (layer.base, layer.lora_A, layer.lora_B)]
    assert types == [getattr(torch, held), torch.float32, torch.float32]
    assert fresh.dtype == layer.bias.dtype == before.dtype == torch.float32
    stir(fresh.to(torch.bfloat16))
    assert fresh.dtype == torch.bfloat16 and layer.lora_B.dtype == torch.float32
    assert numbers(fresh).isfinite().all()


def test_what_is_not_adapted_is_packed_as_before(model, fresh):
    add_adapters(fresh.pack(), lora(modules=("understanding",)))
    torch.testing.assert_close(numbers(fresh.pack()), numbers(model), atol=1e-4, rtol=1e-4)
    assert torch.equal(fresh.unpack().vae2llm.weight, model.vae2llm.weight)


def test_the_start_depends_on_the_seed_and_the_weight_alone(model):
    def starts(modules: tuple[str, ...], seed: int) -> dict[str, Tensor]:
        adapted = copy.deepcopy(model)
        add_adapters(adapted, lora(modules=modules), seed)
        return {n: p for n, p in adapted.named_parameters() if n.endswith("lora_A")}

    alone, among, other = starts(("connector",), 0), starts(("generation", "connector"), 0), starts(("connector",), 1)
    assert all(torch.equal(p, among[n]) and not torch.equal(p, other[n]) for n, p in alone.items())


def test_adapters_are_added_once_and_to_what_is_there(make_model, geometry, fresh):
    with pytest.raises(TrainingError, match="generation is asked for"):
        add_adapters(make_model(geometry, generation=False), lora())
    add_adapters(fresh, lora())
    with pytest.raises(TrainingError, match="has adapters already"):
        add_adapters(fresh, lora())


# Files -------------------------------------------------------------------------------------------


def test_saved_adapters_come_back_in_a_plain_model_and_in_an_adapted_one(trained, tiny_folder, base):
    model, folder = trained
    plain, adapted = load_model(tiny_folder), load_model(tiny_folder)
    add_adapters(adapted, lora(), seed=9)
    for other in (plain, adapted):
        load_adapters(other, folder, base)
        assert torch.equal(numbers(other), numbers(model))


def test_the_files_name_published_weights_and_say_what_they_belong_to(trained, tiny_folder, base):
    _, folder = trained
    about, found = json.loads((folder / "adapter.json").read_text()), read_adapters(folder)
    assert (about["rank"], about["alpha"], about["base"]["weights_sha256"]) == (4, 8.0, base.weights_sha256)
    names = open_checkpoint(tiny_folder).tensors.keys()
    assert found.weights and set(found.weights) <= names
    assert set(found.tensors) == {n + s for n in found.weights for s in (".lora_A", ".lora_B")}
    assert sorted(p.name for p in folder.iterdir()) == ["adapter.json", "adapters.safetensors"]


def test_a_save_that_fails_leaves_the_old_files(trained, base, monkeypatch):
    model, folder = trained
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    stir(model, 2)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(CheckpointError, match="No space left"):
            save_adapters(model, folder, lora(), base)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_adapters_of_another_base_geometry_rank_or_module_are_refused(trained, base, make_model, geometry, fresh):
    _, folder = trained
    with pytest.raises(CheckpointError, match=r"belong to tiny .* not to other"):
        load_adapters(fresh, folder, Base("other", "f" * 64))
    with pytest.raises(CheckpointError, match="another geometry: language_model.model.layers.0"):
        load_adapters(fresh_wide(make_model, geometry), folder)
    adapted = copy.deepcopy(fresh)
    add_adapters(adapted, lora(rank=2))
    with pytest.raises(CheckpointError, match="adapters of rank 4, and the model's are of rank 2"):
        load_adapters(adapted, folder)
    add_adapters(fresh, lora(modules=("connector",)))
    with pytest.raises(CheckpointError, match="the model's are of connector"):
        load_adapters(fresh, folder)
    with pytest.raises(TrainingError, match="alpha"):
        save_adapters(fresh, folder, lora(alpha=3.0, modules=("connector",)), base)


def fresh_wide(make_model, geometry) -> UnifiedModel:
    from dataclasses import replace

    return make_model(replace(geometry, decoder=replace(geometry.decoder, intermediate_size=56)))


def test_damaged_or_missing_files_are_one_line(trained, tmp_path):
    _, folder = trained
    with pytest.raises(CheckpointError, match="found no adapter.json"):
        read_adapters(tmp_path)
    file = folder / "adapters.safetensors"
    whole = bytearray(file.read_bytes())
    whole[-1] ^= 1
    file.write_bytes(whole)
    with pytest.raises(CheckpointError, match="that adapter.json describes"):
        read_adapters(folder)
    file.write_bytes(whole[:-100])
    with pytest.raises(CheckpointError, match="truncated"):
        read_adapters(folder)
    about = json.loads((folder / "adapter.json").read_text())
    for field, value in (("rank", "four"), ("modules", ["vit"]), ("format", "other"), ("base", {})):
        (folder / "adapter.json").write_text(json.dumps(about | {field: value}))
        with pytest.raises(CheckpointError) as told:
            read_adapters(folder)
        assert "\n" not in str(told.value)


# Merging -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", HELD)
def test_a_merged_model_is_plain_and_gives_what_the_adapted_one_gave(fresh, held, tmp_path):
    add_adapters(fresh, lora(base=held))
    stir(fresh)
    with torch.no_grad():
        before = numbers(fresh)
        merged = numbers(merge_adapters(fresh))
    assert not any(isinstance(m, AdaptedLinear) for m in fresh.modules())
    torch.testing.assert_close(merged, before, atol=1e-4, rtol=1e-4)
    save_model(fresh, tmp_path / "merged")  # under the published names


def test_a_merged_checkpoint_answers_as_the_adapted_model(trained, tiny, tiny_folder, base, picture, tmp_path):
    model, folder = trained
    merge_into(tiny_folder, folder, tmp_path / "merged")
    loaded = UniMedVL.load(tmp_path / "merged")
    with torch.no_grad():
        torch.testing.assert_close(numbers(loaded.model), numbers(model), atol=1e-4, rtol=1e-4)
    assert loaded.card["merged"]["base_sha256"] == base.weights_sha256
    ours = loaded.ask(picture, "What is shown?", sampling=SHORT)
    theirs = UniMedVL(model, tiny.tokenizer, tiny.card, "").ask(picture, "What is shown?", sampling=SHORT)
    assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-3)
    plain = tiny.ask(picture, "What is shown?", sampling=SHORT)
    assert ours.logprobs != pytest.approx(plain.logprobs, abs=1e-2)


def test_adapters_trained_over_int8_merge_into_weights_that_never_were(tiny_folder, base, tmp_path):
    model = load_model(tiny_folder)
    plain = load_model(tiny_folder).connector.fc1.weight
    add_adapters(model, lora(base="int8"))
    stir(model)
    save_adapters(model, tmp_path / "adapters", lora(base="int8"), base)
    merge_into(tiny_folder, tmp_path / "adapters", tmp_path / "merged")
    layer, merged = model.connector.fc1, load_model(tmp_path / "merged").connector.fc1.weight
    exact = plain + 2 * layer.lora_B @ layer.lora_A
    torch.testing.assert_close(merged, exact, atol=1e-6, rtol=1e-6)
    rounded = merge_adapters(model).connector.fc1.weight
    assert 1e-3 < (rounded - exact).norm() / exact.norm() < 1e-2  # what int8 costs a merge


def test_each_tensor_of_a_merged_checkpoint_keeps_its_type(tiny_folder, tmp_path):
    model = load_model(tiny_folder, dtype=torch.bfloat16)
    exact = load_model(tiny_folder).vae
    model.vae = exact
    save_model(model, tmp_path / "mixed")
    shutil.copy(tiny_folder / "tokenizer.json", tmp_path / "mixed")
    for extra in tiny_folder.glob("*token*"):
        shutil.copy(extra, tmp_path / "mixed")
    mixed = Base("mixed", fingerprint(tmp_path / "mixed"))
    add_adapters(model, lora())
    save_adapters(model, tmp_path / "adapters", lora(), mixed)
    merge_into(tmp_path / "mixed", tmp_path / "adapters", tmp_path / "merged")
    before, after = (open_checkpoint(tmp_path / n).tensors for n in ("mixed", "merged"))
    assert {n: e.dtype for n, e in before.items()} == {n: e.dtype for n, e in after.items()}
    assert {e.dtype for e in after.values()} == {torch.bfloat16, torch.float32}
    # B is zero, so nothing has changed
    assert fingerprint(tmp_path / "merged") == mixed.weights_sha256


def test_a_model_is_loaded_with_adapters_packed_or_not_whole_or_not(trained, tiny_folder, picture, tmp_path):
    _, folder = trained
    merge_into(tiny_folder, folder, tmp_path / "merged")
    wanted = UniMedVL.load(tmp_path / "merged", pack=False).ask(picture, "What?", sampling=SHORT)
    for options in ({"pack": False}, {"pack": True}, {"generation": False}):
        ours = UniMedVL.load(tiny_folder, adapters=folder, **options).ask(picture, "What?", sampling=SHORT)
        assert ours.logprobs == pytest.approx(wanted.logprobs, abs=1e-3)
    stated = ours.provenance["model"]
    assert stated["weights_sha256"] == fingerprint(tiny_folder)
    assert stated["adapters"]["sha256"] == read_adapters(folder).sha256
    with pytest.raises(CheckpointError, match="adapters belong to tiny"):
        UniMedVL.load(adapters=folder)


def test_commands_take_a_folder_of_adapters_beside_the_model(trained, tiny_folder):
    _, folder = trained
    options = ModelOptions(model=str(tiny_folder), adapters=folder)
    assert options.load(generation=False, progress=False).card["adapters"]["sha256"] == read_adapters(folder).sha256


def test_the_command_merges_and_refuses_in_one_line(trained, tiny_folder, tmp_path, capsys):
    from unimedvl.cli import training_merge

    _, folder = trained
    app = typer.Typer()
    training_merge.register(app)
    given = [str(folder), str(tmp_path / "out"), "--base", str(tiny_folder), "--json"]
    assert ended(app, given) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["base_sha256"] == fingerprint(tiny_folder) and UniMedVL.load(told["checkpoint"])
    assert ended(app, [str(folder), str(tmp_path / "out")]) == 2  # `tiny` is the name of no folder here
    assert ended(app, [str(folder), str(tiny_folder), "--base", str(tiny_folder)]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and "tiny" in errors[0] and "name another folder" in errors[1]


def test_check_base_takes_the_same_weights_under_another_name(trained, base):
    check_base(read_adapters(trained[1]), Base("moved", base.weights_sha256))
