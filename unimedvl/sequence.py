"""Segments, a sequence of them, and the packed batch: the language that all else speaks.

Everything the system does is one sequence of segments, some of which are to be predicted. The
rules (who sees whom, what moves the position, which weights a token passes) are stated here once;
training packs sequences into a batch, inference extends a context segment by segment.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unimedvl.model.config import ModelConfig
from unimedvl.model.flow import shift_time


@dataclass(frozen=True)
class Text:
    """Token ids between an opening and a closing token. Causal; a position for each token.

    opens, closes: false for a piece of a text that is taken into a context bit by bit; never in training.
    """

    ids: list[int]
    predict: bool = False
    droppable: bool = False
    opens: bool = True
    closes: bool = True


@dataclass(frozen=True)
class Seen:
    """An image as the ViT sees it: pixels [3, H, W] in [-1, 1], sides multiples of the patch.

    Both ways inside, one position for all, never predicted.
    """

    pixels: Tensor
    droppable: bool = False


@dataclass(frozen=True)
class Latent:
    """An image as the VAE has it: pixels [3, H, W] in [-1, 1], or, where `encoded`, its latent
    [z_channels, h, w] in the flow's units.

    Clean (`predict` false): both ways inside, seen by all that follows. To be predicted: noised,
    seen by itself alone, and the position does not move on.
    timestep_logit: the flow time before the sigmoid and the shift; drawn when packed where None.
    weight: [h, w], at any resolution, how much a loss here counts; a token takes the largest value of
        its square. 1 everywhere where None.
    """

    pixels: Tensor
    predict: bool = False
    droppable: bool = False
    encoded: bool = False
    timestep_logit: float | None = None
    weight: Tensor | None = None


Segment = Text | Seen | Latent


@dataclass
class PackedBatch:
    """Several sequences as flat tensors, sorted by kind of token: ids, then ViT patches, then latents.

    The first two kinds pass the understanding weights and the last the generation weights, so one
    split serves every layer. T is the number of tokens.

    ids [Tt]; patches [Tv, 3 p p]; patch_position_ids [Tv]; patch_lengths (per image)
    images: the latents' sources, pixels or latents (images_encoded says which), each once;
        image_of says for each latent, in order, which of them it is
    latent_position_ids [Tl]; latent_shapes (rows, columns in tokens, per image)
    timesteps [Tl], 0 for clean; noise [Tl, values]; targets [n] rows of Tl that are predicted, and
        target_weights [n], how much each counts
    labels [n] ids and label_rows [n] rows of T whose next token they are
    positions [T]; order [T]: the row of each token in natural order
    segment, causal, noised [T] in natural order: what `visibility` needs
    spans: per sequence (tokens, causal) of each segment; advance: how far each moves the position
    """

    ids: Tensor
    patches: Tensor
    patch_position_ids: Tensor
    patch_lengths: list[int]
    images: list[Tensor]
    images_encoded: list[bool]
    image_of: list[int]
    latent_position_ids: Tensor
    latent_shapes: list[tuple[int, int]]
    timesteps: Tensor
    noise: Tensor
    targets: Tensor
    target_weights: Tensor
    labels: Tensor
    label_rows: Tensor
    positions: Tensor
    order: Tensor
    segment: Tensor
    causal: Tensor
    noised: Tensor
    lengths: list[int]
    spans: list[list[tuple[int, bool]]]
    advance: list[int]

    def to(self, device: torch.device | str) -> PackedBatch:
        """The same batch with every tensor on `device`."""

        def move(x):
            if isinstance(x, Tensor):
                return x.to(device, non_blocking=True)
            return [y.to(device) for y in x] if isinstance(x, list) and x and isinstance(x[0], Tensor) else x

        return PackedBatch(**{f.name: move(getattr(self, f.name)) for f in fields(self)})

    @property
    def num_tokens(self) -> int:
        return sum(self.lengths)

    def masks(self) -> list[Tensor]:
        """Who sees whom in each sequence: [L_i, L_i] bool, True where row i sees column j."""
        parts = zip(*(x.split(self.lengths) for x in (self.segment, self.causal, self.noised)), strict=True)
        return [visibility(*part) for part in parts]


# Kinds of token, in the order in which a packed batch sorts them.
_ID, _PATCH, _LATENT = 0, 1, 2


class _Run(NamedTuple):
    """The tokens of one segment. segment: its place in the sequence. position: of its first token.
    kind: of its tokens, but for the two that open and close an image.
    """

    segment: int
    tokens: int
    kind: int
    position: int
    noised: bool


class _Packer:
    """Collects segments in natural order; `finish` makes tokens of them and sorts those by kind."""

    def __init__(self, config: ModelConfig, generator: torch.Generator | None) -> None:
        self.config, self.generator = config, generator
        self.runs: list[_Run] = []
        self.tokens = 0
        self.ids: list[int] = []
        self.labels: list[int] = []
        self.label_at: list[int] = []  # natural index
        self.patches: list[Tensor] = []
        self.patch_positions: list[Tensor] = []
        self.images: list[Latent] = []
        self.shapes: list[tuple[int, int]] = []
        self.times: list[float] = []
        self.weights: list[Tensor] = []  # of the predicted images
        self.spans: list[list[tuple[int, bool]]] = []
        self.advance: list[int] = []

    def sequence(self, segments: Seq[Segment], start: int) -> None:
        position, spans = start, []
        for index, segment in enumerate(segments):
            text, noised = isinstance(segment, Text), isinstance(segment, Latent) and segment.predict
            if text:
                kind, tokens = _ID, self._text(segment)
            elif isinstance(segment, Seen):
                kind, tokens = _PATCH, self._seen(segment)
            else:
                kind, tokens = _LATENT, self._latent(segment)
            self.runs.append(_Run(index, tokens, kind, position, noised))
            self.tokens += tokens
            spans.append((tokens, text))
            position += tokens if text else int(not noised)
        self.spans.append(spans)
        self.advance.append(position - start)

    def _text(self, text: Text) -> int:
        special = self.config.special
        tokens = [special.text_open] * text.opens + text.ids + [special.text_close] * text.closes
        if text.predict:
            start = self.tokens
            self.label_at += range(start, start + len(tokens) - 1)
            self.labels += tokens[1:]
        self.ids += tokens
        return len(tokens)

    def _marked(self, tokens: int) -> int:
        special = self.config.special
        self.ids += [special.image_start, special.image_end]
        return tokens + 2

    def _seen(self, seen: Seen) -> int:
        patch = self.config.vit.patch_size
        patches = patchify(seen.pixels, patch)
        _, h, w = seen.pixels.shape
        self.patches.append(patches)
        side = self.config.vit.max_patches_per_side
        self.patch_positions.append(grid_position_ids(h // patch, w // patch, side))
        return self._marked(len(patches))

    def _latent(self, latent: Latent) -> int:
        shape = latent_grid(latent, self.config)
        self.images.append(latent)
        self.shapes.append(shape)
        self.times.append(self._time(latent))
        if latent.predict:
            self.weights.append(token_weights(latent.weight, shape))
        return self._marked(shape[0] * shape[1])

    def _time(self, latent: Latent) -> float:
        if not latent.predict:
            return 0.0
        logit = latent.timestep_logit
        if logit is None:  # logit-normal times (Esser et al., arXiv 2403.03206)
            logit = torch.randn((), generator=self.generator).item()
        return shift_time(torch.tensor(logit).sigmoid(), self.config.timestep_shift).item()

    def finish(self) -> PackedBatch:
        segment, tokens, kind, position, noised = np.array(self.runs, dtype=np.int64).T
        ends = tokens.cumsum()
        kinds = kind.repeat(tokens)
        kinds[ends - tokens] = kinds[ends - 1] = _ID
        order = np.argsort(kinds, kind="stable")  # sorted row -> natural index
        rows = np.empty_like(order)  # natural index -> sorted row
        rows[order] = np.arange(len(order))
        # Tokens of a text have a position each, and those of an image share one.
        moved = np.where((kind == _ID).repeat(tokens), np.arange(len(order)) - (ends - tokens).repeat(tokens), 0)
        positions = position.repeat(tokens) + moved
        lengths = [sum(tokens for tokens, _ in spans) for spans in self.spans]
        cells = [h * w for h, w in self.shapes]
        side = self.config.max_latent_size
        grids = [grid_position_ids(h, w, side) for h, w in self.shapes]
        times = torch.tensor(self.times).repeat_interleave(torch.tensor(cells, dtype=torch.long))
        predicted = [x.predict for x in self.images]
        is_target = torch.tensor(predicted).repeat_interleave(torch.tensor(cells, dtype=torch.long))
        noise = torch.randn(len(times), self.config.latent_token_dim, generator=self.generator)
        empty = torch.empty(0, dtype=torch.long)
        unique = {id(x.pixels): x for x in self.images}
        return PackedBatch(
            ids=torch.tensor(self.ids, dtype=torch.long),
            patches=torch.cat(self.patches) if self.patches else torch.empty(0),
            patch_position_ids=torch.cat(self.patch_positions) if self.patches else empty,
            patch_lengths=[len(p) for p in self.patches],
            images=[x.pixels for x in unique.values()],
            images_encoded=[x.encoded for x in unique.values()],
            image_of=[list(unique).index(id(x.pixels)) for x in self.images],
            latent_position_ids=torch.cat(grids) if grids else empty,
            latent_shapes=self.shapes,
            timesteps=times,
            noise=noise,
            targets=is_target.nonzero().flatten() if self.images else empty,
            target_weights=torch.cat(self.weights) if self.weights else torch.empty(0),
            labels=torch.tensor(self.labels, dtype=torch.long),
            label_rows=torch.from_numpy(rows[np.array(self.label_at, dtype=np.int64)]),
            positions=torch.from_numpy(positions[order]),
            order=torch.from_numpy(rows),
            segment=torch.from_numpy(segment.repeat(tokens)),
            causal=torch.from_numpy((kind == _ID).repeat(tokens)),
            noised=torch.from_numpy((noised != 0).repeat(tokens)),
            lengths=lengths,
            spans=self.spans,
            advance=self.advance,
        )


def patchify(image: Tensor, patch: int) -> Tensor:
    """[C, H, W] to [patches, patch * patch * C], rows first, within a patch row, column, channel."""
    c, h, w = image.shape
    if h % patch or w % patch:
        raise ValueError(f"image is {h} x {w}; both sides must be multiples of {patch}")
    # Channels last first, so that what is then moved are whole rows of a patch.
    x = image.permute(1, 2, 0).reshape(h // patch, patch, w // patch, patch * c)
    return x.transpose(1, 2).reshape(-1, patch * patch * c)


def unpatchify(tokens: Tensor, height: int, width: int, patch: int) -> Tensor:
    """Inverse of `patchify`: [..., patches, patch * patch * C] to [..., C, H, W]; sides in patches."""
    lead, c = tokens.shape[:-2], tokens.shape[-1] // patch**2
    x = tokens.reshape(*lead, height, width, patch, patch, c)
    n = len(lead)
    x = x.permute(*range(n), n + 4, n, n + 2, n + 1, n + 3)
    return x.reshape(*lead, c, height * patch, width * patch)


def grid_position_ids(height: int, width: int, side: int) -> Tensor:
    """Rows of a square position table of `side` x `side`, for a grid of height x width: [height * width]."""
    if height > side or width > side:
        raise ValueError(f"a grid of {height} x {width} is larger than the position table of {side} x {side}")
    return (torch.arange(height)[:, None] * side + torch.arange(width)).flatten()


def latent_grid(latent: Latent, config: ModelConfig) -> tuple[int, int]:
    """Rows and columns of tokens that an image takes as a latent.

    Raises:
        ValueError: a side is no multiple of the stride, or beyond the position table.
    """
    stride = config.latent_patch_size if latent.encoded else config.latent_stride
    h, w = latent.pixels.shape[-2:]
    if h % stride or w % stride or not h or not w:
        raise ValueError(f"a latent image is {h} x {w}; both sides must be multiples of {stride}")
    return h // stride, w // stride


def token_count(segment: Segment, config: ModelConfig) -> int:
    """How many tokens a segment takes, those that open and close it included."""
    if isinstance(segment, Text):
        return len(segment.ids) + segment.opens + segment.closes
    if isinstance(segment, Latent):
        rows, columns = latent_grid(segment, config)
        return rows * columns + 2
    return segment.pixels[0].numel() // config.vit.patch_size**2 + 2


def position_count(segment: Segment) -> int:
    """How far a segment moves the position on: a text by each of its tokens, an image by one unless it is predicted."""
    if isinstance(segment, Text):
        return len(segment.ids) + segment.opens + segment.closes
    return int(not (isinstance(segment, Latent) and segment.predict))


def token_weights(weight: Tensor | None, shape: tuple[int, int]) -> Tensor:
    """A loss's weights [h, w] as those of rows x columns of tokens, [rows * columns]: the largest of each square."""
    if weight is None:
        return torch.ones(shape[0] * shape[1])
    return F.adaptive_max_pool2d(weight[None].float(), shape).flatten()


