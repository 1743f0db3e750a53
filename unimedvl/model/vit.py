"""The SigLIP vision transformer as a NaViT: images of any size, packed, each attending within itself.

Source: Zhai et al., SigLIP (arXiv 2303.15343); Dehghani et al., NaViT (arXiv 2307.06304).
"""

from __future__ import annotations

from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimedvl.model.config import VitConfig
from unimedvl.model.linear import Linear, product_type
from unimedvl.model.products import attend_products, attend_sequences, by_products, fold


class VitAttention(nn.Module):
    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_heads
        self.k_proj = Linear(width, width)
        self.v_proj = Linear(width, width)
        self.q_proj = Linear(width, width)
        self.out_proj = Linear(width, width)

    def forward(self, x: Tensor, lengths: list[int]) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (self.num_heads, -1)) for f in (self.q_proj, self.k_proj, self.v_proj))
        return self.out_proj(_attend_within(q, k, v, lengths).flatten(1))


def _attend_within(q: Tensor, k: Tensor, v: Tensor, lengths: list[int]) -> Tensor:
    """Attention of packed images, each within itself: [T, heads, dim] three times to the same."""
    if by_products(q):
        if torch.is_grad_enabled():
            runs = [(len(list(alike)), n) for n, alike in groupby(lengths)]
            return attend_sequences(q, k, v, fold(runs, q.shape[1], k.shape[1]))
        # In chunks: the scores of a large image would fill gigabytes.
        images = zip(*(x.split(lengths) for x in (q, k, v)), strict=True)
        return torch.cat([attend_products(a, b.transpose(0, 1), c.transpose(0, 1), False) for a, b, c in images])
    if len(set(lengths)) == 1:  # one size: a plain batch
        shape = (len(lengths), lengths[0])
        q, k, v = (x.unflatten(0, shape).transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(0, 1)
    parts = zip(*(x.transpose(0, 1).unsqueeze(0).split(lengths, 2) for x in (q, k, v)), strict=True)
    return torch.cat([F.scaled_dot_product_attention(*p).squeeze(0).transpose(0, 1) for p in parts])


class VitMlp(nn.Module):
    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.fc1 = Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class VitLayer(nn.Module):
    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.self_attn = VitAttention(config)
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = VitMlp(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor, lengths: list[int]) -> Tensor:
        # Norms give float32 under autocast, and each of the products that follow would convert it by itself.
        x = x + self.self_attn(self.layer_norm1(x).to(product_type(x)), lengths)
        return x + self.mlp(self.layer_norm2(x).to(product_type(x)))


class VitEmbeddings(nn.Module):
    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.patch_embedding = Linear(3 * config.patch_size**2, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_patches_per_side**2, config.hidden_size)

    def forward(self, patches: Tensor, position_ids: Tensor) -> Tensor:
        return self.patch_embedding(patches) + self.position_embedding(position_ids)


class VitEncoder(nn.Module):
    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(VitLayer(config) for _ in range(config.num_layers))


class VitTransformer(nn.Module):
    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.embeddings = VitEmbeddings(config)
        self.encoder = VitEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)


class Vit(nn.Module):
    """patches [T, 3 * patch * patch], position_ids [T], lengths (patches per image) to [T, hidden]."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.vision_model = VitTransformer(config)

    def forward(self, patches: Tensor, position_ids: Tensor, lengths: list[int]) -> Tensor:
        tower = self.vision_model
        x = tower.embeddings(patches, position_ids)
        for layer in tower.encoder.layers:
            x = layer(x, lengths)
        return tower.post_layernorm(x)
