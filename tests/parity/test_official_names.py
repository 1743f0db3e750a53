"""Every tensor of the official checkpoint has its place in the 14b preset, and nothing else has."""

from __future__ import annotations

from unimedvl.checkpoint import empty_model
from unimedvl.model.config import preset


def test_names_and_shapes_at_the_14b_preset(golden):
    keys = golden.official_keys()
    official = keys["ema.safetensors"] | {f"vae.{n}": shape for n, shape in keys["ae.safetensors"].items()}
    ours = {name: list(tensor.shape) for name, tensor in empty_model(preset("14b")).state_dict().items()}
    assert ours.keys() == official.keys()
    assert {n: (ours[n], official[n]) for n in ours if ours[n] != official[n]} == {}
    assert len(keys["ema.safetensors"]) == 1223 and len(keys["ae.safetensors"]) == 244
