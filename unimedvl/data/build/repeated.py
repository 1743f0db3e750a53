"""The second stage: what repeats another record, and what training shares with evaluation sets, is out.

All records are compared with all, so the stage is one process and is done whole: its report is written last. Beside
the decisions it leaves the groups of images, by which the splits are made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unimedvl.data.build.chunks import read_json, write_json
from unimedvl.data.build.decisions import DUPLICATES, write_decisions
from unimedvl.data.build.recipe import BuildRecipe, Evaluation, Input
from unimedvl.data.build.rows import Rows
from unimedvl.data.duplicates.contamination import KINDS, Contamination, check, parts_by_split
from unimedvl.data.duplicates.images import BY, ImageGroups, group_images
from unimedvl.data.duplicates.prints import Prints
from unimedvl.data.duplicates.records import Repeats, find_repeats, repeats_report
from unimedvl.data.duplicates.report import read_report
from unimedvl.data.duplicates.texts import group_texts
from unimedvl.data.record import Decision
from unimedvl.data.whole import written_whole

# Told (what, done more, of how many).
Told = Callable[[str, int, int | None], None]
_TOLD_EACH = 256


def find_repeated(recipe: BuildRecipe, rows: Rows, told: Told) -> Prints:
    """Do the stage unless it is done; returns the prints of all records.

    Raises:
        DataError: a chunk was changed from outside, or a file can't be written.
    """
    prints, entries = take_prints(recipe, rows, told)
    if report_file(recipe).is_file():
        return prints
    image, text = (_counted(load, name, told) for load, name in zip(
        rows.loaders(prints), ("images compared", "texts compared"), strict=True))  # fmt: skip
    images = group_images(prints, image, recipe.duplicates.images)
    texts = group_texts(prints, text, recipe.duplicates.texts)
    repeats = find_repeats(prints, images, texts)
    parts = _parts(prints, entries)
    contamination = check(prints, parts, images, texts, recipe.contamination)
    _write(recipe, rows, prints, repeats, contamination)
    _write_groups(recipe, images)
    reports = {"duplicates": repeats_report(prints, images, texts, repeats), "contamination": contamination.report}
    for name, report in reports.items():
        # As it is read again, so that counts that don't add up are told here.
        read_report(report.to_json())
        with written_whole(recipe.folder / DUPLICATES / f"{name}.md") as part:
            part.write_text(report.to_markdown(), encoding="utf-8")
    write_json(report_file(recipe), {name: report.model_dump(mode="json") for name, report in reports.items()})
    return prints


def report_file(recipe: BuildRecipe) -> Path:
    return recipe.folder / DUPLICATES / "report.json"


def reports(recipe: BuildRecipe) -> dict:
    """What the stage found, once it is done: `duplicates` and `contamination`."""
    return read_json(report_file(recipe))


@dataclass(frozen=True)
class _Entries:
    """Of each record the input that it is of, as its place among all, and their names."""

    number: np.ndarray
    all: tuple[Input, ...]


def take_prints(recipe: BuildRecipe, rows: Rows, told: Told) -> tuple[Prints, _Entries]:
    """The prints of all records, by number."""
    prints, everything = Prints(recipe.duplicates.cohorts), (*recipe.inputs, *recipe.evaluation)
    places = {id(entry): place for place, entry in enumerate(everything)}
    number = np.zeros(rows.count, dtype=np.uint16)
    for entry, one in rows.prints():
        record = prints.add(one)
        number[record] = places[id(entry)]
        if len(prints) % _TOLD_EACH == 0 or len(prints) == rows.count:
            told("prints", (len(prints) - 1) % _TOLD_EACH + 1, rows.count)
    return prints, _Entries(number, everything)


def _parts(prints: Prints, entries: _Entries) -> list[str]:
    """For each record its evaluation set: by its source's split, or as the recipe names it."""
    own = parts_by_split(prints)
    named = [e.name if isinstance(e, Evaluation) else None for e in entries.all]
    return [named[n] or part for n, part in zip(entries.number.tolist(), own, strict=True)]


def _counted(load, name: str, told: Told):
    asked = 0

    def counting(number: int):
        nonlocal asked
        asked += 1
        if asked % _TOLD_EACH == 0:
            told(name, _TOLD_EACH, None)
        return load(number)

    return counting


def _write(recipe, rows: Rows, prints: Prints, repeats: Repeats, contamination: Contamination) -> None:
    shared = _shared(prints, contamination)
    for part in rows.input_parts:
        numbers = range(part.first, part.first + part.count)
        write_decisions(recipe, DUPLICATES, part, [list(_decisions(n, prints, repeats, shared)) for n in numbers])


def _decisions(record: int, prints: Prints, repeats: Repeats, shared: dict[int, Decision]) -> Iterator[Decision]:
    first = repeats.decision(record, prints)
    yield first
    if first.kept:
        yield shared.get(record, Decision(rule="contamination", kept=True, by=BY))


def _shared(prints: Prints, contamination: Contamination) -> dict[int, Decision]:
    """The decision on each training record that an evaluation set shares something with, by its surest finding."""
    found: dict[int, Decision] = {}
    for finding in sorted(contamination.findings, key=lambda f: KINDS.index(f.kind)):
        same = f"the same {finding.kind.split()[-1]} as {prints.name(finding.records[0])}, of {finding.evaluation}"
        rule = f"contaminated: {finding.kind}"
        for record in finding.train:
            found.setdefault(record, Decision(rule=rule, kept=False, by=BY, reason=same))
    return found


def _write_groups(recipe: BuildRecipe, images: ImageGroups) -> None:
    with written_whole(_groups_file(recipe)) as part, part.open("wb") as out:
        np.savez(out, group=images.group, same=images.same)


def read_groups(recipe: BuildRecipe) -> ImageGroups:
    """The groups of images, once the stage is done."""
    with np.load(_groups_file(recipe)) as found:
        return ImageGroups(group=found["group"], same=found["same"])


def _groups_file(recipe: BuildRecipe) -> Path:
    return recipe.folder / DUPLICATES / "groups.npz"


