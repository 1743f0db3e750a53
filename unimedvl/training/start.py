"""Where a training begins: the model with its weights, its tokenizer, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unimedvl.checkpoint import load_model, open_checkpoint
from unimedvl.model.unified import UnifiedModel
from unimedvl.recipes import read_recipe
from unimedvl.tokenizer import Tokenizer
from unimedvl.training.parallel import World
from unimedvl.training.parts import PartsRecipe, train_parts, trained_parts
from unimedvl.training.recipe import Start


@dataclass
class Begun:
    """A model to train. card: of the checkpoint; `sizes` in it are the sides of images, largest and smallest, px."""

    model: UnifiedModel
    tokenizer: Tokenizer
    card: dict[str, Any] = field(default_factory=dict)


def begin(start: Start, seed: int, world: World) -> Begun:
    """The model that a training begins with, in float32, on the CPU; a checkpoint's in its own type, for ranks that
    share weights convert their parts alone.

    Raises:
        CheckpointError: no such checkpoint.
        RecipeError: no recipe of parts.
    """
    if start.checkpoint is not None:
        checkpoint = open_checkpoint(None if start.checkpoint == "nano" else start.checkpoint)
        model = load_model(checkpoint, dtype=None if world.size > 1 else torch.float32).train()
        return Begun(model, Tokenizer.load(checkpoint.folder), dict(checkpoint.card))
    recipe = read_recipe(start.parts, PartsRecipe)
    if world.first:
        train_parts(recipe)
    world.wait()
    model, tokenizer, sizes = trained_parts(recipe, seed)
    return Begun(model, tokenizer, {"sizes": sizes})


MODULES = {
    "language_model": "decoder",
    "vit_model": "vit",
    "vit_pos_embed": "vit",
    "connector": "connector",
    "time_embedder": "flow",
    "vae2llm": "flow",
    "llm2vae": "flow",
    "latent_pos_embed": "flow",
}


def module_of(name: str) -> str | None:
    """The module of the recipe's that a parameter belongs to; None for the autoencoder, which is never trained here."""
    return MODULES.get(name.split(".")[0])


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """What may be trained at all, by name: all but the autoencoder and fixed tables, or the adapters alone."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad and module_of(name) is not None}


def build_data(recipe_file: Path, world: World, told=None) -> Path:
    """The folder of a data build, which is built first, or gone on with, where it is not finished."""
    from unimedvl.data.build.recipe import load_recipe
    from unimedvl.data.build.run import run_build

    recipe = load_recipe(recipe_file)
    if world.first and not (recipe.folder / "report.json").is_file():
        run_build(recipe, **({"told": told} if told else {}))
    world.wait()
    return recipe.folder
