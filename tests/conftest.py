"""What tests of several areas share: a tiny model with random weights, in memory and as a folder."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from unimedvl.checkpoint import save_model
from unimedvl.inference.unimedvl import UniMedVL
from unimedvl.model.config import DecoderConfig, ModelConfig, SpecialTokens, VaeConfig, VitConfig
from unimedvl.model.unified import UnifiedModel
from unimedvl.tokenizer import Tokenizer, train_tokenizer

# The same examples in every run; a slow machine is no failure.
settings.register_profile("same-everywhere", derandomize=True, deadline=None)
settings.load_profile("same-everywhere")

SIZES = {"vit": [42, 42], "vae": [32, 32]}
CARD = {"name": "tiny", "trained_on": "nothing; its weights are random", "sizes": SIZES}
# Fixed, so that a new word in a simulated report does not change what the tiny model says.
TEXTS = [
    "Findings: There is a moderate right pleural effusion. The heart is enlarged. Impression: Right pleural effusion.",
    "Findings: The lungs are clear. No pneumothorax is seen. Impression: Normal chest radiograph.",
    "Is there an effusion? Which finding is present? What changed? Describe the findings in this image, please.",
    "A large left frontal lobe tumour with surrounding oedema is shown on the axial T2 and FLAIR sequences.",
    "Yes. No. It is on the left side. The optic disc is pale, and several haemorrhages are seen near the macula.",
    "Stain this H&E image for HER2 at level 3+. Segment the vessels. Translate this T2 image to FLAIR.",
    "Increase the resolution of this image 4x. Reconstruct this image. Show this image with a small nodule.",
    "Chest X-ray with cardiomegaly and a mild left basal opacity, colour fundus photograph with drusen.",
] * 5
# A latent token is 4 px wide, the latent grid at most 8 tokens.
GEOMETRY = ModelConfig(
    decoder=DecoderConfig(64, 32, 48, 2, 4, 2, rope_theta=1e4, max_position_embeddings=512),
    vit=VitConfig(24, 40, 3, 2, patch_size=14, max_patches_per_side=4),
    vae=VaeConfig(8, (1, 2), 1, z_channels=4, norm_groups=4),
    special=SpecialTokens(60, 61, 62, 63),
    max_latent_size=8,
)


def pytest_addoption(parser: pytest.Parser) -> None:
    # Here and not in parity/conftest.py, so that a plain `pytest` from the root knows it too.
    parser.addoption("--golden", action="append", metavar="DIR", help="a folder of recorded numbers to check")


def random_model(config: ModelConfig, seed: int = 0, generation: bool = True) -> UnifiedModel:
    """A model whose every weight is random and large enough to matter, norms and biases too."""
    model = UnifiedModel(config, generation)
    model.initialise()  # for the position tables; all else is drawn below
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if not name.endswith("pos_embed"):
                fan_in = p[0].numel() if p.dim() > 1 else 25
                noise = torch.randn(p.shape, generator=generator) / fan_in**0.5
                p.copy_(1 + noise if "norm" in name and name.endswith("weight") else noise)
    return model.eval()


@pytest.fixture(scope="session", autouse=True)
def own_data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Signing keys of tests are made in a folder of their own and not in the user's."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        for name in ("KEY", "CERT", "TSA"):
            patched.delenv(f"UNIMEDVL_C2PA_{name}", raising=False)
        yield


@pytest.fixture(scope="session")
def geometry() -> ModelConfig:
    return GEOMETRY


@pytest.fixture(scope="session")
def make_model():
    """`random_model`, for tests that want a geometry or weights of their own."""
    return random_model


@pytest.fixture(scope="session")
def model() -> UnifiedModel:
    """The tiny geometry with random weights and a vocabulary of 64. Not to be changed by a test."""
    return random_model(GEOMETRY)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, 400)


@pytest.fixture(scope="session")
def tiny(tokenizer: Tokenizer) -> UniMedVL:
    """The user's object over a tiny model with random weights. Not to be changed by a test."""
    decoder = replace(GEOMETRY.decoder, vocab_size=tokenizer.vocabulary_size)
    special = SpecialTokens(**vars(tokenizer.special))
    config = replace(GEOMETRY, decoder=decoder, special=special)
    return UniMedVL(random_model(config), tokenizer, CARD, "0" * 64)


@pytest.fixture(scope="session")
def tiny_folder(tiny: UniMedVL, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny` as a checkpoint folder. Not to be written to."""
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    save_model(tiny.model, folder, tokenizer=tiny.tokenizer, card=CARD)
    return folder


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """[40, 48, 3] uint8 with edges and slopes."""
    y, x = np.mgrid[:40, :48]
    inside = (y - 18) ** 2 + (x - 25) ** 2 < 120
    grey = np.where(inside, 200, 30 + 2 * x + y)
    return np.stack([grey, grey * 0.8, 255 - grey], axis=2).astype(np.uint8)


@pytest.fixture(scope="session")
def miniature_shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard of the eleven records of two miniatures. Not to be written to."""
    from unimedvl.data.miniatures import write_miniature
    from unimedvl.data.shards import write_shard
    from unimedvl.data.source import Sample
    from unimedvl.data.sources import source

    folder = tmp_path_factory.mktemp("miniatures")
    samples = []
    for name in ("slake", "vqa-rad"):
        write_miniature(name, folder / name)
        samples += [item for item in source(name).read(folder / name) if isinstance(item, Sample)]
    write_shard(folder / "records.parquet", samples)
    return folder / "records.parquet"


@pytest.fixture
def room() -> Callable[[int], AbstractContextManager[None]]:
    """Within `room(size)` no file may grow beyond so many bytes, of this process or of one that it starts."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture
def cut_off(monkeypatch):
    """Trains a recipe and cuts it off right after so many steps, before anything else is written."""

    def run(recipe, steps: int) -> None:
        from unimedvl.training import loop

        taken, real = [], loop._gradient

        def gradient(*arguments):
            if len(taken) == steps:
                raise KeyboardInterrupt
            taken.append(1)
            return real(*arguments)

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(loop, "_gradient", gradient)
            loop.train(recipe)

    return run
