"""What stands for a checkpoint's weights: a hash over all its tensor files."""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from unimedvl.checkpoint.error import CheckpointError
from unimedvl.checkpoint.layout import Checkpoint, open_checkpoint
from unimedvl.checkpoint.progress import Progress, reporter


class Identity(NamedTuple):
    """What tells a file apart from another one, and from itself after a change."""

    path: Path
    device: int
    inode: int
    size: int
    modified_ns: int


_CHUNK = 1 << 22  # bytes
# SHA-256 of the files hashed so far, as `functools.cache` would keep them: a file that did not change is not read
# again in this process.
_KNOWN: dict[Identity, str] = {}


def fingerprint(source: str | Path | Checkpoint | None = None, progress: Progress | bool = False) -> str:
    """SHA-256 that stands for a checkpoint's weights, in hexadecimal.

    It is the hash of what ``sha256sum`` prints for the tensor files in order of their names, so
    ``sha256sum *.safetensors | sha256sum`` gives it too. A file is hashed again only if it changed.

    progress: called with the bytes hashed and the bytes to hash; True draws a bar on standard error.
    Raises:
        CheckpointError: no such checkpoint, or its files cannot be read.
    """
    return Fingerprint(source if isinstance(source, Checkpoint) else open_checkpoint(source), progress)()


@dataclass(frozen=True)
class _Held:
    """An open file, and what it was when it was opened."""

    identity: Identity
    stream: FileIO


class Fingerprint:
    """The fingerprint of a checkpoint as it is now, taken when first called and then remembered.

    Hashing reads every byte, which takes a minute for 29 GB, so it waits until somebody asks. It always covers
    all tensor files, also those that a model loaded in part has not read: the same weights have one hash.
    The files are held open until then, so what is hashed is what was there, even where another
    checkpoint has meanwhile been saved in its place. Pickled or copied, it becomes its value.
    """

    def __init__(self, checkpoint: Checkpoint, progress: Progress | bool = False) -> None:
        """progress: as for `fingerprint`. Raises CheckpointError where a file cannot be opened."""
        self._progress, self._value, self._lock = progress, "", threading.Lock()
        self._files: list[_Held] = []
        self._close = weakref.finalize(self, _close, self._files)
        for path in checkpoint.files:
            self._files.append(_hold(path))

    def __call__(self) -> str:
        """The hash. Raises CheckpointError where a file was changed in place, or can't be read."""
        with self._lock:
            if not self._value:
                self._value = self._hash()
                self._close()
        return self._value

    def __reduce__(self) -> tuple:
        return str, (self(),)

    def _hash(self) -> str:
        total = hashlib.sha256()
        new = [file for file in self._files if file.identity not in _KNOWN]
        size = sum(file.identity.size for file in new)
        with reporter(self._progress if new else False, size, "hashing weights", transient=True) as report:
            for file in new:
                _KNOWN[file.identity] = _digest(file, report)
        for file in self._files:
            total.update(f"{_KNOWN[file.identity]}  {file.identity.path.name}\n".encode())
        return total.hexdigest()


def _hold(path: Path) -> _Held:
    try:
        stream = path.open("rb", buffering=0)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    return _Held(_identity(path, stream), stream)


def _identity(path: Path, stream: FileIO) -> Identity:
    status = os.fstat(stream.fileno())
    return Identity(path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _digest(file: _Held, report: Callable[[int], None]) -> str:
    path, sha256 = file.identity.path, hashlib.sha256()
    try:
        place = 0
        while part := _read(file.stream, place):
            sha256.update(part)
            place += len(part)
            report(len(part))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    if _identity(path, file.stream) != file.identity:
        raise CheckpointError(
            f"{path}: was changed in place since its checkpoint was opened, so the hash of the weights is lost; "
            "load it again"
        )
    return sha256.hexdigest()


def _read(stream: FileIO, place: int) -> bytes:
    """At a place of its own: processes forked after the file was opened share the place that `seek` moves."""
    if hasattr(os, "pread"):
        return os.pread(stream.fileno(), _CHUNK, place)
    stream.seek(place)
    return stream.read(_CHUNK)


def _close(files: list[_Held]) -> None:
    for file in files:
        file.stream.close()
