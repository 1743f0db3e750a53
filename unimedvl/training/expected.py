"""What a pack of a stage holds on average, from the recipe alone: no record is read.

A sample of each kind is laid out as its task lays it out, with an image and texts of a typical size. How long real
samples are decides how many of them fill a pack, and with it how much of a step goes to which set of weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from unimedvl.model.config import ModelConfig
from unimedvl.tasks import TASKS
from unimedvl.training.error import TrainingError
from unimedvl.training.flops import Load, visible_pairs
from unimedvl.training.recipe import Stage
from unimedvl.transforms import Prepare

# A kind's layout of parts, as the tasks have them (`tasks.Task.layout`).
_LAYOUTS = {
    "text": ("request", "answer"),
    "text_to_image": ("request", "target"),
    "image_to_text": ("seen", "request", "answer"),
    "interleaved": ("both", "request", "answer", "target"),
}


@dataclass(frozen=True)
class Typical:
    """A sample's parts. image: side of a square, px, before a stage's rule of sizes. request, answer: tokens."""

    image: int = 512
    request: int = 64
    answer: int = 128

    def __post_init__(self) -> None:
        if min(self.image, self.request, self.answer) < 1:
            raise ValueError("a typical sample has an image of 1 px or more and texts of 1 token or more")


def pack_load(
    stage: Stage, config: ModelConfig, typical: Typical, sizes: Mapping[str, tuple[int, int]] | None = None
) -> tuple[Load, float]:
    """The load of a full pack of a stage, and how many samples it holds, on average.

    sizes: largest and smallest side of images for "vit" and "vae", where the stage names none.

    Raises:
        TrainingError: a typical sample is longer than a pack.
    """
    total, samples = Load(), Load()
    weights = {name: w for name, w in stage.mixture.items() if w}
    for name, weight in weights.items():
        load = sample_load(name, stage, config, typical, sizes)
        if load.tokens > stage.tokens:
            raise TrainingError(
                f"{stage.name}: a typical sample of {name} takes {load.tokens:,.0f} tokens, and a pack has "
                f"{stage.tokens:,}; give packs more tokens or images smaller sides"
            )
        samples += load * (weight / sum(weights.values()))
    count = stage.tokens / samples.tokens
    total += samples * count
    return total, count


def sample_load(
    name: str, stage: Stage, config: ModelConfig, typical: Typical, sizes: Mapping[str, tuple[int, int]] | None = None
) -> Load:
    """The load of one sample of a kind of records or of a task. Nothing is left out by chance."""
    layout = _LAYOUTS.get(name) or tuple(p for p in TASKS[name].layout if name != "generate" or p != "answer")
    patches, (cells, pixels) = _patches(stage, config, typical, sizes), _cells(stage, config, typical, sizes)
    load, spans, images = Load(), [], 0
    for part in layout:
        if part in ("seen", "both"):
            if part == "both":
                load += Load(understanding=2, generation=cells)
                spans.append((cells + 2, False, False))
                images += 1
            load += Load(understanding=patches + 2, patches=patches, patch_pairs=patches**2)
            spans.append((patches + 2, False, False))
        elif part == "target":
            load += Load(understanding=2, generation=cells, targets=cells) * stage.noise.each
            spans += [(cells + 2, False, True)] * stage.noise.each
            images += 1
        else:
            tokens = (typical.request if part == "request" else typical.answer) + 2
            load += Load(understanding=tokens, labels=tokens - 1 if part == "answer" else 0)
            spans.append((tokens, True, False))
    copies = stage.noise.copies if "target" in layout else 1  # they share their images, which are encoded once
    encoded = Load(pixels=images * pixels, cell_pairs=images * (pixels / config.vae.downsample**2) ** 2)
    return (load + Load(pairs=visible_pairs(spans))) * copies + encoded


def _prepare(stage: Stage, config: ModelConfig, sizes: Mapping[str, tuple[int, int]] | None) -> Prepare:
    own = dict(sizes or {})
    own |= {n: s for n, s in (("vit", stage.vit_sides), ("vae", stage.vae_sides)) if s is not None}
    return Prepare.for_model(config, None, own)  # sizes need no tokenizer


def _patches(stage: Stage, config: ModelConfig, typical: Typical, sizes) -> int:
    width, height = _prepare(stage, config, sizes).vit(typical.image, typical.image)
    return width * height // config.vit.patch_size**2


def _cells(stage: Stage, config: ModelConfig, typical: Typical, sizes) -> tuple[int, int]:
    """Latent tokens, and pixels."""
    width, height = _prepare(stage, config, sizes).vae(typical.image, typical.image)
    return width * height // config.latent_stride**2, width * height
