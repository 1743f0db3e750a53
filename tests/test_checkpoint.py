"""Checkpoints: what is saved is what is loaded, and what does not fit is refused by name."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from unimedvl.checkpoint import (
    CheckpointError,
    Fingerprint,
    empty_model,
    fingerprint,
    load_model,
    open_checkpoint,
    save_model,
)
from unimedvl.checkpoint.geometry import model_config
from unimedvl.model.config import PRESETS, DecoderConfig, ModelConfig, SpecialTokens, VaeConfig, VitConfig
from unimedvl.model.unified import UnifiedModel

TINY = ModelConfig(
    decoder=DecoderConfig(64, 32, 48, 2, 4, 2, rope_theta=1e4, max_position_embeddings=256),
    vit=VitConfig(24, 40, 3, 2, patch_size=14, max_patches_per_side=6),
    vae=VaeConfig(8, (1, 2), 1, z_channels=4, norm_groups=4),
    special=SpecialTokens(60, 61, 62, 63),
    max_latent_size=5,
)


@pytest.fixture(scope="module")
def model() -> UnifiedModel:
    torch.manual_seed(0)
    tiny = UnifiedModel(TINY)
    tiny.initialise()
    return tiny.eval()


@pytest.fixture(scope="module")
def saved(model: UnifiedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "tiny"
    save_model(model, path)
    return path


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "tiny"))


def same(a: UnifiedModel, b: UnifiedModel) -> bool:
    x, y = a.state_dict(), b.state_dict()
    return x.keys() == y.keys() and all(torch.equal(x[n], y[n]) for n in x)


def edit_json(path: Path, **changes) -> None:
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))


def edit_tensors(path: Path, change) -> None:
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    save_file(change(tensors) or tensors, path)


# What is saved is what is loaded -----------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shard_bytes", [None, 30_000])
def test_round_trip_is_exact_and_readable_by_the_safetensors_package(model, tmp_path, dtype, shard_bytes):
    save_model(model, tmp_path / "out", dtype=dtype, shard_bytes=shard_bytes)
    loaded = load_model(tmp_path / "out")
    assert loaded.dtype == dtype and not loaded.training
    assert loaded.config == TINY
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
def test_every_published_file_name_is_read(model, folder, name):
    (folder / "ema.safetensors").rename(folder / name)
    assert same(load_model(folder), model)


def test_a_wrapper_prefix_on_vae_names_is_taken_off(model, folder):
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


def test_understanding_only_has_no_generation_weights_and_no_vae(model, folder, tmp_path):
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


def test_a_model_can_be_saved_over_the_files_it_is_mapped_from(model, folder):
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


def test_a_model_with_other_tensors_is_not_saved(tmp_path):
    changed = empty_model(TINY)
    changed.connector.fc1 = torch.nn.Sequential(changed.connector.fc1)
    with pytest.raises(CheckpointError, match="connector.fc1.0.bias.*published names"):
        save_model(changed, tmp_path / "out")
    with pytest.raises(CheckpointError, match="meta device"):
        save_model(empty_model(TINY), tmp_path / "out")


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


def test_the_fingerprint_is_what_sha256sum_gives_and_follows_the_weights(folder):
    lines = "".join(
        f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n"
        for n in ("ae.safetensors", "ema.safetensors")
    )
    before = fingerprint(folder)
    assert before == hashlib.sha256(lines.encode()).hexdigest()
    edit_tensors(folder / "ae.safetensors", put("encoder.conv_in.bias", torch.ones(8)))
    assert fingerprint(folder) != before


def test_hashing_tells_how_far_it_is_and_reads_no_file_twice(folder):
    told: list[tuple[int, int]] = []
    first = fingerprint(folder, progress=lambda done, total: told.append((done, total)))
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    assert told[-1] == (size, size) and [d for d, _ in told] == sorted(d for d, _ in told)
    told.clear()
    assert fingerprint(folder, progress=lambda *step: told.append(step)) == first and not told


def test_the_hash_is_of_what_was_there_when_the_checkpoint_was_opened(model, folder):
    before, opened = fingerprint(folder), Fingerprint(open_checkpoint(folder))
    save_model(model, folder, dtype=torch.float16)
    assert opened() == before != fingerprint(folder)
    assert copy.deepcopy(opened) == before


def test_a_file_changed_in_place_has_lost_the_hash_of_the_weights(folder):
    opened = Fingerprint(open_checkpoint(folder))
    with (folder / "ae.safetensors").open("r+b") as stream:
        stream.seek(-4, 2)
        stream.write(b"1234")
    os.utime(folder / "ae.safetensors", ns=(1, 1))  # on a coarse clock it may have stayed the same
    with pytest.raises(CheckpointError, match="ae.safetensors: was changed in place.*load it again"):
        opened()


# Geometry ----------------------------------------------------------------------------------------


def shapes(config: ModelConfig, generation: bool = True) -> dict[str, tuple[int, ...]]:
    return {n: tuple(t.shape) for n, t in empty_model(config, generation).state_dict().items()}


def test_official_geometry_follows_from_the_weights_alone():
    assert model_config(shapes(PRESETS["14b"]), {}, {}, {}) == PRESETS["14b"]


@pytest.mark.parametrize("stated", [26, 27])
def test_the_vit_depth_is_the_weights_whether_or_not_the_file_counts_the_dropped_layer(stated, caplog):
    config = model_config(shapes(PRESETS["14b"]), {}, {"num_hidden_layers": stated}, {})
    assert config.vit.num_layers == 26 and not caplog.records


def test_stale_numbers_give_way_to_the_weights_and_are_told(folder, model, caplog):
    edit_json(folder / "llm_config.json", vocab_size=99, num_hidden_layers=7, num_key_value_heads=1)
    edit_json(folder / "vit_config.json", num_hidden_layers=9, intermediate_size=3)
    edit_json(
        folder / "geometry.json", max_latent_size=64, latent_patch_size=4, vit_max_num_patch_per_side=70,
    )  # fmt: skip
    geometry = json.loads((folder / "geometry.json").read_text())
    geometry["ae"] |= {"ch": 128, "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "z_channels": 16}
    (folder / "geometry.json").write_text(json.dumps(geometry))
    loaded = load_model(folder)
    assert loaded.config == TINY and same(loaded, model)
    assert "vocab_size is 99, but the weights hold 64" in caplog.text


def test_understanding_only_shapes_leave_the_rest_official():
    config = model_config(shapes(PRESETS["14b"], generation=False), {}, {}, {})
    assert config == PRESETS["14b"]


# What does not fit is refused by name ------------------------------------------------------------


def drop(name):
    return lambda t: {n: x for n, x in t.items() if n != name}


def put(name, tensor):
    return lambda t: t | {name: tensor}


LAYER = "language_model.model.layers.1."
REFUSED = [
    (
        "ema",
        drop(LAYER + "mlp.up_proj.weight"),
        r"layers.1.mlp.up_proj.weight: expected \[48, 32\], found none",
    ),
    ("ema", drop("llm2vae.weight"), r"llm2vae.weight: expected \[16, 32\], found none"),
    ("ae", drop("decoder.conv_in.bias"), r"decoder.conv_in.bias: expected \[16\], found none"),
    ("ema", put("extra.weight", torch.zeros(3)), r"extra.weight: expected none, found \[3\]"),
    ("ae", put("quant_conv.bias", torch.zeros(2)), r"quant_conv.bias: expected none, found \[2\]"),
    ("ema", put(LAYER + "input_layernorm.weight", torch.zeros(31)), r"expected \[32\], found \[31\]"),
    (
        "ema",
        put("language_model.lm_head.weight", torch.zeros(65, 32)),
        r"lm_head.weight: expected \[64, 32\], found",
    ),
    ("ema", put("latent_pos_embed.pos_embed", torch.zeros(24, 32)), r"expected \[25, 32\], found \[24, 32\]"),
    (
        "ema",
        put("connector.fc1.weight", torch.zeros(32, 24, dtype=torch.int8)),
        r"fc1.weight: expected type.*found I8",
    ),
    (
        "ae",
        put("encoder.conv_in.weight", torch.zeros(9, 3, 3, 3)),
        r"expected \[8, 3, 3, 3\], found \[9, 3, 3, 3\]",
    ),
]


@pytest.mark.parametrize(("file", "change", "message"), REFUSED)
def test_tensors_that_do_not_fit_are_named_with_file_expected_and_found(folder, file, change, message):
    edit_tensors(folder / f"{file}.safetensors", change)
    with pytest.raises(CheckpointError, match=rf"{file}\.safetensors.*{message}"):
        load_model(folder)


def test_many_misfits_are_counted_and_the_first_named(folder):
    edit_tensors(folder / "ema.safetensors", lambda t: {n: x for n, x in t.items() if "q_proj" not in n})
    with pytest.raises(
        CheckpointError, match=r"^12 tensors do not fit: .*q_proj.weight: expected.*; \.\.\.$"
    ):
        load_model(folder)


def test_a_truncated_file_names_the_first_tensor_that_is_cut(folder):
    path = folder / "ema.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(
        CheckpointError, match=rf"ema.safetensors: truncated: tensor \S+ expected .*{len(data)}.*found"
    ):
        load_model(folder)


@pytest.mark.parametrize("keep", [0, 5, 200])
def test_a_file_truncated_in_its_header_is_named(folder, keep):
    path = folder / "ae.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        CheckpointError, match=r"ae.safetensors: truncated in its header: expected.*found " + str(keep)
    ):
        load_model(folder)


def test_no_weight_is_read_before_all_headers_are_checked(folder):
    path = folder / "ema.safetensors"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(
        CheckpointError, match=r"ema.safetensors: expected \d+ bytes, as its header says, found"
    ):
        load_model(folder, progress=lambda done, total: pytest.fail("a weight was read"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer"),
        (b"PK\x03\x04" + b"\xff" * 60, "not a safetensors file"),
        (b"\x08" + b"\0" * 7 + b"not json", "not a safetensors file"),
        (b"\x02" + b"\0" * 7 + b"[]", "not a safetensors file"),
    ],
)
def test_what_is_no_tensor_file_is_said(folder, content, message):
    (folder / "ema.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=f"ema.safetensors: .*{message}"):
        load_model(folder)


@pytest.mark.parametrize("name", ["ema.safetensors", "ae.safetensors", "llm_config.json", "vit_config.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load_model(folder)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        (
            "llm_config.json",
            {"hidden_size": "32"},
            "field hidden_size: expected a positive whole number, found '32'",
        ),
        ("llm_config.json", {"rope_theta": -1}, "field rope_theta: expected a positive number, found -1"),
        ("llm_config.json", {"hidden_act": "relu"}, "field hidden_act: expected 'silu', found 'relu'"),
        (
            "vit_config.json",
            {"num_attention_heads": 5},
            "expected hidden_size to be a multiple of num_attention_heads 5",
        ),
        ("geometry.json", {"ae": [1]}, "field ae: expected an object"),
        ("geometry.json", {"ae": {"norm_groups": 3}}, "multiple of norm_groups 3, found 8"),
        ("geometry.json", {"ae": {"ch_mult": "1-2"}}, "ae: field ch_mult: expected a list"),
        (
            "geometry.json",
            {"special_tokens": None},
            "bos_token_id: expected a token id below 64, found 151644",
        ),
    ],
)
def test_a_wrong_field_is_named_with_what_it_accepts(folder, file, changes, message):
    edit_json(folder / file, **changes)
    with pytest.raises(CheckpointError, match=f"tiny/{file}: .*{message}"):
        load_model(folder)


@pytest.mark.parametrize("content", ["{", "[1]", "\udcff"])
def test_unreadable_json_is_named(folder, content):
    (folder / "vit_config.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(
        CheckpointError, match=r"vit_config.json: (not readable as JSON|expected a JSON object)"
    ):
        load_model(folder)


def test_an_index_and_its_shards_must_agree(model, tmp_path):
    save_model(model, tmp_path, shard_bytes=60_000)
    index = tmp_path / "ema.safetensors.index.json"
    values = json.loads(index.read_text())
    name, place = next(iter(values["weight_map"].items()))
    index.write_text(json.dumps({"weight_map": values["weight_map"] | {"ghost": place}}))
    with pytest.raises(CheckpointError, match=rf"{place}: tensor ghost: expected by .*, found none"):
        open_checkpoint(tmp_path)
    index.write_text(json.dumps({"weight_map": {n: p for n, p in values["weight_map"].items() if n != name}}))
    with pytest.raises(CheckpointError, match=rf"{place}: tensor {name}: found here, expected by .* nowhere"):
        open_checkpoint(tmp_path)
    index.write_text(json.dumps({"weight_map": {name: "../" + place}}))
    with pytest.raises(CheckpointError, match="expected a file of the same folder"):
        open_checkpoint(tmp_path)
    index.write_text(json.dumps(values))
    (tmp_path / place).unlink()
    with pytest.raises(CheckpointError, match=f"{place}: no such file"):
        open_checkpoint(tmp_path)


def test_a_type_that_is_none_of_the_three_is_refused(model, folder, tmp_path):
    with pytest.raises(CheckpointError, match="float64"):
        load_model(folder, dtype=torch.float64)
    with pytest.raises(CheckpointError, match="float64"):
        save_model(model, tmp_path / "out", dtype=torch.float64)


# Where checkpoints come from ---------------------------------------------------------------------


def test_no_such_folder_and_a_file_for_a_folder_are_said(folder):
    with pytest.raises(CheckpointError, match="no such folder"):
        open_checkpoint("/nowhere/at/all")
    with pytest.raises(CheckpointError, match="expected a checkpoint's folder, found a file"):
        open_checkpoint(folder / "ema.safetensors")


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


def refused_hub_id(match: str, **options) -> None:
    with pytest.raises(CheckpointError, match=match) as error:
        open_checkpoint("some-owner/some-model", **options)
    assert "\n" not in str(error.value)


def test_an_unreachable_hub_is_told_at_once_and_in_one_line(no_cache, monkeypatch, caplog):
    with socket.socket() as listener:  # a port that nobody listens on
        listener.bind(("127.0.0.1", 0))
        place = f"http://127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", place)
    begun = time.monotonic()
    refused_hub_id("some-model: no such folder, cannot be downloaded, and is not in the local cache .*name its folder")
    assert time.monotonic() - begun < 5 and not caplog.records


def test_offline_no_request_is_made(no_cache, monkeypatch):
    def request(*_, **__):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", request)
    refused_hub_id("not in the local cache of the hub, the only place looked at", download=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused_hub_id(r"cannot be downloaded, .*\(HF_HUB_OFFLINE is set\); unset it, or download it elsewhere")


@pytest.mark.parametrize("offline", [True, False])
def test_offline_a_cached_hub_id_is_found(folder, monkeypatch, tmp_path, offline):
    cache = tmp_path / "models--some-owner--some-model"
    shutil.copytree(folder, cache / "snapshots" / "0123")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    found = open_checkpoint("some-owner/some-model", download=offline)
    assert fingerprint(found) == fingerprint(folder)


def test_only_one_variant_of_the_weights_is_downloaded(model, folder, monkeypatch):
    asked = {}

    def download(hub_id, **options):
        asked.update(options, hub_id=hub_id)
        return str(folder)

    names = ["ae.safetensors", "model.safetensors", "ema.safetensors", "llm_config.json", "assets/a.png"]
    info = SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in names])
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda self, hub_id, revision, timeout: info)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert same(load_model("some-owner/some-model", revision="v1"), model)
    assert asked["hub_id"] == "some-owner/some-model" and asked["revision"] == "v1"
    tensor_files = [p for p in asked["allow_patterns"] if "safetensors" in p]
    assert tensor_files == ["ema.safetensors", "ae.safetensors"] and "*.json" in asked["allow_patterns"]


# Memory ------------------------------------------------------------------------------------------

PEAK = """
import sys, torch
from unimedvl.checkpoint import load_model, open_checkpoint

