"""MedTrinity-25M (Xie et al., ICLR 2025): images of many medical data sets with descriptions that a model wrote."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from unimedvl.data.archives import Place, embedded, file_part, tar_members
from unimedvl.data.error import DataError
from unimedvl.data.files import Rows, parquet
from unimedvl.data.record import Record
from unimedvl.data.source import (
    Fault,
    Item,
    Load,
    Sample,
    Source,
    described,
    need,
    pictures,
    required,
    samples,
    words,
)

_LICENCE = "not stated; each image as in the data set that it is of"
_DEMO, _FULL, _IMAGES = "25M_demo", "25M_full", "25M_accessible"
_KINDS = (".tar", ".tar.zst")
# Members whose rows are looked for, and held in memory, in one walk over the metadata.
_AT_ONCE = 500_000
# Data sets of one modality.
_MODALITY = {
    "brats24": "mri",
    "chexpert": "cxr",
    "ct_rate": "ct",
    "deeplesion": "ct",
    "nih_chest": "cxr",
    "padchest": "cxr",
    "quilt_1m": "his",
    "tcga": "his",
}


def read(root: Path) -> Iterator[Item]:
    """The records of both configurations, or of the one that is there."""
    need(root, _DEMO, _FULL)
    if (root / _DEMO).is_dir():
        for file in _files(root / _DEMO, ".parquet"):
            yield from samples(parquet(file), _demo)
    if (root / _FULL).is_dir():
        yield from _full(_files(root / _FULL, ".parquet"), _files(need(root, _IMAGES), *_KINDS))


def _files(folder: Path, *kinds: str) -> list[Path]:
    found = sorted(file for file in folder.rglob("*") if file.name.endswith(kinds))
    if not found:
        raise DataError(f"{folder}: expected {' or '.join('*' + kind for kind in kinds)} in it, found none")
    return found


def _demo(row: dict) -> Sample:
    name = required(row, "id")
    return Sample(_record(row, f"demo-{name}", f"{_DEMO}/{name}.jpg"), (embedded(row),))


def _full(metadata: list[Path], files: list[Path]) -> Iterator[Item]:
    """Rows and images joined by name, in the order of the shards: these may be compressed, so that going back in
    them means to start anew.
    """
    # Whether a row has met its image, by its number.
    met = bytearray()
    waiting: list[tuple[_Shard, dict[str, Place]]] = []
    for file in files:
        shard, members = _Shard(file), {}
        yield from _collect(shard, members)
        waiting.append((shard, members))
        if file == files[-1] or sum(len(held) for _, held in waiting) >= _AT_ONCE:
            yield from _matched(waiting, metadata, met)
            waiting = []
    rows = (pair for number, pair in enumerate(_rows(metadata, ["file_name"])) if not met[number])
    yield from samples(rows, _without_image)


def _collect(shard: _Shard, members: dict[str, Place]) -> Iterator[Fault]:
    try:
        for name, place in shard.members():
            if name in members:
                yield Fault(f"{shard.file}: {name}", "an image of this name is before it")
            members.setdefault(name, place)
    except DataError as error:
        yield Fault(str(shard.file), str(error))  # What it gave before is joined all the same.


def _matched(shards: list[tuple[_Shard, dict[str, Place]]], metadata: list[Path], met: bytearray) -> Iterator[Item]:
    wanted = {name for _, members in shards for name in members}
    rows: dict[str, list[tuple[int, str, object]]] = {}
    for number, (where, row) in enumerate(_rows(metadata)):
        if number == len(met):
            met.append(0)
        if (name := _name(row)) in wanted:
            rows.setdefault(name, []).append((number, where, row))
    for shard, members in shards:
        for name, place in members.items():
            found = rows.get(name, [])
            if not found or met[found[0][0]]:
                reason = "an image of this name is before it" if found else "no row of the metadata has this name"
                yield Fault(f"{shard.file}: {name}", reason)
                continue
            for again, (number, where, row) in enumerate(found):
                met[number] = 1
                made = partial(_joined, name=name, again=again, load=shard.load(place))
                yield from samples([(where, row)], made)


def _rows(metadata: list[Path], columns: list[str] | None = None) -> Rows:
    for file in metadata:
        yield from parquet(file, columns)


def _name(row: object) -> str:
    name = row.get("file_name") if isinstance(row, dict) else None
    return PurePosixPath(name).name if isinstance(name, str) else ""


def _without_image(row: dict) -> None:
    raise DataError(f"no image called {PurePosixPath(required(row, 'file_name')).name} in the shards that are here")


def _joined(row: dict, name: str, again: int, load: Load) -> Sample:
    """again: how many rows of the same image are before this one."""
    return Sample(_record(row, f"{name}-{again + 1}" if again else name, f"{_IMAGES}/{name}"), (load,))


def _record(row: dict, name: str, path: str) -> Record:
    source = words(row, "source") if "source" in row else ""
    return Record(
        main_task_type="understanding",
        sub_task_type="caption",
        modality=_MODALITY.get(source.lower(), "mixed"),
        dataset="medtrinity",
        input_img=pictures([path]),
        message=described(required(row, "caption")),
        id=name,
        licence=_LICENCE,
        split="train",
        attributes={"source": source} if source else {},
    )


class _Shard:
    """A tar archive of images, which may be compressed."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._unpacked = _Unpacked(file) if file.suffix == ".zst" else None
        self._lock = threading.Lock()

    def members(self) -> Iterator[tuple[str, Place]]:
        """Names and places of the images. Raises DataError as `tar_members`."""
        if self._unpacked:
            yield from tar_members(self.file, self._unpacked)
            return
        with self.file.open("rb") as stream:
            yield from tar_members(self.file, stream)

    def load(self, place: Place) -> Load:
        """Loads an image. Of a compressed archive, it is quick in the archive's order only."""
        return partial(self._read, place) if self._unpacked else file_part(self.file, place)

    def _read(self, place: Place) -> bytes:
        offset, length = place
        try:
            with self._lock:
                self._unpacked.seek(offset)
                data = self._unpacked.read(length)
        except OSError as error:
            raise DataError(f"{self.file}: {error}") from error
        if len(data) != length:
            raise DataError(f"{self.file}: expected {length} bytes at {offset}, found {len(data)}")
        return data


class _Unpacked:
    """The bytes of a file under Zstandard. Seeking back starts anew; a broken file raises OSError."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stream = None
        self._place = 0

    def tell(self) -> int:
        return self._place

    def read(self, size: int) -> bytes:
        if self._stream is None:
            import pyarrow

            self._stream = pyarrow.CompressedInputStream(pyarrow.OSFile(str(self._file)), "zstd")
        data = self._stream.read(size)
        self._place += len(data)
        return data

    def seek(self, place: int) -> int:
        if place < self._place:
            self._stream, self._place = None, 0
        while self._place < place and self.read(min(place - self._place, 2**20)):
            pass
        return self._place


SOURCE = Source(
    name="medtrinity",
    title="MedTrinity-25M",
    home="https://huggingface.co/datasets/UCSC-VLAA/MedTrinity-25M",
    licence=_LICENCE,
    access="gated",
    modalities=("ct", "cxr", "his", "mri", "mixed"),
    expected={"train": None},
    read=read,
    notes="Images of some sources are not passed on with it: their rows are faults. Holds images of PMC-OA, Quilt-1M, "
    "CheXpert, BraTS and others. Shards that end in .zst are best read in their order.",
    tasks=("caption",),
)
