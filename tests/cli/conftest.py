"""A tiny model with random weights in a folder, and the program called as a shell would call it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unimedvl.checkpoint import save_model
from unimedvl.cli.main import main
from unimedvl.model.config import DecoderConfig, ModelConfig, SpecialTokens, VaeConfig, VitConfig
from unimedvl.model.unified import UnifiedModel
from unimedvl.tokenizer import train_tokenizer

CARD = {"name": "tiny", "trained_on": "nothing at all", "sizes": {"vit": [28, 14], "vae": [32, 16]}}


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = train_tokenizer(["a small chest image", "no effusion"], 270)
    special = SpecialTokens(**vars(tokenizer.special))
    config = ModelConfig(
        decoder=DecoderConfig(tokenizer.vocabulary_size, 32, 48, 2, 4, 2, 1e4, max_position_embeddings=512),
        vit=VitConfig(24, 40, 3, 2, max_patches_per_side=6),
        vae=VaeConfig(8, (1, 2), 1, z_channels=4, norm_groups=4),
        special=special,
        max_latent_size=8,
    )
    torch.manual_seed(0)
    model = UnifiedModel(config)
    model.initialise()
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(model.eval(), folder, tokenizer=tokenizer, card=CARD)
    return folder


@dataclass
class Ended:
    """A run of the program."""

    status: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def run(capsys, monkeypatch, tmp_path, model_folder) -> Callable[..., Ended]:
    """Run a command in an empty folder; commands with a --model get the tiny one."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def call(*arguments: str, tiny: bool = True) -> Ended:
        given = [str(a) for a in arguments]
        status = main([*given, "--model", str(model_folder)] if tiny else given)
        captured = capsys.readouterr()
        return Ended(status, captured.out, captured.err)

    return call


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "scan.png"
    pixels = np.random.default_rng(0).integers(0, 255, (32, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    return file


@pytest.fixture
def no_model(monkeypatch) -> None:
    """Make loading a model a failure of the test: what is wrong must be told before."""
    from unimedvl import UniMedVL

    def load(*_, **__):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(UniMedVL, "load", load)