def resident(field):
    return next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith(field))

checkpoint = open_checkpoint(sys.argv[1])
load_model(sys.argv[2], dtype=torch.bfloat16, pack=True)  # so that what is measured is weights and not first calls
open("/proc/self/clear_refs", "w").write("5")  # forget the peak so far
before = resident("VmRSS")
model = load_model(checkpoint, dtype=getattr(torch, sys.argv[3]), pack=sys.argv[4] == "packed")
own = sum(p.nbytes for p in model.parameters())
print(resident("VmHWM") - before, own, checkpoint.nbytes)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """About 120 MB: a wide vocabulary, and two layers of some size."""
    config = replace(TINY, decoder=DecoderConfig(12000, 640, 1536, 2, 10, 2))
    model = empty_model(config).to_empty(device="cpu")
    for parameter in model.parameters():
        parameter.data.fill_(0.5)
    folder = tmp_path_factory.mktemp("large")
    save_model(model, folder)
    return folder


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("layout", ["plain", "packed"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_loading_needs_the_models_memory_and_at_most_a_tenth_of_the_checkpoint(large, folder, dtype, layout):
    run = subprocess.run(
        [sys.executable, "-c", PEAK, str(large), str(folder), dtype, layout],
        capture_output=True,
        text=True,
        check=True,
    )
    peak, own, size = map(int, run.stdout.split())
    assert size > 100e6
    # What is mapped is not resident until it is used.
    held = 0 if dtype == "float32" and layout == "plain" else own
    if layout == "packed":  # a weight is there twice for a moment; of so small a model the largest is much
        held += 2 * 12000 * 640 * (4 if dtype == "float32" else 2)
    assert peak <= held + 0.1 * size, (
        f"peak {peak / 1e6:.0f} MB, model {own / 1e6:.0f}, file {size / 1e6:.0f}"
    )
