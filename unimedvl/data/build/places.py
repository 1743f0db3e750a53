"""Where the sources of a build lie; miniatures are written into the build's own folder."""

from __future__ import annotations

from pathlib import Path

from unimedvl.data.build.recipe import BuildRecipe, Input
from unimedvl.data.miniatures import write_miniature


def input_folder(recipe: BuildRecipe, entry: Input) -> Path:
    """The published form of an input."""
    return entry.folder or recipe.folder / "miniatures" / entry.name


def write_miniatures(recipe: BuildRecipe) -> None:
    """Write the miniatures that the recipe asks for and that aren't there, each whole or not at all.

    Raises:
        DataError: one can't be written.
    """
    for entry in (*recipe.inputs, *recipe.evaluation):
        if not entry.miniature:
            continue
        folder = input_folder(recipe, entry)
        if not folder.exists():
            write_miniature(entry.name, folder)
