"""The packages that metrics are computed with, imported when they are needed."""

from __future__ import annotations

import importlib
from types import ModuleType

from unimedvl.evaluation.error import EvaluationError


def package(name: str, use: str, extra: str = "eval") -> ModuleType:
    """The module of that name. use: what needs it, as the message words it. extra: what brings it.

    Raises:
        EvaluationError: it is not installed, or can't be imported, as one built for another torch.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or name).partition(".")[0]
        install = f"pip install 'unimedvl[{extra}]'"
        raise EvaluationError(f"{use} needs {missing}, which is not installed; {install}") from error
    except (ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise EvaluationError(f"{use} needs {name}, which is installed and can't be imported: {reason}") from error
