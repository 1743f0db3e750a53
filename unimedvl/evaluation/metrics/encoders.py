"""Encoders of images, whose features the distances between sets of images are taken of.

A distance means something beside another only where both are of one encoder with one resize rule; `told` says both.
Nothing is downloaded: what is not on this machine is said in one line. See docs/metrics.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.metrics.images import hub_file
from unimedvl.evaluation.metrics.packages import package
from unimedvl.imaging.resize import resize

if TYPE_CHECKING:
    from torch import Tensor

# [H, W, 3] uint8 images of any sizes, a batch at a time, to [n, features] float.
Batch = Callable[[Sequence[np.ndarray]], "Tensor"]
_BATCH = 32

INCEPTION_URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)
XRV_WEIGHTS = "densenet121-res224-all"
XRV_FILE = "nih-pc-chex-mimic_ch-google-openi-kaggle-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt"
BIOMEDCLIP = "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"
NANO_SIDE = 126


@dataclass(frozen=True)
class Encoder:
    """One entry of `ENCODERS`.

    name: as printed with figures. features: numbers an image. resize: how images are brought to its size, in words.
    trained_on: in words. needs: package and weights, in words. missing: what is not on this machine, in one line; empty
    where all is there. load: what encodes a batch, and which weights it has where that is to be told.
    """

    name: str
    features: int
    resize: str
    trained_on: str
    needs: str
    missing: Callable[[], str]
    load: Callable[[], tuple[Batch, str]]


class Encode:
    """A loaded encoder: `encode(images)` gives [n, features] float32 for [H, W, 3] uint8 images of any sizes.

    told: its name, size, resize rule and weights, to be printed with each figure.
    """

    def __init__(self, encoder: Encoder) -> None:
        """Raises EvaluationError where something is missing."""
        if what := encoder.missing():
            raise EvaluationError(what)
        self.name, self.features = encoder.name, encoder.features
        self._batch, weights = encoder.load()
        self.told = ", ".join(filter(None, (f"{self.name}: {self.features} features", encoder.resize, weights)))

    def __call__(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Raises EvaluationError for what is no [H, W, 3] uint8 image."""
        import torch

        for image in images:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
                raise EvaluationError(f"images must be [H, W, 3] uint8, got {image.dtype} of shape {image.shape}")
        with torch.inference_mode():
            parts = [self._batch(part).float().cpu().numpy() for part in _parts(images)]
        return np.concatenate(parts) if parts else np.zeros((0, self.features), np.float32)


def encoder_that_is_there(name: str | None = None) -> Encode:
    """An encoder of `ENCODERS`, loaded once; where no name is given the best for all kinds of images that is there.

    Raises:
        EvaluationError: no such name, or that encoder is not on this machine.
    """
    if name is None:
        name = next(known for known in FOR_ALL if not ENCODERS[known].missing())
    if name not in ENCODERS:
        raise EvaluationError(f"no encoder {name!r}; there are {', '.join(ENCODERS)}")
    return _loaded(name)


def available() -> dict[str, str]:
    """Every encoder's name in `ENCODERS`, and what is missing for it; empty where it can be used."""
    return {name: encoder.missing() for name, encoder in ENCODERS.items()}


@cache
def _loaded(name: str) -> Encode:
    return Encode(ENCODERS[name])


def _parts(images: Sequence[np.ndarray]) -> Iterator[Sequence[np.ndarray]]:
    yield from (images[start : start + _BATCH] for start in range(0, len(images), _BATCH))


def _absent(name: str, module: str, file: Path | None = None, how: str = "") -> str:
    """What is missing of a package and a weights file, in one line."""
    if find_spec(module) is None:
        return f"{name} needs {module}, which is not installed; pip install 'unimedvl[encoders]'"
    return f"{name} needs its weights: {how}" if file is not None and not file.is_file() else ""


def _resized(images: Sequence[np.ndarray], side: int) -> Tensor:
    """[n, 3, side, side] float32 in [0, 1]; bicubic with antialiasing, both sides to that length."""
    import torch

    brought = [resize(image.astype(np.float32) / 255, (side, side)) for image in images]
    return torch.from_numpy(np.stack(brought)).permute(0, 3, 1, 2)


def _inception_missing() -> str:
    file = hub_file(INCEPTION_URL)
    return _absent(INCEPTION.name, "torch_fidelity", file, f"put {INCEPTION_URL} at {file}")


def _inception() -> tuple[Batch, str]:
    import torch

    module = package("torch_fidelity.feature_extractor_inceptionv3", INCEPTION.name, "encoders")
    network = module.FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(hub_file(INCEPTION_URL))
    )

    def encode(images: Sequence[np.ndarray]) -> Tensor:  # one by one, as sizes may differ and it resizes by itself
        return torch.cat([network(torch.from_numpy(i.copy()).permute(2, 0, 1)[None])[0] for i in images])

    return encode, ""


def _xrv_folder() -> Path:
    return Path("~/.torchxrayvision/models_data").expanduser()


def _xrv_missing() -> str:
    file = _xrv_folder() / XRV_FILE
    home = "https://github.com/mlmed/torchxrayvision/releases/download/v1"
    return _absent(XRV.name, "torchxrayvision", file, f"put {home}/{XRV_FILE} at {file}")


