"""What a training will take, before it begins: memory of each device and time, from the recipe and the geometry.

No weight is loaded and no record is read. What a pack holds is expected (`training/expected.py`), and so is its
memory; a share of the device's memory is left for what is not counted: the allocator's gaps, the communication's
buffers, the context of the device, and packs unlike the mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from unimedvl.checkpoint import CheckpointError, open_checkpoint
from unimedvl.model.config import ModelConfig, preset
from unimedvl.recipes import read_recipe
from unimedvl.training.error import TrainingError
from unimedvl.training.expected import Typical, pack_load
from unimedvl.training.flops import Load, StepFlops, step_flops
from unimedvl.training.footprint import Counts, Memory, Setting, counts, frozen_of
from unimedvl.training.recipe import Recipe, Stage
from unimedvl.training.remedies import Case, Remedy, remedies

# Checkpoints on the hub whose geometry is known without them.
KNOWN = {"General-Medical-AI/UniMedVL": "14b", "ByteDance-Seed/BAGEL-7B-MoT": "14b"}
# The share of a device's memory that is not planned with.
RESERVE = 0.1
_GB, _DAY = 1e9, 86400.0


@dataclass(frozen=True)
class Machines:
    """gpus: devices, one rank each. memory: of each, GB (1e9 bytes). peak: TFLOP/s of each, in the type of products.

    efficiency: the share of the peak that all computation reaches, recomputed activations included.
    per_node: devices of a machine, which share its memory.
    """

    gpus: int = 8
    memory: float = 80.0
    peak: float = 989.0
    efficiency: float = 0.4
    per_node: int = 8

    def __post_init__(self) -> None:
        for name in ("gpus", "memory", "peak", "per_node"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be more than 0")
        if not 0 < self.efficiency <= 1:
            raise ValueError(f"efficiency is {self.efficiency}; it is a share of the peak, over 0 and at most 1")

    @property
    def usable(self) -> float:
        """Bytes of a device that are planned with."""
        return self.memory * _GB * (1 - RESERVE)


@dataclass(frozen=True)
class StagePlan:
    """packs: of a step over all ranks, as planned. samples: of a pack. seconds: of a step. mfu: model FLOPs
    utilisation, without what is recomputed. remedies: where it does not fit.
    """

    name: str
    steps: int
    packs: int
    tokens: int
    samples: float
    load: Load
    counts: Counts
    memory: Memory
    flops: StepFlops
    seconds: float
    mfu: float
    fits: bool
    remedies: tuple[Remedy, ...]
    notes: tuple[str, ...]

    @property
    def days(self) -> float:
        return self.seconds * self.steps / _DAY


@dataclass(frozen=True)
class Plan:
    """setting: as the recipe has it on these machines."""

    config: ModelConfig
    geometry: str
    machines: Machines
    typical: Typical
    setting: Setting
    stages: tuple[StagePlan, ...]

    @property
    def fits(self) -> bool:
        return all(s.fits for s in self.stages)

    @property
    def days(self) -> float:
        return sum(s.days for s in self.stages)


def geometry_of(recipe: Recipe) -> tuple[ModelConfig, str, dict]:
    """The geometry that a recipe starts with, where it is from, and the sides of images that its card names.

    A folder's headers are read, and a hub id's where it is in the hub's cache; nothing is downloaded.

    Raises:
        CheckpointError: a folder that is no checkpoint, or a hub id that is neither cached nor known.
        RecipeError: no recipe of parts.
    """
    if recipe.start.parts is not None:
        from unimedvl.training.parts import PartsRecipe

        name = read_recipe(recipe.start.parts, PartsRecipe).preset
        return preset(name), f"preset {name}", {}
    source = recipe.start.checkpoint
    try:
        checkpoint = open_checkpoint(None if source == "nano" else source, download=False)
    except CheckpointError as error:
        if source in KNOWN:
            return preset(KNOWN[source]), f"preset {KNOWN[source]}, which {source} is known to be", {}
        known = ", ".join(KNOWN)
        raise CheckpointError(f"{error}. A plan needs its geometry: name a folder, or one of {known}") from error
    return checkpoint.config, f"checkpoint {source}", checkpoint.card.get("sizes") or {}


def make_plan(recipe: Recipe, machines: Machines, typical: Typical | None = None) -> Plan:
    """Plan all stages of a recipe.

    Raises:
        TrainingError: ranks can't be split as the recipe says, or a typical sample is longer than a pack.
        CheckpointError: the geometry can't be told (`geometry_of`).
    """
    config, geometry, sizes = geometry_of(recipe)
    typical = typical or Typical()
    shard = recipe.devices.shard or machines.gpus
    if machines.gpus % shard:
        raise TrainingError(f"devices.shard is {shard}; it must divide the {machines.gpus} ranks")
    setting = Setting(
        ranks=machines.gpus, shard=shard, offload=recipe.devices.offload, recompute=recipe.recompute,
        bf16=recipe.bf16, lora=recipe.lora,
    )  # fmt: skip
    stages = tuple(
        _plan_stage(stage, number, config, machines, setting, lambda s: pack_load(s, config, typical, sizes))
        for number, stage in enumerate(recipe.stages)
    )
    return Plan(config, geometry, machines, typical, setting, stages)


def _plan_stage(
    stage: Stage, number: int, config: ModelConfig, machines: Machines, setting: Setting,
    packed: Callable[[Stage], tuple[Load, float]],
) -> StagePlan:  # fmt: skip
    load, samples = packed(stage)
    each = -(-stage.packs // machines.gpus)  # of a rank
    packs, notes = each * machines.gpus, ()
    if packs != stage.packs:
        notes = (
            f"{stage.packs} packs can't be shared out over {machines.gpus} ranks; planned with stages.{number}."
            f"packs={packs}, which makes a step {packs / stage.packs:.3g} times as large",
        )
    frozen = frozen_of(stage)
    flops = step_flops(load, config, frozen, setting.recompute, setting.lora)
    case = Case(stage, number, config, setting, machines.usable, lambda s: packed(s)[0])
    return StagePlan(
        name=stage.name, steps=stage.steps, packs=packs, tokens=packs * stage.tokens, samples=samples, load=load,
        counts=counts(config, frozen, setting.lora), memory=case.memory(),
        flops=StepFlops({n: f * packs for n, f in flops.parts.items()}, flops.recomputed * packs),
        seconds=each * flops.hardware / (machines.peak * 1e12 * machines.efficiency),
        mfu=machines.efficiency * flops.model / flops.hardware,
        fits=case.fits, remedies=() if case.fits else tuple(remedies(case)), notes=notes,
    )  # fmt: skip
