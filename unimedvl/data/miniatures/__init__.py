"""Miniatures: each data set's on-disk form, traps included, with invented texts and simulated images.

They stand in for data sets that may not be passed on: tests read them, and so can whoever tries a recipe out.
`write(root)` of each file makes the same bytes each time. Nothing in them is a patient's.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from unimedvl.data.error import DataError

# Files that the others share.
_SHARED = ("paint", "volumes")


def miniatures() -> list[str]:
    """Names of the sources that have a miniature."""
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(__path__) if m.name not in _SHARED)


def write_miniature(name: str, root: Path) -> None:
    """Write a source's miniature into a folder.

    Raises:
        DataError: the source has none.
    """
    if name not in miniatures():
        raise DataError(f"no miniature of {name!r}; there are {', '.join(miniatures())}")
    root.mkdir(parents=True, exist_ok=True)
    importlib.import_module(f"{__name__}.{name.replace('-', '_')}").write(root)
