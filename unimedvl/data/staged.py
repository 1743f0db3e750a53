"""What the later stages of a build decided of the records that its first stage kept, joined from their pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.record import Decision, Record
from unimedvl.data.scan import STAGES, Place, scan
from unimedvl.data.shards import group_lengths

_PHANTOMS = "phantoms"  # the source whose studies are all simulated


@dataclass(frozen=True)
class Staged:
    """A record of the first stage, and where it lies. said: by stage, in their order, what that stage decided.
    split: what the build gave it; its source's where it gave none."""

    place: Place
    record: Record
    said: dict[str, tuple[Decision, ...]]
    split: str | None

    def at(self, stage: str) -> Record | None:
        """The record with this stage's decisions alone; None where it was out before, or the stage has not come."""
        before = [d for name, said in self.said.items() if STAGES.index(name) < STAGES.index(stage) for d in said]
        if stage not in self.said or not all(d.kept for d in (*self.record.decisions, *before)):
            return None
        return self.record.model_copy(update={"decisions": self.said[stage], "split": self.split})

    @property
    def whole(self) -> Record:
        """The record with the decisions of all stages."""
        decisions = (*self.record.decisions, *(d for said in self.said.values() for d in said))
        return self.record.model_copy(update={"decisions": decisions, "split": self.split})


def staged(build: Path) -> Iterator[Staged]:
    """Every record that the first stage kept, in order, with what is decided of it so far.

    Raises:
        DataError: a page can't be read, or is of other records than its shard.
    """
    for shard in sorted((build / STAGES[0]).rglob("*.parquet")):
        page = shard.relative_to(build / STAGES[0]).with_suffix(".json")
        length = sum(group_lengths(shard))
        pages = {stage: build / stage / page for stage in STAGES[1:] if (build / stage / page).is_file()}
        contents = {stage: page_content(file) for stage, file in pages.items()}
        said = {stage: _decisions(contents[stage], pages[stage], length) for stage in pages}
        splits = next((c["split"] for c in contents.values() if isinstance(c.get("split"), list)), [None] * length)
        if len(splits) != length:
            raise DataError(f"{shard}: {length} records, and {len(splits)} splits of a later stage")
        for row, (place, record) in enumerate(scan([shard])):
            decisions = {stage: rows[row] for stage, rows in said.items()}
            yield Staged(place, record, decisions, splits[row] or record.split)


def _decisions(content: dict, page: Path, length: int) -> list[tuple[Decision, ...]]:
    rows = content.get("decisions")
    if not isinstance(rows, list) or len(rows) != length:
        raise DataError(f"{page}: expected decisions of {length} records")
    try:
        return [tuple(Decision.model_validate(d) for d in row) for row in rows]
    except (TypeError, ValueError) as error:
        raise DataError(f"{page}: decisions: {str(error).splitlines()[0]}") from error


def page_content(page: Path) -> dict:
    """A page of a stage; empty where it is JSON of another form. Raises DataError where it can't be read."""
    try:
        content = json.loads(page.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{page}: can't be read: {error}") from error
    return content if isinstance(content, dict) else {}


def simulated_inputs(build: Path) -> list[str]:
    """The inputs that a build calls simulated: in its report, or while there is none, in the recipe noted at its start.

    Raises:
        DataError: the report or the recipe can't be read.
    """
    report, noted = build / "report.json", build / "recipe.json"
    if report.is_file():
        named = page_content(report).get("simulated")
        return [str(name) for name in named] if isinstance(named, list) else []
    recipe = page_content(noted).get("recipe") if noted.is_file() else None
    inputs = recipe.get("inputs") if isinstance(recipe, dict) else None
    entries = [e for e in inputs if isinstance(e, dict)] if isinstance(inputs, list) else []
    return [str(e.get("name")) for e in entries if e.get("miniature") or e.get("name") == _PHANTOMS]
