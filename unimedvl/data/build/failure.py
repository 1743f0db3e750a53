"""What a build that fails leaves: whole files alone, and one line that says why."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from unimedvl.data.build.lanes import Work
from unimedvl.data.error import DataError
from unimedvl.data.whole import reason


@contextmanager
def tidy(folder: Path) -> Iterator[None]:
    """Whatever ends the build, take the halves of files away that its lanes were writing when they were ended.

    Raises:
        DataError: instead of an error of the system, such as a full disk's.
    """
    try:
        yield
    except OSError as error:
        _remove_halves(folder)
        raise DataError(_line(error, folder)) from error
    except BaseException:
        _remove_halves(folder)
        raise


def told_in_one_line(work: Work, settings: Any, lane: int, lanes: int) -> Iterator[int]:
    """A lane of `work`, whose errors of the system are a DataError too. Raises what `work` does else."""
    try:
        for done in work(settings, lane, lanes):  # noqa: UP028 - engines may send into a generator
            yield done
    except OSError as error:
        raise DataError(_line(error, None)) from error


def _line(error: OSError, folder: Path | None) -> str:
    where = error.filename or folder
    return f"{where}: {reason(error)}" if where else reason(error)


def _remove_halves(folder: Path) -> None:
    with suppress(OSError):
        for half in list(folder.rglob("*.part")):
            if half.is_dir():
                shutil.rmtree(half, ignore_errors=True)
            else:
                half.unlink(missing_ok=True)
