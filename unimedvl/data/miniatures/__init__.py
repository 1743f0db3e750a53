"""Miniatures: each data set's on-disk form, traps included, with invented texts and simulated images.

They stand in for data sets that may not be passed on: tests read them, and so can whoever tries a recipe out.
`write(root)` of each file makes the same bytes each time. Nothing in them is a patient's.
"""

from __future__ import annotations

import importlib
import pkgutil
import shutil
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.whole import reason

# Files that the others share.
_SHARED = ("paint", "volumes")


def miniatures() -> list[str]:
    """Names of the sources that have a miniature."""
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(__path__) if m.name not in _SHARED)


def write_miniature(name: str, root: Path) -> None:
    """Write a source's miniature into a new or empty folder, whole or not at all.

    Raises:
        DataError: the source has none, the folder isn't empty, or there is no room or right to write it.
    """
    if name not in miniatures():
        raise DataError(f"no miniature of {name!r}; there are {', '.join(miniatures())}")
    write = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").write
    half = root.absolute().with_name(f".{root.absolute().name}.part")
    try:
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise DataError(f"{root}: exists and is not an empty folder; give a new one")
        shutil.rmtree(half, ignore_errors=True)  # of a run that was killed
        half.mkdir(parents=True)
        write(half)
        if root.exists():  # it may be where the user stands, so that it stays
            for made in half.iterdir():
                made.rename(root / made.name)
        else:
            half.rename(root)
    except OSError as error:
        raise DataError(f"{root}: {reason(error)}") from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
