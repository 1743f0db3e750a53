"""Thumbnails of a chunk's images, beside its shard: written where the images are decoded, so that the search for
duplicates need not decode them again.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from unimedvl.data.build.chunks import Chunk
from unimedvl.data.duplicates.likeness import SIDE
from unimedvl.data.error import DataError
from unimedvl.data.whole import written_whole

_BYTES = SIDE * SIDE


def thumbnails_file(chunk: Chunk) -> Path:
    """[images, 64, 64] uint8 and nothing else, in the order of the chunk's records and their pictures."""
    return chunk.folder / f"{chunk.number:06d}.thumbnails"


def write_thumbnails(chunk: Chunk, thumbnails: Iterable[np.ndarray]) -> None:
    """thumbnails: [64, 64] uint8 each. Raises DataError where the file can't be written."""
    with written_whole(thumbnails_file(chunk)) as part, part.open("wb") as out:
        for thumbnail in thumbnails:
            out.write(thumbnail.tobytes())


def need_thumbnails(chunk: Chunk, images: int) -> None:
    """Raises DataError unless the file is there and has so many."""
    file = thumbnails_file(chunk)
    found = file.stat().st_size / _BYTES if file.is_file() else 0
    if found != images:
        raise DataError(f"{file}: expected {images} thumbnails, found {found:g}; build again in another folder")


def read_thumbnail(chunk: Chunk, image: int) -> np.ndarray:
    """[64, 64] uint8 of an image, by its number in the chunk. Raises DataError where the file can't be read."""
    file = thumbnails_file(chunk)
    try:
        return np.fromfile(file, dtype=np.uint8, count=_BYTES, offset=image * _BYTES).reshape(SIDE, SIDE)
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: image {image}: can't be read: {error}") from error
