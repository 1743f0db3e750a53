"""What the later stages decide of the records that the first one kept: a page for each chunk, a list for each row."""

from __future__ import annotations

from collections.abc import Sequence

from unimedvl.data.build.chunks import Chunk
from unimedvl.data.build.recipe import BuildRecipe
from unimedvl.data.build.rows import Part
from unimedvl.data.error import DataError
from unimedvl.data.record import Decision

# Stages in their order; each leaves a folder with a folder for each input in it.
DUPLICATES, MEASURES, ALIGNMENT, SPLITS = "duplicates", "measures", "alignment", "splits"
ORDER = (DUPLICATES, MEASURES, ALIGNMENT, SPLITS)


def page_of(recipe: BuildRecipe, stage: str, part: Part) -> Chunk:
    return Chunk(recipe.folder / stage / part.entry.name, part.chunk.number)


def write_decisions(recipe: BuildRecipe, stage: str, part: Part, rows: Sequence[Sequence[Decision]], **more) -> None:
    """rows: the stage's decisions of each record of the chunk; none for one that is out already."""
    told = [[d.model_dump(mode="json", exclude_defaults=True) for d in row] for row in rows]
    page_of(recipe, stage, part).write_page({"decisions": told} | more)


def read_decisions(recipe: BuildRecipe, stage: str, part: Part) -> list[tuple[Decision, ...]]:
    """What was written. Raises DataError where it is not of this chunk."""
    page = page_of(recipe, stage, part)
    rows = page.read_page().get("decisions", [])
    if len(rows) != part.count:
        raise DataError(f"{page.page}: {len(rows)} rows for {part.count} records; remove it and build again")
    return [tuple(Decision.model_validate(d) for d in row) for row in rows]


def decided(recipe: BuildRecipe, stages: Sequence[str], part: Part) -> list[tuple[Decision, ...]]:
    """By row what some stages decided, in their order."""
    by_stage = [read_decisions(recipe, stage, part) for stage in stages]
    return [tuple(d for decisions in row for d in decisions) for row in zip(*by_stage, strict=True)]


def kept(decisions: Sequence[Decision]) -> bool:
    return all(d.kept for d in decisions)
