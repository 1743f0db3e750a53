"""Records as Parquet shards, with the encoded bytes of their images inside.

A shard has a row for each record: its id, dataset, modality, tasks, split and licence as columns to filter by, the
record itself as its JSON line, and the images' bytes in the order of `record.pictures`. A shard is written
whole or not at all, and the same samples give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.record import Picture, Record, parse_record, sha256
from unimedvl.data.source import Sample
from unimedvl.data.whole import written_whole

# Columns that are fields of the record, as text.
_FIELDS = ("id", "dataset", "modality", "main_task_type", "sub_task_type", "split", "licence")
# Records of a row group, which is what is read, and held in memory, at once.
_GROUP = 16


def embed(sample: Sample) -> tuple[Record, list[bytes]]:
    """A sample's record with the hashes of its images, and the images as bytes.

    Raises:
        DataError: an image can't be loaded, or is not the one that the record's hash says.
    """
    data = [load() for load in sample.images]
    if len(data) != len(sample.record.pictures):
        raise DataError(f"{len(data)} images for {len(sample.record.pictures)} pictures of the record")
    known = [_described(p, d) for p, d in zip(sample.record.pictures, data, strict=True)]
    inputs = len(sample.record.input_img)
    update = {"input_img": tuple(known[:inputs]), "output_img": tuple(known[inputs:])}
    return sample.record.model_copy(update=update), data


def _described(picture: Picture, data: bytes) -> Picture:
    found = sha256(data)
    if picture.sha256 not in (None, found):
        raise DataError(f"{picture.path}: expected an image of hash {picture.sha256}, found {found}")
    return picture.model_copy(update={"sha256": found})


def write_shard(file: Path, samples: Iterable[Sample]) -> int:
    """Write one shard; returns the number of records.

    Raises:
        DataError: the file can't be written, or an image can't be loaded.
    """
    return write_embedded(file, map(embed, samples))


def write_embedded(file: Path, embedded: Iterable[tuple[Record, list[bytes]]]) -> int:
    """The same of what `embed` gave: records whose pictures bear their hashes, and the images' bytes."""
    import pyarrow
    import pyarrow.parquet

    count = 0
    with (
        written_whole(Path(file)) as part,
        pyarrow.parquet.ParquetWriter(part, _schema(), compression="zstd") as writer,
    ):
        for group in _groups(embedded):
            rows = [_row(record, images) for record, images in group]
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=_schema()))
            count += len(rows)
    return count


def _groups(embedded: Iterable[tuple[Record, list[bytes]]]) -> Iterator[list[tuple[Record, list[bytes]]]]:
    group: list[tuple[Record, list[bytes]]] = []
    for one in embedded:
        group.append(one)
        if len(group) == _GROUP:
            yield group
            group = []
    if group:
        yield group


def _schema():
    import pyarrow as pa

    # large_binary: a group's images may come to more than the 2 GiB that 32-bit offsets reach
    fields = [(name, pa.string()) for name in _FIELDS]
    return pa.schema([*fields, ("record", pa.large_string()), ("images", pa.large_list(pa.large_binary()))])


def _row(record: Record, images: list[bytes]) -> dict:
    return {name: getattr(record, name) for name in _FIELDS} | {"record": record.to_json(), "images": images}


def read_shard(file: Path, groups: Iterable[int] | None = None) -> Iterator[Sample]:
    """The samples of a shard in order, a row group at a time; of some of its row groups where those are named.

    Raises:
        DataError: no shard, or a record in it that is wrong; it names file, row and field.
    """
    lengths = group_lengths(file)
    for group in range(len(lengths)) if groups is None else groups:
        yield from read_rows(file, group, range(lengths[group]))


def read_rows(file: Path, group: int, rows: Iterable[int]) -> Iterator[Sample]:
    """Some samples of a row group, by their rows in it. Raises DataError as `read_shard`."""
    table, first = _group(file, group, ["record", "images"])
    for row in rows:
        yield _sample(table, row, f"{file}: row {first + row}")


def read_records(file: Path, group: int, rows: Iterable[int]) -> Iterator[Record]:
    """The records of some rows of a row group; their images are not read. Raises DataError as `read_shard`."""
    table, first = _group(file, group, ["record"])
    for row in rows:
        yield parse_record(table["record"][row].as_py(), f"{file}: row {first + row}")


def read_columns(file: Path, *columns: str) -> list[list[tuple]]:
    """Values of some text columns, of each row of each row group. Raises DataError as `read_shard`."""
    with _opened(file) as opened:
        table = opened.read(columns=list(columns))
        lengths = [opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups)]
    _check_columns(table, columns, file)
    rows = list(zip(*(table[column].to_pylist() for column in columns), strict=True))
    ends = list(accumulate(lengths))
    return [rows[end - length : end] for length, end in zip(lengths, ends, strict=True)]


def _group(file: Path, group: int, columns: list[str]):
    """Columns of a row group, and the number of its first row in the shard."""
    with _opened(file) as opened:
        table = opened.read_row_group(group, columns=columns)
        first = sum(opened.metadata.row_group(g).num_rows for g in range(group))
    _check_columns(table, columns, file)
    return table, first


@contextmanager
def _opened(file: Path):
    """The Parquet file. Raises DataError where it is none, or can't be read within."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as opened:
            yield opened
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}") from error
    except pyarrow.ArrowException as error:
        raise DataError(f"{file}: no shard of records: {str(error).splitlines()[0]}") from error


def _check_columns(table, columns: Sequence[str], file: Path) -> None:
    if missing := [column for column in columns if column not in table.column_names]:
        raise DataError(f"{file}: no shard of records: it has no column {missing[0]!r}")


def _sample(table, row: int, where: str) -> Sample:
    record = parse_record(table["record"][row].as_py(), where)
    images = [x.as_py() for x in table["images"][row].values or ()]
    if len(images) != len(record.pictures):
        raise DataError(f"{where}: images: expected {len(record.pictures)}, found {len(images)}")
    return Sample(record, tuple((lambda data=data: data) for data in images))


def group_lengths(file: Path) -> list[int]:
    """How many records each row group of a shard has, from its footer alone. Raises DataError as `read_shard`."""
    with _opened(file) as opened:
        return [opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups)]
