"""The fourth stage: train, validation and test by patient.

Groups are made over all records, dropped ones too: what a dropped record links stays in one split.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from unimedvl.data.build.chunks import read_json, write_json
from unimedvl.data.build.decisions import (
    ALIGNMENT,
    DUPLICATES,
    MEASURES,
    SPLITS,
    decided,
    kept,
    page_of,
    write_decisions,
)
from unimedvl.data.build.recipe import BuildRecipe
from unimedvl.data.build.repeated import read_groups
from unimedvl.data.build.rows import Part, Rows
from unimedvl.data.duplicates.prints import Prints
from unimedvl.data.duplicates.report import Dropped, make_report
from unimedvl.data.duplicates.splits import Splits, split_records
from unimedvl.data.record import Decision
from unimedvl.data.whole import written_whole


def part_by_patient(recipe: BuildRecipe, rows: Rows, prints: Prints) -> None:
    """Give each record a split, unless that is done; the report is written last.

    Raises:
        DataError: a page was changed from outside, or can't be written.
    """
    if report_file(recipe).is_file():
        return
    splits = split_records(prints, read_groups(recipe), recipe.splits)
    found = _Found()
    for part in rows.input_parts:
        _part_chunk(recipe, part, prints, splits, found)
    made = make_report(
        "Splits", found.sources, found.dropped,
        notes={"groups in validation and test of their sources": splits.torn},
        tables={"Records by split": {name: dict(sorted(c.items())) for name, c in found.by_split.items()}},
    )  # fmt: skip
    with written_whole(recipe.folder / SPLITS / "splits.md") as file:
        file.write_text(made.to_markdown(), encoding="utf-8")
    write_json(report_file(recipe), made.model_dump(mode="json"))


class _Found:
    """What the report is made of. sources: of each record that came so far. dropped: by its place among them."""

    def __init__(self) -> None:
        self.sources: list[str] = []
        self.dropped: list[tuple[int, Dropped]] = []
        self.by_split: dict[str, Counter] = {}


def _part_chunk(recipe: BuildRecipe, part: Part, prints: Prints, splits: Splits, found: _Found) -> None:
    rows: list[list[Decision]] = []
    names: list[str | None] = []
    source = part.entry.name
    for row, before in enumerate(decided(recipe, (DUPLICATES, MEASURES, ALIGNMENT), part)):
        if not kept(before):
            rows.append([])
            names.append(None)
            continue
        record = part.first + row
        decision, name = splits.decision(record, prints), splits.name(record)
        rows.append([decision])
        names.append(name)
        if decision.kept:
            found.by_split.setdefault(source, Counter())[name] += 1
        else:
            lost = Dropped(record=prints.name(record), rule=decision.rule, reason=decision.reason)
            found.dropped.append((len(found.sources), lost))
        found.sources.append(source)
    write_decisions(recipe, SPLITS, part, rows, split=names)


def split_names(recipe: BuildRecipe, part: Part) -> list[str | None]:
    """By row the split; None where the record is out."""
    return page_of(recipe, SPLITS, part).read_page()["split"]


def report_file(recipe: BuildRecipe) -> Path:
    return recipe.folder / SPLITS / "report.json"


def report(recipe: BuildRecipe) -> dict:
    """What the stage did, once it is done."""
    return read_json(report_file(recipe))
