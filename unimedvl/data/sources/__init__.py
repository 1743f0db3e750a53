"""The data sets that can be read, a file each."""

from __future__ import annotations

import importlib
import pkgutil

from unimedvl.data.error import DataError
from unimedvl.data.source import Source


def sources() -> dict[str, Source]:
    """Every source by its name, in alphabetical order."""
    files = [importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)]
    found = {module.SOURCE.name: module.SOURCE for module in files}
    return dict(sorted(found.items()))


def source(name: str) -> Source:
    """The source of a name.

    Raises:
        DataError: there is none; the message lists those there are.
    """
    found = sources()
    if name not in found:
        raise DataError(f"no source called {name!r}; there are {', '.join(found)}")
    return found[name]
