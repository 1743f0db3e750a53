"""Held-out records under fixed noise, and images drawn of them, by the moving average."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from unimedvl.training.average import Average
from unimedvl.training.batches import StepBatches, seed_of
from unimedvl.training.mixture import mixture_of, records_of
from unimedvl.training.packing import Waiting
from unimedvl.training.parallel import share_out_again
from unimedvl.training.recipe import Drop, Stage
from unimedvl.training.run import Run
from unimedvl.training.tally import NAMES

_SEED = 20_260_101  # of the noise, and of what is drawn; the same for every run


class Held:
    """The held-out packs of a stage: the same records, noise and times whenever they are looked at."""

    def __init__(self, run: Run, stage: Stage, number: int) -> None:
        from unimedvl.training.loop import samples_of

        settings, self.run = run.recipe.validation, run
        folders = sorted({file.parent.parent for rows in run.records.rows.values() for file in rows})
        records = records_of(folders, settings.split)
        self.stage = stage.model_copy(update={"drop": Drop(text=0, vit=0, vae=0)})
        there = {name for b in records.rows for name in (b.kind, b.task)}
        mixture = {name: w for name, w in stage.mixture.items() if name in there}
        seed = seed_of(_SEED, number)
        chosen = mixture_of(records, self.stage.model_copy(update={"mixture": mixture}), seed, run.recipe.data.window)
        self.samples, self.seed = samples_of(run, self.stage, chosen, seed), seed
        ranks = run.world.size
        self.packs = -(-settings.packs // ranks) * ranks

    def batches(self) -> StepBatches:
        world, recipe = self.run.world, self.run.recipe
        return StepBatches(
            self.samples, Waiting(), first=0, steps=1, packs=self.packs, budget=self.stage.tokens,
            lookahead=recipe.data.lookahead, rank=world.rank, ranks=world.size, workers=0, seed=self.seed,
        )  # fmt: skip


@torch.no_grad()
def validate(held: Held, average: Average, step: int) -> dict[str, Any]:
    """Means of the losses over the held-out packs, in all and by task; draws the grid too, where one is wished for."""
    run, world = held.run, held.run.world
    model, device = run.begun.model, world.device
    sums = torch.zeros(4, len(NAMES), dtype=torch.float64, device=device)
    with average.in_place():
        for mine in held.batches():
            for batch in mine:
                batch = batch.to(device)
                with torch.autocast(device.type, dtype=torch.bfloat16, enabled=run.recipe.bf16):
                    losses = model(batch.batch)
                ce, mse = losses.ce[: batch.labels], losses.mse[: batch.targets].mean(1)
                for row, tasks, values in ((0, batch.label_tasks, ce), (2, batch.target_tasks, mse)):
                    sums[row].index_add_(0, tasks, values.double())
                    sums[row + 1].index_add_(0, tasks, torch.ones_like(values, dtype=torch.float64))
        share_out_again(model)
        if run.recipe.validation.grid and not dist.is_initialized():
            _draw(held, step)
    return _means(world.sum_tensor(sums).tolist())


def _means(sums: list[list[float]]) -> dict[str, Any]:
    line: dict[str, Any] = {}
    for name, row in (("ce", 0), ("mse", 2)):
        if sum(sums[row + 1]):
            line[f"held-out {name}"] = sum(sums[row]) / sum(sums[row + 1])
        found = zip(NAMES, sums[row], sums[row + 1], strict=True)
        line |= {f"held-out {name}/{task}": s / n for task, s, n in found if n}
    return line


def _draw(held: Held, step: int) -> None:
    """A row of pictures for each of some held-out records that draw: what is given, the truth, what is drawn."""
    from PIL import Image as Pillow

    from unimedvl.data.examples import example_of
    from unimedvl.inference.requests import Request
    from unimedvl.inference.unimedvl import UniMedVL

    run = held.run
    model = UniMedVL(run.begun.model.eval(), run.begun.tokenizer, run.begun.card, "")
    rows, position = [], 0
    while len(rows) < run.recipe.validation.grid and position < 50 * run.recipe.validation.grid:
        example = example_of(held.samples.mixture[position])
        position += 1
        if not example.targets:
            continue
        given = [x.permute(1, 2, 0).numpy() for x in example.images]
        request = Request(example.task, tuple(given), text=example.turns[0][0], seed=_SEED)
        drawn = np.asarray(model.run([request], steps=12)[0].image)
        truth = example.targets[0].permute(1, 2, 0).numpy()
        rows.append([*(given[:1] or [np.full_like(truth, 255)]), truth, drawn])
    run.begun.model.train()
    if rows:
        side = max(x.shape[0] for row in rows for x in row)
        cells = [[np.asarray(Pillow.fromarray(x).resize((side, side))) for x in row] for row in rows]
        sheet = np.concatenate([np.concatenate(row, 1) for row in cells], 0)
        file = Path(run.recipe.folder) / "pictures" / f"step-{step:08d}.png"
        file.parent.mkdir(exist_ok=True)
        Pillow.fromarray(sheet).save(file)
        if run.logs:
            run.logs.picture(step, "given, truth, drawn", sheet)
