"""Opening what the user named, without trusting it: a regular file of a sane size, or bytes.

Everything that can be told from the file system is told here, before a byte is decoded. A named
pipe, a terminal or a device would make a read wait for ever, so only regular files are opened.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from unimedvl.imaging.errors import ImagingError, TooLarge

MAX_BYTES = 4 * 2**30          # of a file, and of what a compressed file unpacks to
MAX_PIXELS = 100_000_000       # of one image, frame or slice

_INFLATE_STEP = 1 << 20


@dataclass(frozen=True)
class Bounds:
    """How large a file may be for it to be read. The defaults suit files that the user has at hand.

    bytes: of the file, and of what it unpacks to.
    pixels: of one image, frame or slice. frames: of a DICOM, pages of a TIFF, pictures of an animation,
        slices of all volumes of a NIfTI; None for any number.
    """

    bytes: int = MAX_BYTES
    pixels: int = MAX_PIXELS
    frames: int | None = None


@dataclass(frozen=True)
class Source:
    """An open file or bytes in memory, positioned anywhere.

    name: the file's name as given, for messages. size: in bytes, at least 1.
    """

    name: str
    stream: BinaryIO
    size: int
    bounds: Bounds = Bounds()

    def head(self, count: int) -> bytes:
        """The first `count` bytes, or fewer where there are fewer."""
        self.stream.seek(0)
        return self.stream.read(count)

    def sha256(self) -> str:
        """Hexadecimal SHA-256 of all bytes."""
        self.stream.seek(0)
        return hashlib.file_digest(self.stream, "sha256").hexdigest()

    def check_pixels(self, width: int, height: int) -> None:
        """Refuse an image with no pixels, or with more than the bounds allow. Raises ImagingError."""
        check_pixels(self.name, width, height, self.bounds.pixels)

    def check_frames(self, count: int, what: str) -> None:
        """Refuse more frames, pages or slices (`what`) than the bounds allow. Raises ImagingError."""
        if self.bounds.frames is not None and count > self.bounds.frames:
            raise TooLarge(self.name, f"has {count} {what}; at most {self.bounds.frames} are read")

    def check_unpacked(self, size: int) -> None:
        """Refuse what takes more bytes unpacked than the bounds allow. Raises ImagingError."""
        if size > self.bounds.bytes:
            raise TooLarge(self.name, f"unpacks to {_size(size)} or more; "
                                      f"files that unpack to at most {_size(self.bounds.bytes)} are read")


@contextmanager
def open_source(source: str | os.PathLike | bytes, bounds: Bounds = Bounds()) -> Iterator[Source]:
    """Open a file name, or wrap bytes, for reading.

    Raises:
        ImagingError: the file is missing, not a regular file, not readable, empty or over the bounds.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        name, size = "<bytes>", memoryview(source).nbytes
        _check_size(name, size, bounds.bytes)
        yield Source(name, io.BytesIO(source), size, bounds)
        return
    name = os.fspath(source)
    name = os.fsdecode(name) if isinstance(name, bytes) else name
    try:
        stream = _open_regular(name)
    except ImagingError:
        raise
    except (OSError, ValueError) as error:            # ValueError: a NUL character in the name
        raise ImagingError(name, _why_not_opened(name, error)) from error
    with stream:
        size = os.fstat(stream.fileno()).st_size
        _check_size(name, size, bounds.bytes)
        yield Source(name, stream, size, bounds)


def _open_regular(name: str) -> BinaryIO:
    """Open `name` if it is a regular file; never waits, even if it is swapped for a pipe meanwhile."""
    _check_regular(name, os.stat(name).st_mode)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(name, flags)
    try:
        _check_regular(name, os.fstat(descriptor).st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def _check_regular(name: str, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise ImagingError(name, "is a folder; give one image file")
    if not stat.S_ISREG(mode):
        raise ImagingError(name, "is a pipe, socket or device; give a regular file")


def _check_size(name: str, size: int, most: int) -> None:
    if size == 0:
        raise ImagingError(name, "is empty (0 bytes); give an image file")
    if size > most:
        raise TooLarge(name, f"is {_size(size)}; files up to {_size(most)} are read")


def _size(count: int) -> str:
    """Bytes as a person says them: 4.0 GiB, 512 MiB."""
    unit, name = next((u for u in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")) if count >= u[0]), (1, "bytes"))
    return f"{count / unit:.{1 if count % unit else 0}f} {name}"


def _why_not_opened(name: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        if Path(name).is_symlink():
            return "is a link to a file that does not exist"
        return "no such file"
    if isinstance(error, PermissionError):
        return "is not readable; its permissions forbid it"
    return f"cannot be opened ({getattr(error, 'strerror', None) or error})"


def check_pixels(name: str, width: int, height: int, most: int = MAX_PIXELS) -> None:
    """Refuse an image with no pixels, or with more than so many.

    Raises:
        ImagingError: naming the size.
    """
    if width < 1 or height < 1:
        raise ImagingError(name, f"is {width} x {height} pixels; an image needs at least 1 x 1")
    if width * height > most:
        megapixels = width * height / 1e6
        raise TooLarge(
            name, f"is {width} x {height} pixels ({megapixels:.4g} megapixels); at most {most / 1e6:.4g} are read"
        )


def gunzip_head(stream: BinaryIO, count: int) -> bytes:
    """The first `count` bytes of a gzip stream, or what there is of them if it is damaged."""
    stream.seek(0)
    try:
        with gzip.GzipFile(fileobj=stream) as unpacked:
            return unpacked.read(count)
    except (OSError, EOFError, zlib.error):
        return b""


def inflated_size(stream: BinaryIO, offset: int, limit: int) -> int:
    """How many bytes the raw deflate stream at `offset` unpacks to, counted up to just over `limit`.

    Nothing is kept, so that a file that would unpack to terabytes costs no memory.

    Raises:
        zlib.error: the stream is damaged.
    """
    stream.seek(offset)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    total = 0
    pending = b""
    while total <= limit and not inflater.eof:
        pending = pending or stream.read(_INFLATE_STEP)
        if not pending:
            break
        total += len(inflater.decompress(pending, _INFLATE_STEP))
        pending = inflater.unconsumed_tail
    return total
