"""The disk under an inbox: names forced to it, a lock on it, and why it did not keep something."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.hospital.error import HospitalError


class NoRoom(HospitalError):
    """The disk is full, or would be; what was sent is not kept."""


def locked(file: Path) -> int:
    """A descriptor that holds a lock on a file as long as it is open. Raises BlockingIOError."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(handle)
        raise
    return handle


def synced(folder: Path) -> None:
    """Force the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def refusal(error: Exception) -> HospitalError:
    """Why something can't be kept: NoRoom where the disk, or the database on it, is full."""
    cause = error.__cause__ if isinstance(error, DataError) else error
    full = getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    if full or getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return NoRoom("the disk is full; nothing was kept")
    return HospitalError(f"can't be kept ({getattr(cause, 'strerror', None) or type(cause).__name__})")
