"""Train the autoencoder on simulated images: each image's error on a logarithmic scale, with a light prior.

After training the latents are turned to their principal axes and evened out, and their mean and
deviation become the geometry's `shift` and `scale`, so that the flow works on values of unit variance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from unimedvl.model.config import VaeConfig
from unimedvl.model.vae import Autoencoder
from unimedvl.phantoms import SIMULATORS
from unimedvl.training.images import Crops
from unimedvl.training.logs import LineLog
from unimedvl.training.part_run import batches_of, cosine, device, reseed, save_state


class VaePhase(BaseModel):
    """Steps on square crops of one size."""

    model_config = ConfigDict(extra="forbid")

    steps: int = Field(gt=0)
    crop: int = Field(gt=0, le=128, multiple_of=16)
    batch: int = Field(gt=0)


class VaeRecipe(BaseModel):
    """kl_weight: of the prior's term beside the errors."""

    model_config = ConfigDict(extra="forbid")

    phases: list[VaePhase]
    learning_rate: float = Field(gt=0)
    warmup: int = Field(default=100, ge=0)
    kl_weight: float = Field(default=1e-4, ge=0)
    bf16: bool = True
    seed: int = 0
    log_every: int = 50
    save_every: int = 250


# Mean squared error of an image (pixels in [-1, 1]) that is good enough, 36 dB: what is below it hardly counts.
GOOD_ENOUGH = 1e-3


def vae_loss(vae: Autoencoder, pixels: Tensor, kl_weight: float) -> tuple[Tensor, Tensor]:
    """Loss and mean squared error of a batch [B, 3, H, W] in [-1, 1].

    An image counts by half the logarithm of its squared error: the likelihood under a normal distribution as wide as
    the error itself (Rybkin et al., arXiv 2006.13202), so that images of much noise don't drown the others. The
    prior's term (Kingma and Welling, arXiv 1312.6114) is averaged over latent values.
    """
    mean, log_variance = vae.moments(pixels).float().chunk(2, dim=1)
    log_variance = log_variance.clamp(-14, 4)
    z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
    mse = (vae.decoder(z).float() - pixels).square().flatten(1).mean(1)
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    return 0.5 * (mse + GOOD_ENOUGH).log().mean() + kl_weight * kl, mse.mean().detach()


def train_vae(
    config: VaeConfig, recipe: VaeRecipe, folder: Path, modalities: Sequence[str] = tuple(SIMULATORS)
) -> Autoencoder:
    """Run the recipe's phases, and go on where they stopped.

    Writes vae.pt and vae.jsonl to `folder`; what is returned has its latents normalised.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    where = device()
    vae = Autoencoder(config).to(where, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(vae.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
    total = sum(p.steps for p in recipe.phases)
    state_file, step = folder / "vae.pt", 0
    if state_file.is_file():
        state = torch.load(state_file, weights_only=True, map_location=where)
        vae.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        step = state["step"]
    log, first = LineLog(folder / "vae.jsonl", step), 0
    for phase in recipe.phases:
        first += phase.steps
        crops = Crops(phase.batch, phase.crop, seed=recipe.seed, modalities=modalities)
        for pixels in batches_of(range(step, first), crops):
            reseed(recipe.seed, step)
            rate = cosine(step, total, recipe.learning_rate, recipe.warmup)
            mse = _step(vae, optimiser, pixels, rate, recipe)
            step += 1
            log.add(step, recipe.log_every, psnr=-10 * math.log10(mse / 4), rate=rate)
            if step % recipe.save_every == 0 or step == total:
                state = {"model": vae.state_dict(), "optimiser": optimiser.state_dict(), "step": step}
                save_state(state_file, state)
    finished = folder / "vae-normalised.pt"
    if not finished.is_file():  # once: what every rank and every later start has must be the same to the last bit
        normalise(vae, modalities=modalities)
        numbers = {"shift": vae.config.shift, "scale": vae.config.scale}
        save_state(finished, {"model": vae.state_dict(), "config": numbers})
    state = torch.load(finished, weights_only=True, map_location=where)
    vae.load_state_dict(state["model"])
    vae.config = replace(vae.config, **state["config"])
    return vae


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
def normalise(vae: Autoencoder, batches: int = 8, modalities: Sequence[str] = tuple(SIMULATORS)) -> Autoencoder:
    """Turn the latent channels to their principal axes, evened out, with mean 0 and deviation 1 over all.

    Trained alone, an autoencoder puts most of its variance on one channel, and the flow would spend
    its effort there. Each axis is divided by the square root of its deviation: halfway to whitening,
    which would make as much of the axes that matter least. The turn goes into the convolutions
    before and after the latents, so pictures stay as they were; scale and shift, which the
    published geometry has one of each, take the rest.
    """
    means, log_variances = _moments(vae, Crops(32, 128, seed=1, modalities=modalities), batches)
    axes, spread = _principal_axes(means)
    turn = axes / spread.sqrt()[:, None]
    _turn_latents(vae, turn, log_variances)
    turned = means @ turn.T
    vae.config = replace(
        vae.config, shift=round(turned.mean().item(), 4), scale=round(1 / turned.std().item(), 4)
    )
    return vae


def _moments(vae: Autoencoder, images: Crops, batches: int) -> tuple[Tensor, Tensor]:
    """Means and log-variances of the cells of training images, each [cells, channels] float32."""
    where = next(vae.parameters()).device
    found = [
        vae.moments(images[step].to(where, memory_format=torch.channels_last)).movedim(1, -1).flatten(0, 2)
        for step in range(batches)
    ]
    return torch.cat(found).float().chunk(2, dim=1)


def _principal_axes(means: Tensor) -> tuple[Tensor, Tensor]:
    """Rows that are the axes, the widest first, and the deviation along each."""
    variance, columns = torch.linalg.eigh(torch.cov(means.T))
    columns = columns * columns.sum(0).sign()  # else the sign of an axis would be chance
    return columns.T.flip(0), variance.flip(0).clamp(min=1e-12).sqrt()


def _turn_latents(vae: Autoencoder, turn: Tensor, log_variances: Tensor) -> None:
    """Make the encoder give ``turn @ z`` for z, and the decoder take it.

    The posterior's variance has no axes of its own; it becomes its mean over the images given.
    """
    into, out_of = vae.encoder.conv_out, vae.decoder.conv_in
    channels = len(turn)
    into.weight[:channels] = torch.einsum("ij,jcyx->icyx", turn, into.weight[:channels])
    into.bias[:channels] = turn @ into.bias[:channels]
    into.weight[channels:] = 0
    into.bias[channels:] = (turn.square() @ log_variances.exp().mean(0)).log()
    out_of.weight.copy_(torch.einsum("oiyx,ij->ojyx", out_of.weight, torch.linalg.inv(turn)))