def _xrv() -> tuple[Batch, str]:
    models = package("torchxrayvision.models", XRV.name, "encoders")
    network = models.DenseNet(weights=XRV_WEIGHTS, cache_dir=str(_xrv_folder())).eval()

    def encode(images: Sequence[np.ndarray]) -> Tensor:
        grey = _resized([_middle(image) for image in images], 224).mean(1, keepdim=True)
        return network.features2(grey * 2048 - 1024)  # its range for black to white

    return encode, XRV_WEIGHTS


def _middle(image: np.ndarray) -> np.ndarray:
    """The square in the middle."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def biomedclip_missing() -> str:
    """What BiomedCLIP would need on this machine, in one line; empty where it is there."""
    from huggingface_hub import try_to_load_from_cache

    def cached(repository: str, *names: str) -> str | None:
        found = (try_to_load_from_cache(repository, name) for name in names)
        return next((file for file in found if isinstance(file, str)), None)

    name = BIOMEDCLIP_ENCODER.name
    if absent := _absent(name, "open_clip"):
        return absent
    download = f"huggingface-cli download {BIOMEDCLIP}"
    config = cached(BIOMEDCLIP, "open_clip_config.json")
    if config is None or not cached(BIOMEDCLIP, "open_clip_pytorch_model.bin", "open_clip_model.safetensors"):
        return f"{name} needs its weights: {download}"
    words = json.loads(Path(config).read_text())["model_cfg"]["text_cfg"]["hf_tokenizer_name"]
    if not cached(words, "config.json") or not cached(words, "vocab.txt", "tokenizer.json"):
        files = "config.json vocab.txt tokenizer_config.json"
        return f"{name} needs its tokenizer: huggingface-cli download {words} {files}"
    return ""


def biomedclip():
    """The model of BiomedCLIP, what prepares a Pillow image for it, and its tokenizer.

    Raises:
        EvaluationError: something of it is missing.
    """
    if what := biomedclip_missing():
        raise EvaluationError(what)
    clip, hub = package("open_clip", BIOMEDCLIP_ENCODER.name, "encoders"), f"hf-hub:{BIOMEDCLIP}"
    model, prepare = clip.create_model_from_pretrained(hub)
    return model.eval(), prepare, clip.get_tokenizer(hub)


def _biomedclip() -> tuple[Batch, str]:
    import torch
    from PIL import Image

    model, prepare, _ = biomedclip()
    return lambda images: model.encode_image(torch.stack([prepare(Image.fromarray(i)) for i in images])), ""


def _nano() -> tuple[Batch, str]:
    import torch

    from unimedvl.inference.unimedvl import UniMedVL
    from unimedvl.sequence import grid_position_ids, patchify

    owner = UniMedVL.load(generation=False, device="cpu")
    model, config = owner.model, owner.model.config.vit
    cells = NANO_SIDE // config.patch_size

    def encode(images: Sequence[np.ndarray]) -> Tensor:
        pixels = _resized(images, NANO_SIDE) * 2 - 1
        patches = torch.cat([patchify(p, config.patch_size) for p in pixels])
        places = grid_position_ids(cells, cells, config.max_patches_per_side).repeat(len(images))
        hidden = model.vit_model(patches.to(model.dtype), places, [cells * cells] * len(images))
        return hidden.unflatten(0, (len(images), -1)).float().mean(1)

    return encode, f"weights {owner.weights[:12]}"


INCEPTION = Encoder(
    "Inception v3 (torch-fidelity)", 2048, "299 x 299 px bilinear as in TensorFlow 1, by torch-fidelity itself",
    "photographs (ImageNet)", "torch-fidelity and the weights of the original Inception",
    _inception_missing, _inception,
)  # fmt: skip
XRV = Encoder(
    "X-ray DenseNet-121 (torchxrayvision)", 1024, "the middle square, grey, 224 x 224 px bicubic antialiased",
    "chest X-rays", f"torchxrayvision and its weights {XRV_WEIGHTS}", _xrv_missing, _xrv,
)  # fmt: skip
BIOMEDCLIP_ENCODER = Encoder(
    "BiomedCLIP (open_clip)", 512, "224 x 224 px by open_clip itself", "figures of biomedical articles (PMC-15M)",
    "open-clip-torch, transformers, and the weights and tokenizer of BiomedCLIP", biomedclip_missing, _biomedclip,
)  # fmt: skip
NANO = Encoder(
    "nano ViT (embedded, simulated images only)", 192, f"{NANO_SIDE} x {NANO_SIDE} px bicubic antialiased",
    "simulated images only", "nothing but this package", lambda: "", _nano,
)  # fmt: skip

# What `encoder_that_is_there` takes by name.
ENCODERS: dict[str, Encoder] = {
    "inception": INCEPTION, "xrv-densenet": XRV, "biomedclip": BIOMEDCLIP_ENCODER, "nano": NANO,
}  # fmt: skip
# Those for images of any kind, the best known first; the last is always there.
FOR_ALL = ("inception", "biomedclip", "nano")
