"""What is saved is what is loaded, in any type and layout, and a failed save changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unimedvl.checkpoint import (
    CheckpointError,
    empty_model,
    fingerprint,
    load_model,
    open_checkpoint,
    save_model,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shard_bytes", [None, 30_000])
def test_round_trip_is_exact_and_readable_by_the_safetensors_package(model, tmp_path, dtype, shard_bytes, geometry):
    save_model(model, tmp_path / "out", dtype=dtype, shard_bytes=shard_bytes)
    loaded = load_model(tmp_path / "out")
    assert loaded.dtype == dtype and not loaded.training
    assert loaded.config == geometry
    own = model.state_dict()
    assert all(torch.equal(own[n].to(dtype), t) for n, t in loaded.state_dict().items())
    stored = {n: t for f in (tmp_path / "out").glob("ema*.safetensors") for n, t in load_file(f).items()}
    assert stored.keys() == {n for n in own if not n.startswith("vae.")}
    assert all(torch.equal(own[n].to(dtype), t) for n, t in stored.items())


def test_no_shard_is_larger_than_asked(model, tmp_path):
    save_model(model, tmp_path / "out", shard_bytes=60_000)
    sizes = [f.stat().st_size for f in (tmp_path / "out").glob("*.safetensors")]
    assert len(sizes) > 5 and max(sizes) <= 60_000
    assert (tmp_path / "out" / "ema.safetensors.index.json").is_file()


@pytest.mark.parametrize("name", ["model.safetensors", "ema_bf16.safetensors", "model_bf16.safetensors"])
def test_every_published_file_name_is_read(model, folder, name, same):
    (folder / "ema.safetensors").rename(folder / name)
    assert same(load_model(folder), model)


def test_a_wrapper_prefix_on_vae_names_is_taken_off(model, folder, same, edit_tensors):
    edit_tensors(folder / "ae.safetensors", lambda t: {"module." + n: x for n, x in t.items()})
    assert same(load_model(folder), model)


@pytest.mark.parametrize("wanted", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_are_converted_to_the_type_asked_for(model, folder, wanted):
    loaded = load_model(folder, dtype=wanted)
    own = model.state_dict()
    assert all(
        t.dtype == wanted and torch.equal(t, own[n].to(wanted)) for n, t in loaded.state_dict().items()
    )


def test_parts_stored_in_different_types_load_in_the_decoders(model, folder, tmp_path):
    save_model(model, tmp_path / "half", dtype=torch.bfloat16)
    (folder / "ae.safetensors").replace(tmp_path / "half" / "ae.safetensors")
    assert {t.dtype for t in load_model(tmp_path / "half").state_dict().values()} == {torch.bfloat16}


def test_understanding_only_has_no_generation_weights_and_no_vae(model, folder, tmp_path, same):
    (folder / "ae.safetensors").unlink()
    loaded = load_model(folder, generation=False)
    names = loaded.state_dict().keys()
    assert not [n for n in names if "_moe_gen" in n or n.startswith(("vae", "llm2vae", "latent", "time"))]
    assert all(torch.equal(t, model.state_dict()[n]) for n, t in loaded.state_dict().items())
    save_model(loaded, tmp_path / "und")
    assert not (tmp_path / "und" / "ae.safetensors").exists()
    assert same(load_model(tmp_path / "und", generation=False), loaded)
    with pytest.raises(CheckpointError, match="generation=False"):
        load_model(tmp_path / "und")


def test_changing_a_loaded_model_changes_no_file(folder):
    before = (folder / "ema.safetensors").read_bytes()
    loaded = load_model(folder)
    with torch.no_grad():
        loaded.connector.fc1.weight.add_(1)
    assert (folder / "ema.safetensors").read_bytes() == before


def test_a_model_can_be_saved_over_the_files_it_is_mapped_from(model, folder, same):
    (folder / "notes.txt").write_text("stays")
    loaded = load_model(folder)
    save_model(loaded, folder, shard_bytes=50_000)
    assert not (folder / "ema.safetensors").exists(), "a stale file would win over the new shards"
    assert same(load_model(folder), model)
    save_model(loaded, folder)
    assert not list(folder.glob("*-of-*")) and not list(folder.glob("*.index.json"))
    assert same(load_model(folder), model)
    assert (folder / "notes.txt").read_text() == "stays"


def test_a_failed_save_leaves_the_old_checkpoint_and_nothing_else(model, folder):
    class Broken:
        def save(self, folder):
            raise OSError(28, "No space left on device")

    before = fingerprint(folder)
    with pytest.raises(CheckpointError, match="No space left"):
        save_model(model, folder, tokenizer=Broken(), dtype=torch.float16)
    assert fingerprint(folder) == before and [p.name for p in folder.parent.iterdir()] == ["tiny"]


def test_a_model_with_other_tensors_is_not_saved(tmp_path, geometry):
    changed = empty_model(geometry)
    changed.connector.fc1 = torch.nn.Sequential(changed.connector.fc1)
    with pytest.raises(CheckpointError, match="connector.fc1.0.bias.*published names"):
        save_model(changed, tmp_path / "out")
    with pytest.raises(CheckpointError, match="meta device"):
        save_model(empty_model(geometry), tmp_path / "out")


def test_the_card_and_the_tokenizer_come_along(model, tmp_path):
    class Words:
        def save(self, folder):
            (Path(folder) / "tokenizer.json").write_text("{}")

    save_model(model, tmp_path / "out", card={"trained_on": "simulated"}, tokenizer=Words())
    assert open_checkpoint(tmp_path / "out").card == {"trained_on": "simulated"}
    assert (tmp_path / "out" / "tokenizer.json").is_file()


def test_progress_counts_to_the_end_and_the_bar_stays_off_standard_output(folder, capfd):
    told: list[tuple[int, int]] = []
    load_model(folder, dtype=torch.bfloat16, progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] == open_checkpoint(folder).nbytes
    assert [d for d, _ in told] == sorted(d for d, _ in told)
    load_model(folder, progress=True)
    out, err = capfd.readouterr()
    assert not out and "loading weights" in err
