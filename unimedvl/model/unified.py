"""The whole model: embed, predict for training, and extend, speak and draw for inference."""

from __future__ import annotations

import math
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimedvl.model.attention import CachedAttention, PackedAttention, Span
from unimedvl.model.cache import Cache
from unimedvl.model.config import ModelConfig
from unimedvl.model.decoder import Decoder, Rotation
from unimedvl.model.flow import noised, velocity_target
from unimedvl.model.linear import Linear
from unimedvl.model.seats import Seats
from unimedvl.model.vae import Autoencoder
from unimedvl.model.vit import Vit
from unimedvl.sequence import PackedBatch, Segment, grid_position_ids, pack, patchify, unpatchify


@dataclass
class Losses:
    """ce: next-token loss of each label [n]. mse: squared error of each target token and value [m, d].

    mse_weights: how much each target token counts in the total [m].
    """

    ce: Tensor
    mse: Tensor
    mse_weights: Tensor

    def total(self, ce_weight: float = 1.0, mse_weight: float = 1.0) -> Tensor:
        """Weighed sum of the means; a loss without targets counts nothing."""
        mse = self.mse * self.mse_weights[:, None] if self.mse.numel() else self.mse
        parts = [w * x.mean() for w, x in ((ce_weight, self.ce), (mse_weight, mse)) if x.numel()]
        return torch.stack(parts).sum()


