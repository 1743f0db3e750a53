"""How much each channel of a latent counts in the flow loss."""

from __future__ import annotations

import torch
from torch import Tensor

from unimedvl.model.vae import Autoencoder

# Latents that the decoder is tried on, cells of their sides, and how far a channel is moved there.
_TRIED, _CELLS, _MOVED = 8, 16, 0.3


@torch.no_grad()
def channel_weights(vae: Autoencoder, power: float) -> Tensor:
    """Weights of the channels, [channels] float32 with mean 1: what each changes in the picture, to some power.

    An autoencoder spreads a picture over its channels unevenly: in nano's, the same error of the first changes the
    picture a hundred times as much as that of the last. Weights move no optimum; they say what is learnt first.

    power: 0 for all alike, as published; 1 for the squared error in the picture, as far as the decoder is linear.
    """
    channels = vae.config.z_channels
    if power == 0:
        return torch.ones(channels)
    like = next(vae.decoder.parameters())
    generator = torch.Generator().manual_seed(0)

    def latents() -> Tensor:
        drawn = torch.randn(_TRIED, channels, _CELLS, _CELLS, generator=generator)
        return drawn.to(like.device, like.dtype)

    z, moved = latents(), _MOVED * latents()
    before = vae.decode(z)
    changes = []
    for channel in range(channels):
        step = torch.zeros_like(z)
        step[:, channel] = moved[:, channel]
        changes.append((vae.decode(z + step) - before).float().square().mean())
    weights = torch.stack(changes).cpu() ** power
    return weights / weights.mean()
