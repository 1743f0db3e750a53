"""Ratings of stage 3 as CSV: a row per rater and record, a column per dimension."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.files import table
from unimedvl.data.quality.audit import DIMENSIONS, Dimension, Rating
from unimedvl.data.whole import written_whole

COLUMNS = ("rater", "dataset", "record", *(d.name for d in DIMENSIONS), "comment")
_NAMED = COLUMNS[:3]


def read_ratings(file: Path) -> list[Rating]:
    """All ratings of a file. A blank dimension doesn't apply to the record; the comment may be left out.

    Raises:
        DataError: the file can't be read, a column is missing or unknown, a value is wrong, or a rater rates
            a record twice. It names file, row (the header is row 1), column and range.
    """
    ratings: list[Rating] = []
    rows: dict[tuple[str, str, str], str] = {}
    for where, row in table(file):
        if isinstance(row, DataError):
            raise DataError(f"{where}: {row}")
        rating = make_rating(row, where)
        key = (rating.rater, *rating.key)
        if key in rows:
            raise DataError(
                f"{where}: {rating.rater} rates {rating.dataset}/{rating.record} again, after {rows[key]}"
            )
        rows[key] = where.rpartition(": ")[2]
        ratings.append(rating)
    return ratings


def make_rating(values: Mapping[str, object], where: str) -> Rating:
    """A rating from values by column, as text or numbers. where: what an error names, such as file and row.

    Raises:
        DataError: a column is missing or unknown, or a value is wrong; it names column and range.
    """
    missing = [c for c in COLUMNS[:-1] if c not in values]
    unknown = [c for c in values if c not in COLUMNS]
    if missing or unknown:
        found = f"no column {missing[0]}" if missing else f"unknown column {unknown[0]!r}"
        raise DataError(f"{where}: {found}; the columns are {', '.join(COLUMNS)}")
    names = {c: str(values[c]).strip() for c in _NAMED}
    for column, text in names.items():
        if not text:
            raise DataError(f"{where}: {column}: empty")
    given = {d.name: _score(values[d.name], d, where) for d in DIMENSIONS}
    scores = {name: score for name, score in given.items() if score is not None}
    if not scores:
        raise DataError(f"{where}: no dimension is rated; expected at least one of {', '.join(given)}")
    return Rating(**names, scores=scores, comment=str(values.get("comment") or "").strip())


def _score(value: object, dimension: Dimension, where: str) -> float | None:
    """A rating on the dimension's scale; None where there is none."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        score = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        score = math.nan
    if not 0 <= score <= dimension.most:  # true for NaN too
        raise DataError(f"{where}: {dimension.name}: expected 0 to {dimension.most:g}, found {value!r}")
    return score


def write_ratings(file: Path, ratings: Iterable[Rating]) -> int:
    """Write a file whole or not at all; returns the number of ratings.

    Raises:
        DataError: the file can't be written.
    """
    count = 0
    with written_whole(Path(file)) as part, part.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        for rating in ratings:
            writer.writerow(_cells(rating))
            count += 1
    return count


def _cells(rating: Rating) -> list[str]:
    # A comment stays on its line, so that rows are lines.
    comment = " ".join(rating.comment.split())
    # repr is the shortest text that reads back as the same number.
    scores = [repr(float(rating.scores[d.name])) if d.name in rating.scores else "" for d in DIMENSIONS]
    return [rating.rater, rating.dataset, rating.record, *(s.removesuffix(".0") for s in scores), comment]
