"""A run: its folder, the model that is trained in it, its records, and where it stands.

The folder holds `run.json` (recipe, versions, repository, machine), `log.jsonl` and `tensorboard/`, `checkpoints/`,
`pictures/` and, when it is done, `export/`.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unimedvl.data.whole import written_whole
from unimedvl.recipes import differences
from unimedvl.training.average import Average
from unimedvl.training.checkpoints import CHECKPOINTS, Checkpoints, read_state
from unimedvl.training.error import TrainingError
from unimedvl.training.logs import Logs, surroundings
from unimedvl.training.memory import keep_freed_memory
from unimedvl.training.mixture import Records, records_of
from unimedvl.training.packing import Waiting
from unimedvl.training.parallel import World, shard
from unimedvl.training.peak import peak_rate
from unimedvl.training.recipe import Recipe
from unimedvl.training.start import Begun, begin, build_data, trainable

# Fields of a recipe that change nothing of what is learnt: a run may go on with others.
FREE = ("folder", "save", "log", "validation", "devices", "compile", "recompute", "export", "card", "patience")


@dataclass
class Place:
    """Where a run stands. step: of the stage. updates: of its optimiser. skipped: steps of the run without a finite
    loss. done: whether any step of the stage is behind it.
    """

    stage: int = 0
    step: int = 0
    updates: int = 0
    skipped: int = 0
    waiting: Waiting = field(default_factory=Waiting)

    @property
    def done(self) -> bool:
        return self.step > 0

    def begin(self, stage: int) -> None:
        """The beginning of a stage."""
        self.stage, self.step, self.updates, self.waiting = stage, 0, 0, Waiting()

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {"waiting": self.waiting.to_json()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Place:
        return cls(**(values | {"waiting": Waiting.from_json(values["waiting"])}))


@dataclass
class Run:
    """learnt: parameters that some stage may train, by name. newest: the checkpoint to go on from, until it is read.
    peak: products that a device could do, measured now, in floating-point operations a second.
    """

    recipe: Recipe
    world: World
    begun: Begun
    learnt: dict[str, nn.Parameter]
    records: Records
    checkpoints: Checkpoints
    logs: Logs | None
    place: Place
    newest: Path | None
    peak: float
    average: Average | None = None

    def log(self, step: int, values: dict[str, Any]) -> dict[str, Any]:
        """Write a line, in the first rank; returns the values."""
        if self.logs is not None:
            self.logs.write(step, values)
        return values

    def close(self) -> None:
        if self.logs is not None:
            self.logs.close()


def open_run(recipe: Recipe, world: World) -> Run:
    """Begin a run, or find where it stands.

    Raises:
        TrainingError: the folder is another recipe's, can't be written to, or hasn't the room for checkpoints.
    """
    keep_freed_memory()
    begun = begin(recipe, world)
    folders = [*recipe.data.folders, *([build_data(recipe.data.build, world)] if recipe.data.build else [])]
    records = records_of(folders, "train")
    learnt = trainable(begun.model)
    if world.first:
        _note(recipe, sum(p.numel() for p in learnt.values()))
    world.wait()
    begun.model.stack.checkpointing = recipe.recompute
    shard(begun.model, recipe.devices, world, recipe.bf16)
    begun.model.to(torch.float32)  # shared out first: a rank converts its part alone
    (begun.model.vae if recipe.devices.offload else begun.model).to(world.device)
    learnt = trainable(begun.model)
    checkpoints = Checkpoints(recipe.folder, world, recipe.save)
    newest = checkpoints.newest()
    place = Place.from_json(read_state(newest)) if newest else Place()
    done = sum(s.steps for s in recipe.stages[: place.stage]) + place.step
    told = recipe.model_dump(mode="json")
    logs = Logs(recipe.folder, done, recipe.log.wandb, told) if world.first else None
    if recipe.compile:
        for layer in begun.model.stack.layers:
            layer.compile()
    peak = peak_rate(world.device, torch.bfloat16 if recipe.bf16 else torch.float32)
    return Run(recipe, world, begun, learnt, records, checkpoints, logs, place, newest, peak)


def recipe_of(folder: Path) -> Recipe:
    """The recipe that a run's folder is of, as it last began. Raises TrainingError where it is none."""
    try:
        told = json.loads((folder / "run.json").read_text())["recipe"]
        return Recipe.model_validate(told | {"folder": folder})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{folder}: no folder of a training: its run.json can't be read: {error}") from error


def _note(recipe: Recipe, learnt: int) -> None:
    """Write run.json, or see that it is of this recipe; see that checkpoints will have the room they need."""
    file = recipe.folder / "run.json"
    told = recipe.model_dump(mode="json")
    starts = []
    if file.is_file():
        noted = json.loads(file.read_text())
        starts = noted["starts"]
        mine, theirs = ({k: v for k, v in r.items() if k not in FREE} for r in (told, noted["recipe"]))
        for where, before, now in differences(theirs, mine):
            raise TrainingError(
                f"{file}: begun with {where} {before}, which now is {now}; train in another folder, or remove this one"
            )
    place = recipe.folder
    try:
        place.mkdir(parents=True, exist_ok=True)
        place = recipe.folder / CHECKPOINTS
        place.mkdir(exist_ok=True)
        with written_whole(file) as part:
            part.write_text(json.dumps({"recipe": told, "starts": [*starts, surroundings()]}, indent=1) + "\n")
    except OSError as error:
        raise TrainingError(f"{place}: can't be written to: {error.strerror}") from error
    needed, free = _room_needed(recipe, learnt), shutil.disk_usage(recipe.folder).free
    if free < needed:
        raise TrainingError(
            f"{recipe.folder}: {free / 1e9:.1f} GB are free and {needed / 1e9:.1f} GB may be needed for "
            f"{recipe.save.last + 1} checkpoints; free some, or lower save.last"
        )


def _room_needed(recipe: Recipe, learnt: int) -> int:
    """Bytes of the checkpoints that lie there at once, one being written: weights, average and two moments."""
    there = len(list((recipe.folder / CHECKPOINTS).glob("step-*"))) if os.path.isdir(recipe.folder) else 0
    return max(1, recipe.save.last + 1 - there) * learnt * 4 * 4
