"""The files that data sets come in, read a row at a time: JSON, JSON lines, tables, Parquet, pickles.

Each reader yields ``(where, row)``, where a row that can't be read is the DataError that says why; `source.samples`
makes a fault of it. A file that can't be opened at all raises.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import pickle
from collections.abc import Iterator
from pathlib import Path

from unimedvl.data.error import DataError

Rows = Iterator[tuple[str, object]]
# A cell may hold an image in base64.
_CELL_BYTES = 2**30


def read_json(file: Path) -> object:
    """A JSON file as a whole.

    Raises:
        DataError: it can't be read, or is no JSON.
    """
    try:
        return json.loads(_read(file))
    except json.JSONDecodeError as error:
        raise DataError(f"{file}: not JSON: {error.msg} at line {error.lineno}") from error


def json_list(file: Path) -> Rows:
    """The entries of a file that is one JSON array.

    Raises:
        DataError: it can't be read, is no JSON or no array.
    """
    content = read_json(file)
    if not isinstance(content, list):
        raise DataError(f"{file}: expected a JSON array, found {type(content).__name__}")
    for number, row in enumerate(content):
        yield f"{file}: entry {number}", row


def json_lines(file: Path) -> Rows:
    """The lines of a file with one JSON value in each; blank lines are passed over."""
    for number, line in enumerate(_lines(file), 1):
        if line.strip():
            where = f"{file}: line {number}"
            try:
                yield where, json.loads(line)
            except json.JSONDecodeError as error:
                yield where, DataError(f"not JSON: {error.msg} at column {error.colno}")


def table(file: Path, delimiter: str = ",") -> Rows:
    """The rows of a table with a header, as text by column name; names without outer spaces. May be gzipped."""
    csv.field_size_limit(_CELL_BYTES)
    reader = csv.reader(_lines(file), delimiter=delimiter)
    try:
        header = [name.strip() for name in next(reader)]
    except StopIteration:
        raise DataError(f"{file}: empty; expected a header") from None
    for number, cells in enumerate(reader, 2):
        where = f"{file}: row {number}"
        if cells and len(cells) != len(header):
            yield where, DataError(f"expected {len(header)} cells, found {len(cells)}")
        elif cells:
            yield where, dict(zip(header, cells, strict=True))


def parquet(file: Path, columns: list[str] | None = None) -> Rows:
    """The rows of a Parquet file, some at a time.

    Raises:
        DataError: it can't be read, or is no Parquet.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as opened:
            number = 0
            for batch in opened.iter_batches(batch_size=64, columns=columns):
                for row in batch.to_pylist():
                    yield f"{file}: row {number}", row
                    number += 1
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}") from error
    except pyarrow.ArrowException as error:
        raise DataError(f"{file}: not Parquet: {str(error).splitlines()[0]}") from error


class _Plain(pickle.Unpickler):
    """Unpickles what is made of lists, mappings, text and numbers, and nothing that could run code."""

    def find_class(self, module: str, name: str) -> object:
        raise pickle.UnpicklingError(f"it names {module}.{name}, and only plain values are read")


def unpickle(file: Path) -> object:
    """A pickle of plain values.

    Raises:
        DataError: it can't be read, is no pickle, or holds more than plain values.
    """
    try:
        return _Plain(io.BytesIO(_read(file))).load()
    # A broken pickle raises nearly anything.
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise DataError(f"{file}: not a pickle of plain values: {error}") from error


def _read(file: Path) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from error


def _lines(file: Path) -> Iterator[str]:
    """Lines of UTF-8 text, with or without a byte order mark, gzipped where the name ends so."""
    opened = gzip.open if Path(file).suffix == ".gz" else open
    try:
        with opened(file, "rt", encoding="utf-8-sig", newline="") as lines:
            yield from lines
    except (OSError, EOFError) as error:
        raise DataError(f"{file}: {getattr(error, 'strerror', None) or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8: {error.reason}") from error
