"""The autoencoder, the ViT, the position tables and the size rule give the recorded numbers."""

from __future__ import annotations

import torch

from unimedvl.imaging.resize import fit
from unimedvl.model.unified import GridPositions
from unimedvl.sequence import grid_position_ids, patchify


@torch.no_grad()
def test_autoencoder(golden, assert_close):
    recorded, vae = golden.tensors("vae"), golden.model.vae
    assert_close(vae.moments(recorded["image"]), recorded["moments"], "moments")
    assert_close(vae.encode(recorded["image"]), recorded["latent"], "latent")
    assert_close(vae.decode(recorded["latent"]), recorded["decoded"], "decoded")


@torch.no_grad()
def test_vit_and_connector(golden, assert_close):
    recorded, model = golden.tensors("vit"), golden.model
    config = model.config.vit
    images = [recorded[f"image_{i}"] for i in range(len(recorded["lengths"]))]
    patches = torch.cat([patchify(image, config.patch_size) for image in images])
    sides = [(i.shape[1] // config.patch_size, i.shape[2] // config.patch_size) for i in images]
    ids = torch.cat([grid_position_ids(h, w, config.max_patches_per_side) for h, w in sides])
    lengths = [h * w for h, w in sides]
    assert torch.equal(ids, recorded["position_ids"])
    assert lengths == recorded["lengths"].tolist()
    assert_close(model.vit_model(patches, ids, lengths), recorded["hidden"], "hidden")
    assert_close(model.embed_seen(patches, ids, lengths), recorded["embedded"], "embedded")


def test_position_tables_are_the_sines_and_cosines_that_are_stored(golden, assert_close):
    for stored in (golden.model.latent_pos_embed, golden.model.vit_pos_embed):
        ours = GridPositions(stored.side, stored.pos_embed.shape[1])
        ours.initialise()
        assert_close(ours.pos_embed, stored.pos_embed, "position table")


def test_resize_rule(golden):
    for case in golden.cases["resize"]:
        rule = {name: case[name] for name in ("max_size", "min_size", "stride", "max_pixels")}
        size = fit(case["width"], case["height"], **rule)
        assert size == (case["out_width"], case["out_height"]), case
