"""An audit's folder: the sample with its images, and a file of ratings for each rater.

    sample.parquet       the records that are rated, a shard
    audit.json           how they were drawn
    ratings/RATER.jsonl  what a rater said: a line for each time that a record was saved, of which the last counts

A rating is one line, appended in one write and forced to the disk before it counts as saved; what could be written in
part only is taken back. So raters, and servers too, may share a folder on a local disk without losing a rating, and
neither a process that is killed nor a full disk loses one.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.quality.audit import DIMENSIONS, SAMPLE_SIZE, Rating, stratified_sample
from unimedvl.data.quality.ratings import make_rating
from unimedvl.data.record import Record
from unimedvl.data.scan import Place, fetch, scan
from unimedvl.data.shards import read_shard, write_shard
from unimedvl.data.source import Sample
from unimedvl.data.staged import page_content
from unimedvl.data.whole import append_whole, written_whole

_SAMPLE, _HOW, _RATINGS = "sample.parquet", "audit.json", "ratings"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
_log = logging.getLogger(__name__)


def rater_name(text: str) -> str:
    """A rater's name, checked and in lower case; it names the rater's file, too.

    Raises:
        DataError: it is empty, too long, or has other characters.
    """
    name = text.strip().lower()
    if not _NAME.fullmatch(name):
        raise DataError(
            f"rater {name[:40]!r}: expected 1 to 32 of a-z, 0-9, dot, dash and underscore, a letter or digit first"
        )
    return name


# The sample --------------------------------------------------------------------------------------


def write_audit(
    folder: Path,
    files: Sequence[Path],
    size: int = SAMPLE_SIZE,
    seed: int = 0,
    told: Callable[[int], None] = lambda done: None,
    simulated: Sequence[str] = (),
) -> list[Record]:
    """Draw a sample of the records that passed all rules, stratified by modality, into a new folder.

    A record without id gets the name of its shard and its row; of records of one data set and id, the second gets
    `#2` behind it. told: is called for each record read; they are read twice. simulated: data sets of which a build
    says that they are.

    Raises:
        DataError: the folder has an audit already, a file is no shard, or there are no records that passed.
    """
    folder = Path(folder)
    if (folder / _SAMPLE).exists() or (folder / _RATINGS).exists():
        raise DataError(f"{folder}: has an audit already; give another folder, so that no rating is lost")
    drawn = Counter(r.to_json() for r in stratified_sample((r for _, r in _passed(files, told)), size, seed))
    if not drawn:
        raise DataError("there are no records that passed all rules, so nothing can be rated")
    places: list[Place] = []
    for place, record in _passed(files, told):
        if drawn[line := record.to_json()] > 0:
            drawn[line] -= 1
            places.append(place)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}") from error
    how = {"seed": seed, "asked_for": size, "records": len(places)}
    how |= {"shards": [str(f) for f in files], "simulated": list(simulated)}
    write_shard(folder / _SAMPLE, _named_apart(places))
    try:
        with written_whole(folder / _HOW) as part:
            part.write_text(json.dumps(how, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except DataError:
        (folder / _SAMPLE).unlink()  # half an audit could neither be used nor be made again
        raise
    return [record for _, record in scan([folder / _SAMPLE])]


def _passed(files: Sequence[Path], told: Callable[[int], None]) -> Iterator[tuple[Place, Record]]:
    for place, record in scan(files):
        told(1)
        if record.kept:
            yield place, _identified(record, place)


def _identified(record: Record, place: Place) -> Record:
    return record if record.id else record.model_copy(update={"id": f"{place.file.stem}-{place.row}"})


def _named_apart(places: Sequence[Place]) -> Iterator[Sample]:
    """The samples at some places; a rating says data set and id, so no two may share both."""
    taken: set[tuple[str, str]] = set()
    for place, sample in zip(places, fetch(places), strict=True):
        record = _identified(sample.record, place)
        name, turn = record.id, 1
        while (record.dataset, name) in taken:
            turn += 1
            name = f"{record.id}#{turn}"
        taken.add((record.dataset, name))
        yield Sample(record.model_copy(update={"id": name}), sample.images)


# Ratings -----------------------------------------------------------------------------------------


class RatingFile:
    """The ratings of one rater, a line each.

    Every line starts with a line break too, so that half a line, left by a process that was killed, spoils no other.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def append(self, rating: Rating) -> None:
        """Save a rating; when this returns, it is on the disk.

        Raises:
            DataError: it can't be written.
        """
        values = {"rater": rating.rater, "dataset": rating.dataset, "record": rating.record, **rating.scores}
        line = json.dumps(values | {"comment": rating.comment}, ensure_ascii=False)
        try:
            append_whole(self.file, f"\n{line}\n".encode())
        except DataError as error:
            raise DataError(f"{error}; the rating is not saved") from error

    def read(self) -> list[Rating]:
        """What was saved, in order. A line that is no rating is passed over with a warning.

        Raises:
            DataError: the file can't be read.
        """
        try:
            lines = self.file.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DataError(f"{self.file}: {error.strerror}") from error
        found = []
        for place, line in enumerate(lines, 1):
            if line:
                try:
                    found.append(_parsed(line, f"{self.file}: line {place}"))
                except ValueError as error:
                    _log.warning("passed over: %s", error)
        return found


