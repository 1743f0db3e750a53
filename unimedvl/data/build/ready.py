"""Before anything is read: that the instruments of a recipe are there, and which versions of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from unimedvl.data.build.instruments import (
    AtEndpoint,
    Choice,
    Role,
    ThroughTransformers,
    made_of,
    pretrained_in,
)
from unimedvl.data.build.recipe import BuildRecipe, Captions, Evaluation, Input, Pairs
from unimedvl.data.error import DataError
from unimedvl.data.quality.endpoint import EndpointError
from unimedvl.data.quality.revisions import Hashed, revision_of

# The two stages that ask instruments.
READ, ALIGNMENT = "read", "alignment"
_TRIES = 2  # at the start somebody waits, and can start the server


def pinned(recipe: BuildRecipe, hashed: Hashed = lambda more, of: None) -> BuildRecipe:
    """The recipe with the revision of each model that it names, so that all that is built is by one.

    Raises:
        DataError: there is no such model or folder.
    """

    def found(where: str, role: Role, choice: Choice) -> Choice:
        if not isinstance(choice, ThroughTransformers):
            return choice
        with _telling(where):
            revision = revision_of(choice.transformers, choice.revision, hashed)
        return choice.model_copy(update={"revision": revision})

    return _each(recipe, found)


def check(recipe: BuildRecipe, stages: tuple[str, ...] = (READ, ALIGNMENT)) -> None:
    """See that what these stages will ask can be asked: keys, packages, devices, servers. No weights are read.

    Raises:
        DataError: one can't; the message names its place in the recipe.
    """
    seen: list[tuple[Role, Choice]] = []

    def look(where: str, role: Role, choice: Choice) -> Choice:
        stage = ALIGNMENT if where.startswith("alignment") else READ
        if stage in stages and (role, choice) not in seen:
            seen.append((role, choice))
            with _telling(where):
                _check(role, choice, recipe)
        return choice

    _each(recipe, look)


def _check(role: Role, choice: Choice, recipe: BuildRecipe) -> None:
    if isinstance(choice, AtEndpoint):
        try:
            replace(choice.asked(), tries=min(choice.tries, _TRIES)).greet()
        except EndpointError as error:
            right = "see that the server runs, and that endpoint, model and key are right"
            raise DataError(f"{error}; {right}") from error
    elif model := pretrained_in(made_of(role, choice, recipe.folder)):
        model.check()


def uses_nano(recipe: BuildRecipe) -> bool:
    """Whether the embedded model measures."""
    chosen = recipe.alignment.chosen
    return chosen is not None and "embedded" in (chosen.captioner, chosen.matcher)


@contextmanager
def _telling(where: str) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


# Given the place in the recipe, the role and the choice; what it returns stands in its place.
_Look = Callable[[str, Role, Choice], Choice]


def _each(recipe: BuildRecipe, look: _Look) -> BuildRecipe:
    """The recipe with what `look` gives for each choice of it."""
    update: dict = {}
    for name in ("inputs", "evaluation"):
        entries = getattr(recipe, name)
        update[name] = tuple(_entry(f"{name}.{n}", entry, look) for n, entry in enumerate(entries))
    chosen = recipe.alignment.chosen
    if chosen is not None and recipe.alignment.instruments != "embedded":
        found = {role: look(f"alignment.instruments.{role}", role, getattr(chosen, role)) for role in _roles(chosen)}
        instruments = chosen.model_copy(update=found)
        update["alignment"] = recipe.alignment.model_copy(update={"instruments": instruments})
    return recipe.model_copy(update=update)


def _roles(chosen) -> tuple[Role, ...]:
    return tuple(type(chosen).model_fields)


def _entry(where: str, entry: Input | Evaluation, look: _Look) -> Input | Evaluation:
    update = {}
    if isinstance(entry.captions, Captions):
        writer = look(f"{where}.captions.writer", "writer", entry.captions.writer)
        update["captions"] = Captions(writer=writer)
    if isinstance(entry.pairs, Pairs) and entry.pairs.rewriter is not None:
        update["pairs"] = Pairs(rewriter=look(f"{where}.pairs.rewriter", "rewriter", entry.pairs.rewriter))
    return entry.model_copy(update=update)
