"""Records and recipes so small that a run takes seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from unimedvl.data.shards import write_shard
from unimedvl.data.source import Sample
from unimedvl.data.sources import source
from unimedvl.training.autoencoder import VaePhase, VaeRecipe
from unimedvl.training.recipe import Recipe
from unimedvl.training.vit import VitRecipe

MODALITIES = ("cxr", "mri", "his")


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory) -> Path:
    """Shards as a data build leaves them: 9 studies to learn from and 3 held out. Not to be written to."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "shards").mkdir()
    for split, first, studies in (("train", 1_000_000, 9), ("validation", 0, 3)):
        place = folder / f"{split}-source"
        place.mkdir()
        settings = {"studies": studies, "first_seed": first, "size": 64, "modalities": MODALITIES}
        (place / "phantoms.json").write_text(json.dumps(settings))
        items = [item for item in source("phantoms").read(place) if isinstance(item, Sample)]
        for number in range(2):
            write_shard(folder / "shards" / f"{split}-{number:05d}.parquet", items[number::2])
    return folder


@pytest.fixture
def make_recipe(tiny_folder, data_folder, tmp_path):
    """A recipe of two short stages from the tiny model; what is given takes the place of what is there."""

    def make(folder: str = "run", stage: dict[str, Any] | None = None, **changes: Any) -> Recipe:
        common = {
            "mixture": {"text_to_image": 1, "image_to_text": 1, "interleaved": 1}, "tokens": 700, "packs": 2,
            "learning_rate": 1e-3, "warmup": 2,
        } | (stage or {})  # fmt: skip
        values: dict[str, Any] = {
            "folder": tmp_path / folder, "start": {"checkpoint": str(tiny_folder)},
            "data": {"folders": [data_folder], "workers": 0, "lookahead": 24},
            "stages": [{"name": "one", "steps": 5} | common, {"name": "two", "steps": 3, "frozen": ["vit"]} | common],
            "bf16": False, "save": {"every": 2}, "log": {"every": 1},
        }  # fmt: skip
        return Recipe.model_validate(values | changes)

    return make


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
def read_log():
    def read(file: Path) -> list[dict]:
        return [json.loads(line) for line in file.read_text().splitlines()]

    return read
