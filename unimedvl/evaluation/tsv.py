"""The tables of VLMEvalKit (Duan et al., ACM MM 2024): a benchmark as one TSV file, images inside in base64.

Columns: `index`, `question`, `image` or `image_path`, options `A`, `B` and so on, `answer`, and more such as
`category`. An `image` cell of at most 64 characters is the index of the row that has the image; several images are a
Python list of base64 texts. The kit reads tables with pandas, which takes words such as `None` and `NA` for nothing.
"""

from __future__ import annotations

import ast
import base64
import binascii
import csv
import hashlib
import io
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from unimedvl.data.error import DataError
from unimedvl.data.whole import written_whole
from unimedvl.evaluation.benchmark import Benchmark, Broken
from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.item import LETTERS, Item, Load

# A shorter image cell names another row.
_LONGEST_REFERENCE = 64
# What tables of benchmarks that the kit lacks are called.
KIT_NAMES = {"vqa-rad": "VQA-RAD", "slake": "SLAKE", "pmc-vqa": "PMC-VQA", "pmc-vqa-2": "PMC-VQA-2"}
# An index names the file that an image is written to.
_INDEX = re.compile(rf"[\w.-]{{1,{_LONGEST_REFERENCE}}}", re.ASCII)
# A cell may hold several images.
_CELL_BYTES = 2**30
# What pandas reads as nothing; a trailing blank keeps such a word a word.
_PANDAS_NOTHING = frozenset(
    ("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL",
     "NaN", "None", "n/a", "nan", "null")
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One row. where: file and row. index: as the table has it. cells: by column, without the images, as they are
    written. options: what the letters from A on stand for. images: loaded from the file when they are asked for.
    """

    where: str
    index: str
    cells: Mapping[str, str]
    options: tuple[str, ...]
    images: tuple[Load, ...]

    def cell(self, *names: str) -> str:
        """The first of these columns that is there and not empty, without outer spaces; "" where none is."""
        return next((text for name in names if (text := self.cells.get(name, "").strip())), "")

    @property
    def answers(self) -> tuple[str, ...]:
        """What is right: the cell, or each of a Python list of texts; none where it is empty."""
        cell = self.cell("answer")
        return _texts(cell) or ((cell,) if cell else ())


def lmu_data() -> Path | None:
    """The folder in which VLMEvalKit keeps its tables: `$LMUData`, or else `~/LMUData`; None where there is neither."""
    named = os.environ.get("LMUData", "")  # noqa: SIM112 - the kit's own spelling
    return next((f for f in (Path(named) if named else None, Path.home() / "LMUData") if f and f.is_dir()), None)


def read_tsv(file: Path, absent: Mapping[str, Sequence[str]] | None = None) -> Iterator[Row | Broken]:
    """The rows of a table in order, and those that can't be used.

    The file is read to its end first, and only the texts are kept. absent: words by letter that stand for no option.

    Raises:
        EvaluationError: the file can't be read, is no table, or lacks a column.
    """
    found = list(_scan(file))
    images = {row.index: row for row in found if isinstance(row, _Scanned) and len(row.image) > _LONGEST_REFERENCE}
    seen: set[str] = set()
    for row in found:
        if isinstance(row, Broken):
            yield row
            continue
        where = f"{file}: row {row.place.number}"
        try:
            if not row.index:
                raise EvaluationError("index: empty")
            if row.index in seen:
                raise EvaluationError(f"index: {row.index} is before it")
            seen.add(row.index)
            if not row.cells["question"].strip():
                raise EvaluationError("question: empty")
            options = _options(row.cells, absent or {})
            yield Row(where, row.index, row.cells, options, _images(row, images))
        except EvaluationError as error:
            yield Broken(where, str(error))


@dataclass(frozen=True)
class _Place:
    """Where a row is: its file, its number, counted from the header's 1, its bytes, and the file's columns."""

    file: Path
    number: int
    start: int
    size: int
    header: tuple[str, ...]


@dataclass(frozen=True)
class _Scanned:
    """A row's place, index and texts. image: how its image cell begins, one character more than a reference has.
    count: how many images the cell holds.
    """

    place: _Place
    index: str
    cells: dict[str, str]
    image: str
    count: int


def _scan(file: Path) -> Iterator[_Scanned | Broken]:
    csv.field_size_limit(_CELL_BYTES)
    try:
        with file.open("rb") as opened:
            lines = _Lines(opened)
            reader = csv.reader(lines, delimiter="\t")
            header = _header(file, next(reader, []))
            start = lines.end
            for number, row in enumerate(reader, 2):
                place = _Place(file, number, start, lines.end - start, header)
                start = lines.end
                if row and len(row) != len(header):
                    yield Broken(f"{file}: row {number}", f"expected {len(header)} cells, found {len(row)}")
                elif row:
                    cells = dict(zip(header, row, strict=True))
                    cell = cells.pop("image", "").strip()
                    count = len(_texts(cell)) if cell.startswith("[") else 1 if cell else 0
                    yield _Scanned(place, cells["index"].strip(), cells, cell[: _LONGEST_REFERENCE + 1], count)
    except OSError as error:
        raise EvaluationError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise EvaluationError(f"{file}: not UTF-8: {error.reason}") from error
    except csv.Error as error:
        raise EvaluationError(f"{file}: no table: {error}") from error


def _header(file: Path, cells: list[str]) -> tuple[str, ...]:
    header = tuple(name.strip() for name in cells)
    lacking = [name for name in ("index", "question") if name not in header]
    if not {"image", "image_path"} & {*header}:
        lacking.append("image or image_path")
    if lacking:
        there = ", ".join(header)[:200] or "nothing in it"
        raise EvaluationError(f"{file}: no column {', '.join(lacking)}; the table has {there}")
    return header


class _Lines:
    """Lines of text of a file of bytes. end: where the last one given ends."""

    def __init__(self, opened: BinaryIO) -> None:
        self._opened, self.end = opened, 0

    def __iter__(self) -> Iterator[str]:
        for line in self._opened:
            text = line.decode("utf-8-sig" if not self.end else "utf-8")
            self.end += len(line)
            yield text


def _options(cells: Mapping[str, str], absent: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Texts of the letters from A on; empty ones at the end are left out. Raises EvaluationError for one between."""
    texts = [cells.get(letter, "").strip() for letter in LETTERS]
    texts = ["" if text in absent.get(letter, ()) else text for letter, text in zip(LETTERS, texts, strict=True)]
    while texts and not texts[-1]:
        texts.pop()
    if "" in texts:
        raise EvaluationError(f"option {LETTERS[texts.index('')]}: empty, before others that are not")
    return tuple(texts)


def _images(row: _Scanned, there: Mapping[str, _Scanned]) -> tuple[Load, ...]:
    """Loads of a row's images. there: the rows that have images in them, by index."""
    if row.image and len(row.image) <= _LONGEST_REFERENCE:
        if row.image not in there:
            raise EvaluationError(f"image: {row.image!r} is neither an image nor the index of a row that has one")
        row = there[row.image]
    if row.image:
        if not row.count:
            raise EvaluationError("image: expected base64, or a Python list of base64 texts")
        return tuple(partial(_decoded, row.place, number) for number in range(row.count))
    path = row.cells.get("image_path", "").strip()
    if not path:
        raise EvaluationError("no image")
    folder = row.place.file.parent / "images" / row.place.file.stem.removesuffix("_local")
    return tuple(partial(_read, folder / name) for name in _texts(path) or (path,))


def _decoded(place: _Place, number: int) -> bytes:
    """An image of a row, whose cell is read again.

    Raises:
        EvaluationError: the file is no longer what it was, or the cell is no base64.
    """
    csv.field_size_limit(_CELL_BYTES)
    try:
        with place.file.open("rb") as opened:
            opened.seek(place.start)
            lines = _Lines(io.BytesIO(opened.read(place.size)))
        row = next(csv.reader(lines, delimiter="\t"))
        cell = dict(zip(place.header, row, strict=True))["image"].strip()
        text = (_texts(cell) if cell.startswith("[") else (cell,))[number]
    except OSError as error:
        raise EvaluationError(f"{place.file}: {error.strerror}") from error
    except (ValueError, IndexError, StopIteration, csv.Error) as error:
        raise EvaluationError(f"{place.file}: row {place.number} is no longer what it was") from error
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise EvaluationError(f"{place.file}: row {place.number}: image: not base64: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EvaluationError(f"{path}: {error.strerror}") from error


def _texts(cell: str) -> tuple[str, ...]:
    """The texts of a Python list of one or more; none where the cell is no such list."""
    if not (cell.startswith("[") and cell.endswith("]")):
        return ()
    try:
        found = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ()
    return tuple(found) if isinstance(found, list) and all(isinstance(text, str) for text in found) else ()


def write_table(
    benchmark: Benchmark, root: Path, folder: Path, progress: Callable[[int, int], None] | None = None
) -> tuple[Path, int, list[Broken]]:
    """Write a benchmark that VLMEvalKit lacks as a table for it: the file, how many items it has, and what is left out.

    root: its published form. folder: that of the kit's tables, made where it is missing.

    Raises:
        EvaluationError: the benchmark isn't one of `KIT_NAMES`, or what `read` and `write_tsv` raise.
    """
    if benchmark.name not in KIT_NAMES:
        raise EvaluationError(f"{benchmark.name}: no table of it is written; there are {', '.join(KIT_NAMES)}")
    found = list(benchmark.read(root))
    file = folder / f"{KIT_NAMES[benchmark.name]}.tsv"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvaluationError(f"{folder}: {error.strerror}") from error
    items = [item for item in found if isinstance(item, Item)]
    write_tsv(items, file, "test", progress)
    return file, len(items), [broken for broken in found if isinstance(broken, Broken)]


def write_tsv(
    items: Iterable[Item], file: Path, split: str = "", progress: Callable[[int, int], None] | None = None
) -> int:
    """Write items as a table that VLMEvalKit reads, whole or not at all; returns how many they are.

    An image that is before it in the table is a reference to that row. Columns are those of VLMEvalKit, then one for
    each group of the items, blanks as underscores. split: of all of them, for a column of its own; none where it is
    empty. progress: told how many of how many are written.

    Raises:
        EvaluationError: there are no items; an item is not asked in words, or has no image, or an index that can't be
            used; an image is missing; or the file can't be written.
    """
    kept = list(items)
    if not kept:
        raise EvaluationError(f"{file}: there are no items to write")
    groups = list(dict.fromkeys(name for item in kept for name in item.groups))
    letters = LETTERS[: max(len(item.options) for item in kept)]
    columns = ["index", "image", "question", *letters, "answer"] + [column(name) for name in groups]
    columns += ["split"] if split else []
    first: dict[tuple[bytes, ...], str] = {}  # rows by the hashes of their images
    try:
        with written_whole(file) as part, part.open("w", encoding="utf-8", newline="") as out:
            writer = csv.DictWriter(out, columns, delimiter="\t", lineterminator="\n", restval="")
            writer.writeheader()
            for number, item in enumerate(kept, 1):
                cells = _cells(item, letters, first) | ({"split": split} if split else {})
                writer.writerow({name: _safe(text) for name, text in cells.items()})
                if progress:
                    progress(number, len(kept))
    except DataError as error:
        raise EvaluationError(str(error)) from error
    return len(kept)


def column(group: str) -> str:
    """The column that a group of items is in."""
    return group.replace(" ", "_")


def _cells(item: Item, letters: str, first: dict[tuple[bytes, ...], str]) -> dict[str, str]:
    if item.kind not in ("closed", "choice", "open"):
        raise EvaluationError(f"{item.id}: an item of kind {item.kind} has no place in a table of questions")
    if not item.images:
        raise EvaluationError(f"{item.id}: no image; VLMEvalKit passes such rows over")
    number = _number(item.id) and item.id != str(int(float(item.id)))
    if number or item.id in _PANDAS_NOTHING or not _INDEX.fullmatch(item.id):
        raise EvaluationError(
            f"{item.id!r}: an index is a plain number or a name of up to {_LONGEST_REFERENCE} letters, digits, - _ or ."
        )
    loaded = [load() for load in item.images]
    coded = [base64.b64encode(data).decode() for data in loaded]
    image = first.setdefault(tuple(hashlib.sha256(data).digest() for data in loaded), item.id)
    if image == item.id:
        image = coded[0] if len(coded) == 1 else repr(coded)
        if len(image) <= _LONGEST_REFERENCE:
            raise EvaluationError(f"{item.id}: an image of {len(loaded[0])} bytes, which is taken for a row's index")
    answer = item.answers[0] if len(item.answers) == 1 else repr(list(item.answers)) if item.answers else ""
    told = {"index": item.id, "image": image, "question": item.question, "answer": answer}
    told |= dict(zip(letters, item.options, strict=False))
    return told | {column(name): text for name, text in item.groups.items()}


def _number(text: str) -> bool:
    """Whether pandas reads it as one, so that other words for the same number would not be told apart."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _safe(text: str) -> str:
    return f"{text} " if text in _PANDAS_NOTHING else text
