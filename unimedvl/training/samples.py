"""A sample of a stage as the sequences that are learnt from: conditions left out, targets noised, losses weighed.

All that is drawn by chance for a sample follows from the seed and its position in the stream. So it is the same on any
number of ranks and workers, and without pixels too, which is how its length is known before an image is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from torch import Tensor

from unimedvl.data.examples import example_of, outlined
from unimedvl.data.loader import Mixture
from unimedvl.model.config import ModelConfig
from unimedvl.sequence import Latent, Seen, Segment, Text, token_count
from unimedvl.tasks import TASKS, THINK_FIRST, Example
from unimedvl.tokenizer import Tokenizer
from unimedvl.training.recipe import Drop, Stage
from unimedvl.transforms import Prepare


class Samples:
    """The stream of a stage as sequences. seed: another one for each stage of a run."""

    def __init__(self, mixture: Mixture, stage: Stage, config: ModelConfig, prepare: Prepare, seed: int) -> None:
        self.mixture, self.stage, self.config, self.prepare, self.seed = mixture, stage, config, prepare, seed

    def sequences(self, position: int) -> tuple[str, list[list[Segment]]]:
        """The task of the sample at a position, and its sequences."""
        example = example_of(self.mixture[position])
        return example.task, self._learnt(example, position)

    def tokens(self, position: int) -> int:
        """How many tokens they take; no image is read."""
        sequences = self._learnt(outlined(self.mixture.record(position)), position)
        return sum(token_count(segment, self.config) for sequence in sequences for segment in sequence)

    def _learnt(self, example: Example, position: int) -> list[list[Segment]]:
        stage, task = self.stage, example.task
        rng = np.random.default_rng((self.seed, position))
        if TASKS[task].planned:
            example = _planned(example, rng.random() < stage.planning)
        targets = tuple(t for t in example.targets for _ in range(stage.noise.each))
        whole = TASKS[task].sequence(replace(example, targets=targets), self.prepare)
        sequences = []
        for _ in range(stage.noise.copies if targets else 1):
            kept = drop_conditions(whole, stage.drop, rng) if task not in stage.drop.keep else whole
            if example.focus is not None and len(kept) == len(whole):  # all words are there
                kept = focus(kept, example.focus, stage.loss.focus.get(task, 0.0))
            sequences.append(noise_wholly(kept, stage.noise.pure.get(task, 0.0), rng))
        return sequences


def _planned(example: Example, aloud: bool) -> Example:
    """An example whose image is planned in words first, and asked to be, or is drawn straight from its request."""
    (request, plan), *more = example.turns
    turn = (f"{THINK_FIRST} {request}", plan) if plan and aloud else (request, "")
    return replace(example, turns=(turn, *more))


def prepare_for(
    stage: Stage, config: ModelConfig, tokenizer: Tokenizer, sizes: Mapping[str, tuple[int, int]] | None
) -> Prepare:
    """How a stage's images are brought to size. sizes: the checkpoint's own, where the stage names none."""
    own = dict(sizes or {})
    own |= {n: s for n, s in (("vit", stage.vit_sides), ("vae", stage.vae_sides)) if s is not None}
    return Prepare.for_model(config, tokenizer, own)


def drop_conditions(segments: list[Segment], drop: Drop, rng: np.random.Generator) -> list[Segment]:
    """Leave out droppable segments by chance, so that the model also learns to do without; one always stays."""
    chances = {Text: drop.text, Seen: drop.vit, Latent: drop.vae}
    kept = [s for s in segments if not (s.droppable and rng.random() < chances[type(s)])]
    return kept or segments


def noise_wholly(segments: list[Segment], chance: float, rng: np.random.Generator) -> list[Segment]:
    """Give targets by chance the time 1, at which nothing of them is left."""
    return [
        replace(s, timestep_logit=math.inf) if isinstance(s, Latent) and s.predict and rng.random() < chance else s
        for s in segments
    ]


def focus(segments: list[Segment], where: Tensor, strength: float) -> list[Segment]:
    """Weigh a target's loss by 1, and by `strength` more where it shows what the words ask for.

    A finding covers a few of an image's tokens, so its share of the plain loss is small. Where a target
    is uncertain the weighed mean leans to showing the finding: drawings are bolder than the truth.
    """
    weight = 1 + strength * where.float()
    return [replace(s, weight=weight) if isinstance(s, Latent) and s.predict else s for s in segments]
