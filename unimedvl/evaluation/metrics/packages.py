"""The packages that metrics are computed with, imported when they are needed."""

from __future__ import annotations

import importlib
from types import ModuleType

from unimedvl.evaluation.error import EvaluationError


def package(name: str, use: str, extra: str = "eval") -> ModuleType:
    """The module of that name. use: what needs it, as the message words it. extra: what brings it.

    Raises:
        EvaluationError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or name).partition(".")[0]
        install = f"pip install 'unimedvl[{extra}]'"
        raise EvaluationError(f"{use} needs {missing}, which is not installed; {install}") from error
