"""Train the autoencoder on simulated images: absolute and squared error with a light prior.

After training the latents' mean and deviation are measured and become the geometry's `shift` and
`scale`, so that the flow works on values of unit variance.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from unimedvl.model.config import VaeConfig
from unimedvl.model.vae import Autoencoder
from unimedvl.training.images import ImageStream
from unimedvl.training.recipe import VaeRecipe
from unimedvl.training.run import RunLog, cosine, device, save_state


def vae_loss(vae: Autoencoder, pixels: Tensor, kl_weight: float) -> tuple[Tensor, Tensor]:
    """Loss and mean squared error of a batch [B, 3, H, W] in [-1, 1].

    The prior's term (Kingma and Welling, arXiv 1312.6114) is averaged over latent values.
    """
    mean, log_variance = vae.moments(pixels).float().chunk(2, dim=1)
    log_variance = log_variance.clamp(-14, 4)
    z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
    error = vae.decoder(z).float() - pixels
    mse = error.square().mean()
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    return error.abs().mean() + mse + kl_weight * kl, mse.detach()


def train_vae(
    config: VaeConfig, recipe: VaeRecipe, folder: Path, name: str = "vae", start: Autoencoder | None = None
) -> Autoencoder:
    """Run the recipe's phases, and go on where they stopped; from `start` where it is given.

    Writes NAME.pt and NAME.jsonl to `folder`. Where the encoder is trained, scale and shift are
    measured anew at the end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    vae = start or Autoencoder(config)
    where = device()
    vae.requires_grad_(True).to(where, memory_format=torch.channels_last)
    if recipe.decoder_only:
        vae.encoder.requires_grad_(False)
    parameters = [p for p in vae.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
    total = sum(p.steps for p in recipe.phases)
    state_file, step = folder / f"{name}.pt", 0
    if state_file.is_file():
        state = torch.load(state_file, weights_only=True, map_location=where)
        vae.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        step = state["step"]
    log, first = RunLog(folder / f"{name}.jsonl"), 0
    for phase in recipe.phases:
        if step < first + phase.steps:
            stream = ImageStream(phase.batch, phase.crop, seed=recipe.seed + step)
            loader = iter(DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=8))
        while step < first + phase.steps:
            rate = cosine(step, total, recipe.learning_rate, recipe.warmup)
            mse = _step(vae, optimiser, next(loader), rate, recipe)
            step += 1
            log.add(step, recipe.log_every, psnr=-10 * math.log10(mse / 4), rate=rate)
            if step % recipe.save_every == 0 or step == total:
                state = {"model": vae.state_dict(), "optimiser": optimiser.state_dict(), "step": step}
                save_state(state_file, state)
        first += phase.steps
    return vae if recipe.decoder_only else normalise(vae)


def _step(vae: Autoencoder, optimiser: torch.optim.Optimizer, pixels: Tensor, rate: float, recipe: VaeRecipe) -> float:
    for group in optimiser.param_groups:
        group["lr"] = rate
    where = next(vae.parameters()).device
    pixels = pixels.to(where, memory_format=torch.channels_last)
    with torch.autocast(where.type, dtype=torch.bfloat16, enabled=recipe.bf16):
        loss, mse = vae_loss(vae, pixels, recipe.kl_weight)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
    optimiser.step()
    return mse.item()


@torch.no_grad()
def normalise(vae: Autoencoder, images: int = 64) -> Autoencoder:
    """Set scale and shift so that latents of training images have mean 0 and deviation 1."""
    batch = next(iter(ImageStream(images, 128, seed=1)))
    batch = batch.to(next(vae.parameters()).device, memory_format=torch.channels_last)
    means = vae.moments(batch).chunk(2, dim=1)[0]
    shift, deviation = means.mean().item(), means.std().item()
    vae.config = replace(vae.config, shift=round(shift, 4), scale=round(1 / deviation, 4))
    return vae
