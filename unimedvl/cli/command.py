"""Commands whose options come in groups, and whose errors are one line and an exit status."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import get_type_hints

import typer

# Which extra brings a package that the base install leaves out.
EXTRAS = {
    "scipy": "phantoms", "pydantic": "train", "yaml": "train", "skimage": "demo", "safetensors": "demo",
    "pyarrow": "data", "datasketch": "data", "imagehash": "data", "ray": "ray", "dicomanonymizer": "privacy",
    "tensorboard": "train", "nltk": "eval", "rouge_score": "eval", "sacrebleu": "eval", "pycocoevalcap": "eval",
    "sklearn": "eval", "torchmetrics": "eval", "sqlalchemy": "serve", "fastapi": "serve", "uvicorn": "serve",
    "python_multipart": "serve", "prometheus_client": "serve", "llguidance": "serve", "psycopg": "postgres",
    "highdicom": "hospital", "fhir": "hospital", "pynetdicom": "hospital", "dicomweb_client": "hospital",
}  # fmt: skip


class Failure(typer.TyperException):
    """An error to be shown as one line. status: 2 for bad input, 1 for all else."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(one_line(message))
        self.exit_code = status


def ended(app: typer.Typer, arguments: list[str] | None = None) -> int:
    """Run a command of `app`; what goes wrong is one line on standard error and the exit status.

    The context's `obj` holds the words given. Returns 0, 1 (failed), 2 (bad input) or 130 (interrupted).
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that lacks a character shows another
            stream.reconfigure(errors="replace")
    try:
        return app(arguments, standalone_mode=False, obj=sys.argv[1:] if arguments is None else arguments) or 0
    except typer.TyperException as error:
        sys.stderr.write(f"error: {_told(error)}\n")
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return 130


def _told(error: typer.TyperException) -> str:
    """The message, and for a wrong use where to read what is right."""
    message = one_line(error.format_message())
    context = getattr(error, "ctx", None)
    return message if context is None else f"{message} (see: {context.command_path} --help)"


def one_line(text: str) -> str:
    """`text` without line breaks, control characters and runs of spaces."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def command(app: typer.Typer, name: str | None = None) -> Callable[[Callable], Callable]:
    """Register a function as a command of `app`.

    A parameter whose type is a dataclass stands for a group: each of the dataclass's fields becomes an
    option, and the function gets the filled dataclass. One of the groups may have a field `debug`.
    """

    def register(function: Callable) -> Callable:
        hints = get_type_hints(function, include_extras=True)
        groups = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
        parameters = []
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name in groups:
                parameters += _options(groups[parameter.name])
            else:
                parameters.append(parameter.replace(annotation=hints[parameter.name]))
        parameters.sort(key=lambda p: p.kind)  # groups are keyword-only

        def run(**values):
            given = {g: kind(**{f.name: values.pop(f.name) for f in fields(kind)}) for g, kind in groups.items()}
            debug = any(getattr(group, "debug", False) for group in given.values())
            _guarded(function, values | given, debug)

        run.__name__, run.__doc__ = function.__name__, inspect.getdoc(function)
        run.__signature__ = inspect.Signature(parameters)
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        app.command(name or function.__name__)(run)
        return function

    return register


def _options(group: type) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    out = []
    for field in fields(group):
        default = field.default if field.default is not MISSING else field.default_factory()
        kind = inspect.Parameter.KEYWORD_ONLY
        out.append(inspect.Parameter(field.name, kind, default=default, annotation=hints[field.name]))
    return out


def _guarded(function: Callable, values: dict, debug: bool) -> None:
    """Call, and turn what goes wrong into a `Failure`; with `debug` its traceback is shown as well.

    What the user can put right is a ValueError throughout the package (ImagingError, CheckpointError,
    TokenizerError, RecipeError and those of the tasks).
    """
    try:
        function(**values)
    except (typer.TyperException, typer.Exit, typer.Abort, BrokenPipeError):
        raise
    except Exception as error:
        if debug:
            traceback.print_exc()
        raise _failure(error) from error


def _failure(error: Exception) -> Failure:
    text = one_line(str(error))
    if isinstance(error, ValueError):
        return Failure(text or type(error).__name__)
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package in EXTRAS:
            return Failure(f"{package} is not installed; pip install 'unimedvl[{EXTRAS[package]}]'", 1)
    return Failure(f"{type(error).__name__}: {text[:300]} (--debug shows where)", 1)
