"""Geometry: what does not fit is refused, and the presets are what they say."""

from __future__ import annotations

import pytest

from unimedvl.checkpoint import empty_model
from unimedvl.model.config import PRESETS, DecoderConfig, VaeConfig, preset


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="hidden_size 30 is no multiple of num_heads 4"):
        DecoderConfig(10, 30, 8, 1, 4, 2)
    with pytest.raises(ValueError, match="num_heads 4 is no multiple of num_kv_heads 3"):
        DecoderConfig(10, 32, 8, 1, 4, 3)


def test_an_unknown_preset_is_named_with_those_there_are():
    with pytest.raises(ValueError, match="no preset called '7b'; there are 14b, nano"):
        preset("7b")


def test_a_preset_takes_whole_parts():
    vae = VaeConfig(8, (1, 2), 1)
    assert preset("nano", vae=vae).vae is vae and PRESETS["nano"].vae is not vae


@pytest.mark.parametrize(("name", "millions"), [("14b", (14_500, 14_800)), ("nano", (10, 24))])
def test_size_of_a_preset(name, millions):
    """The published model has 14.6e9 parameters; the embedded one must fit into 48 MB of bf16."""
    count = sum(p.numel() for p in empty_model(preset(name)).parameters()) / 1e6
    assert millions[0] <= count <= millions[1]


@pytest.mark.parametrize("name", PRESETS)
def test_control_tokens_are_four_and_within_the_vocabulary(name):
    config = PRESETS[name]
    ids = set(vars(config.special).values())
    assert len(ids) == 4 and max(ids) < config.decoder.vocab_size
    assert config.latent_token_dim == config.latent_patch_size**2 * config.vae.z_channels
