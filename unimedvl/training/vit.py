"""Teach the ViT to see before it is asked to speak: what covers each patch, and what the image shows.

The published model starts from a ViT trained on images and captions (SigLIP). The embedded one starts
from this: linear heads on every patch say how much of it each structure and finding covers, and whether any is in it
at all, for small ones cover little; heads on all patches say what the image is and what it shows. They are thrown away
afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.utils.data import Dataset

from unimedvl.imaging.resize import resize
from unimedvl.model.config import VitConfig
from unimedvl.model.vit import Vit
from unimedvl.phantoms import SIMULATORS, Study
from unimedvl.sequence import grid_position_ids, patchify
from unimedvl.training.images import Rendered
from unimedvl.training.logs import LineLog
from unimedvl.training.part_run import batches_of, chance, cosine, device, reseed, save_state


class VitRecipe(BaseModel):
    """side: of the images that the ViT is taught on, in pixels."""

    model_config = ConfigDict(extra="forbid")

    steps: int = Field(gt=0)
    batch: int = Field(gt=0)
    side: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    warmup: int = Field(default=100, ge=0)
    bf16: bool = True
    workers: int | None = Field(default=None, ge=1, description="processes that make batches; all cores beside a GPU")
    seed: int = 0
    log_every: int = 25
    save_every: int = 250


def names_of_masks(modalities: Sequence[str]) -> list[str]:
    """Every structure and finding that some modality has a mask of, found by rendering a few studies."""
    found: dict[str, None] = {}
    for modality in modalities:
        simulator = SIMULATORS[modality]
        for seed in range(40):
            for name in simulator.render(simulator.sample(seed), 64).masks:
                found.setdefault(f"{modality}: {name}")
    return list(found)


def names_of_views(modalities: Sequence[str]) -> list[str]:
    return [f"{m}: {view}" for m in modalities for view in SIMULATORS[m].VIEWS]


# Studies that are new in a step, and from how many of them a step draws: each is seen three to four times.
_FRESH, _WINDOW = 12, 600
Sight = tuple[Tensor, ...]


class Sights(Dataset):
    """For each step a batch of patches [B, N, 3 p p], coverage and touch of each patch [B, N, masks], presence
    [B, masks], which of the masks the modality has at all [B, masks], and view [B].
    """

    def __init__(self, config: VitConfig, recipe: VitRecipe, modalities: Sequence[str]) -> None:
        self.config, self.side, self.batch, self.seed = config, recipe.side, recipe.batch, recipe.seed
        self.rendered = Rendered(recipe.seed, modalities, 128, self._sights)
        self.masks = {name: i for i, name in enumerate(names_of_masks(modalities))}
        self.views = {name: i for i, name in enumerate(names_of_views(modalities))}

    def __getitem__(self, step: int) -> Sight:
        rng, first = chance(self.seed, step), step * _FRESH
        drawn = [self.rendered.at(first + int(rng.integers(_WINDOW)), first) for _ in range(self.batch)]
        return tuple(torch.stack(x) for x in zip(*(views[rng.integers(len(views))] for views in drawn), strict=True))

    def _sights(self, study: Study, rng: np.random.Generator) -> list[Sight]:
        """Of every view of a study."""
        modality, cells = study.modality, self.side // self.config.patch_size
        coverage = torch.zeros(len(self.masks), 128, 128)
        for name, mask in study.masks.items():
            if f"{modality}: {name}" in self.masks:
                coverage[self.masks[f"{modality}: {name}"]] = torch.from_numpy(mask.astype(np.float32))
        known = torch.tensor([float(name.startswith(f"{modality}: ")) for name in self.masks])
        presence = coverage.flatten(1).any(1).float()
        touched = F.adaptive_max_pool2d(coverage[None], cells)[0].flatten(1).T.contiguous()
        coverage = F.adaptive_avg_pool2d(coverage[None], cells)[0].flatten(1).T.contiguous()
        out = []
        for view, image in study.images.items():
            pixels = resize(image.astype(np.float32) / 255, (self.side, self.side)) * 2 - 1
            patches = patchify(torch.from_numpy(pixels).permute(2, 0, 1), self.config.patch_size)
            out.append((patches, coverage, touched, presence, known, torch.tensor(self.views[f"{modality}: {view}"])))
        return out


class SeeingHeads(nn.Module):
    """What is said of patches, and of an image by the mean and the largest of its patches' features."""

    def __init__(self, width: int, masks: int, views: int) -> None:
        super().__init__()
        self.coverage = nn.Linear(width, masks)
        self.touch = nn.Linear(width, masks)
        self.presence = nn.Linear(2 * width, masks)
        self.view = nn.Linear(width, views)

    def image(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of presence [B, masks] and of views [B, views]; hidden [B, N, width]."""
        mean = hidden.mean(1)
        return self.presence(torch.cat((mean, hidden.amax(1)), 1)), self.view(mean)

    def losses(
        self, hidden: Tensor, coverage: Tensor, touched: Tensor, presence: Tensor, known: Tensor, view: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Loss, and the share of images with every presence right; hidden [B, N, width].

        What other modalities have is not asked about: it would be learnt at once, and drown the rest of the mean.
        """
        shown, kind = self.image(hidden)
        binary = partial(F.binary_cross_entropy_with_logits, reduction="none")
        cover = binary(self.coverage(hidden).float(), coverage).mean(1)
        touch = binary(self.touch(hidden).float(), touched).mean(1)
        there = binary(shown.float(), presence)
        weighed = (20 * cover + 10 * touch + 5 * there) * known
        loss = weighed.sum() / known.sum().clamp(min=1) + F.cross_entropy(kind.float(), view)
        return loss, (((shown > 0) == (presence > 0)) | (known == 0)).all(1).float().mean()


def train_vit(
    config: VitConfig, recipe: VitRecipe, folder: Path, modalities: Sequence[str] = tuple(SIMULATORS)
) -> Vit:
    """Writes vit.pt and vit.jsonl to `folder`, and goes on where it stopped."""
    torch.manual_seed(recipe.seed)
    data = Sights(config, recipe, modalities)
    vit = Vit(config)
    heads = SeeingHeads(config.hidden_size, len(data.masks), len(data.views))
    where = device()
    model = nn.ModuleDict({"vit": vit, "heads": heads}).to(where)
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.02)
    file, step = folder / "vit.pt", 0
    if file.is_file():
        state = torch.load(file, weights_only=True, map_location=where)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        step = state["step"]
    log = LineLog(folder / "vit.jsonl", step)
    cells = recipe.side // config.patch_size
    positions = grid_position_ids(cells, cells, config.max_patches_per_side).repeat(recipe.batch).to(where)
    for batch in batches_of(range(step, recipe.steps), data, recipe.workers):
        reseed(recipe.seed, step)
        for group in optimiser.param_groups:
            group["lr"] = cosine(step, recipe.steps, recipe.learning_rate, recipe.warmup)
        patches, *truth = (x.to(where) for x in batch)
        with torch.autocast(where.type, dtype=torch.bfloat16, enabled=recipe.bf16):
            hidden = vit(patches.flatten(0, 1), positions, [cells * cells] * recipe.batch)
            loss, right = heads.losses(hidden.unflatten(0, (recipe.batch, -1)), *truth)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        log.add(step, recipe.log_every, loss=loss.detach(), all_right=right)
        if step % recipe.save_every == 0 or step == recipe.steps:
            save_state(file, {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step})
    return vit
