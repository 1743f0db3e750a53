"""Where a training begins: the model with its weights, its tokenizer, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from unimedvl.checkpoint import load_model, open_checkpoint
from unimedvl.model.unified import UnifiedModel
from unimedvl.tokenizer import Tokenizer
from unimedvl.training.error import TrainingError
from unimedvl.training.lora import add_adapters
from unimedvl.training.parallel import World
from unimedvl.training.parts import load_parts_recipe, train_parts, trained_parts
from unimedvl.training.recipe import Recipe


@dataclass
class Begun:
    """A model to train. card: of the checkpoint; `sizes` in it are the sides of images, largest and smallest, px."""

    model: UnifiedModel
    tokenizer: Tokenizer
    card: dict[str, Any] = field(default_factory=dict)


def begin(recipe: Recipe, world: World) -> Begun:
    """The model that a training begins with, on the CPU, with adapters where the recipe has them.

    A checkpoint's weights have its own type: ranks that share weights convert their parts alone.

    Raises:
        CheckpointError: no such checkpoint.
        RecipeError: no recipe of parts.
        TrainingError: adapters on weights that no checkpoint has.
    """
    start = recipe.start
    if start.checkpoint is not None:
        checkpoint = open_checkpoint(start.source)
        model = load_model(checkpoint).train()
        if recipe.lora is not None:
            add_adapters(model, recipe.lora, recipe.seed)
        return Begun(model, Tokenizer.load(checkpoint.folder), dict(checkpoint.card))
    if recipe.lora is not None:
        raise TrainingError("lora needs start.checkpoint: adapters belong to the weights of a checkpoint")
    parts = load_parts_recipe(start.parts)
    if world.first:
        train_parts(parts)
    world.wait()
    model, tokenizer, sizes = trained_parts(parts, recipe.seed)
    return Begun(model.train(), tokenizer, {"sizes": sizes})


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
