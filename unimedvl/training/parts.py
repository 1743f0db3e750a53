"""The parts of an embedded model, trained alone before the whole: tokenizer, autoencoder and ViT.

Each leaves its state in the run's folder, so that a stopped run goes on where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator

from unimedvl.model.config import preset
from unimedvl.model.unified import UnifiedModel
from unimedvl.phantoms import SIMULATORS
from unimedvl.phantoms.corpus import corpus
from unimedvl.recipes import read_recipe
from unimedvl.tokenizer import Tokenizer, train_tokenizer
from unimedvl.training.autoencoder import VaeRecipe, train_vae
from unimedvl.training.vit import VitRecipe, train_vit

logger = logging.getLogger(__name__)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PartsRecipe(_Strict):
    """preset: the geometry. texts: of the phantoms' language that the tokenizer is trained on. modalities: of the
    studies, all by default. sizes: sides of images for the two encoders, largest and smallest, px.
    """

    preset: str
    folder: Path
    modalities: tuple[str, ...] = Field(default=tuple(SIMULATORS), min_length=1)
    texts: int = Field(default=20_000, gt=0)
    sizes: dict[Literal["vit", "vae"], tuple[int, int]] = {"vit": (126, 126), "vae": (128, 128)}
    vae: VaeRecipe
    vit: VitRecipe

    @field_validator("preset")
    @classmethod
    def _known(cls, name: str) -> str:
        preset(name)
        return name

    @field_validator("modalities")
    @classmethod
    def _simulated(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = next((n for n in names if n not in SIMULATORS), None)
        if unknown is not None:
            raise ValueError(f"no modality called {unknown!r}; there are {', '.join(SIMULATORS)}")
        return names


def load_parts_recipe(file: Path, overrides: Sequence[str] = ()) -> PartsRecipe:
    """Read a YAML recipe; overrides are ``a.b=value`` with the value in YAML.

    Raises:
        RecipeError: no such file, not YAML, or a wrong key or value, named with its path.
    """
    return read_recipe(file, PartsRecipe, overrides, example="vae.seed=1")


def train_parts(recipe: PartsRecipe) -> None:
    """Train what is not there yet, in this process, one part after another."""
    recipe.folder.mkdir(parents=True, exist_ok=True)
    tokenizer_of(recipe)
    logger.info("autoencoder")
    train_vae(preset(recipe.preset).vae, recipe.vae, recipe.folder, recipe.modalities)
    logger.info("ViT")
    train_vit(preset(recipe.preset).vit, recipe.vit, recipe.folder, recipe.modalities)


def trained_parts(recipe: PartsRecipe, seed: int) -> tuple[UnifiedModel, Tokenizer, dict[str, list[int]]]:
    """The whole model with its parts as they were trained and the rest at random, its tokenizer, and its sizes."""
    config, tokenizer = preset(recipe.preset), tokenizer_of(recipe)
    vae = train_vae(config.vae, recipe.vae, recipe.folder, recipe.modalities).cpu()
    vit = train_vit(config.vit, recipe.vit, recipe.folder, recipe.modalities).cpu()
    model = UnifiedModel(replace(config, vae=vae.config, special=tokenizer.special))
    model.initialise(torch.Generator().manual_seed(seed))
    model.vae.load_state_dict(vae.state_dict())
    model.vae.to(memory_format=torch.channels_last).requires_grad_(False)
    model.vit_model.load_state_dict(vit.state_dict())
    return model, tokenizer, {name: list(sides) for name, sides in recipe.sizes.items()}


def tokenizer_of(recipe: PartsRecipe) -> Tokenizer:
    """The tokenizer of the run, trained on the phantoms' language the first time."""
    folder = recipe.folder / "tokenizer"
    if (folder / "tokenizer.json").is_file():
        return Tokenizer.load(folder)
    texts = corpus(recipe.texts, 0, recipe.modalities)
    tokenizer = train_tokenizer(texts, preset(recipe.preset).decoder.vocab_size)
    tokenizer.save(folder)
    return tokenizer
