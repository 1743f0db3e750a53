"""The embedded model from nothing: tokenizer, autoencoder, ViT, whole model, export.

Each part leaves its state in the run folder, so that a stopped run goes on where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from unimedvl.checkpoint import save_model
from unimedvl.model.config import preset
from unimedvl.model.unified import UnifiedModel
from unimedvl.phantoms.corpus import corpus
from unimedvl.tokenizer import Tokenizer, train_tokenizer
from unimedvl.training.autoencoder import train_vae
from unimedvl.training.memory import keep_freed_memory
from unimedvl.training.recipe import Recipe
from unimedvl.training.run import join_processes, leave_processes, rank, shared_out
from unimedvl.training.unified import train_unified
from unimedvl.training.vit import train_vit
from unimedvl.transforms import Prepare

logger = logging.getLogger(__name__)

# Sides of images for the encoders, in pixels; a checkpoint carries its own in geometry.json.
SIZES = {"vit": [126, 126], "vae": [128, 128]}
SHARD_BYTES = 15 * 10**6
TEXTS = 20_000
# How nano draws. Edits were never trained without their words, so nothing is there to guide away from.
# One update from pure noise gives the mean of what is likely, which is nearest the truth where there is one.
_UNGUIDED = {"shift": 1.0, "guidance": {"text_scale": 1.0}}
DRAWING = {
    "generate": {"steps": 25, "guidance": {"text_scale": 2.0, "interval": [0.0, 1.0]}},
    **{name: {"steps": 2, **_UNGUIDED} for name in ("upscale", "translate", "segment", "counterfactual")},
    **{name: {"steps": 12, **_UNGUIDED} for name in ("edit", "stain", "reconstruct")},
}
CARD = {
    "name": "nano",
    "trained_on": "simulated images only (unimedvl.phantoms), 128 px",
    "use": "Not for clinical use. Made to show and to test the software; what it says of real images is worthless.",
    "licence": "Apache-2.0",
}


def train_nano(recipe: Recipe, export: Path | None = None) -> Path:
    """Run every part of the recipe; returns the folder of the exported checkpoint.

    Under torchrun the autoencoder and the ViT are trained side by side, each by one process, and the
    whole model by all: on a CPU, two processes of one thread each make better use of two cores than
    one of two threads.
    """
    join_processes()
    keep_freed_memory()
    folder = recipe.folder
    folder.mkdir(parents=True, exist_ok=True)
    config = preset(recipe.preset)
    [tokenizer] = shared_out(lambda: nano_tokenizer(folder / "tokenizer", config.decoder.vocab_size, recipe.modalities))
    logger.info("autoencoder and ViT")
    vae, vit = shared_out(
        lambda: train_vae(config.vae, recipe.vae, folder, recipe.modalities),
        lambda: train_vit(config.vit, recipe.vit, folder, recipe.modalities),
    )
    config = replace(config, vae=vae.config, special=tokenizer.special)
    model = UnifiedModel(config)
    model.initialise(torch.Generator().manual_seed(recipe.unified.seed))
    model.vae.load_state_dict(vae.state_dict())
    model.vae.to(memory_format=torch.channels_last)
    model.vit_model.load_state_dict(vit.state_dict())
    logger.info("whole model")
    prepare = Prepare.for_model(config, tokenizer, SIZES)
    average = train_unified(model, prepare, recipe.unified, folder, recipe.modalities)
    export = export or folder / "export"
    leave_processes()
    if rank() != 0:
        return export
    average.vae.to(memory_format=torch.contiguous_format)
    save_model(
        average, export, dtype=torch.bfloat16, shard_bytes=SHARD_BYTES, tokenizer=tokenizer,
        card={**CARD, "modalities": list(recipe.modalities), "sizes": SIZES, "drawing": DRAWING},
    )  # fmt: skip
    return export


def nano_tokenizer(folder: Path, vocabulary: int, modalities: Sequence[str]) -> Tokenizer:
    """The tokenizer of the run, trained on the phantoms' language the first time."""
    if (folder / "tokenizer.json").is_file():
        return Tokenizer.load(folder)
    tokenizer = train_tokenizer(corpus(TEXTS, 0, modalities), vocabulary)
    tokenizer.save(folder)
    return tokenizer
