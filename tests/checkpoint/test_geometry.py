"""A model's geometry follows from its weights; stale numbers beside them give way."""

from __future__ import annotations

import json

import pytest

from unimedvl.checkpoint import empty_model, load_model
from unimedvl.checkpoint.geometry import model_config
from unimedvl.model.config import PRESETS, ModelConfig


def shapes(config: ModelConfig, generation: bool = True) -> dict[str, tuple[int, ...]]:
    return {n: tuple(t.shape) for n, t in empty_model(config, generation).state_dict().items()}


def test_official_geometry_follows_from_the_weights_alone():
    assert model_config(shapes(PRESETS["14b"]), {}, {}, {}) == PRESETS["14b"]


@pytest.mark.parametrize("stated", [26, 27])
def test_the_vit_depth_is_the_weights_whether_or_not_the_file_counts_the_dropped_layer(stated, caplog):
    config = model_config(shapes(PRESETS["14b"]), {}, {"num_hidden_layers": stated}, {})
    assert config.vit.num_layers == 26 and not caplog.records


def test_stale_numbers_give_way_to_the_weights_and_are_told(folder, model, caplog, same, edit_json, geometry):
    edit_json(folder / "llm_config.json", vocab_size=99, num_hidden_layers=7, num_key_value_heads=1)
    edit_json(folder / "vit_config.json", num_hidden_layers=9, intermediate_size=3)
    edit_json(
        folder / "geometry.json", max_latent_size=64, latent_patch_size=4, vit_max_num_patch_per_side=70,
    )  # fmt: skip
    stale = json.loads((folder / "geometry.json").read_text())
    stale["ae"] |= {"ch": 128, "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "z_channels": 16}
    (folder / "geometry.json").write_text(json.dumps(stale))
    loaded = load_model(folder)
    assert loaded.config == geometry and same(loaded, model)
    assert "vocab_size is 99, but the weights hold 64" in caplog.text


def test_understanding_only_shapes_leave_the_rest_official():
    config = model_config(shapes(PRESETS["14b"], generation=False), {}, {}, {})
    assert config == PRESETS["14b"]
