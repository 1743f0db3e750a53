"""Bytes of activations that a training step keeps for its backward pass, from the geometry and a load.

What autograd keeps was read off the model's code, and is held against what a real step keeps on a CPU, in float32 and
in bf16 (tests/training/test_plan.py). On a GPU two things differ: norms give float32, which each product converts for
itself, and attention keeps no mask.
"""

from __future__ import annotations

from dataclasses import dataclass

from unimedvl.model.config import DecoderConfig, ModelConfig
from unimedvl.model.unified import TimeEmbedding
from unimedvl.training.flops import Load

_FULL = 4  # bytes of a float32


@dataclass(frozen=True)
class Precision:
    """How a step computes.

    bf16: products in bf16 (autocast), norms and losses in float32.
    narrow: the rows that go from layer to layer are bf16 too, as they are where ranks share weights.
    gpu: norms and attention in one kernel each.
    """

    bf16: bool = True
    narrow: bool = False
    gpu: bool = True

    @property
    def product(self) -> int:
        """Bytes of what enters and leaves products."""
        return 2 if self.bf16 else _FULL

    @property
    def stream(self) -> int:
        """Bytes of the rows between layers."""
        return 2 if self.bf16 and self.narrow else _FULL


@dataclass(frozen=True)
class Activations:
    """Bytes. kept: until the backward pass. working: at most at once beside it, in the layer or head at work.
    encoding: of the autoencoder's encoder, before anything is kept.
    """

    kept: float
    working: float
    encoding: float

    @property
    def peak(self) -> float:
        return max(self.kept + self.working, self.encoding)


def activations(
    load: Load, config: ModelConfig, precision: Precision, recompute: bool, vit: bool = True, connector: bool = True
) -> Activations:
    """What a step of a load keeps, and what it works with.

    recompute: layers of the decoder keep their input alone, and all else of one layer at a time.
    vit, connector: whether gradients flow back into them; what they don't reach keeps nothing.
    """
    c, p = config.decoder, precision
    layer = load.tokens * layer_bytes(c, p) + masked_bytes(load, p)
    between = load.tokens * c.hidden_size * p.stream
    kept = c.num_layers * (between if recompute else layer)
    kept += load.tokens * c.hidden_size * _FULL  # the final norms
    kept += _heads(load, config, p) + _entrance(load, config, p, connector)
    kept += load.patches * vit_bytes(config, p) if vit else 0
    # Gradients of a layer's widest parts; those of the logits, and the logits in the type of products.
    gradients = load.tokens * (3 * c.intermediate_size * p.product + 2 * c.hidden_size * _FULL)
    logits = load.labels * c.vocab_size * (_FULL + p.product)
    working = max((layer if recompute else 0) + gradients, logits)
    return Activations(kept, working, encoding_bytes(load, config, p))


def layer_bytes(c: DecoderConfig, p: Precision) -> int:
    """Of a row in a layer of the decoder.

    Norms: their inputs, of the layer and the MLP in float32, of the queries and the keys so too on a GPU.
    Products: their inputs, on a GPU once for each product in bf16, as each converts its own; queries, keys, values and
    output of attention; and of the MLP the gate before and after SiLU, what it is multiplied with, and the product.
    """
    h, kv, m = c.hidden_size, c.num_kv_heads * c.head_dim, c.intermediate_size
    norms = 2 * h * _FULL + (h + kv) * (_FULL if p.gpu else p.product)
    inputs = (3 + 2 + 1) * h if p.bf16 and p.gpu else (1 + 1 + 1) * h
    return norms + (inputs + 2 * h + 2 * kv + 4 * m) * p.product


def masked_bytes(load: Load, p: Precision) -> float:
    """Of a layer's masks: sequence by sequence on a CPU, of as many pairs as the load says."""
    return 0 if p.gpu else load.pairs * p.product


def vit_bytes(config: ModelConfig, p: Precision) -> int:
    """Of a patch in the whole ViT: inputs of two norms, of products, of attention and its output, and the MLP."""
    w, m = config.vit.hidden_size, config.vit.intermediate_size
    inputs = (3 + 1) * w if p.bf16 and p.gpu else 2 * w
    layer = 2 * w * _FULL + (inputs + 4 * w + 2 * m) * p.product
    return config.vit.num_layers * layer + w * _FULL + 3 * config.vit.patch_size**2 * p.product


def _entrance(load: Load, config: ModelConfig, p: Precision, connector: bool) -> float:
    """Of the connector, and of latents and times on their way into the decoder."""
    h = config.decoder.hidden_size
    seen = (config.vit.hidden_size + 2 * h) * p.product if connector else 0
    drawn = (config.latent_token_dim + TimeEmbedding.FREQUENCIES + 2 * h) * p.product
    return load.patches * seen + load.generation * drawn


def _heads(load: Load, config: ModelConfig, p: Precision) -> float:
    """Of what is predicted: inputs of the heads, log-probabilities of the whole vocabulary, and differences."""
    h = config.decoder.hidden_size
    labels = load.labels * (h * p.product + config.decoder.vocab_size * _FULL)
    return labels + load.targets * (h * p.product + 2 * config.latent_token_dim * _FULL)


def encoding_bytes(load: Load, config: ModelConfig, p: Precision) -> float:
    """The encoder works without gradients: at its widest, five images of as many channels as its first layer has.

    In bf16 three of them are float32, for norms are.
    """
    return load.pixels * config.vae.width * (16 if p.bf16 else 20)
