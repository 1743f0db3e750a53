"""The files of a stage. A chunk is a shard of records and a page of what else is known of its items.

A chunk is done when its page is there, and the page is written last. So a build that was killed leaves whole
chunks and at most half a file beside them, which the next run writes over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from unimedvl.data.error import DataError
from unimedvl.data.whole import written_whole

T = TypeVar("T")


@dataclass(frozen=True)
class Chunk:
    """One chunk of a source in a stage. folder: the stage's, of this source. A stage may have pages alone."""

    folder: Path
    number: int

    @property
    def shard(self) -> Path:
        return self.folder / f"{self.number:06d}.parquet"

    @property
    def page(self) -> Path:
        return self.folder / f"{self.number:06d}.json"

    @property
    def done(self) -> bool:
        return self.page.is_file()

    def write_page(self, page: dict) -> None:
        """Write the page, and its folder. Raises DataError where it can't be written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.page, page)

    def read_page(self) -> dict:
        """The page. Raises DataError where it is no JSON: it was changed from outside."""
        return read_json(self.page)


def write_json(file: Path, content: object) -> None:
    """Write a file whole or not at all. Raises DataError where it can't be written."""
    with written_whole(file) as part, part.open("w", encoding="utf-8") as out:
        json.dump(content, out, ensure_ascii=False, indent=1, sort_keys=True)


def read_json(file: Path) -> dict:
    """What `write_json` wrote. Raises DataError where it is no JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: can't be read: {error}; remove it and build again") from error


def chunks_of(folder: Path) -> list[Chunk]:
    """The chunks that are done, in order."""
    return [Chunk(folder, int(page.stem)) for page in sorted(folder.glob("[0-9]*.json"))]


def cut(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items, the last of what is left."""
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part
