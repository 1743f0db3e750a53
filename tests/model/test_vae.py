"""The autoencoder's attention, in the two ways in which a CPU computes it."""

from __future__ import annotations

import torch

from unimedvl.model import vae
from unimedvl.model.config import VaeConfig
from unimedvl.model.vae import Autoencoder


@torch.no_grad()
def test_an_image_is_encoded_to_the_same_latent_by_products_and_by_the_fused_kernel(monkeypatch, make_image):
    torch.manual_seed(0)
    autoencoder = Autoencoder(VaeConfig(16, (1, 2), 1, z_channels=4, norm_groups=4))
    images = torch.stack([make_image(24, 40, seed) for seed in (1, 2)])
    latents = []
    for used in (True, False):
        monkeypatch.setattr(vae, "by_products", lambda q, used=used: used)
        latents.append(autoencoder.encode(images))
    torch.testing.assert_close(*latents, atol=1e-5, rtol=1e-4)
    assert not torch.equal(latents[0][0], latents[0][1])
