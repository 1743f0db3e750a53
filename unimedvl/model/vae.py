"""The FLUX autoencoder: an image becomes a grid of latents (published: 16 channels, 8 pixels a cell), and back.

Read downward: block, attention, resampling, encoder, decoder, the whole. Tensor names are the
published ones.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimedvl.model.config import VaeConfig
from unimedvl.model.products import attend_products, by_products


def _norm(channels: int, groups: int) -> nn.GroupNorm:
    return nn.GroupNorm(groups, channels, eps=1e-6)


class ResnetBlock(nn.Module):
    """norm, SiLU, conv, twice, added to its input (through a 1 x 1 convolution where widths differ)."""

    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = _norm(in_channels, groups)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = _norm(out_channels, groups)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (x if self.nin_shortcut is None else self.nin_shortcut(x))


class AttentionBlock(nn.Module):
    """Single-head attention over all cells."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = _norm(channels, groups)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        y = self.norm(x)
        q, k, v = (f(y).flatten(2).transpose(1, 2).unsqueeze(1) for f in (self.q, self.k, self.v))
        if by_products(q) and not torch.is_grad_enabled():
            each = zip(q.transpose(1, 2), k, v, strict=True)
            y = torch.stack([attend_products(*image, causal=False) for image in each]).flatten(2)
        else:
            y = F.scaled_dot_product_attention(q, k, v).squeeze(1)
        return x + self.proj_out(y.transpose(1, 2).reshape(b, c, h, w))


class Downsample(nn.Module):
    """Halves both sides; pads one column right and one row below, as published."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles both sides: nearest neighbour, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """The residual blocks of one resolution, with the resampling to the next."""

    def __init__(self, blocks: list[ResnetBlock], downsample: bool = False, upsample: bool = False) -> None:
        super().__init__()
        self.block = nn.ModuleList(blocks)
        channels = blocks[-1].conv2.out_channels
        if downsample:
            self.downsample = Downsample(channels)
        if upsample:
            self.upsample = Upsample(channels)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        for name in ("downsample", "upsample"):
            if hasattr(self, name):
                x = getattr(self, name)(x)
        return x


class Middle(nn.Module):
    """Block, attention, block at the lowest resolution."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, groups)
        self.attn_1 = AttentionBlock(channels, groups)
        self.block_2 = ResnetBlock(channels, channels, groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Module):
    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        groups = config.norm_groups
        widths = [config.width * m for m in config.multipliers]
        self.conv_in = nn.Conv2d(3, config.width, 3, padding=1)
        self.down = nn.ModuleList()
        before = config.width
        for i, width in enumerate(widths):
            blocks = [
                ResnetBlock(before if j == 0 else width, width, groups) for j in range(config.num_res_blocks)
            ]
            self.down.append(Level(blocks, downsample=i < len(widths) - 1))
            before = width
        self.mid = Middle(before, groups)
        self.norm_out = _norm(before, groups)
        self.conv_out = nn.Conv2d(before, 2 * config.z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        groups = config.norm_groups
        widths = [config.width * m for m in config.multipliers]
        before = widths[-1]
        self.conv_in = nn.Conv2d(config.z_channels, before, 3, padding=1)
        self.mid = Middle(before, groups)
        levels = []
        for i, width in reversed(list(enumerate(widths))):
            blocks = [
                ResnetBlock(before if j == 0 else width, width, groups)
                for j in range(config.num_res_blocks + 1)
            ]
            levels.insert(0, Level(blocks, upsample=i > 0))
            before = width
        # Stored from the finest to the coarsest, run the other way round.
        self.up = nn.ModuleList(levels)
        self.norm_out = _norm(before, groups)
        self.conv_out = nn.Conv2d(before, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Autoencoder(nn.Module):
    """Encoder and decoder with the scaling that the flow works in."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def moments(self, pixels: Tensor) -> Tensor:
        """Mean and log-variance of the posterior.

        pixels: [B, 3, H, W] in [-1, 1], H and W multiples of `config.downsample`.
        Returns [B, 2 * z_channels, H / downsample, W / downsample].
        """
        _, c, h, w = pixels.shape
        if c != 3 or h % self.config.downsample or w % self.config.downsample:
            raise ValueError(
                f"pixels are {tuple(pixels.shape)}; need [B, 3, H, W], sides multiples of {self.config.downsample}"
            )
        return self.encoder(pixels)

    def scaled(self, z: Tensor) -> Tensor:
        """From the encoder's units to the flow's: ``scale * (z - shift)``."""
        return self.config.scale * (z - self.config.shift)

    def encode(self, pixels: Tensor) -> Tensor:
        """The latent at the posterior's mean, scaled and shifted: [B, z_channels, h, w]."""
        mean, _ = self.moments(pixels).chunk(2, dim=1)
        return self.scaled(mean)

    def decode(self, latent: Tensor) -> Tensor:
        """Pixels of a latent [B, z_channels, h, w]: [B, 3, H, W], about [-1, 1], not clamped."""
        return self.decoder(latent / self.config.scale + self.config.shift)
