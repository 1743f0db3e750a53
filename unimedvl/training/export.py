"""A training's weights in the published layout, as its average or as they were last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unimedvl.checkpoint import fingerprint, save_model
from unimedvl.checkpoint.adapters import Base
from unimedvl.checkpoint.read import empty_model
from unimedvl.training.checkpoints import read_state, read_tensors, step_of, whole_checkpoints
from unimedvl.training.error import TrainingError
from unimedvl.training.lora import merge_into, save_adapters
from unimedvl.training.parallel import World, whole
from unimedvl.training.recipe import Lora, Recipe
from unimedvl.training.start import Begun, begin, module_of, trainable

# Largest tensor file of a small model; what is larger than this many bytes is written in shards of 5 GB.
_SMALL, _SMALL_SHARD, _SHARD = 200 * 10**6, 15 * 10**6, 5 * 10**9


def export_model(begun: Begun, folder: Path, world: World, recipe: Recipe) -> None:
    """Write the model as it is, in bf16; adapters alone, and merged into the checkpoint that they belong to.

    All ranks must call this; the first writes.

    Raises:
        CheckpointError: the disk refuses.
    """
    if recipe.lora is not None:
        _export_adapters(begun, recipe.lora, folder, world, recipe)
        return
    full: dict[str, Tensor] = {}
    for name, tensor in begun.model.state_dict().items():  # one after another: gathered, they need memory
        gathered = whole(tensor).detach().to(torch.bfloat16)
        if world.first:
            full[name] = gathered.cpu().contiguous()
    if not world.first:
        return
    model = empty_model(begun.model.config)
    model.load_state_dict(full, assign=True)
    nbytes = sum(t.numel() * 2 for t in full.values())
    save_model(
        model, folder, dtype=torch.bfloat16, shard_bytes=_SMALL_SHARD if nbytes < _SMALL else _SHARD,
        tokenizer=begun.tokenizer, card=card_of(begun.card, recipe),
    )  # fmt: skip


def _export_adapters(begun: Begun, settings: Lora, folder: Path, world: World, recipe: Recipe) -> None:
    """The adapters in the folder's `adapters`, and the checkpoint with them merged in the folder itself."""
    source = recipe.start.source
    base = Base(recipe.start.checkpoint, fingerprint(source)) if world.first else Base(recipe.start.checkpoint, "")
    save_adapters(begun.model, folder / "adapters", settings, base)
    if world.first:
        merge_into(recipe.start.checkpoint, folder / "adapters", folder, card=card_of({}, recipe))
    world.wait()


def card_of(card: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    """What the exported model says of itself: what it was before, what the recipe says, and how it was trained."""
    stages = [{"name": s.name, "steps": s.steps, "tokens a step": s.tokens * s.packs} for s in recipe.stages]
    return card | recipe.card | {"training": {"start": recipe.start.model_dump(mode="json"), "stages": stages}}


def export_run(recipe: Recipe, folder: Path, step: int | None = None, raw: bool = False) -> None:
    """Write a checkpoint of a run in the published layout. step: None for the newest. raw: not the average.

    Adapters are written beside their merge, in the folder's `adapters`.

    Raises:
        TrainingError: the run has no such checkpoint.
    """
    place = recipe.folder / "checkpoints"
    found = {step_of(p): p for p in whole_checkpoints(place)}
    if not found or (step is not None and step not in found):
        there = ", ".join(map(str, found)) or "none"
        raise TrainingError(f"{place}: no checkpoint{'' if step is None else f' of step {step}'}; there are: {there}")
    chosen = found[max(found) if step is None else step]
    world = World(0, 1, 0, torch.device("cpu"))
    begun = begin(recipe, world)
    frozen = () if raw else recipe.stages[read_state(chosen)["stage"]].frozen
    begun.model.float()
    into: dict[str, Tensor] = {}
    for name, p in trainable(begun.model).items():
        which = "model" if raw or module_of(name) in frozen else "average"
        into[f"{which}/{name}"] = p.detach()
    read_tensors(chosen, into, world)
    export_model(begun, folder, world, recipe)
