"""What a data set says of itself, and what its reader yields.

A source is one file in `sources/` with a `SOURCE`. Its reader walks the published on-disk form and yields a
`Sample` for each record and a `Fault` for each item that can't be used, so that nothing goes missing unseen.
Images are read when they are asked for, so that a walk over millions of records holds none of them. Where a record
itself costs to make, its sample is a `LazySample`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from unimedvl.data.error import DataError
from unimedvl.data.record import IMAGE_MARK, Message, Picture, Record

# The encoded bytes of an image: a file's as it lies, or those of a PNG made of an array.
Load = Callable[[], bytes]
# A licence that isn't stated, as SPDX has it.
UNSTATED = "NOASSERTION"
Access = Literal["open", "registration", "credentialed", "gated"]


@dataclass(frozen=True)
class Sample:
    """A record and its images, in the order of `record.pictures`."""

    record: Record
    images: tuple[Load, ...] = ()

    @property
    def split(self) -> str:
        return self.record.split


class LazySample(Sample):
    """A sample whose record costs to make, as that of a simulated study does: it is made when it is looked at.

    So whoever passes over it, to reach another or because it is done, pays nothing. It is not kept here: `make` may
    remember what it made last. split: of the record, known before.
    """

    def __init__(self, split: str, make: Callable[[], Sample]) -> None:
        self._split, self._make = split, make

    @property
    def record(self) -> Record:
        return self._make().record

    @property
    def images(self) -> tuple[Load, ...]:
        return self._make().images

    @property
    def split(self) -> str:
        return self._split


@dataclass(frozen=True)
class Fault:
    """An item that can't be used. where: file and line, key or name. reason: what is wrong with it, in one line."""

    where: str
    reason: str


Item = Sample | Fault
Reader = Callable[[Path], Iterator[Item]]


@dataclass(frozen=True)
class Source:
    """A data set.

    name: as in recipes. title, home: as its authors call it, and where it is. licence: SPDX identifier or their
    words. access: what it takes to get it. modalities: what images it has. expected: records by split, as
    published; a split that is not used is left out. read: from the folder of the published form.
    notes: what a user should know, such as images shared between splits.
    """

    name: str
    title: str
    home: str
    licence: str
    access: Access
    modalities: tuple[str, ...]
    expected: Mapping[str, int | None]
    read: Reader
    notes: str = ""
    tasks: tuple[str, ...] = field(default=("vqa",))


def file_bytes(path: Path) -> Load:
    """Loads a file. The load raises DataError where the file is missing or can't be read."""
    return partial(_read, path)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def question(text: str, images: int = 1) -> Message:
    """The user's turn, after a mark for each of its images; marks already in the text are moved to its front."""
    words = text.replace(IMAGE_MARK, " ").strip()
    return Message(speaker="human", value=f"{IMAGE_MARK}\n" * images + words)


def answer(text: str) -> Message:
    """The model's turn."""
    return Message(speaker="gpt", value=text.strip())


def described(caption: str) -> tuple[Message, Message]:
    """The request for a description of one image, and its caption."""
    return question("Describe this image."), answer(caption)


def conversation(turns: object, images: int) -> tuple[Message, ...]:
    """A conversation's turns; the marks of its images stand before its first, wherever they stood.

    turns: a list of `{"from": "human" | "gpt", "value": text}`, by turns, which ends with an answer.

    Raises:
        DataError: it is no such list, or a turn is empty.
    """
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        raise DataError("conversations: expected a list of turns")
    speakers = [required(turn, "from") for turn in turns]
    if speakers != ["human", "gpt"] * (len(turns) // 2):
        raise DataError(f"conversations: expected human and gpt by turns, found {', '.join(speakers[:6])}")
    texts = [required(turn, "value") for turn in turns]
    if not all(text.replace(IMAGE_MARK, "").strip() for text in texts):
        raise DataError(f"conversations: a turn that is nothing but {IMAGE_MARK}")
    first, *rest = texts
    later = (answer(text) if number % 2 == 0 else question(text, 0) for number, text in enumerate(rest))
    return (question(first, images), *later)


def pictures(paths: Iterable[str]) -> tuple[Picture, ...]:
    return tuple(Picture(path=p) for p in paths)


def need(root: Path, *names: str) -> Path:
    """The first of some files or folders that is there.

    Raises:
        DataError: none of them is; the message names all of them.
    """
    for name in names:
        if (root / name).exists():
            return root / name
    raise DataError(f"{root}: expected {' or '.join(names)} in it, found none")


def samples(rows: Iterable[tuple[str, object]], make: Callable[[dict], Record | Sample | None]) -> Iterator[Item]:
    """What `make` makes of each row; what it raises becomes a fault, and None leaves the row out.

    rows: (where, row) pairs, as the readers of `files` give them; a DataError in place of a row is a fault.
    """
    for where, row in rows:
        try:
            if isinstance(row, DataError):
                raise row
            if not isinstance(row, dict):
                raise DataError(f"expected an object, found {type(row).__name__}")
            made = make(row)
        except ValidationError as error:
            first = error.errors()[0]
            yield Fault(where, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        except DataError as error:
            yield Fault(where, str(error))
        else:
            if made is not None:
                yield made if isinstance(made, Sample) else Sample(made)


def value(row: Mapping[str, object], *names: str) -> object:
    """The value of the first of these keys that the row has.

    Raises:
        DataError: it has none of them.
    """
    for name in names:
        if name in row:
            return row[name]
    raise DataError(f"no key {' or '.join(names)}; the row has {', '.join(map(str, list(row)[:8]))}")


def words(row: Mapping[str, object], *names: str) -> str:
    """Such a value as text without outer spaces; numbers are written out, and None is empty.

    Raises:
        DataError: no such key, or a value that is neither text nor number.
    """
    found = value(row, *names)
    if found is None or found != found:  # NaN, which tables have for an empty cell
        return ""
    if isinstance(found, bool) or not isinstance(found, str | int | float):
        raise DataError(f"{names[0]}: expected text, found {type(found).__name__}")
    return str(found).strip()


def required(row: Mapping[str, object], *names: str) -> str:
    """Such a text, which must not be empty.

    Raises:
        DataError: as `words`, or the text is empty.
    """
    found = words(row, *names)
    if not found:
        raise DataError(f"{names[0]}: empty")
    return found
