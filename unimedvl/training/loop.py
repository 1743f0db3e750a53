"""The training loop: stages one after another, each from the moving average of the one before.

A step takes its packs, sums next-token and flow loss over all ranks' tokens, and moves the weights once. What a step
learns from follows from the seed and the step alone, so a run that was killed goes on from its newest
checkpoint as if it had never been, on any number of ranks.
"""

from __future__ import annotations

import contextlib
import logging
import math
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from unimedvl.training import parallel
from unimedvl.training.average import Average
from unimedvl.training.batches import StepBatches, TrainingBatch, seed_of
from unimedvl.training.channels import channel_weights
from unimedvl.training.checkpoints import read_tensors
from unimedvl.training.error import TrainingError
from unimedvl.training.export import export_model
from unimedvl.training.mixture import mixture_of
from unimedvl.training.parallel import World
from unimedvl.training.recipe import Recipe, Stage
from unimedvl.training.run import Run, open_run
from unimedvl.training.samples import Samples, prepare_for
from unimedvl.training.start import module_of
from unimedvl.training.tally import Tally
from unimedvl.training.validation import Held, validate

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Told:
    """How far a run is: for whoever shows it. steps: of the whole run; values: what was last logged."""

    stage: str
    step: int
    steps: int
    values: dict[str, float]


