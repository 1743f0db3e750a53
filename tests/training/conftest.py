"""Recipes so small that a run takes a second."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unimedvl.training.recipe import Stage, UnifiedRecipe, VaePhase, VaeRecipe, VitRecipe


@pytest.fixture
def vae_recipe() -> VaeRecipe:
    phases = [VaePhase(steps=12, crop=16, batch=4), VaePhase(steps=4, crop=32, batch=2)]
    return VaeRecipe(phases=phases, learning_rate=1e-2, warmup=2, bf16=False, log_every=4, save_every=4)


@pytest.fixture
def vit_recipe() -> VitRecipe:
    return VitRecipe(
        steps=12, batch=2, side=28, learning_rate=1e-2, warmup=2, bf16=False, log_every=4, save_every=4
    )


@pytest.fixture
def unified_recipe() -> UnifiedRecipe:
    stages = [
        Stage(steps=10, mixture={"ask": 1.0, "generate": 1.0}),
        Stage(steps=6, mixture={"ask": 1.0, "generate": 3.0}),
    ]
    settings = dict(learning_rate=1e-2, warmup=2, bf16=False, log_every=4, save_every=4)
    return UnifiedRecipe(stages=stages, tokens=150, **settings)


@pytest.fixture
def read_log():
    def read(file: Path) -> list[dict]:
        return [json.loads(line) for line in file.read_text().splitlines()]

    return read
