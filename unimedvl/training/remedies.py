"""What would make a stage fit into its devices' memory, each change worked out and not only named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from unimedvl.model.config import ModelConfig
from unimedvl.training.error import TrainingError
from unimedvl.training.flops import Load
from unimedvl.training.footprint import Memory, Setting, memory
from unimedvl.training.recipe import Lora, Stage

# Packs are tried in steps of so many tokens.
_STEP = 100
# How often the number of devices is doubled, at most.
_DOUBLINGS = 6


@dataclass(frozen=True)
class Remedy:
    """change: as overrides of the recipe. needed: bytes of a device; host: of the CPU's memory, for each device."""

    change: str
    needed: float
    host: float
    fits: bool


@dataclass(frozen=True)
class Case:
    """A stage that may not fit. usable: bytes of a device. packed: the load of a pack of a stage.

    number: of the stage in its recipe.
    """

    stage: Stage
    number: int
    config: ModelConfig
    setting: Setting
    usable: float
    packed: Callable[[Stage], Load]

    def memory(self) -> Memory:
        """Raises TrainingError where a typical sample is longer than a pack."""
        return memory(self.config, self.stage, self.packed(self.stage), self.setting)

    @property
    def fits(self) -> bool:
        try:
            return self.memory().peak <= self.usable
        except TrainingError:
            return False

    def with_packs(self, tokens: int) -> Case:
        return replace(self, stage=self.stage.model_copy(update={"tokens": tokens}))

    def remedy(self, change: str) -> Remedy:
        found = self.memory()
        return Remedy(change, found.peak, found.host, found.peak <= self.usable)


def remedies(case: Case) -> Iterator[Remedy]:
    """Each change alone, then changes that leave what is learnt as it is one upon the other until it fits.

    More devices and adapters are told alone: the ones cost money, the others are another training.
    """
    yield from _alone(case)
    names, changed = [], case
    for name, change in _changes(case.setting):
        names.append(name)
        changed = replace(changed, setting=replace(changed.setting, **change))
        if changed.fits:
            break
    if not changed.fits:
        tokens = largest_pack(changed)
        if tokens is None:
            if len(names) > 1:
                yield changed.remedy(", ".join(names))
            return
        names.append(_packs(case, tokens))
        changed = changed.with_packs(tokens)
    if len(names) > 1:
        yield changed.remedy(", ".join(names))


def _alone(case: Case) -> Iterator[Remedy]:
    for name, change in _changes(case.setting):
        yield replace(case, setting=replace(case.setting, **change)).remedy(name)
    wider = _more_devices(case)
    if wider is not None:
        yield wider.remedy(f"--gpus {wider.setting.ranks}")
    tokens = largest_pack(case)
    if tokens is not None:
        yield case.with_packs(tokens).remedy(_packs(case, tokens))
    for base in ("bfloat16", "int8"):
        lora = (case.setting.lora or Lora()).model_copy(update={"base": base})
        if lora != case.setting.lora:
            name = f"lora.base={base}" if case.setting.lora else f"lora={{base: {base}}} (adapters alone are trained)"
            yield replace(case, setting=replace(case.setting, lora=lora)).remedy(name)


def _changes(setting: Setting) -> list[tuple[str, dict]]:
    """Changes of how ranks compute, the cheapest first: they leave what is learnt as it is."""
    changes = []
    if not setting.recompute:
        changes.append(("recompute=true", {"recompute": True}))
    if setting.shard < setting.ranks:
        changes.append((f"devices.shard={setting.ranks}", {"shard": setting.ranks}))
    if not setting.offload and setting.ranks > 1:
        changes.append(("devices.offload=true", {"offload": True}))
    return changes


def _more_devices(case: Case) -> Case | None:
    """The case with twice as many devices, or four times and so on, where they share one copy and it then fits."""
    if case.setting.shard < case.setting.ranks:
        return None
    counts = [case.setting.ranks * 2**n for n in range(1, _DOUBLINGS + 1)]
    cases = (replace(case, setting=replace(case.setting, ranks=n, shard=n)) for n in counts)
    return next((wider for wider in cases if wider.fits), None)


def _packs(case: Case, tokens: int) -> str:
    return f"stages.{case.number}.tokens={tokens}"


def largest_pack(case: Case) -> int | None:
    """The most tokens of a pack that fit, by hundreds; None where not even one typical sample of each kind does."""
    most = next((n for n in range(case.stage.tokens // _STEP, 0, -1) if case.with_packs(n * _STEP).fits), None)
    return None if most is None else most * _STEP
