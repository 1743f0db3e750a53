"""Files that are written, or appended to, whole or not at all, down to the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from unimedvl.data.error import DataError


def reason(error: OSError) -> str:
    """The system's words alone; libraries wrap them in their own."""
    return os.strerror(error.errno) if error.errno else str(error) or type(error).__name__


@contextmanager
def written_whole(file: Path) -> Iterator[Path]:
    """A file beside `file` to be written, which takes its name at the end; where anything fails, nothing is left.

    Raises:
        DataError: it can't be written, for want of a folder, a right or room.
    """
    part = file.with_name(file.name + ".part")
    try:
        yield part
        with part.open("rb") as done:
            os.fsync(done.fileno())
        part.replace(file)
    except OSError as error:
        raise DataError(f"{file}: {reason(error)}") from error
    finally:
        with suppress(OSError):  # what went wrong is told already
            part.unlink(missing_ok=True)


def append_whole(file: Path, data: bytes) -> None:
    """Append to a file, which is made where it is missing; where that fails, the file stays as it was.

    When this returns, the bytes are on the disk. Several processes may append to one file of a local disk.

    Raises:
        DataError: it can't be written, for want of a folder, a right or room.
    """
    import fcntl  # here: writing whole files needs no POSIX system

    try:
        new = not file.exists()
        handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # so that what is taken back is nobody else's
            _append(handle, data)
        finally:
            os.close(handle)
        if new:
            _sync_folder(file.parent)
    except OSError as error:
        raise DataError(f"{file}: {reason(error)}") from error


def _append(handle: int, data: bytes) -> None:
    before = os.fstat(handle).st_size
    try:
        while data:  # of what finds no room a part is written, and the error comes with the rest
            data = data[os.write(handle, data) :]
        os.fsync(handle)
    except BaseException:
        os.ftruncate(handle, before)
        raise


def _sync_folder(folder: Path) -> None:
    """Force a new file's name to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
