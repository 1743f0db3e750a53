"""Where a made picture goes: told beforehand whether it can, and written whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from pathlib import Path

from unimedvl.imaging.errors import ImagingError

# Endings of files that a made picture is saved as, and the format that each stands for.
FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


def check_output(path: str | os.PathLike) -> Path:
    """Tell now, before long work, whether a picture can be saved at `path`. Leaves nothing behind.

    Returns:
        The file that will be written, links followed.

    Raises:
        ImagingError: the folder is missing or read-only; the path is a folder, a device or a file
            that may not be replaced; or its name ends in none of `FORMATS`.
    """
    name = os.fspath(path)
    try:
        target = Path(os.path.realpath(name))
        if target.is_dir() or name.endswith(("/", os.sep)):
            raise ImagingError(name, "is a folder; give the name of a file in it, such as out.png")
        if target.suffix.lower() not in FORMATS:
            raise ImagingError(name, f"must end in one of {', '.join(FORMATS)}")
        if not target.parent.exists():
            raise ImagingError(name, f"the folder {target.parent} does not exist; create it first")
        if not target.parent.is_dir():
            raise ImagingError(name, f"{target.parent} is not a folder")
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            raise ImagingError(name, "is a pipe, socket or device; give the name of a regular file")
        if target.exists() and not os.access(target, os.W_OK):
            raise ImagingError(name, "exists and is read-only; give another name")
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except ImagingError:
        raise
    except (OSError, ValueError) as error:
        problem = f"cannot be written ({_why(error)}); give a file in a writable folder"
        raise ImagingError(name, problem) from error
    return target


def write_whole(data: bytes, path: str | os.PathLike) -> Path:
    """Write a made picture's file. It is written beside its place and then moved there: nobody ever sees half of it.

    Returns:
        The file, links followed.

    Raises:
        ImagingError: as `check_output`, or the disk is full.
    """
    target = check_output(path)
    partial = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        # Not tempfile's: a made picture should have the permissions that any new file has.
        with open(partial, "xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, target)
    except OSError as error:
        raise ImagingError(os.fspath(path), f"could not be written ({_why(error)})") from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).split("\n")[0] or type(error).__name__
