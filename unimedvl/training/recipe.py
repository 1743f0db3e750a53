"""Recipes: what a training run is, as pydantic models filled from YAML and ``key=value``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from unimedvl.model.config import preset
from unimedvl.phantoms import SIMULATORS
from unimedvl.phantoms.examples import MAKERS, modalities_of
from unimedvl.recipes import read_recipe


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class VaePhase(_Strict):
    """Steps on square crops of one size."""

    steps: int = Field(gt=0)
    crop: int = Field(gt=0, le=128, multiple_of=16)
    batch: int = Field(gt=0)


class VaeRecipe(_Strict):
    phases: list[VaePhase]
    learning_rate: float = Field(gt=0)
    warmup: int = Field(default=100, ge=0)
    kl_weight: float = Field(default=1e-4, ge=0)
    bf16: bool = True
    seed: int = 0
    log_every: int = 50
    save_every: int = 250


class VitRecipe(_Strict):
    """side: of the images that the ViT is taught on, in pixels."""

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


class Stage(_Strict):
    """Steps on one mixture: weights of the tasks, normalised.

    modalities: how often each, among those that have the task; 1 where not named.
    pure_noise: by task, the chance that a target is noised wholly, at the time 1, which is seldom drawn
        otherwise. A drawing of one or two steps, the nearest to a truth where there is one, lives on it.
    focus: by task, how much more the loss counts where a target shows what the words ask for.
    learning_rate: where given, a new schedule begins here with this peak: warm-up, and a cosine over this stage
        and those after it that have none of their own.
    """

    steps: int = Field(gt=0)
    mixture: dict[str, float]
    modalities: dict[str, Annotated[float, Field(gt=0)]] = {}
    pure_noise: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    focus: dict[str, Annotated[float, Field(ge=0)]] = {}
    learning_rate: float | None = Field(default=None, gt=0)

    @field_validator("mixture", "modalities", "pure_noise", "focus")
    @classmethod
    def _known_names(cls, values: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        kind, known = ("modality", SIMULATORS) if info.field_name == "modalities" else ("task", MAKERS)
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"no {kind} called {unknown[0]!r}; there are {', '.join(known)}")
        return values

    @field_validator("mixture")
    @classmethod
    def _weights(cls, mixture: dict[str, float]) -> dict[str, float]:
        if min(mixture.values(), default=0) < 0 or sum(mixture.values()) <= 0:
            raise ValueError("weights must be 0 or more, and one of them over 0")
        return mixture


class UnifiedRecipe(_Strict):
    """stages: one after another. learning_rate: the peak of the first schedule. tokens: of a step over all processes,
    at least.

    noises: how many times a sample that is drawn stands in its batch, each under a noise and a time of its own: it is
        simulated and encoded once.
    drop: chance that a droppable text (`text`) or image (`image`) is left out of a sample.
    """

    stages: list[Stage] = Field(min_length=1)
    tokens: int = Field(gt=0)
    noises: int = Field(default=1, ge=1)
    learning_rate: float = Field(gt=0)
    vit_rate: float = Field(default=1.0, ge=0, description="the ViT's share of the learning rate")
    warmup: int = Field(default=100, ge=0)
    ema: float = Field(default=0.998, ge=0, lt=1)
    ce_weight: float = Field(default=0.25, ge=0)
    mse_weight: float = Field(default=1.0, ge=0)
    drop: dict[Literal["text", "image"], float] = {"text": 0.1, "image": 0.05}
    bf16: bool = True
    workers: int | None = Field(default=None, ge=1, description="processes that make batches; all cores beside a GPU")
    seed: int = 0
    log_every: int = 25
    save_every: int = 200

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def schedule(self, step: int) -> tuple[int, int, float]:
        """The schedule that a step belongs to: its first step, how many it has, and its peak."""
        first, end, peak, found = 0, 0, self.learning_rate, (0, 0, self.learning_rate)
        for stage in self.stages:
            if stage.learning_rate is not None:
                if step < end:
                    break
                first, peak = end, stage.learning_rate
            end += stage.steps
            found = (first, end - first, peak)
        return found


class Recipe(_Strict):
    """One run: the autoencoder and the ViT first, then the whole model. modalities: of the studies; all by default."""

    preset: str
    folder: Path
    modalities: tuple[str, ...] = Field(default=tuple(SIMULATORS), min_length=1)
    vae: VaeRecipe
    vit: VitRecipe
    unified: UnifiedRecipe

    @field_validator("preset")
    @classmethod
    def _known(cls, name: str) -> str:
        preset(name)
        return name

    @field_validator("modalities")
    @classmethod
    def _simulated(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = next((n for n in names if n not in SIMULATORS), None)
        if unknown is not None:
            raise ValueError(f"no modality called {unknown!r}; there are {', '.join(SIMULATORS)}")
        return names

    @model_validator(mode="after")
    def _tasks_have_modalities(self) -> Recipe:
        for number, stage in enumerate(self.unified.stages):
            for task, weight in stage.mixture.items():
                if weight and not modalities_of(task, self.modalities):
                    has = ", ".join(modalities_of(task))
                    raise ValueError(f"unified.stages.{number}.mixture: {task} needs one of the modalities {has}")
        return self


def load_recipe(file: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a YAML recipe; overrides are ``a.b=value`` with the value in YAML.

    Raises:
        RecipeError: no such file, not YAML, or a wrong key or value, named with its path.
    """
    return read_recipe(file, Recipe, overrides, example="vae.seed=1")
