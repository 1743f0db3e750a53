"""Memory of each device in training: weights and all that is kept for each of them, shared out or not.

As the trainer keeps them: weights in float32, with a gradient, AdamW's two moments and a moving average, all float32,
where they are trained. Ranks share them (FSDP2); the autoencoder is whole on each. A layer is gathered in the type of
products when its turn comes, the next one meanwhile; what belongs to no layer (embeddings, head, ViT, connector) is
gathered for the whole step. One process alone shares nothing, and autocast makes copies of all weights that a
step multiplies with.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache

from unimedvl.checkpoint import empty_model
from unimedvl.model.config import ModelConfig
from unimedvl.model.decoder import GENERATION
from unimedvl.training.activations import Activations, Precision, activations
from unimedvl.training.flops import Load, connector_adapters, layer_adapters, layer_elements
from unimedvl.training.recipe import Lora, Stage

# Which of a recipe's modules each part belongs to; None is never trained with the rest.
MODULE_OF = {
    "understanding": "decoder",
    "generation": "decoder",
    "embeddings": "decoder",
    "vit": "vit",
    "connector": "connector",
    "flow": "flow",
    "tables": None,
    "autoencoder": None,
}
_HELD = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.0}
# Bytes beside each trained weight's own four: the gradient, two moments, the average.
_GRADIENT, _MOMENTS, _AVERAGE = 4, 8, 4


@cache
def parameters(config: ModelConfig) -> dict[str, int]:
    """Parameters by part of the model: the two sets of weights, embeddings with the head, and the rest.

    `tables` are positions, which are fixed. The published 14.6e9 leave the autoencoder out.
    """
    counts: Counter[str] = Counter(dict.fromkeys(MODULE_OF, 0))
    for name, tensor in empty_model(config).named_parameters():
        counts[_part(name)] += tensor.numel()
    return dict(counts)


def _part(name: str) -> str:
    if name.startswith("language_model."):
        if "embed_tokens" in name or "lm_head" in name:
            return "embeddings"
        return "generation" if GENERATION in name else "understanding"
    if name.endswith("pos_embed"):
        return "tables"
    first = name.split(".")[0]
    return {"vit_model": "vit", "connector": "connector", "vae": "autoencoder"}.get(first, "flow")


@dataclass(frozen=True)
class Counts:
    """Parameters: all, trained (adapters where there are any), frozen; by part, and those of adapters."""

    all: int
    trained: int
    frozen: int
    parts: dict[str, int]
    trained_parts: tuple[str, ...]
    adapters: int


def frozen_of(stage: Stage) -> tuple[str, ...]:
    """Modules that a stage does not train: those it names, and those whose rate is 0."""
    return tuple(sorted({*stage.frozen, *(name for name, rate in stage.rates.items() if rate == 0)}))


def counts(config: ModelConfig, frozen: tuple[str, ...], lora: Lora | None) -> Counts:
    """What a stage trains, and what it doesn't."""
    parts = parameters(config)
    total = sum(parts.values())
    if lora is None:
        names = tuple(n for n, module in MODULE_OF.items() if module is not None and module not in frozen)
        trained = sum(parts[n] for n in names)
        return Counts(total, trained, total - trained, parts, names, 0)
    sets = sum(name in lora.modules for name in ("understanding", "generation"))
    adapters = sets * config.decoder.num_layers * layer_adapters(config.decoder, lora.rank)
    adapters += connector_adapters(config, lora.rank) if "connector" in lora.modules else 0
    return Counts(total + adapters, adapters, total, parts, (), adapters)


@dataclass(frozen=True)
class Setting:
    """What decides how much memory a device needs, the stage and the geometry aside.

    ranks: devices. shard: ranks that share one copy. gpu: how activations are kept (`training/activations.py`).
    """

    ranks: int
    shard: int
    offload: bool = False
    recompute: bool = False
    bf16: bool = True
    lora: Lora | None = None
    gpu: bool = True


