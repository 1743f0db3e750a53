"""What a data build is, as pydantic models filled from YAML and ``key=value``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from unimedvl.data.build.instruments import Chosen, RewriterChoice, Strict, WriterChoice, validated
from unimedvl.data.duplicates.contamination import ContaminationSettings
from unimedvl.data.duplicates.images import ImageSettings
from unimedvl.data.duplicates.splits import SplitSettings
from unimedvl.data.duplicates.texts import TextSettings
from unimedvl.data.miniatures import miniatures
from unimedvl.data.quality.alignment import AlignmentSettings
from unimedvl.data.quality.coarse import CoarseSettings
from unimedvl.data.record import Group, Split
from unimedvl.data.sources import source
from unimedvl.recipes import read_recipe

# The source whose images this package simulates.
SIMULATED = "phantoms"


class Captions(Strict):
    """Records to draw by of each captioned image. writer: who writes them, and the description of the image."""

    writer: WriterChoice = "embedded"


class Pairs(Strict):
    """Words for pairs of images, from the templates of their task. rewriter: varies them; None leaves them."""

    rewriter: RewriterChoice | None = None


class Input(Strict):
    """One source. folder: its published form. miniature: take the source's miniature instead, which the build
    writes into its own folder. limit: items of it that are read, all where None. captions: of each captioned image
    make records to draw by as well (`captions/`); true takes the embedded writer. pairs: give pairs of images, once
    they are seen to lie on each other, words from the templates of their task (`interleaved/`).
    """

    name: str
    folder: Path | None = None
    miniature: bool = False
    limit: int | None = Field(default=None, gt=0)
    captions: bool | Captions = False
    pairs: bool | Pairs = False

    @field_validator("captions", "pairs", mode="before")
    @classmethod
    def _asked_for(cls, value: object, info: ValidationInfo) -> object:
        """What says no more than true is true."""
        kind = {"captions": Captions, "pairs": Pairs}[info.field_name]
        if not isinstance(value, bool | kind):
            if not isinstance(value, dict):
                raise ValueError(f"expected true, false or {{{', '.join(kind.model_fields)}: ...}}")
            value = validated(kind, value)
        return True if value == kind() else value

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        source(name)
        return name

    @model_validator(mode="after")
    def _one_place(self) -> Input:
        if self.folder is not None and self.miniature:
            raise ValueError(f"{self.name}: give a folder or miniature: true, not both")
        if self.folder is None and not self.miniature:
            raise ValueError(f"{self.name}: give the folder of the data set, or miniature: true")
        if self.miniature and self.name not in miniatures():
            raise ValueError(f"{self.name}: there is no miniature of it; there are {', '.join(miniatures())}")
        return self

    @property
    def simulated(self) -> bool:
        """Whether its images are: a miniature's all are."""
        return self.miniature or self.name == SIMULATED


class Evaluation(Input):
    """An evaluation set that training must not share anything with. It is compared with, and not built.

    splits: which of its records are evaluation; all where None.
    """

    splits: tuple[Split, ...] | None = Field(default=None, min_length=1)


class DuplicateSettings(Strict):
    """cohorts: by data set, whose patients' names it bears, where that is not its own."""

    images: ImageSettings = ImageSettings()
    texts: TextSettings = TextSettings()
    cohorts: dict[str, str] = Field(default_factory=dict)


class AlignmentStage(AlignmentSettings):
    """The settings of the cut, and who measures. instruments: captioner, encoder and matcher, each by its kind;
    `embedded` are the stand-ins, which run anywhere and know simulated images alone; `none` leaves the stage out.
    groups: the tasks whose texts are compared with their images; interleaved ones are left out, since an instruction
    to draw says nothing of what is to be seen.
    """

    captions: int = Field(default=1, gt=0)
    instruments: Literal["embedded", "none"] | Chosen = "embedded"
    groups: tuple[Group, ...] = Field(default=("understanding", "generation"), min_length=1)

    @field_validator("instruments", mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        """Three embedded ones are `embedded`."""
        if isinstance(value, dict):
            value = validated(Chosen, value)
        elif value not in ("embedded", "none") and not isinstance(value, Chosen):
            fields = ", ".join(f"{name}: ..." for name in Chosen.model_fields)
            raise ValueError(f"{value!r}: expected embedded, none or {{{fields}}}")
        return "embedded" if value == Chosen() else value

    @property
    def chosen(self) -> Chosen | None:
        """The three instruments; None where the stage is left out."""
        if self.instruments == "none":
            return None
        return Chosen() if self.instruments == "embedded" else self.instruments


class BuildRecipe(Strict):
    """folder: where everything goes. evaluation: sets that training must not share anything with.
    chunk: items that are done together. shard: records of a finished shard, at most. processes: that work side by
    side. largest_image: bytes of an encoded image; larger ones are quarantined before they are decoded.
    """

    folder: Path
    inputs: tuple[Input, ...] = Field(min_length=1)
    evaluation: tuple[Evaluation, ...] = ()
    coarse: CoarseSettings = CoarseSettings()
    duplicates: DuplicateSettings = DuplicateSettings()
    contamination: ContaminationSettings = ContaminationSettings()
    alignment: AlignmentStage = AlignmentStage()
    splits: SplitSettings = SplitSettings()
    chunk: int = Field(default=256, gt=0)
    shard: int = Field(default=2048, gt=0)
    processes: int = Field(default=os.cpu_count() or 1, gt=0)
    largest_image: int = Field(default=64 * 2**20, gt=0)

    @field_validator("inputs", "evaluation")
    @classmethod
    def _once(cls, inputs: tuple[Input, ...]) -> tuple[Input, ...]:
        names = [i.name for i in inputs]
        twice = next((n for n in names if names.count(n) > 1), None)
        if twice:
            raise ValueError(f"{twice} is there twice; each source is read once")
        return inputs


def load_recipe(file: Path, overrides: Sequence[str] = ()) -> BuildRecipe:
    """Read a YAML recipe; overrides are ``a.b=value`` with the value in YAML.

    Raises:
        RecipeError: no such file, not YAML, or a wrong key or value, named with its path.
    """
    return read_recipe(file, BuildRecipe, overrides, example="processes=2")