class TimeEmbedding(nn.Module):
    """Sines and cosines of the time through a small MLP (as in DiT, arXiv 2212.09748)."""

    FREQUENCIES = 256

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(Linear(self.FREQUENCIES, width), nn.SiLU(), Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        """t [n] in [0, 1] to [n, width]."""
        half = self.FREQUENCIES // 2
        frequency = torch.exp(-math.log(10000) * torch.arange(half, device=t.device).float() / half)
        angle = t.float()[:, None] * frequency
        return self.mlp(torch.cat((angle.cos(), angle.sin()), -1).to(self.mlp[0].weight.dtype))


class GridPositions(nn.Module):
    """A fixed table of two-dimensional sines and cosines for a square grid (MAE, arXiv 2111.06377)."""

    def __init__(self, side: int, width: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.empty(side * side, width), requires_grad=False)
        self.side = side

    def initialise(self) -> None:
        width = self.pos_embed.shape[1]
        axis = torch.arange(self.side, dtype=torch.float64)
        omega = 10000 ** (-torch.arange(width // 4, dtype=torch.float64) / (width / 4))
        angle = axis[:, None] * omega
        line = torch.cat((angle.sin(), angle.cos()), 1)  # [side, width / 2]
        row = line[:, None].expand(-1, self.side, -1)
        column = line[None].expand(self.side, -1, -1)
        # The published table holds the column's half first.
        self.pos_embed.data.copy_(torch.cat((column, row), -1).flatten(0, 1))

    def forward(self, ids: Tensor) -> Tensor:
        return self.pos_embed[ids]


class Connector(nn.Module):
    """From the ViT's width to the decoder's."""

    def __init__(self, in_width: int, out_width: int) -> None:
        super().__init__()
        self.fc1 = Linear(in_width, out_width)
        self.fc2 = Linear(out_width, out_width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


@dataclass
class Canvas:
    """What stays the same over all steps of a drawing.

    spans: one per branch; branches of an image stand together. rows: their latent tokens, as
    rows of the images' stacked latents, and image_of the image of each of those. markers
    [2 * branches, hidden]; grid [rows, hidden], the position table's.
    """

    spans: list[Span]
    rows: Tensor
    image_of: Tensor
    markers: Tensor
    grid: Tensor
    rotations: list[Rotation | None]
    attention: CachedAttention


class UnifiedModel(nn.Module):
    """ViT, connector, mixture of transformers, flow head and autoencoder.

    generation: False leaves out the generation weights and the autoencoder.
    """

    def __init__(self, config: ModelConfig, generation: bool = True) -> None:
        super().__init__()
        self.config, self.generation = config, generation
        width = config.decoder.hidden_size
        self.language_model = Decoder(config.decoder, generation)
        self.vit_model = Vit(config.vit)
        self.connector = Connector(config.vit.hidden_size, width)
        self.vit_pos_embed = GridPositions(config.vit.max_patches_per_side, width)
        if generation:
            self.time_embedder = TimeEmbedding(width)
            self.vae2llm = Linear(config.latent_token_dim, width)
            self.llm2vae = Linear(width, config.latent_token_dim)
            self.latent_pos_embed = GridPositions(config.max_latent_size, width)
            self.vae = Autoencoder(config.vae)

    @property
    def stack(self):
        return self.language_model.model

    @property
    def device(self) -> torch.device:
        return self.connector.fc1.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.connector.fc1.weight.dtype

    def pack(self) -> UnifiedModel:
        """Lay the weights of linear layers out for this machine's CPU, for inference (`model/linear.py`)."""
        for layer in self._linears():
            layer.pack()
        return self

    def unpack(self) -> UnifiedModel:
        """Undo `pack`, as training needs."""
        for layer in self._linears():
            layer.unpack()
        return self

    def _linears(self) -> list[Linear]:
        return [m for m in self.modules() if isinstance(m, Linear)]

    # Initialisation --------------------------------------------------------------------------

    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Random weights to train from: what keeps unit variance, the flow's head zero, fixed tables filled.

        Images enter the decoder with about the variance of their position tables; much less, and the
        tables drown them for the first thousand steps.
        """
        for name, module in self.named_modules():
            if name.startswith("vae."):
                continue  # PyTorch's own initialisation of convolutions serves
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.5, generator=generator)
            if isinstance(module, GridPositions):
                module.initialise()
        depth = (2 * self.config.decoder.num_layers) ** -0.5
        for name, weight in self.stack.named_parameters():
            if "o_proj" in name or "down_proj" in name:  # what is added to the residual stream
                weight.data *= depth
        nn.init.normal_(self.language_model.lm_head.weight, std=0.02, generator=generator)
        if self.generation:
            nn.init.zeros_(self.llm2vae.weight)

    # Embedding -------------------------------------------------------------------------------

    def embed_seen(self, patches: Tensor, position_ids: Tensor, lengths: list[int]) -> Tensor:
        """ViT patches as decoder rows: [Tv, hidden]."""
        seen = self.vit_model(patches.to(self.dtype), position_ids, lengths)
        return self.connector(seen) + self.vit_pos_embed(position_ids)

    def embed_latent(self, tokens: Tensor, timesteps: Tensor, position_ids: Tensor) -> Tensor:
        """Latent tokens [Tl, values] at times [Tl] as decoder rows: [Tl, hidden]."""
        x = self.vae2llm(tokens.to(self.dtype)) + self.time_embedder(timesteps)
        return x + self.latent_pos_embed(position_ids)

    @torch.no_grad()
    def encode_images(self, batch: PackedBatch, padded: bool = False) -> Tensor:
        """Latent tokens of the batch's images in order: [Tl, values] float32.

        padded: encode the pixels as one batch, padded with zeros below and to the right to the
            largest. The published training does so, and the padding reaches the latents through
            the group norms; inference encodes each image by itself.
        """
        images = list(zip(batch.images, batch.images_encoded, strict=True))
        pixels = [x.to(self.device, self.dtype) for x, encoded in images if not encoded]
        if padded and pixels:
            h, w = (max(x.shape[i] for x in pixels) for i in (1, 2))
            stacked = torch.stack([F.pad(x, (0, w - x.shape[2], 0, h - x.shape[1])) for x in pixels])
            down = self.config.vae.downsample
            latents = [
                z[:, : x.shape[1] // down, : x.shape[2] // down]
                for z, x in zip(self.vae.encode(stacked), pixels, strict=True)
            ]
        else:
            latents = [self.vae.encode(x[None])[0] for x in pixels]
        new = iter(latents)
        tokens = [
            patchify((x if encoded else next(new)).float(), self.config.latent_patch_size)
            for x, encoded in images
        ]
        return torch.cat([tokens[i] for i in batch.image_of])

    def _embed(self, batch: PackedBatch, latents: Tensor | None) -> tuple[Tensor, Tensor | None]:
        rows = [self.stack.embed_tokens(batch.ids)]
        if batch.patch_lengths:
            rows.append(self.embed_seen(batch.patches, batch.patch_position_ids, batch.patch_lengths))
        und = torch.cat(rows) if len(rows) > 1 else rows[0]
        if latents is None:
            return und, None
        return und, self.embed_latent(latents, batch.timesteps, batch.latent_position_ids)

    # Training --------------------------------------------------------------------------------

    def forward(self, batch: PackedBatch) -> Losses:
        """Losses of a packed batch; times and noise are the batch's own, so this is a pure function."""
        clean = points = None
        if batch.images:
            # Padding reaches the latents, so the numbers of a batch depend on its images, as published.
            clean = self.encode_images(batch, padded=True)
            points = noised(clean, batch.noise, batch.timesteps)
        und, gen = self._embed(batch, points)
        rotations = self.stack.rotations(batch.positions, len(und))
        und, gen = self.stack(und, gen, rotations, PackedAttention(batch))
        ce = und.new_zeros(0)
        if len(batch.labels):
            logits = self.language_model.lm_head(und[batch.label_rows])
            ce = F.cross_entropy(logits.float(), batch.labels, reduction="none")
        mse = und.new_zeros(0)
        if len(batch.targets):
            target = velocity_target(clean, batch.noise)[batch.targets]
            mse = (self.llm2vae(gen[batch.targets]).float() - target).square()
        return Losses(ce, mse, batch.target_weights)

    # Inference -------------------------------------------------------------------------------

    def new_cache(self) -> Cache:
        return Cache(self.config.decoder, self.device, self.dtype)

    def new_seats(self) -> Seats:
        return Seats(self.config.decoder, self.device, self.dtype)

    @torch.inference_mode()
    def extend(self, caches: Seq[Cache], sequences: Seq[Seq[Segment]]) -> None:
        """Take segments into contexts, one sequence of segments per cache, all in one pass.

        Raises:
            ValueError: a context would grow beyond the positions that the model was made for.
        """
        batch = pack(sequences, self.config, starts=[c.position for c in caches]).to(self.device)
        most = self.config.decoder.max_position_embeddings
        longest = max(c.position + moved for c, moved in zip(caches, batch.advance, strict=True))
        if longest > most:
            raise ValueError(
                f"the conversation would reach {longest} positions, and the model was made for {most}; "
                "shorten it or start a new one"
            )
        latents = self.encode_images(batch) if batch.images else None
        und, gen = self._embed(batch, latents)
        spans = [Span(c, s) for c, s in zip(caches, batch.spans, strict=True)]
        order = inverse = None
        if batch.patch_lengths or batch.images:
            order, inverse = batch.order, torch.argsort(batch.order)
        rotations = self.stack.rotations(batch.positions, len(und))
        self.stack(und, gen, rotations, CachedAttention(spans, order, inverse))
        for span, moved in zip(spans, batch.advance, strict=True):
            span.cache.commit(span.tokens, moved)

    @torch.inference_mode()
    def logits(self, caches: Seq[Cache], ids: Tensor, seats: Seats | None = None) -> Tensor:
        """Take one more token of each context and score the next: ids [B] to [B, vocabulary].

        seats: those of the first of the caches, in their order, where they have any.
        """
        positions = torch.tensor([c.position for c in caches], device=self.device)
        if seats is not None and seats.taken:
            attention = seats.attention(caches)
        else:
            attention = CachedAttention([Span(c, [(1, True)]) for c in caches])
        rotations = self.stack.rotations(positions, len(positions))
        und, _ = self.stack(self.stack.embed_tokens(ids), None, rotations, attention)
        for cache in caches:
            cache.commit(1, 1)
        return self.language_model.lm_head(und)

    @torch.inference_mode()
    def canvas(self, branches: Seq[Seq[Cache]], shapes: Seq[tuple[int, int]]) -> Canvas:
        """Prepare a drawing. branches: per image the contexts to draw it under; shapes in tokens."""
        special = self.config.special
        spans, rows, ids, positions, order = [], [], [], [], []
        total = sum(len(b) for b in branches)
        first_row, first_latent = 0, 2 * total  # markers of all branches come first, then latents
        for contexts, (h, w) in zip(branches, shapes, strict=True):
            n = h * w
            grid = grid_position_ids(h, w, self.config.max_latent_size)
            for cache in contexts:
                marker = 2 * len(spans)
                order += [marker, *range(first_latent, first_latent + n), marker + 1]
                spans.append(Span(cache, [(n + 2, False)]))
                rows.append(torch.arange(first_row, first_row + n))
                ids.append(grid)
                positions.append((cache.position, n))
                first_latent += n
            first_row += n
        at = [p for p, _ in positions for _ in range(2)] + [p for p, n in positions for _ in range(n)]
        # Within one image all tokens see each other, so a single branch may stay as it is sorted.
        order = torch.tensor(order, device=self.device) if total > 1 else None
        markers = torch.tensor([special.image_start, special.image_end] * total, device=self.device)
        return Canvas(
            spans=spans,
            rows=torch.cat(rows).to(self.device),
            image_of=torch.repeat_interleave(torch.tensor([h * w for h, w in shapes])).to(self.device),
            markers=self.stack.embed_tokens(markers),
            grid=self.latent_pos_embed(torch.cat(ids).to(self.device)),
            rotations=self.stack.rotations(torch.tensor(at, device=self.device), 2 * total),
            attention=CachedAttention(spans, order, None if order is None else torch.argsort(order)),
        )

    @torch.inference_mode()
    def velocity(self, canvas: Canvas, latents: Tensor, t: float | Seq[float]) -> Tensor:
        """The flow field at time t, or at a time for each image, under every branch, in one pass.

        latents: the images' tokens, stacked: [tokens, values]. Returns the tokens of each branch,
        in the canvas' order, stacked: [branch tokens, values] float32. Nothing is kept in the caches.
        """
        times = [t] if isinstance(t, int | float) else list(t)
        time = self.time_embedder(torch.tensor(times, device=self.device))
        if len(times) > 1:
            time = time.index_select(0, canvas.image_of)
        embedded = self.vae2llm(latents.to(self.dtype)) + time
        gen = embedded.index_select(0, canvas.rows) + canvas.grid
        _, gen = self.stack(canvas.markers, gen, canvas.rotations, canvas.attention)
        return self.llm2vae(gen).float()

    @torch.inference_mode()
    def pixels(self, tokens: Tensor, shape: tuple[int, int]) -> Tensor:
        """Decode one image's latent tokens [h * w, values]: [3, H, W] float32 in [-1, 1]."""
        latent = unpatchify(tokens, *shape, self.config.latent_patch_size)
        return self.vae.decode(latent[None].to(self.dtype))[0].float().clamp(-1, 1)
