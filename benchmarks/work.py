"""The work in one pass of the model: its matrix products, counted from the geometry alone.

What is counted is what has to be computed, not what an implementation happens to compute: no padding, no
masked half of causal attention. So an implementation that wastes work shows it as time.
"""

from __future__ import annotations

from dataclasses import dataclass

from unimedvl.model.config import DecoderConfig, ModelConfig
from unimedvl.model.unified import TimeEmbedding


@dataclass(frozen=True)
class Product:
    """``[m, k] @ [k, n]`` with `copies` different weights, as a linear layer of n outputs and k inputs."""

    m: int
    n: int
    k: int
    copies: int = 1

    @property
    def flops(self) -> int:
        """Of all copies."""
        return 2 * self.m * self.n * self.k * self.copies

    @property
    def weights(self) -> int:
        """Elements of all copies."""
        return self.n * self.k * self.copies


@dataclass(frozen=True)
class Work:
    """products: of the linear layers. attention_flops: of both products of attention, visible pairs only.

    cached_elements: of keys and values that are read, all layers.
    """

    products: tuple[Product, ...]
    attention_flops: int = 0
    cached_elements: int = 0

    @property
    def linear_flops(self) -> int:
        return sum(p.flops for p in self.products)

    @property
    def flops(self) -> int:
        return self.linear_flops + self.attention_flops

    @property
    def weights(self) -> int:
        return sum(p.weights for p in self.products)


def decoder_products(c: DecoderConfig, rows: int) -> tuple[Product, ...]:
    """One set of weights over `rows` tokens, all layers."""
    h, kv, layers = c.hidden_size, c.num_kv_heads * c.head_dim, c.num_layers
    return (
        Product(rows, h, h, 2 * layers),                       # q, o
        Product(rows, kv, h, 2 * layers),                      # k, v
        Product(rows, c.intermediate_size, h, 2 * layers),     # gate, up
        Product(rows, h, c.intermediate_size, layers),         # down
    )


def time_products(c: DecoderConfig) -> tuple[Product, ...]:
    """The embedding of one time; all tokens of an image share it."""
    return Product(1, c.hidden_size, TimeEmbedding.FREQUENCIES), Product(1, c.hidden_size, c.hidden_size)


def attention_flops(c: DecoderConfig, pairs: int) -> int:
    """Scores and weighed values of `pairs` visible (query, key) pairs, all layers and heads."""
    return 4 * pairs * c.hidden_size * c.num_layers


def denoising(c: ModelConfig, latents: int, context: int, branches: int = 1) -> Work:
    """One velocity of one image of `latents` tokens under branches of `context` tokens each."""
    d, width = c.decoder, c.latent_token_dim
    products = (
        *decoder_products(d, 2 * branches),  # the markers
        *decoder_products(d, latents * branches),
        Product(latents, d.hidden_size, width),
        Product(latents * branches, width, d.hidden_size),
        *time_products(d),
    )
    new = latents + 2
    return Work(products, attention_flops(d, branches * new * (context + new)))


def prefill_text(c: ModelConfig, tokens: int) -> Work:
    """A text of `tokens` tokens, with the two that open and close it, into an empty context."""
    return Work(decoder_products(c.decoder, tokens), attention_flops(c.decoder, causal_pairs(tokens)))


def prefill_image(c: ModelConfig, patches: int, tokens: int) -> Work:
    """An image of `patches` ViT patches and a question of `tokens` tokens into an empty context."""
    rows = patches + 2
    pairs = rows * rows + causal_pairs(tokens, rows)
    vit, vit_attention = seen(c, patches)
    products = (*vit, *decoder_products(c.decoder, rows + tokens))
    return Work(products, attention_flops(c.decoder, pairs) + vit_attention)


def seen(c: ModelConfig, patches: int) -> tuple[tuple[Product, ...], int]:
    """The ViT and the connector over one image: products, and the FLOPs of attention."""
    v = c.vit
    products = (
        Product(patches, v.hidden_size, 3 * v.patch_size**2),
        Product(patches, v.hidden_size, v.hidden_size, 4 * v.num_layers),
        Product(patches, v.intermediate_size, v.hidden_size, v.num_layers),
        Product(patches, v.hidden_size, v.intermediate_size, v.num_layers),
        Product(patches, c.decoder.hidden_size, v.hidden_size),
        Product(patches, c.decoder.hidden_size, c.decoder.hidden_size),
    )
    return products, 4 * patches**2 * v.hidden_size * v.num_layers


def decoding(c: ModelConfig, context: int, rows: int = 1) -> Work:
    """The next token of `rows` contexts of `context` tokens each."""
    d = c.decoder
    products = (*decoder_products(d, rows), Product(rows, d.vocab_size, d.hidden_size))
    kv = 2 * d.num_layers * d.num_kv_heads * d.head_dim * context * rows
    return Work(products, attention_flops(d, context * rows), kv)


def training(c: ModelConfig, patches: int, question: int, caption: int, latents: int) -> Work:
    """The forward pass of a packed batch of two sequences; the whole step is three times it.

    One sequence sees an image of `patches` and has an answer of `question` tokens predicted after a question
    of as many; the other draws `latents` tokens after a caption of `caption`.
    """
    d, rows = c.decoder, patches + 2
    vit, vit_attention = seen(c, patches)
    new = latents + 2
    products = (
        *vit,
        *decoder_products(d, rows + 2 * question + caption + 2),
        *decoder_products(d, latents),
        Product(latents, d.hidden_size, c.latent_token_dim),
        Product(latents, c.latent_token_dim, d.hidden_size),
        *time_products(d),
        Product(question - 1, d.vocab_size, d.hidden_size),
    )
    pairs = rows * rows + causal_pairs(2 * question, rows)
    pairs += causal_pairs(caption) + new * (caption + new)
    return Work(products, attention_flops(d, pairs) + vit_attention)


def causal_pairs(tokens: int, before: int = 0) -> int:
    """Visible pairs of causal tokens after `before` others that all of them see."""
    return tokens * (tokens + 1) // 2 + tokens * before
