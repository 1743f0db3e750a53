"""Floating-point operations of a training step, counted from the geometry and from what a batch holds.

Counted are matrix products and convolutions, a multiplication and an addition as two operations; norms, activations,
rotations and the softmax are not, as is usual. A product with a weight costs once its forward pass for each of: the
forward pass, the weight's gradient where the weight is trained, and the input's gradient where something before it is
trained. Attention has no weights: its backward pass is twice its forward pass. So what is trained costs 3, what is
frozen behind something trained 2 (its attention 3), and what is frozen before all that is trained 1.

Attention counts the pairs that see each other and no others, which is less than what a kernel computes that masks
whole rows. The autoencoder counts the images padded to the largest, as training encodes them.

`StepFlops.model` leaves recomputed activations out: model FLOPs utilisation (MFU) is defined on it (PaLM, arXiv
2204.02311, appendix B). `StepFlops.hardware` takes them in: what the device has to do (HFU).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from unimedvl.model.config import DecoderConfig, ModelConfig, VaeConfig, VitConfig
from unimedvl.model.unified import TimeEmbedding
from unimedvl.sequence import PackedBatch

if TYPE_CHECKING:
    from unimedvl.training.recipe import Lora

# Parts of the model that a recipe may freeze (`training/recipe.py`).
MODULES = ("decoder", "connector", "vit", "flow")


@dataclass(frozen=True)
class Load:
    """What the work of a batch depends on. Expected numbers need not be whole; loads add up.

    understanding, generation: rows that pass each set of weights. pairs: of tokens that see each other.
    patches: of the ViT; patch_pairs: the squares of the patches of each image, added up.
    labels, targets: tokens whose next is predicted, and latent tokens whose velocity is.
    pixels: that the autoencoder encodes; cell_pairs: the squares of the latent cells of each image, added up.
    """

    understanding: float = 0
    generation: float = 0
    pairs: float = 0
    patches: float = 0
    patch_pairs: float = 0
    labels: float = 0
    targets: float = 0
    pixels: float = 0
    cell_pairs: float = 0

    def __add__(self, other: Load) -> Load:
        return Load(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __mul__(self, times: float) -> Load:
        return Load(*(getattr(self, f.name) * times for f in fields(self)))

    @property
    def tokens(self) -> float:
        return self.understanding + self.generation


def load_of(batch: PackedBatch, config: ModelConfig) -> Load:
    """The load of a packed batch. Ask before it goes to a GPU, for three of its numbers are read."""
    patches = sum(batch.patch_lengths)
    generation = sum(h * w for h, w in batch.latent_shapes)
    shapes = [x.shape[-2:] for x, encoded in zip(batch.images, batch.images_encoded, strict=True) if not encoded]
    height, width = (max((s[i] for s in shapes), default=0) for i in (0, 1))
    cells = height * width / config.vae.downsample**2
    return Load(
        understanding=len(batch.ids) + patches,
        generation=generation,
        pairs=sum(visible_pairs(spans) for spans in spans_of(batch)),
        patches=patches,
        patch_pairs=sum(n * n for n in batch.patch_lengths),
        labels=len(batch.labels),
        targets=len(batch.targets),
        pixels=len(shapes) * height * width,
        cell_pairs=len(shapes) * cells**2,
    )


def spans_of(batch: PackedBatch) -> list[list[tuple[int, bool, bool]]]:
    """By sequence, (tokens, causal, noised) of each of its segments."""
    starts, at = [], 0
    for spans in batch.spans:
        for tokens, _ in spans:
            starts.append(at)
            at += tokens
    noised = iter(batch.noised[starts].tolist())
    return [[(tokens, causal, next(noised)) for tokens, causal in spans] for spans in batch.spans]


def visible_pairs(spans: Collection[tuple[int, bool, bool]]) -> float:
    """How many pairs of tokens of a sequence see each other, by the rule of `sequence.sees`.

    spans: (tokens, causal, noised) of each segment.
    """
    pairs = seen = 0
    for tokens, causal, noised in spans:
        pairs += tokens * seen + (tokens * (tokens + 1) / 2 if causal else tokens * tokens)
        seen += 0 if noised else tokens
    return pairs


# One forward pass -------------------------------------------------------------------------------


def layer_elements(c: DecoderConfig) -> int:
    """Elements of the weights of one layer that one token passes."""
    kv = c.num_kv_heads * c.head_dim
    return 2 * c.hidden_size**2 + 2 * c.hidden_size * kv + 3 * c.hidden_size * c.intermediate_size


def layer_inputs(c: DecoderConfig) -> int:
    """Of those, the elements of the projections to queries, keys and values."""
    return c.hidden_size * (c.hidden_size + 2 * c.num_kv_heads * c.head_dim)


def layer_adapters(c: DecoderConfig, rank: int) -> int:
    """Elements of the low-rank adapters of all linear layers of one layer and one set."""
    kv = c.num_kv_heads * c.head_dim
    h, m = c.hidden_size, c.intermediate_size
    return rank * (2 * (h + h) + 2 * (h + kv) + 3 * (h + m))


def connector_adapters(config: ModelConfig, rank: int) -> int:
    """Elements of the low-rank adapters of the connector."""
    vit, h = config.vit.hidden_size, config.decoder.hidden_size
    return rank * ((vit + h) + (h + h))


def vit_elements(c: VitConfig) -> int:
    """Elements of the weights of all layers that one patch passes, the embedding of pixels aside."""
    return c.num_layers * (4 * c.hidden_size**2 + 2 * c.hidden_size * c.intermediate_size)


def attention_flops(width: int, pairs: float) -> float:
    """Of the two products of attention in one layer: 2 operations x 2 products x `width` = heads x dim."""
    return 4 * pairs * width


def encoder_flops(c: VaeConfig, pixels: float, cell_pairs: float) -> float:
    """Of the autoencoder's encoder: its convolutions, and the attention over latent cells."""

    def block(before: int, after: int) -> int:
        return 9 * (before * after + after * after) + (before * after if before != after else 0)

    widths = [c.width * m for m in c.multipliers]
    per_pixel, before, share = 9 * 3 * c.width, c.width, 1.0
    for level, width in enumerate(widths):
        per_pixel += share * (block(before, width) + (c.num_res_blocks - 1) * block(width, width))
        before = width
        if level < len(widths) - 1:
            share /= 4  # of the pixels that the next level has
            per_pixel += share * 9 * width * width
    middle = 2 * block(before, before) + 4 * before * before
    per_pixel += share * (middle + 9 * before * 2 * c.z_channels)
    return 2 * per_pixel * pixels + attention_flops(before, cell_pairs)


