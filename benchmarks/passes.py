"""The passes that are measured: one denoising step, prefill, decode and a training step, through the model's
own interface, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks import work
from benchmarks.work import Work
from unimedvl.model.cache import Cache
from unimedvl.model.config import ModelConfig
from unimedvl.model.unified import UnifiedModel
from unimedvl.sequence import Latent, PackedBatch, Seen, Text, pack
from unimedvl.training.memory import keep_freed_memory


@dataclass(frozen=True)
class Sizes:
    """Tokens of what is measured. Sides are of squares: of latent tokens, and of ViT patches."""

    caption: int = 64
    latent_sides: tuple[int, ...] = (16, 32)
    prompt: int = 1024
    seen_side: int = 32
    question: int = 64
    context: int = 1000
    decode_steps: int = 16
    rows: int = 8
    train_seen_side: int = 24
    train_latent_side: int = 32


QUICK = Sizes(latent_sides=(16,), prompt=256, seen_side=16, decode_steps=8, train_seen_side=12, train_latent_side=16)
# A reserve as generous as the speaking loop's, so that no token waits for memory.
ROOM = 1024


@dataclass(frozen=True)
class Pass:
    """One thing that is timed.

    work: of one call of `run`, or of one of its `repeats` where it does the same several times.
    factor: how many times the work's products a call computes (a training step: 3).
    tokens: that one of the repeats takes in or brings forth. decode: limited by reading the weights.
    aim: least share of the limit. published: what the published code reaches.
    """

    name: str
    work: Work
    run: Callable[[], object]
    tokens: int
    repeats: int = 1
    factor: int = 1
    decode: bool = False
    aim: float | None = None
    published: float | None = None


def random_model(config: ModelConfig, dtype: torch.dtype, seed: int = 0, device: str = "cpu") -> UnifiedModel:
    """The geometry with random weights, none of them zero."""
    with torch.device(device):
        model = UnifiedModel(config)
    generator = torch.Generator(device).manual_seed(seed)
    model.initialise(generator)
    nn.init.normal_(model.llm2vae.weight, std=0.02, generator=generator)
    return model.to(dtype)


class Passes:
    """Makes the passes of one model; everything random comes from one seed."""

    def __init__(self, model: UnifiedModel, sizes: Sizes) -> None:
        self.model, self.sizes, self.config = model.pack(), sizes, model.config
        self.generator = torch.Generator().manual_seed(1)

    def denoising(self, side: int, branches: int = 1) -> Pass:
        """One velocity of an image of side x side latent tokens."""
        n, context = side * side, self.sizes.caption
        canvas = self.model.canvas([[self._context(context) for _ in range(branches)]], [(side, side)])
        latents = torch.randn(n, self.config.latent_token_dim, generator=self.generator).to(self.model.device)
        name = f"denoising, {n} latent tokens" + (f", {branches} branches" if branches > 1 else "")
        return Pass(
            name, work.denoising(self.config, n, context, branches),
            lambda: self.model.velocity(canvas, latents, 0.5), n,
            aim=0.85 if branches == 1 else None,
            published={256: 0.68, 1024: 0.61}.get(n) if branches == 1 else None,
        )  # fmt: skip

    def prefill_text(self) -> Pass:
        n = self.sizes.prompt
        text = self._text(n)
        run = lambda: self.model.extend([self.model.new_cache()], [[text]])  # noqa: E731
        return Pass(f"prefill, {n} tokens of text", work.prefill_text(self.config, n), run, n, aim=0.85)

    def prefill_image(self) -> Pass:
        patches, question = self.sizes.seen_side**2, self.sizes.question
        segments = [self._seen(self.sizes.seen_side), self._text(question)]
        run = lambda: self.model.extend([self.model.new_cache()], [segments])  # noqa: E731
        name = f"prefill, an image of {patches} patches and a question"
        counted = work.prefill_image(self.config, patches, question)
        return Pass(name, counted, run, patches + 2 + question, aim=0.85)

    def decoding(self, rows: int = 1) -> Pass:
        """Some tokens in a row for each of `rows` contexts; the contexts grow by them."""
        context, steps = self.sizes.context, self.sizes.decode_steps
        caches = [self._context(context) for _ in range(rows)]
        for cache in caches:
            cache.reserve(ROOM)
        ids = self._ids(rows).to(self.model.device)

        def run() -> None:
            for _ in range(steps):
                self.model.logits(caches, ids)

        name = f"decode at a {context}-token context" + (f", {rows} at once" if rows > 1 else "")
        return Pass(
            name, work.decoding(self.config, context, rows), run, rows, repeats=steps, decode=True,
            aim=0.85 if rows == 1 else None, published=0.41 if rows == 1 else None,
        )  # fmt: skip

    def training(self) -> tuple[Pass, Pass]:
        """Forward and backward; and the same with the optimiser's step."""
        s = self.sizes
        keep_freed_memory()  # as trainings do
        batch = self._batch()
        self.model.unpack()
        self.model.vae.requires_grad_(False)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(trained, lr=1e-5, fused=True)

        def learn() -> None:
            optimiser.zero_grad(set_to_none=True)
            self.model(batch).total(0.25, 1.0).backward()

        def learn_and_step() -> None:
            learn()
            optimiser.step()

        counted = work.training(self.config, s.train_seen_side**2, s.question, s.caption, s.train_latent_side**2)
        n = batch.num_tokens
        return (
            Pass(f"training step, {n} tokens", counted, learn, n, factor=3, aim=0.7, published=0.60),
            Pass(f"training step, {n} tokens, with AdamW", counted, learn_and_step, n, factor=3),
        )

    def _batch(self) -> PackedBatch:
        s = self.sizes
        side = s.train_latent_side * self.config.latent_patch_size
        latent = torch.randn(self.config.vae.z_channels, side, side, generator=self.generator)
        read = [self._seen(s.train_seen_side), self._text(s.question), self._text(s.question, predict=True)]
        draw = [self._text(s.caption), Latent(latent, predict=True, encoded=True)]
        return pack([read, draw], self.config, self.generator).to(self.model.device)

    def _ids(self, n: int) -> torch.Tensor:
        low = min(vars(self.config.special).values())
        return torch.randint(low, (n,), generator=self.generator)

    def _text(self, tokens: int, predict: bool = False) -> Text:
        """A text that takes `tokens` tokens, the opening and the closing one included."""
        return Text(self._ids(tokens - 2).tolist(), predict)

    def _seen(self, side: int) -> Seen:
        pixels = side * self.config.vit.patch_size
        return Seen(torch.rand(3, pixels, pixels, generator=self.generator) * 2 - 1)

    def _context(self, tokens: int) -> Cache:
        cache = self.model.new_cache()
        self.model.extend([cache], [[self._text(tokens)]])
        return cache