def _parsed(line: bytes, where: str) -> Rating:
    try:
        values = json.loads(line)
    except ValueError as error:  # half a line, or bytes that are no text
        raise DataError(f"{where}: no rating") from error
    if not isinstance(values, dict):
        raise DataError(f"{where}: no rating")
    return make_rating({d.name: None for d in DIMENSIONS} | values, where)


class Audit:
    """An audit's folder, opened. Its methods may be called from several threads.

    samples: the records that are rated, in order, with their images. simulated: data sets that are.
    Raises:
        DataError: the folder has no sample, or one that can't be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / _SAMPLE).is_file():
            raise DataError(f"{self.folder}: no audit here; make one with `unimedvl data audit sample`")
        self.samples = tuple(read_shard(self.folder / _SAMPLE))
        how = self.folder / _HOW
        self.simulated = tuple(page_content(how).get("simulated", ())) if how.is_file() else ()
        self._keys = {(s.record.dataset, s.record.id) for s in self.samples}
        self._lock = threading.Lock()

    @property
    def records(self) -> list[Record]:
        return [s.record for s in self.samples]

    def save(self, rating: Rating) -> None:
        """Add a rating, or replace what this rater said of the record before.

        Raises:
            DataError: the rater's name is none, the record is not in the sample, or nothing can be written.
        """
        name = rater_name(rating.rater)
        if rating.key not in self._keys:
            raise DataError(f"{rating.dataset}/{rating.record}: this record is not in the sample")
        try:
            (self.folder / _RATINGS).mkdir(exist_ok=True)
        except OSError as error:
            raise DataError(f"{self.folder / _RATINGS}: {error.strerror}; the rating is not saved") from error
        with self._lock:
            RatingFile(self.folder / _RATINGS / f"{name}.jsonl").append(replace(rating, rater=name))

    def of(self, rater: str) -> dict[tuple[str, str], Rating]:
        """A rater's last rating of each record, read anew: another server may have added to it."""
        name = rater_name(rater)
        saved = RatingFile(self.folder / _RATINGS / f"{name}.jsonl").read()
        return {r.key: r for r in saved if r.rater == name}

    def raters(self) -> list[str]:
        """Everyone who has saved a rating, by name."""
        files = (self.folder / _RATINGS).glob("*.jsonl")
        # An empty file is of a rater whose first rating found no room.
        return sorted(f.stem for f in files if _NAME.fullmatch(f.stem) and f.stat().st_size)

    def ratings(self) -> list[Rating]:
        """The last rating of each rater on each record, by rater and in the order of the sample."""
        order = {(r.dataset, r.id): place for place, r in enumerate(self.records)}
        found = [r for name in self.raters() for r in self.of(name).values()]
        return sorted(found, key=lambda r: (r.rater, order.get(r.key, len(order))))