# A step -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StepFlops:
    """FLOPs of forward and backward pass by part of the model, and those of activations that are made again."""

    parts: dict[str, float]
    recomputed: float = 0.0

    @property
    def model(self) -> float:
        """Without recomputation: what MFU counts."""
        return sum(self.parts.values())

    @property
    def hardware(self) -> float:
        """With recomputation: what the device does."""
        return self.model + self.recomputed


@dataclass(frozen=True)
class _Trained:
    """Which parts are trained. adapted: modules that have adapters, by their names in `Lora.modules`."""

    vit: bool
    connector: bool
    decoder: bool
    flow: bool
    adapted: tuple[str, ...] = ()

    @property
    def reaches_connector(self) -> bool:
        return self.vit or self.connector or "connector" in self.adapted

    @property
    def reaches_layers(self) -> bool:
        """Whether gradients flow back into the decoder's layers."""
        return self.reaches_connector or self.decoder or self.flow or bool(self.adapted)


def step_flops(
    load: Load, config: ModelConfig, frozen: Collection[str] = (), recompute: bool = False, lora: Lora | None = None
) -> StepFlops:
    """FLOPs of the forward and backward pass of a load.

    frozen: of `MODULES`. lora: adapters are trained and nothing else, whatever `frozen` says.
    Exact where the batch predicts both text and images; without one of them the last layer's backward pass has less
    to do than is counted here.

    Raises:
        ValueError: `frozen` names what is no module.
    """
    unknown = next((name for name in frozen if name not in MODULES), None)
    if unknown is not None:
        raise ValueError(f"frozen: no module called {unknown!r}; there are {', '.join(MODULES)}")
    if lora is not None:
        trained = _Trained(False, False, False, False, tuple(lora.modules))
    else:
        trained = _Trained(*(name not in frozen for name in ("vit", "connector", "decoder", "flow")))
    parts = {
        "autoencoder": encoder_flops(config.vae, load.pixels, load.cell_pairs),
        **_vit(load, config, trained),
        **_connector(load, config, trained),
        **_flow(load, config, trained),
        **_layers(load, config, trained),
        **_adapters(load, config, lora),
    }
    forward = sum(_layers(load, config, _Trained(False, False, False, False)).values()) - _head(load, config)
    forward += _layer_adapters(load, config, lora)
    return StepFlops(parts, forward if recompute and trained.reaches_layers else 0.0)


