"""Prompts for the tiny model, and a variant of it that ends its answers by itself."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from unimedvl.inference.context import Context
from unimedvl.inference.text import Sampling, speak_all
from unimedvl.inference.unimedvl import UniMedVL
from unimedvl.model.attention import PackedAttention
from unimedvl.sequence import Segment, Text, pack


@pytest.fixture(scope="session")
def pixels(picture: np.ndarray) -> Tensor:
    """`picture` as [3, 40, 48] in [-1, 1]."""
    return torch.from_numpy(picture).permute(2, 0, 1).float() / 127.5 - 1


@pytest.fixture(scope="session")
def prompts(tiny: UniMedVL, pixels: Tensor) -> list[list[Segment]]:
    """Four prompts of different length and kind."""
    text, seen, latent = tiny.prepare.text, tiny.prepare.seen, tiny.prepare.latent
    return [
        [text("Is there an effusion?")],
        [seen(pixels), text("Describe the findings in this chest X-ray, please.")],
        [text("First."), seen(pixels), seen(-pixels), text("What changed?")],
        [latent(pixels), seen(pixels), text("Why")],
    ]


@pytest.fixture(scope="session")
def context_of(tiny: UniMedVL):
    def make(segments: list[Segment], owner: UniMedVL = tiny) -> Context:
        context = Context(owner.model)
        context.extend(segments)
        return context

    return make


@pytest.fixture(scope="session")
def closing(tiny: UniMedVL, prompts, context_of) -> UniMedVL:
    """`tiny` with the scores of two tokens swapped, so that its greedy answer to the second prompt closes."""
    (spoken,) = speak_all([context_of(prompts[1])], tiny.tokenizer, Sampling(max_tokens=8))
    late = next(token for token in reversed(spoken.ids) if token != spoken.ids[0])
    model = copy.deepcopy(tiny.model)
    close = model.config.special.text_close
    with torch.no_grad():
        head = model.language_model.lm_head.weight
        head[[close, late]] = head[[late, close]]
    return UniMedVL(model, tiny.tokenizer, tiny.card, tiny.weights)


@pytest.fixture(scope="session")
def packed_logprobs():
    return _packed_logprobs


@torch.no_grad()
def _packed_logprobs(owner: UniMedVL, segments: list[Segment]) -> list[float]:
    """Log-probabilities of the last text's ids and closing token, by the training forward: no cache."""
    model = owner.model
    last = segments[-1]
    batch = pack([[*segments[:-1], Text(last.ids, predict=True)]], model.config)
    latents = model.encode_images(batch) if batch.images else None
    und, gen = model._embed(batch, latents)
    und, _ = model.stack(und, gen, model.stack.rotations(batch.positions, len(und)), PackedAttention(batch))
    logits = model.language_model.lm_head(und[batch.label_rows])
    return logits.log_softmax(-1).gather(1, batch.labels[:, None]).squeeze(1).tolist()
