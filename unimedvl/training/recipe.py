"""Recipes: what a training is, as pydantic models filled from YAML and ``key=value``.

A training begins at weights that are there (`start`), learns from records (`data`), and runs its stages one after
another, each from the moving average that the one before left. One stage is a training too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from unimedvl.data.examples import TASK_OF
from unimedvl.recipes import read_recipe
from unimedvl.tasks import MODALITY_NAMES, TASKS

# Parts of the model that are frozen, or have a rate of their own. The autoencoder is never trained with the rest.
Module = Literal["decoder", "connector", "vit", "flow"]
# Kinds of records, as the published ratios have them, and the model's tasks that each takes in.
KINDS = ("text", "text_to_image", "image_to_text", "interleaved")
Share = Annotated[float, Field(ge=0, le=1)]
Sides = Annotated[tuple[int, int], Field(description="largest and smallest side, px")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Start(_Strict):
    """The weights that a training begins with: one of

    checkpoint: nano, a folder or a hub id in the published layout.
    parts: a recipe of the parts (`training/parts.py`), which are trained first where they are not there: the rest
        of the geometry that it names gets random weights.
    """

    checkpoint: str | None = None
    parts: Path | None = None

    @model_validator(mode="after")
    def _one(self) -> Start:
        if (self.checkpoint is None) == (self.parts is None):
            raise ValueError("give either checkpoint (nano, a folder or a hub id) or parts (a recipe)")
        return self

    @property
    def source(self) -> str | None:
        """The checkpoint as loading has it: None is nano."""
        return None if self.checkpoint == "nano" else self.checkpoint


class Data(_Strict):
    """Records to learn from.

    folders: of finished data builds. build: a data recipe, built first where it is not there; its folder counts too.
    workers: processes of each rank that make batches. window: row groups whose records are mixed.
    lookahead: samples that wait to be packed; more fill budgets better.
    """

    folders: tuple[Path, ...] = ()
    build: Path | None = None
    workers: int = Field(default=1, ge=0)
    window: int = Field(default=32, gt=0)
    lookahead: int = Field(default=256, gt=0)

    @model_validator(mode="after")
    def _any(self) -> Data:
        if not self.folders and self.build is None:
            raise ValueError("give folders of finished data builds, or build, a data recipe")
        return self


class Loss(_Strict):
    """Weights of the next-token loss and of the flow loss, each a mean over all ranks' tokens.

    focus: by task, how much more the flow loss counts where a record says that its image shows what is asked for.
    picture: how far a latent's channels count by what they change in the picture (`channels.channel_weights`): 0 is all
        alike, as published.
    """

    ce: float = Field(default=0.25, ge=0)
    mse: float = Field(default=1.0, ge=0)
    picture: Share = 0.0
    focus: dict[str, Annotated[float, Field(ge=0)]] = {}


class Drop(_Strict):
    """Chances that a condition is left out of a sample: a text, an image as the ViT sees it, a clean latent.

    keep: tasks whose conditions always stay.
    """

    text: Share = 0.3
    vit: Share = 0.05
    vae: Share = 0.05
    keep: tuple[str, ...] = ()


class Optimiser(_Strict):
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101). clip: largest norm of the gradient."""

    betas: tuple[Share, Share] = (0.9, 0.95)
    eps: float = Field(default=1e-15, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float = Field(default=1.0, gt=0)


class Noise(_Strict):
    """Noise on what is drawn.

    shift: of the flow's times in training; the geometry's own where None.
    each: how many times a target stands in its sequence, each under a noise and a time of its own: noised images do
        not see each other, so more cost no second reading of what precedes them.
    copies: how many times the whole sequence stands in its pack.
    pure: by task, the chance that a target is noised wholly, at the time 1, which is seldom drawn otherwise. A drawing
        of one or two steps lives on it.
    """

    shift: float | None = Field(default=None, gt=0)
    each: int = Field(default=1, ge=1)
    copies: int = Field(default=1, ge=1)
    pure: dict[str, Share] = {}


class Stage(_Strict):
    """Some steps on one mixture.

    mixture: weights of kinds of records (text, text_to_image, image_to_text, interleaved) or of single tasks, which
        are normalised; a kind takes in its tasks but those that are named beside it.
    modalities: how often each, relative to 1, within whatever has it.
    tokens: of a pack, at most; what is longer alone is left out, and counted. packs: of a step, over all ranks.
    learning_rate: the peak, after `warmup` steps. rates: of single modules, relative to it. frozen: not trained.
    schedule: constant, or half a cosine down to a twentieth.
    vit_sides, vae_sides: largest and smallest side of images, px; the checkpoint's own where None.
    ema: decay of the moving average.
    planning: how often an image whose record has a plan in words is planned first, and asked to be; otherwise it is
        drawn straight from its request.
    """

    name: str = Field(min_length=1, pattern=r"^[\w.-]+$")
    steps: int = Field(gt=0)
    mixture: dict[str, float] = Field(min_length=1)
    modalities: dict[str, Annotated[float, Field(gt=0)]] = {}
    tokens: int = Field(gt=0)
    packs: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    rates: dict[Module, Annotated[float, Field(ge=0)]] = {}
    frozen: tuple[Module, ...] = ()
    warmup: int = Field(default=2000, ge=0)
    schedule: Literal["constant", "cosine"] = "constant"
    vit_sides: Sides | None = None
    vae_sides: Sides | None = None
    ema: float = Field(default=0.995, ge=0, lt=1)
    planning: Share = 0.5
    loss: Loss = Loss()
    drop: Drop = Drop()
    noise: Noise = Noise()
    optimiser: Optimiser = Optimiser()

    @field_validator("mixture")
    @classmethod
    def _weights(cls, mixture: dict[str, float]) -> dict[str, float]:
        known = (*KINDS, *sorted(set(TASK_OF.values())))
        unknown = next((name for name in mixture if name not in known), None)
        if unknown is not None:
            raise ValueError(f"no kind of record or task called {unknown!r}; there are {', '.join(known)}")
        if min(mixture.values()) < 0 or sum(mixture.values()) <= 0:
            raise ValueError("weights must be 0 or more, and one of them over 0")
        return mixture

    @field_validator("modalities")
    @classmethod
    def _modalities(cls, values: dict[str, float]) -> dict[str, float]:
        known = (*MODALITY_NAMES, "text", "mixed")
        unknown = next((name for name in values if name not in known), None)
        if unknown is not None:
            raise ValueError(f"no modality called {unknown!r}; there are {', '.join(known)}")
        return values

    @model_validator(mode="after")
    def _tasks(self) -> Stage:
        named = {"loss.focus": self.loss.focus, "noise.pure": self.noise.pure, "drop.keep": self.drop.keep}
        for field, tasks in named.items():
            unknown = next((name for name in tasks if name not in TASKS), None)
            if unknown is not None:
                raise ValueError(f"{field}: no task called {unknown!r}; there are {', '.join(TASKS)}")
        return self


class Lora(_Strict):
    """Low-rank adapters (Hu et al., arXiv 2106.09685) of the linear layers of some modules; the rest is frozen.

    base: what the frozen weights are held in. alpha: the adapter counts alpha / rank.
    """

    rank: int = Field(default=16, gt=0)
    alpha: float = Field(default=32.0, gt=0)
    modules: tuple[Literal["understanding", "generation", "connector"], ...] = Field(
        default=("understanding", "generation", "connector"), min_length=1
    )
    base: Literal["float32", "bfloat16", "int8"] = "bfloat16"


class Devices(_Strict):
    """How ranks share the work (PyTorch FSDP2). shard: ranks that share one copy of the weights, all where None; fewer
    is hybrid sharding, 1 is a copy on each. offload: keep weights and optimiser in the CPU's memory.
    """

    shard: int | None = Field(default=None, gt=0)
    offload: bool = False


class Saves(_Strict):
    """every: steps between checkpoints. last: how many of the newest stay. keep: a checkpoint of every so many steps
    stays for good; none where 0.
    """

    every: int = Field(default=1000, gt=0)
    last: int = Field(default=2, gt=0)
    keep: int = Field(default=0, ge=0)


class Logs(_Strict):
    """every: steps of a line. wandb: the project at Weights & Biases, where one is wished for."""

    every: int = Field(default=10, gt=0)
    wandb: str | None = None


class Validation(_Strict):
    """every: steps between looks at held-out records, under fixed noise; none where 0. packs: how many. grid: images
    that are drawn each time, none where 0; sharded weights are not drawn with.
    """

    every: int = Field(default=0, ge=0)
    packs: int = Field(default=8, gt=0)
    split: Literal["validation", "test"] = "validation"
    grid: int = Field(default=0, ge=0)


class Recipe(_Strict):
    """A training. folder: where everything goes.

    stages: each a mapping, or the file of one, relative to the recipe's.
    patience: steps in a row without a finite loss and gradient after which the run stops; each is skipped.
    compile: torch.compile of the decoder's layers. recompute: activations of a layer are made again in the backward
        pass instead of kept. export: write the finished average in the published layout to the folder's `export`.
    card: what the exported model says of itself.
    """

    folder: Path
    start: Start
    data: Data
    stages: tuple[Stage, ...] = Field(min_length=1)
    lora: Lora | None = None
    seed: int = 0
    bf16: bool = True
    compile: bool = False
    recompute: bool = False
    patience: int = Field(default=10, gt=0)
    devices: Devices = Devices()
    save: Saves = Saves()
    log: Logs = Logs()
    validation: Validation = Validation()
    export: bool = True
    card: dict[str, Any] = {}

    @field_validator("stages")
    @classmethod
    def _names(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        names = [s.name for s in stages]
        twice = next((n for n in names if names.count(n) > 1), None)
        if twice:
            raise ValueError(f"two stages are called {twice!r}")
        return stages

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)


def load_recipe(file: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a YAML recipe; overrides are ``a.b=value`` with the value in YAML.

    Raises:
        RecipeError: no such file, not YAML, or a wrong key or value, named with its path.
    """
    return read_recipe(file, Recipe, overrides, example="stages.0.steps=100", included="stages")
