"""Recipes in YAML, with ``key=value`` over them, into the pydantic model that says what they may hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)


class RecipeError(ValueError):
    """A recipe that can't be read; the message names the field and what it accepts."""


def read_recipe(
    file: Path | None, model: type[Model], overrides: Sequence[str] = (), example: str = "seed=1", included: str = ""
) -> Model:
    """Read a YAML recipe; overrides are ``a.b=value`` with the value in YAML.

    file: where it is None, there are the overrides alone.
    example: an override, for the message on one that is none.
    included: a field whose entries may be files of their own, named relative to the recipe's; they are read into it.

    Raises:
        RecipeError: no such file, not YAML, or a wrong key or value, named with its path.
    """
    values = {} if file is None else read_yaml(file)
    told = "" if file is None else f"{file}: "
    if file is not None and isinstance(values.get(included), list):
        place = Path(file).parent
        values[included] = [read_yaml(place / e) if isinstance(e, str) else e for e in values[included]]
    for override in overrides:
        _override(values, override, example)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            fields = _fields(model, first["loc"])
            raise RecipeError(f"{told}{where}: no such field; there are {fields}") from error
        message = first["msg"].removeprefix("Value error, ")
        raise RecipeError(f"{told}{where + ': ' if where else ''}{message}") from error


def read_yaml(file: Path) -> dict:
    """The mapping that a YAML file holds. Raises RecipeError where it holds none."""
    try:
        values = yaml.safe_load(Path(file).read_text())
    except OSError as error:
        raise RecipeError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{file}: not YAML: no UTF-8 text") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{file}: not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{file}: a recipe is a mapping of fields to values, as those in recipes/ are")
    return values


def _fields(model: type[BaseModel], place: tuple[str | int, ...]) -> str:
    """The fields that there are where an unknown one was given; numbers in the place count the entries of a list."""
    for name in place[:-1]:
        if isinstance(name, str):
            kind = model.model_fields[name].annotation
            model = next((k for k in (kind, *getattr(kind, "__args__", ())) if isinstance(k, type)
                          and issubclass(k, BaseModel)), model)  # fmt: skip
    return ", ".join(model.model_fields)


def _override(values: dict, override: str, example: str) -> None:
    """Put one ``a.b=value`` in its place; numbers in the path count the entries of a list."""
    key, found, value = override.partition("=")
    if not found:
        raise RecipeError(f"{override!r} is no override; write key=value, as in {example}")
    place, (*path, last) = values, key.split(".")
    try:
        for name in path:
            place = place[int(name)] if isinstance(place, list) else place.setdefault(name, {})
        place[int(last) if isinstance(place, list) else last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RecipeError(f"{key}: the value is not YAML: {value!r}") from error
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise RecipeError(f"{key}: the recipe has no such field") from error


def differences(one: object, other: object, where: str = "") -> Iterator[tuple[str, object, object]]:
    """Where two recipes, as JSON has them, differ: the place, and what each has there."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            yield from differences(one.get(key), other.get(key), f"{where}.{key}" if where else key)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from differences(a, b, f"{where}.{number}")
    elif one != other:
        yield where, one, other
