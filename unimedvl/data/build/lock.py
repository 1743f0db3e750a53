"""One build in a folder at a time. The locks are the system's, so that a build that was killed leaves none."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from unimedvl.data.error import DataError

_BUILD, _LANES = "build.lock", "lanes.lock"
_PATIENCE = 30.0  # seconds for the lanes of a build that was killed to end


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder for this build, which its lanes hold too: none of an earlier one is left.

    Raises:
        DataError: another build runs in it, or it can't be written.
    """
    with _opened(folder, _BUILD) as held:
        if not _taken(held):
            raise DataError(f"{folder}: another build runs in this folder; wait for it or take another folder")
        _wait_for_lanes(folder)
        yield


def _opened(folder: Path, name: str) -> IO[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / name).open("w")
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror or error}") from error


def _wait_for_lanes(folder: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    with _opened(folder, _LANES) as held:
        while not _taken(held):
            if time.monotonic() > deadline:
                raise DataError(f"{folder}: processes of an earlier build still run in this folder; end them first")
            time.sleep(0.05)


def _taken(held) -> bool:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def lane_of(folder: Path) -> Iterator[None]:
    """Hold the folder for a lane; any number of lanes may."""
    with _opened(folder, _LANES) as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        yield