@dataclass(frozen=True)
class Memory:
    """Bytes of a device, and what the CPU's memory holds for it (`host`, where weights are offloaded).

    gathered: weights in the type of products, unsharded. reducing: a unit's gradients before they are summed over
    ranks. kept, working: of activations. The peak takes the largest of what is not there at the same time.
    """

    weights: float
    gradients: float
    optimiser: float
    average: float
    gathered: float
    reducing: float
    kept: float
    working: float
    encoding: float
    host: float

    @property
    def peak(self) -> float:
        stays = self.weights + self.gradients + self.optimiser + self.average + self.gathered
        return stays + max(self.kept + self.working + self.reducing, self.encoding)


def memory(config: ModelConfig, stage: Stage, load: Load, setting: Setting) -> Memory:
    """What a device holds while it takes a step of the stage with packs of a load."""
    found = counts(config, frozen_of(stage), setting.lora)
    parts, s = found.parts, setting
    shared = sum(parts.values()) - parts["autoencoder"]
    trained = found.trained / s.shard
    weights = (_weights(config, found, s) - 4 * parts["autoencoder"]) / s.shard
    kept = {"weights": weights, "gradients": _GRADIENT * trained}
    kept |= {"optimiser": _MOMENTS * trained, "average": _AVERAGE * trained}
    host = sum(kept.values()) if s.offload else 0.0
    if s.offload:
        kept = dict.fromkeys(kept, 0.0)
    kept["weights"] += 4 * parts["autoencoder"]
    gathered, reducing = _units(config, found, shared, s)
    acts = _activations(config, stage, load, s)
    return Memory(
        **kept, gathered=gathered, reducing=reducing, kept=acts.kept, working=acts.working, encoding=acts.encoding,
        host=host,
    )  # fmt: skip


def _activations(config: ModelConfig, stage: Stage, load: Load, s: Setting) -> Activations:
    frozen = frozen_of(stage)
    vit = s.lora is None and "vit" not in frozen
    connector = vit or ("connector" in s.lora.modules if s.lora else "connector" not in frozen)
    precision = Precision(s.bf16, narrow=s.ranks > 1, gpu=s.gpu)
    return activations(load, config, precision, s.recompute, vit, connector)


def _weights(config: ModelConfig, found: Counts, s: Setting) -> float:
    """Bytes of all weights, unshared: float32, but beside adapters what the base and the rest are held in.

    The rest keeps the checkpoint's type, which is bf16 as published, but where one process trains alone.
    """
    if s.lora is None:
        return 4.0 * found.all
    layers, held = config.decoder.num_layers, _HELD[s.lora.base]
    sets = [name for name in ("understanding", "generation") if name in s.lora.modules]
    base = len(sets) * layers * layer_elements(config.decoder)
    if "connector" in s.lora.modules:
        base += config.decoder.hidden_size * (config.vit.hidden_size + config.decoder.hidden_size)
    autoencoder = found.parts["autoencoder"]
    rest = sum(found.parts.values()) - base - autoencoder
    return held * base + (2.0 if s.ranks > 1 else 4.0) * rest + 4.0 * (found.adapters + autoencoder)


def _units(config: ModelConfig, found: Counts, shared: int, s: Setting) -> tuple[float, float]:
    """Bytes of weights that are gathered at once, and of the gradients of one unit before they are shared out."""
    product, layers = 2 if s.bf16 else 4, config.decoder.num_layers
    in_layers = found.parts["understanding"] + found.parts["generation"]
    trained = {name: found.parts[name] if name in found.trained_parts else 0 for name in found.parts}
    head = found.parts["embeddings"] / 2
    if s.ranks == 1:  # autocast's copies of what it multiplies with and keeps; none in float32
        copied = sum(trained.values()) - trained["embeddings"] + head
        return (product * copied if s.bf16 else 0.0), 0.0
    in_layer = (trained["understanding"] + trained["generation"]) / layers
    in_root = sum(trained.values()) - trained["understanding"] - trained["generation"]
    held = product
    if s.lora is not None:
        in_layer, held = found.adapters / layers, min(product, _HELD[s.lora.base])
    # The root's gradients wait until the last of them is there; a unit's are made float32 to be summed.
    reducing = product * in_root + (product + 4) * in_layer
    return product * (shared - in_layers) + 2 * held * in_layers / layers, reducing
