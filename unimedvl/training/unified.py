"""Train the whole model on a mixture of tasks: next-token loss on texts, flow loss on latents."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from unimedvl.model.config import ModelConfig
from unimedvl.model.unified import UnifiedModel
from unimedvl.phantoms import SIMULATORS
from unimedvl.phantoms.examples import example
from unimedvl.sequence import Latent, PackedBatch, Segment, Text, pack, token_count
from unimedvl.tasks import TASKS, Example
from unimedvl.training.recipe import Stage, UnifiedRecipe
from unimedvl.training.run import (
    RunLog,
    average_gradients,
    batches_of,
    chance,
    cosine,
    device,
    processes,
    rank,
    reseed,
    save_state,
)
from unimedvl.transforms import Prepare


def drop_conditions(segments: list[Segment], rates: dict[str, float], rng: np.random.Generator) -> list[Segment]:
    """Leave out droppable segments by chance, so that the model also learns to do without."""
    kept = []
    for segment in segments:
        rate = rates.get("text" if isinstance(segment, Text) else "image", 0.0)
        if not (segment.droppable and rng.random() < rate):
            kept.append(segment)
    return kept


def noise_wholly(segments: list[Segment], rate: float, rng: np.random.Generator) -> list[Segment]:
    """Give targets by chance the time 1, at which nothing of them is left."""
    return [
        replace(s, timestep_logit=math.inf) if isinstance(s, Latent) and s.predict and rng.random() < rate else s
        for s in segments
    ]


def focus(segments: list[Segment], where: Tensor, strength: float) -> list[Segment]:
    """Weigh a target's loss by 1, and by `strength` more where it shows what the words ask for.

    A finding covers a few of an image's tokens, so its share of the plain loss is small. Where a target
    is uncertain the weighed mean leans to showing the finding: drawings are bolder than the truth.
    """
    weight = 1 + strength * where.float()
    return [replace(s, weight=weight) if isinstance(s, Latent) and s.predict else s for s in segments]


class TaskBatches(Dataset):
    """For each step a packed batch of simulated examples: sequences are added until it has this process's share
    of the step's tokens."""

    def __init__(
        self, recipe: UnifiedRecipe, stage: Stage, config: ModelConfig, prepare: Prepare, modalities: Sequence[str]
    ) -> None:
        self.recipe, self.stage, self.config, self.prepare = recipe, stage, config, prepare
        self.modalities = tuple(modalities)

    def __getitem__(self, step: int) -> PackedBatch:
        rng = chance(self.recipe.seed, step)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        names = list(self.stage.mixture)
        weights = np.array([self.stage.mixture[n] for n in names])
        sequences, tokens = [], 0
        while tokens < self.recipe.tokens / processes():
            task = str(rng.choice(names, p=weights / weights.sum()))
            chosen = example(task, rng, weights=self.stage.modalities, among=self.modalities)
            whole = TASKS[chosen.task].sequence(chosen, self.prepare)
            drawn = any(isinstance(s, Latent) and s.predict for s in whole)
            for _ in range(self.recipe.noises if drawn else 1):
                segments = self._learnt(whole, chosen, rng)
                sequences.append(segments)
                tokens += sum(token_count(s, self.config) for s in segments)
        return pack(sequences, self.config, generator)

    def _learnt(self, whole: list[Segment], chosen: Example, rng: np.random.Generator) -> list[Segment]:
        """What is learnt from: conditions left out, losses weighed and targets noised wholly, as the stage has it."""
        segments = drop_conditions(whole, self.recipe.drop, rng)
        if chosen.focus is not None and len(segments) == len(whole):  # all words are there
            segments = focus(segments, chosen.focus, self.stage.focus.get(chosen.task, 0.0))
        return noise_wholly(segments, self.stage.pure_noise.get(chosen.task, 0.0), rng)


def train_unified(
    model: UnifiedModel,
    prepare: Prepare,
    recipe: UnifiedRecipe,
    folder: Path,
    modalities: Sequence[str] = tuple(SIMULATORS),
) -> UnifiedModel:
    """Run the recipe from the model as given; returns the moving average.

    Writes unified.pt and unified.jsonl to `folder`, and goes on where it stopped. Under torchrun
    each process has batches of its own, and gradients are averaged over them.
    """
    torch.manual_seed(recipe.seed)
    where = device()
    model.to(where).vae.requires_grad_(False)
    average = copy.deepcopy(model).requires_grad_(False)
    optimiser = torch.optim.AdamW(_groups(model, recipe), betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    file, step = folder / "unified.pt", 0
    if file.is_file():
        state = torch.load(file, weights_only=True, map_location=where)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step = state["step"]
    log, end = RunLog(folder / "unified.jsonl", step, writes=rank() == 0), 0
    for stage in recipe.stages:
        end += stage.steps
        data = TaskBatches(recipe, stage, model.config, prepare, modalities)
        for batch in batches_of(range(step, end), data, recipe.workers):
            reseed(recipe.seed, step)
            first, steps, peak = recipe.schedule(step)
            rate = cosine(step - first, steps, peak, recipe.warmup)
            for group in optimiser.param_groups:
                group["lr"] = rate * group["share"]
            means = _step(model, optimiser, batch.to(where), recipe)
            step += 1
            # The average follows closely at first, or it would keep the random start for long.
            _follow(average, model, min(recipe.ema, step / (step + 10)))
            if rank() != 0:
                continue
            log.add(step, recipe.log_every, **means, rate=rate, tokens=batch.num_tokens)
            if step % recipe.save_every == 0 or step == recipe.steps:
                parts = {"model": model, "average": average, "optimiser": optimiser}
                save_state(file, {name: part.state_dict() for name, part in parts.items()} | {"step": step})
    return average


def _groups(model: UnifiedModel, recipe: UnifiedRecipe) -> list[dict]:
    vit = list(model.vit_model.parameters())
    theirs = {id(p) for p in vit}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in theirs]
    return [{"params": rest, "share": 1.0}, {"params": vit, "share": recipe.vit_rate}]


def _step(
    model: UnifiedModel, optimiser: torch.optim.Optimizer, batch: PackedBatch, recipe: UnifiedRecipe
) -> dict[str, Tensor]:
    """One update; returns what to log. A batch that predicts no text has no `ce`, one without image no `mse`."""
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=recipe.bf16):
        losses = model(batch)
        loss = losses.total(recipe.ce_weight, recipe.mse_weight)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    average_gradients(model)
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    parts = {"ce": losses.ce, "mse": losses.mse}
    return {name: x.detach().mean() for name, x in parts.items() if x.numel()} | {"norm": norm}


@torch.no_grad()
def _follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    ours, theirs = list(average.parameters()), list(model.parameters())
    torch._foreach_lerp_(ours, theirs, 1 - decay)