class Stopped(Exception):
    """The run was asked to stop, and has saved. step: of the checkpoint."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped and saved at step {step}; start it again to go on")
        self.step = step


def train(recipe: Recipe, told: Callable[[Told], None] = lambda told: None) -> Path:
    """Run a recipe, or go on with it; returns the folder of what it exported, or else of the run.

    Raises:
        TrainingError: what the recipe asks for can't be, the run's folder is another recipe's, or losses or gradients
            stay without a finite value.
        Stopped: SIGTERM or SIGINT came; the run has saved.
    """
    world = parallel.join()
    run = open_run(recipe, world)
    try:
        with _asked_to_stop() as stop:
            for number in range(run.place.stage, len(recipe.stages)):
                run_stage(run, number, stop, told)
        run.checkpoints.finish()
        out = recipe.folder
        if recipe.export:
            out = recipe.folder / "export"
            export_model(run.begun, out, world, recipe)
    finally:
        run.close()
    parallel.leave()
    return out


def run_stage(run: Run, number: int, stop: Stop, told: Callable[[Told], None]) -> None:
    """One stage, from its beginning or from where the newest checkpoint stands. The model ends as its average."""
    recipe, stage, world, place = run.recipe, run.recipe.stages[number], run.world, run.place
    if place.stage != number:
        place.begin(number)
    batches = step_batches(run, stage, number)
    batches.start()  # before there is an optimiser, whose memory the workers would hold too
    chosen = choose(run.learnt, stage)
    optimiser = adamw(chosen, stage)
    average = run.average = Average(run.begun.model)
    if run.newest is not None and place.done:
        read_tensors(run.newest, tensors_of(run, optimiser), world)
        set_updates(optimiser, place.updates)
    run.newest = None
    channels = patch_weights(run, stage)
    held = Held(run, stage, number) if recipe.validation.every else None
    tally = Tally(world, run.begun.model.config, stage, recipe, run.peak)
    before = sum(s.steps for s in recipe.stages[:number])
    bad = 0
    for mine in tally.waited(batches):
        set_rate(optimiser, stage, place.step)
        norm = _gradient(run, stage, channels, mine, tally, stop)
        if math.isfinite(norm):
            optimiser.step()
            place.updates += 1
            # The average follows closely at first, or it would keep a random start for long.
            average.follow(min(stage.ema, place.updates / (place.updates + 10)))
        bad = 0 if math.isfinite(norm) else bad + 1
        place.skipped += bad > 0
        optimiser.zero_grad(set_to_none=True)
        place.step, place.waiting = place.step + 1, batches.waiting
        done = before + place.step
        tally.add(norm=norm, rate=rate_of(stage, place.step - 1), skipped=float(bad > 0))
        if done % recipe.log.every == 0 or place.step == stage.steps:
            told(Told(stage.name, done, recipe.steps, run.log(done, tally.line(stage.name))))
        if bad == recipe.patience:
            _give_up(run, done, bad)
        if held and (done % recipe.validation.every == 0 or place.step == stage.steps):
            run.log(done, validate(held, average, done))
        if done % recipe.save.every == 0 or place.step == stage.steps or stop.agreed:
            run.checkpoints.save(done, tensors_of(run, optimiser), place.to_json())
        run.checkpoints.poll()
        if stop.agreed and place.step < stage.steps:
            run.checkpoints.finish()
            raise Stopped(done)
    average.hand_over()
    optimiser.zero_grad(set_to_none=True)


def _gradient(
    run: Run, stage: Stage, channels: Tensor, mine: list[TrainingBatch], tally: Tally, stop: Stop
) -> float:
    """Gradients of a step over all ranks; returns their norm before it was clipped, not finite where a loss isn't.

    channels: what each value of a patch counts, see `patch_weights`.
    """
    world, model, device = run.world, run.begun.model, run.world.device
    counts = [sum(b.labels for b in mine), sum(b.targets for b in mine), sum(b.tokens for b in mine), stop.asked]
    labels, targets, tokens, asked = world.sum(counts)
    stop.agreed = bool(asked)
    tally.step(tokens, len(mine))
    with _kept_casts(world):
        for batch in mine:
            tally.work(batch)
            batch = batch.to(device)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=run.recipe.bf16):
                losses = model(batch.batch)
            ce, mse = losses.ce[: batch.labels], losses.mse[: batch.targets]
            weighed = (mse * channels).mean(1) * losses.mse_weights[: batch.targets]
            loss = stage.loss.ce * ce.sum() / max(1, labels) + stage.loss.mse * weighed.sum() / max(1, targets)
            # What was filled in counts nothing, and yet all weights get a gradient.
            loss = loss + 0 * (losses.ce[batch.labels :].sum() + losses.mse[batch.targets :].sum())
            loss.backward()
            tally.losses(batch, ce.detach(), mse.detach().mean(1))
    return parallel.clip([p for p in run.learnt.values() if p.requires_grad], stage.optimiser.clip)


def _kept_casts(world: World) -> contextlib.AbstractContextManager[object]:
    """A block in which autocast converts each weight once, for it forgets them only when its outermost block ends.

    Not of weights that are shared out: they are gathered anew for each pack.
    """
    return contextlib.nullcontext() if world.sharded else torch.autocast(world.device.type, enabled=False)


def patch_weights(run: Run, stage: Stage) -> Tensor:
    """What each value of a latent patch counts in the flow loss: [patch values], with mean 1."""
    model = run.begun.model
    weights = channel_weights(model.vae, stage.loss.picture)
    return weights.repeat(model.config.latent_patch_size**2).to(run.world.device)  # channels last, as `patchify` has it


def _give_up(run: Run, done: int, bad: int) -> None:
    run.checkpoints.finish()
    newest = run.checkpoints.newest()
    raise TrainingError(
        f"{bad} steps in a row, up to step {done}, had no finite loss and gradient, and were skipped; the newest "
        f"checkpoint is {newest.name if newest else 'none'}. A smaller learning_rate or optimiser.clip, more warmup, "
        "or bf16=false may help"
    )


# ------------------------------------------------------------------------------------------ optimiser


def choose(learnt: dict[str, nn.Parameter], stage: Stage) -> dict[str, nn.Parameter]:
    """Those of what may be trained that the stage trains; the others are frozen."""
    frozen = {*stage.frozen, *(name for name, rate in stage.rates.items() if rate == 0)}
    for name, p in learnt.items():
        p.requires_grad_(module_of(name) not in frozen)
    chosen = {name: p for name, p in learnt.items() if p.requires_grad}
    if not chosen:
        raise TrainingError(f"{stage.name}: frozen leaves nothing to train")
    return chosen


def adamw(chosen: dict[str, nn.Parameter], stage: Stage) -> torch.optim.AdamW:
    """A group for each module, with its share of the rate; its moments are there from the start, to be read into."""
    groups: dict[str, list[nn.Parameter]] = {}
    for name, p in chosen.items():
        groups.setdefault(str(module_of(name)), []).append(p)
    settings = stage.optimiser
    optimiser = torch.optim.AdamW(
        [{"params": params, "share": stage.rates.get(module, 1.0)} for module, params in groups.items()],
        lr=stage.learning_rate, betas=settings.betas, eps=settings.eps, weight_decay=settings.weight_decay, fused=True,
    )  # fmt: skip
    for p in chosen.values():
        optimiser.state[p] = {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
    set_updates(optimiser, 0)
    return optimiser


def set_updates(optimiser: torch.optim.AdamW, updates: int) -> None:
    """Set the number of updates that the moments' bias is corrected by."""
    for p, state in optimiser.state.items():
        state["step"] = torch.tensor(float(updates), device=parallel.local(p).device)


