"""A suite: which benchmarks, of which folders, how many items, and how the model is asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from unimedvl.evaluation.benchmarks import BENCHMARKS
from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.models import Settings
from unimedvl.evaluation.tsv import lmu_data
from unimedvl.recipes import read_recipe

SHIPPED = Path(__file__).with_name("suites")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Entry(_Strict):
    """benchmark: its name. folder: of its data in the published form, or of VLMEvalKit's tables; `$LMUData` where it is
    left out. count: items at most; all where left out. Of a data set they are the first ones, spread evenly over its
    whole length where `spread` is true.
    """

    benchmark: str
    folder: Path | None = None
    count: int | None = Field(default=None, gt=0)
    spread: bool = True

    @field_validator("benchmark")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in BENCHMARKS:
            raise ValueError(f"no benchmark called {name!r}; there are {', '.join(BENCHMARKS)}")
        return name

    @property
    def data(self) -> Path | None:
        """The folder that is read.

        Raises:
            EvaluationError: the benchmark needs data, and nothing says where it is.
        """
        if not BENCHMARKS[self.benchmark].needs_data:
            return None
        if self.folder is None and lmu_data() is None:
            raise EvaluationError(
                f"{self.benchmark}: where is its data? give benchmarks.N.folder=DIR, or set LMUData to the folder of "
                "VLMEvalKit's tables"
            )
        return self.folder or lmu_data()


class JudgeEntry(_Strict):
    """A judge of open answers behind an OpenAI-compatible server. The key is taken from UNIMEDVL_ENDPOINT_KEY."""

    url: str
    model: str


class Suite(_Strict):
    """name: as results are told. batch: items that pass the model together. max_tokens: of an answer. steps: points of
    a drawing's time grid, the model's own where left out. keep: items of each benchmark whose images the gallery shows.
    """

    name: str
    benchmarks: list[Entry] = Field(min_length=1)
    batch: int = Field(default=16, gt=0)
    max_tokens: int = Field(default=128, gt=0)
    steps: int | None = Field(default=None, gt=1)
    dtype: str | None = Field(default=None, pattern="^(float32|bfloat16|float16)$")
    device: str | None = None
    keep: int = Field(default=24, ge=0)
    judge: JudgeEntry | None = None

    @field_validator("benchmarks")
    @classmethod
    def _once(cls, entries: list[Entry]) -> list[Entry]:
        names = [e.benchmark for e in entries]
        twice = next((n for n in names if names.count(n) > 1), None)
        if twice:
            raise ValueError(f"{twice} is named twice")
        return entries

    @property
    def settings(self) -> Settings:
        return Settings(self.max_tokens, self.steps, self.dtype, self.device)


def load_suite(name: str, overrides: Sequence[str] = ()) -> Suite:
    """A suite by its file, or by the name of one that is shipped.

    Raises:
        RecipeError: no such file, or a wrong key or value, named with its path.
        EvaluationError: neither a file nor a shipped suite.
    """
    file = Path(name)
    if not file.suffix:
        file = SHIPPED / f"{name}.yaml"
        if not file.is_file():
            known = ", ".join(sorted(f.stem for f in SHIPPED.glob("*.yaml")))
            raise EvaluationError(f"no suite called {name!r}; there are {known}, or give a YAML file")
    return read_recipe(file, Suite, overrides, example="benchmarks.0.count=50")