def flops_of(
    batch: PackedBatch, config: ModelConfig, frozen: Collection[str], recompute: bool, lora: Lora | None = None
) -> float:
    """FLOPs of the forward and backward pass of a packed batch; with `recompute` those made again count too.

    For MFU give `recompute` false, whatever the training does.
    """
    found = step_flops(load_of(batch, config), config, frozen, recompute, lora)
    return found.hardware


def _vit(load: Load, config: ModelConfig, trained: _Trained) -> dict[str, float]:
    c, times = config.vit, 3 if trained.vit else 1
    embedding = 2 * load.patches * 3 * c.patch_size**2 * c.hidden_size
    attention = c.num_layers * attention_flops(c.hidden_size, load.patch_pairs)
    linear = 2 * load.patches * vit_elements(c)
    return {"vit": embedding * (2 if trained.vit else 1) + times * (linear + attention)}


def _connector(load: Load, config: ModelConfig, trained: _Trained) -> dict[str, float]:
    h = config.decoder.hidden_size
    first, second = 2 * load.patches * config.vit.hidden_size * h, 2 * load.patches * h * h
    return {
        "connector": first * (1 + trained.connector + trained.vit)
        + second * (1 + trained.connector + trained.reaches_connector)
    }


def _flow(load: Load, config: ModelConfig, trained: _Trained) -> dict[str, float]:
    """Latents and times into the decoder, and velocities out of it. Each token has its time embedded."""
    h, values = config.decoder.hidden_size, config.latent_token_dim
    entrance = 2 * load.generation * h * (values + TimeEmbedding.FREQUENCIES)
    second = 2 * load.generation * h * h
    out = 2 * load.targets * h * values
    return {
        "flow": entrance * (1 + trained.flow)
        + second * (1 + 2 * trained.flow)
        + out * (1 + trained.flow + trained.reaches_layers)
    }


def _head(load: Load, config: ModelConfig) -> float:
    return 2 * load.labels * config.decoder.hidden_size * config.decoder.vocab_size


def _layers(load: Load, config: ModelConfig, trained: _Trained) -> dict[str, float]:
    c, deep = config.decoder, trained.reaches_layers
    times = 1 + trained.decoder + deep
    parts, before = {}, {"understanding": trained.reaches_connector, "generation": trained.flow}
    for name, reached in before.items():
        rows = getattr(load, name)
        parts[name] = 2 * rows * c.num_layers * layer_elements(c) * times
        # The first projections of a stream before which nothing is trained.
        parts[name] -= 2 * rows * layer_inputs(c) * (deep and not (reached or trained.decoder))
    attention = c.num_layers * attention_flops(c.hidden_size, load.pairs)
    return parts | {"attention": attention * (3 if deep else 1), "head": _head(load, config) * times}


def _layer_adapters(load: Load, config: ModelConfig, lora: Lora | None) -> float:
    if lora is None:
        return 0.0
    rows = sum(getattr(load, name) for name in ("understanding", "generation") if name in lora.modules)
    return 2 * rows * config.decoder.num_layers * layer_adapters(config.decoder, lora.rank)


def _adapters(load: Load, config: ModelConfig, lora: Lora | None) -> dict[str, float]:
    if lora is None:
        return {}
    inside = _layer_adapters(load, config, lora)
    if "connector" in lora.modules:
        inside += 2 * load.patches * connector_adapters(config, lora.rank)
    return {"adapters": 3 * inside}
