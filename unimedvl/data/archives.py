"""Images inside archives and tables, loaded one at a time: zip, tar, and the rows of Parquet files."""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from zipfile import BadZipFile, ZipFile, ZipInfo

from unimedvl.data.error import DataError
from unimedvl.data.source import Load, file_bytes, value

# Where a member's bytes lie in an archive: offset and length.
Place = tuple[int, int]


def image_store(root: Path, folders: tuple[str, ...], archives: str) -> Callable[[str], Load]:
    """How the images of a set are loaded by their names: from unpacked folders, or out of zip archives.

    folders: those of them that are there are searched, with what is below them. archives: a pattern; they are
    opened where no folder is there, and nothing is unpacked. A name's own folders do not count. The load of an
    image that is not there, or of which there are two, raises DataError.

    Raises:
        DataError: there are neither folders nor archives, or an archive is broken.
    """
    there = [Path(place) for name in folders for place, _, _ in os.walk(root / name)]
    if there:
        return lambda name: partial(_from_folders, there, PurePosixPath(name).name)
    files = sorted(root.glob(archives))
    if not files:
        raise DataError(f"{root}: expected {' or '.join((*folders, archives))} in it, found none")
    archives_there = Archives(files)
    return lambda name: partial(archives_there.read, name)


def _from_folders(folders: list[Path], name: str) -> bytes:
    found = next((folder / name for folder in folders if (folder / name).is_file()), folders[0] / name)
    return file_bytes(found)()


class Archives:
    """Images in zip archives, by name without folders. Holds the archives' directories in memory, and no image."""

    def __init__(self, files: list[Path]) -> None:
        """Raises DataError where one is no zip archive."""
        self._files = ", ".join(map(str, files[:1] + files[1:][-1:]))
        self._members: dict[str, tuple[ZipFile, ZipInfo]] = {}
        self._ambiguous: set[str] = set()
        for file in files:
            try:
                archive = ZipFile(file)
            except (BadZipFile, OSError) as error:
                raise DataError(f"{file}: no zip archive: {error}") from error
            for info in archive.infolist():
                self._add(archive, info)

    def _add(self, archive: ZipFile, info: ZipInfo) -> None:
        if info.is_dir():
            return
        name = PurePosixPath(info.filename).name
        known = self._members.setdefault(name, (archive, info))[1]
        # The same image may lie in two archives.
        if (known.CRC, known.file_size) != (info.CRC, info.file_size):
            self._ambiguous.add(name)

    def read(self, path: str) -> bytes:
        """The bytes of an image. Raises DataError where it isn't there, is broken, or is one of two of its name."""
        name = PurePosixPath(path).name
        if name not in self._members:
            raise DataError(f"{self._files}: no {name} in it")
        if name in self._ambiguous:
            raise DataError(f"{self._files}: two images called {name}")
        archive, info = self._members[name]
        try:
            return archive.read(info)
        except (BadZipFile, OSError, zlib.error, EOFError) as error:
            raise DataError(f"{archive.filename}: {info.filename} is broken: {error}") from error


def embedded(row: dict, column: str = "image") -> Load:
    """Loads an image that a row of a Parquet file has inside.

    Raises:
        DataError: the row has none.
    """
    image = value(row, column)
    data = image.get("bytes") if isinstance(image, dict) else None
    if not data:
        raise DataError(f"{column}: expected an image's bytes, found none")
    return partial(bytes, data)


def tar_members(file: Path, stream: BinaryIO) -> Iterator[tuple[str, Place]]:
    """The files in a tar archive: name without folders, and place in the stream.

    file: what an error names. stream: the archive's bytes; it is sought in forward only.

    Raises:
        DataError: it is no such archive, or is cut short.
    """
    try:
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                archive.members = []  # They are kept otherwise, and a shard may have a great many.
                if member.isfile():
                    yield PurePosixPath(member.name).name, (member.offset_data, member.size)
            # Two blocks of zeros are the end; tarfile, which has read the first, takes any other end for one too.
            if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise DataError(f"{file}: no whole tar archive: it has no end")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{file}: no whole tar archive: {getattr(error, 'strerror', None) or error}") from error


def file_part(file: Path, place: Place) -> Load:
    """Loads a part of a file. The load raises DataError where it can't be read."""
    return partial(_read_part, file, place)


def _read_part(file: Path, place: Place) -> bytes:
    offset, length = place
    try:
        with file.open("rb") as opened:
            opened.seek(offset)
            data = opened.read(length)
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from error
    if len(data) != length:
        raise DataError(f"{file}: expected {length} bytes at {offset}, found {len(data)}")
    return data
