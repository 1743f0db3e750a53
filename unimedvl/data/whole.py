"""Files that are written whole or not at all, down to the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unimedvl.data.error import DataError


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
        raise DataError(f"{file}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
