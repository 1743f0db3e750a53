"""A whole build: its stages one after another, alone in their folder, and going on where an earlier run stopped."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path

from unimedvl.checkpoint import fingerprint
from unimedvl.data.build import aligned, finished, parted
from unimedvl.data.build.aligned import measure_lane
from unimedvl.data.build.chunks import read_json, write_json
from unimedvl.data.build.failure import tidy, told_in_one_line
from unimedvl.data.build.lanes import Engine, Work, run_lanes
from unimedvl.data.build.lock import alone_in
from unimedvl.data.build.places import write_miniatures
from unimedvl.data.build.read import pages, read_lane
from unimedvl.data.build.ready import ALIGNMENT, READ, check, pinned, uses_nano
from unimedvl.data.build.recipe import BuildRecipe, Evaluation, Input
from unimedvl.data.build.repeated import Told, find_repeated
from unimedvl.data.build.report import write_report
from unimedvl.data.build.rows import Rows
from unimedvl.data.duplicates import hashes
from unimedvl.data.error import DataError
from unimedvl.data.quality import alignment, coarse
from unimedvl.data.sources import source
from unimedvl.recipes import differences

VERSION = "1"  # another one where the same recipe could give other files
# What changes no byte of what is built.
_FREE = ("folder", "processes")


def run_build(recipe: BuildRecipe, engine: Engine = run_lanes, told: Told = lambda what, done, total: None) -> dict:
    """Build, or go on building; returns the report, which also lies in `report.json`.

    told: is given what is done, how many more of it, and of how many where that is known.

    Raises:
        DataError: the folder is another build's, or of another recipe; an instrument of the recipe can't be had; a
            source is not what it should be; no record is left after the first stage; a file can't be written.
    """
    with alone_in(recipe.folder), tidy(recipe.folder):
        recipe = _ready(recipe, told)
        _same_recipe(recipe)
        write_miniatures(recipe)
        _read(recipe, engine, told)
        rows = Rows(recipe)
        if not rows.inputs:
            raise DataError(_nothing(recipe))
        prints = find_repeated(recipe, rows, told)
        if not aligned.report_file(recipe).is_file():
            _lanes(measure_lane, "measured", recipe, engine, told, rows.inputs)
            aligned.cut_aligned(recipe, rows)
        parted.part_by_patient(recipe, rows, prints)
        if not finished.done(recipe, rows):
            kept = sum(s["kept"] for s in parted.report(recipe)["sources"])
            _lanes(finished.shard_lane, "written", recipe, engine, told, kept)
        return write_report(recipe, rows)


def _ready(recipe: BuildRecipe, told: Told) -> BuildRecipe:
    """The recipe with the versions of its models, once what is left to be asked is seen to be there."""
    recipe = pinned(recipe, lambda more, of: told("bytes hashed", more, of))
    files = {READ: _read_file(recipe), ALIGNMENT: aligned.report_file(recipe)}
    check(recipe, tuple(stage for stage, file in files.items() if not file.is_file()))
    return recipe


def _lanes(work: Work, name: str, recipe: BuildRecipe, engine: Engine, told: Told, total: int | None) -> None:
    told(name, 0, total)
    with closing(engine(partial(told_in_one_line, work), recipe, recipe.processes)) as lanes:
        for done in lanes:
            told(name, done, total)


def _read(recipe: BuildRecipe, engine: Engine, told: Told) -> None:
    """The first stage; once it is done the sources are not looked at again."""
    done = _read_file(recipe)
    if not done.is_file():
        _lanes(read_lane, "read", recipe, engine, told, _expected(recipe))
        done.parent.mkdir(exist_ok=True)
        write_json(done, {"read": sum(page["read"] for entry in recipe.inputs for page in pages(recipe, entry))})


def _read_file(recipe: BuildRecipe) -> Path:
    """What is there once the first stage is done."""
    return recipe.folder / "read" / "done.json"


def _expected(recipe: BuildRecipe) -> int | None:
    """Items that there are to read, where the recipe's limits or what is published of the sources say it."""
    found = [_expected_of(entry) for entry in (*recipe.inputs, *recipe.evaluation) if not entry.miniature]
    return sum(found) if found and None not in found else None


def _expected_of(entry: Input) -> int | None:
    published = source(entry.name).expected
    if isinstance(entry, Evaluation) and entry.splits:
        published = {name: published.get(name) for name in entry.splits}
    known = None if not published or None in published.values() else sum(published.values())
    numbers = [n for n in (entry.limit, known) if n is not None]
    return min(numbers) if numbers else None


def _nothing(recipe: BuildRecipe) -> str:
    lost = [i for e in recipe.inputs for page in pages(recipe, e) for i in (*page["quarantined"], *page["dropped"])]
    if not lost:
        return f"{recipe.folder}: the inputs have no items"
    return f"none of {len(lost):,} items passed the first stage; the first is {lost[0]['where']}: {lost[0]['reason']}"


def _same_recipe(recipe: BuildRecipe) -> None:
    """Note the recipe in the folder, or see that it is the one noted: what is there was made by it."""
    versions = {"build": VERSION, "coarse": coarse.VERSION, "hashes": hashes.VERSION, "alignment": alignment.VERSION}
    if uses_nano(recipe):
        versions["nano"] = fingerprint()
    mine = {"recipe": recipe.model_dump(mode="json", exclude=set(_FREE)), "versions": versions}
    file = recipe.folder / "recipe.json"
    if not file.is_file():
        write_json(file, mine)
        return
    noted = read_json(file)
    for where, before, now in differences(noted, mine):
        raise DataError(
            f"{file}: begun with {where.removeprefix('recipe.')} {before}, which now is {now}; "
            "build in another folder, or remove this one"
        )