def sees(
    segment: Tensor, other: Tensor, backward: Tensor, causal: Tensor, noised: Tensor
) -> Tensor:
    """The attention rule for two tokens of one sequence, or for many by broadcasting: whether one sees the other.

    It does within its own segment (only backwards where that is causal), and in every earlier segment
    that is not noised.

    segment, causal: of the one that sees. other, noised: the segment of the one seen, and whether it is noised.
    backward: whether the one seen is not after the one that sees.
    """
    return ((segment == other) & (backward | ~causal)) | ((segment > other) & ~noised)


def visibility(segment: Tensor, causal: Tensor, noised: Tensor) -> Tensor:
    """`sees` for all tokens of a sequence: [L, L] bool, True where row i sees column j; all [L], per token."""
    index = torch.arange(len(segment), device=segment.device)
    backward = index[:, None] >= index[None, :]
    return sees(segment[:, None], segment[None, :], backward, causal[:, None], noised[None, :])


def pack(
    sequences: Seq[Seq[Segment]],
    config: ModelConfig,
    generator: torch.Generator | None = None,
    starts: Seq[int] | None = None,
) -> PackedBatch:
    """Pack sequences; random times and noise come from `generator`.

    starts: the position at which each sequence begins (0 each, but for what extends a context).

    Raises:
        ValueError: no sequence, an empty one, or an image whose sides do not fit the strides.
    """
    if not sequences or not all(sequences):
        raise ValueError("a packed batch needs one sequence or more, each of one segment or more")
    packer = _Packer(config, generator)
    for number, segments in enumerate(sequences):
        packer.sequence(segments, starts[number] if starts else 0)
    return packer.finish()
