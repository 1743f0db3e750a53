"""What a data build is, as pydantic models filled from YAML and ``key=value``."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from unimedvl.data.quality.coarse import CoarseSettings
from unimedvl.data.sources import source


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Input(_Strict):
    """One source. folder: its published form. limit: items of it that are read, all where None."""

    name: str
    folder: Path
    limit: int | None = Field(default=None, gt=0)

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        source(name)
        return name


class BuildRecipe(_Strict):
    """folder: where everything goes. chunk: items that are done together. processes: that read side by side.

    largest_image: bytes of an encoded image; larger ones are quarantined before they are decoded.
    """

    folder: Path
    inputs: tuple[Input, ...] = Field(min_length=1)
    coarse: CoarseSettings = CoarseSettings()
    chunk: int = Field(default=256, gt=0)
    processes: int = Field(default=os.cpu_count() or 1, gt=0)
    largest_image: int = Field(default=64 * 2**20, gt=0)

    @field_validator("inputs")
    @classmethod
    def _once(cls, inputs: tuple[Input, ...]) -> tuple[Input, ...]:
        names = [i.name for i in inputs]
        twice = next((n for n in names if names.count(n) > 1), None)
        if twice:
            raise ValueError(f"{twice} is there twice; each source is read once")
        return inputs
