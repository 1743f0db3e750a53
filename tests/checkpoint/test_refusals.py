"""What does not fit is refused by name, before a weight is read."""

from __future__ import annotations

import json

import pytest
import torch

from unimedvl.checkpoint import CheckpointError, load_model, open_checkpoint, save_model


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
    ("ema", put("latent_pos_embed.pos_embed", torch.zeros(24, 32)), r"expected \[64, 32\], found \[24, 32\]"),
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
def test_tensors_that_do_not_fit_are_named_with_file_expected_and_found(folder, file, change, message, edit_tensors):
    edit_tensors(folder / f"{file}.safetensors", change)
    with pytest.raises(CheckpointError, match=rf"{file}\.safetensors.*{message}"):
        load_model(folder)


def test_many_misfits_are_counted_and_the_first_named(folder, edit_tensors):
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
def test_a_wrong_field_is_named_with_what_it_accepts(folder, file, changes, message, edit_json):
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
