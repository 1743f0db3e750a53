"""The mixture of transformers: two sets of weights per layer that share attention and nothing else.

Tokens come sorted by set: the understanding rows first, then the generation rows, and stay two
tensors from the embedding to the final norm; they meet in attention alone. Names of modules are
the published ones: a `_moe_gen` after a name is the generation set's.

Source: Qwen2.5 (arXiv 2412.15115) for the layer; Liang et al., mixture of transformers (arXiv
2411.04996), and BAGEL (arXiv 2505.14683) for the two sets.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unimedvl.model.config import DecoderConfig
from unimedvl.model.linear import Linear
from unimedvl.model.norm import RMSNorm, Rotation, rotation

# The suffix of the module names of each set of weights.
UNDERSTANDING, GENERATION = "", "_moe_gen"

Attention = Callable[[int, Tensor, Tensor, Tensor], Tensor]
# Rows of the understanding set and of the generation set, either of which may be empty (None).
Streams = list[Tensor | None]


class SelfAttention(nn.Module):
    """Projections of both sets; queries and keys are normalised per head, then rotated."""

    def __init__(self, config: DecoderConfig, sets: tuple[str, ...]) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        kv = config.num_kv_heads * config.head_dim
        for s in sets:
            self.add_module("q_proj" + s, Linear(config.hidden_size, config.hidden_size))
            self.add_module("k_proj" + s, Linear(config.hidden_size, kv))
            self.add_module("v_proj" + s, Linear(config.hidden_size, kv))
            self.add_module("o_proj" + s, Linear(config.hidden_size, config.hidden_size, bias=False))
            self.add_module("q_norm" + s, RMSNorm(config.head_dim, config.rms_norm_eps))
            self.add_module("k_norm" + s, RMSNorm(config.head_dim, config.rms_norm_eps))

    def project(self, x: Tensor, s: str, rotation: Rotation) -> tuple[Tensor, Tensor, Tensor]:
        """x [n, hidden] to queries [n, heads, dim], keys and values [n, kv_heads, dim]."""
        q, k, v = (
            getattr(self, name + s)(x).unflatten(-1, (-1, self.head_dim))
            for name in ("q_proj", "k_proj", "v_proj")
        )
        q, k = (getattr(self, name + s).rotated(x, rotation) for name, x in (("q_norm", q), ("k_norm", k)))
        return q, k, v

    def output(self, x: Tensor, s: str) -> Tensor:
        return getattr(self, "o_proj" + s)(x)


class MLP(nn.Module):
    """SwiGLU (Shazeer, arXiv 2002.05202)."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gate_proj = Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(nn.Module):
    def __init__(self, config: DecoderConfig, index: int, sets: tuple[str, ...]) -> None:
        super().__init__()
        self.index = index
        self.self_attn = SelfAttention(config, sets)
        for s in sets:
            self.add_module("mlp" + s, MLP(config))
            self.add_module("input_layernorm" + s, RMSNorm(config.hidden_size, config.rms_norm_eps))
            self.add_module("post_attention_layernorm" + s, RMSNorm(config.hidden_size, config.rms_norm_eps))

    def forward(
        self, und: Tensor | None, gen: Tensor | None, rotations: list[Rotation | None], attention: Attention
    ) -> tuple[Tensor | None, Tensor | None]:
        streams = [(x, s, r) for x, s, r in zip((und, gen), (UNDERSTANDING, GENERATION), rotations, strict=True)]
        present = [part for part in streams if part[0] is not None]
        projected = [
            self.self_attn.project(getattr(self, "input_layernorm" + s)(x), s, r) for x, s, r in present
        ]
        q, k, v = (_join(parts) for parts in zip(*projected, strict=True))
        seen = attention(self.index, q, k, v).split([len(x) for x, _, _ in present])
        out = {}
        for (x, s, _), a in zip(present, seen, strict=True):
            x = x + self.self_attn.output(a, s)
            out[s] = x + getattr(self, "mlp" + s)(getattr(self, "post_attention_layernorm" + s)(x))
        return out.get(UNDERSTANDING), out.get(GENERATION)


def _join(parts: tuple[Tensor, ...]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class DecoderStack(nn.Module):
    def __init__(self, config: DecoderConfig, sets: tuple[str, ...]) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config, i, sets) for i in range(config.num_layers))
        for s in sets:
            self.add_module("norm" + s, RMSNorm(config.hidden_size, config.rms_norm_eps))
        self.checkpointing = False  # recompute layers in the backward pass to save memory

    def rotations(self, positions: Tensor, split: int) -> list[Rotation | None]:
        """Rotations of the understanding rows (before `split`) and of the generation rows."""
        c = self.config
        return [rotation(p, c.head_dim, c.rope_theta) for p in (positions[:split], positions[split:])]

    def forward(
        self, und: Tensor | None, gen: Tensor | None, rotations: list[Rotation | None], attention: Attention
    ) -> tuple[Tensor | None, Tensor | None]:
        """und [n, hidden] and gen [m, hidden], either None, to the same after the final norms."""
        for layer in self.layers:
            if self.checkpointing and torch.is_grad_enabled():
                und, gen = checkpoint(layer, und, gen, rotations, attention, use_reentrant=False)
            else:
                und, gen = layer(und, gen, rotations, attention)
        return (
            None if und is None else self.norm(und),
            None if gen is None else self.norm_moe_gen(gen),
        )


class Decoder(nn.Module):
    """The stack and the head that scores the next token; embeddings are not tied."""

    def __init__(self, config: DecoderConfig, generation: bool = True) -> None:
        super().__init__()
        sets = (UNDERSTANDING, GENERATION) if generation else (UNDERSTANDING,)
        self.model = DecoderStack(config, sets)
        self.lm_head = Linear(config.hidden_size, config.vocab_size, bias=False)
