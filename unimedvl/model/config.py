"""Geometry of the model as dataclasses, and the presets.

Every field of the published system is a number here; nothing is read from files (that is
`unimedvl.checkpoint`'s work). Numbers: arXiv 2510.15710 and the published configuration files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class DecoderConfig:
    """A Qwen2.5-shaped decoder with two sets of weights per layer."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    rope_theta: float = 1e6
    rms_norm_eps: float = 1e-6
    max_position_embeddings: int = 32768

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of num_heads {self.num_heads}")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_heads {self.num_heads} is no multiple of num_kv_heads {self.num_kv_heads}")

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_heads


@dataclass(frozen=True)
class VitConfig:
    """A SigLIP vision transformer that reads images of any size (NaViT packing).

    num_layers: layers that the weights hold (the published file counts one more).
    max_patches_per_side: side of the square grid that the position table covers.
    """

    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_layers: int
    patch_size: int = 14
    max_patches_per_side: int = 70
    layer_norm_eps: float = 1e-6


@dataclass(frozen=True)
class VaeConfig:
    """The FLUX autoencoder.

    scale, shift: a latent is ``scale * (mean - shift)``.
    norm_groups: 32 in every published checkpoint; fewer where `width` is small, because one
        channel per group would erase the brightness of the whole picture.
    """

    width: int
    multipliers: tuple[int, ...]
    num_res_blocks: int
    z_channels: int = 16
    scale: float = 0.3611
    shift: float = 0.1159
    norm_groups: int = 32

    @property
    def downsample(self) -> int:
        """Pixels per latent cell along a side."""
        return 2 ** (len(self.multipliers) - 1)


@dataclass(frozen=True)
class SpecialTokens:
    """Token ids that open and close texts and images."""

    text_open: int
    text_close: int
    image_start: int
    image_end: int


@dataclass(frozen=True)
class ModelConfig:
    """The whole model.

    latent_patch_size: latent cells per token along a side.
    max_latent_size: side of the square grid of latent tokens that the position table covers.
    timestep_shift: the training shift of the flow's time (published: 1.0; inference uses 3.0).
    """

    decoder: DecoderConfig
    vit: VitConfig
    vae: VaeConfig
    special: SpecialTokens
    latent_patch_size: int = 2
    max_latent_size: int = 64
    timestep_shift: float = 1.0

    @property
    def latent_stride(self) -> int:
        """Pixels per latent token along a side."""
        return self.vae.downsample * self.latent_patch_size

    @property
    def latent_token_dim(self) -> int:
        """Values per latent token."""
        return self.latent_patch_size**2 * self.vae.z_channels


PRESETS: dict[str, ModelConfig] = {
    # The published model: 14.6e9 parameters.
    "14b": ModelConfig(
        decoder=DecoderConfig(152064, 3584, 18944, 28, 28, 4),
        vit=VitConfig(1152, 4304, 16, 26),
        vae=VaeConfig(128, (1, 2, 4, 4), 2),
        special=SpecialTokens(151644, 151645, 151652, 151653),
    ),
    # The embedded model: the same architecture for 128 px images.
    "nano": ModelConfig(
        decoder=DecoderConfig(1024, 256, 768, 8, 4, 2, rope_theta=1e4, max_position_embeddings=2048),
        vit=VitConfig(192, 576, 3, 6, max_patches_per_side=16),
        vae=VaeConfig(32, (1, 2, 2), 1, z_channels=8, norm_groups=8),
        special=SpecialTokens(1020, 1021, 1022, 1023),
        latent_patch_size=4,
        max_latent_size=16,
        timestep_shift=3.0,
    ),
    # A mid-size geometry with random weights, for benchmarks only.
    "mid": ModelConfig(
        decoder=DecoderConfig(32768, 1024, 2816, 12, 16, 4),
        vit=VitConfig(384, 1536, 6, 6),
        vae=VaeConfig(32, (1, 2, 2, 4), 1),
        special=SpecialTokens(32764, 32765, 32766, 32767),
    ),
}


def preset(name: str, **changes) -> ModelConfig:
    """The geometry called `name`, with whole parts replaced by `changes`.

    Raises:
        ValueError: no such preset; the message lists those there are.
    """
    if name not in PRESETS:
        raise ValueError(f"no preset called {name!r}; there are {', '.join(PRESETS)}")
    return replace(PRESETS[name], **changes)