def rate_of(stage: Stage, step: int) -> float:
    """The learning rate of a step of a stage: linear warm-up, then constant or half a cosine to a twentieth."""
    peak = stage.learning_rate
    if step < stage.warmup:
        return peak * (step + 1) / stage.warmup
    if stage.schedule == "constant":
        return peak
    progress = (step - stage.warmup) / max(1, stage.steps - stage.warmup)
    return peak * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))


def set_rate(optimiser: torch.optim.Optimizer, stage: Stage, step: int) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate_of(stage, step) * group["share"]


def tensors_of(run: Run, optimiser: torch.optim.AdamW) -> dict[str, Tensor]:
    """All tensors of a checkpoint by name: weights, their average, and the optimiser's moments."""
    tensors = {f"model/{name}": p.detach() for name, p in run.learnt.items()}
    tensors |= {f"average/{name}": t for name, t in run.average.tensors.items()}
    for name, p in run.learnt.items():
        if p in optimiser.state:
            tensors[f"first/{name}"] = optimiser.state[p]["exp_avg"]
            tensors[f"second/{name}"] = optimiser.state[p]["exp_avg_sq"]
    return tensors


# ----------------------------------------------------------------------------------------------- data


def step_batches(run: Run, stage: Stage, number: int) -> StepBatches:
    """This rank's batches of a stage from where the run stands.

    Raises:
        TrainingError: the packs of a step can't be shared out evenly.
    """
    recipe, world = run.recipe, run.world
    if stage.packs % world.size:
        raise TrainingError(f"{stage.name}: packs is {stage.packs}; it must be a multiple of the {world.size} ranks")
    seed = seed_of(recipe.seed, number)
    samples = samples_of(run, stage, mixture_of(run.records, stage, seed, recipe.data.window), seed)
    return StepBatches(
        samples, run.place.waiting, first=run.place.step, steps=stage.steps, packs=stage.packs, budget=stage.tokens,
        lookahead=recipe.data.lookahead, rank=world.rank, ranks=world.size, workers=recipe.data.workers, seed=seed,
    )  # fmt: skip


def samples_of(run: Run, stage: Stage, mixture, seed: int) -> Samples:
    config = run.begun.model.config
    if stage.noise.shift is not None:
        config = replace(config, timestep_shift=stage.noise.shift)
    prepare = prepare_for(stage, config, run.begun.tokenizer, run.begun.card.get("sizes"))
    return Samples(mixture, stage, config, prepare, seed)


# -------------------------------------------------------------------------------------------- signals


@dataclass
class Stop:
    """Whether this rank was asked to stop, and whether all have agreed on it, at the beginning of a step."""

    asked: bool = False
    agreed: bool = False


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[Stop]:
    """SIGTERM and the first SIGINT ask; a second SIGINT ends at once. Handlers are put back afterwards."""
    stop = Stop()

    def ask(number: int, frame: object) -> None:
        if stop.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.asked = True

    try:
        before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not the main thread, which gets no signals
        before = {}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
