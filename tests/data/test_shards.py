"""Shards: what goes in comes out, image by image; the same samples give the same bytes; damage is told."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unimedvl.data import shards
from unimedvl.data.error import DataError
from unimedvl.data.record import Record, sha256
from unimedvl.data.shards import group_lengths, read_shard, write_shard
from unimedvl.data.source import Sample, answer, pictures, question


def sample(number: int, images: int = 1) -> Sample:
    paths = [f"{number}-{i}.png" for i in range(images)]
    record = Record(
        main_task_type="understanding", sub_task_type="vqa", modality="cxr", dataset="invented", id=str(number),
        input_img=pictures(paths), message=(question("What is shown?", images), answer("A line.")),
    )  # fmt: skip
    return Sample(record, tuple((lambda p=p: f"bytes of {p}".encode()) for p in paths))


@pytest.fixture
def small_groups(monkeypatch):
    monkeypatch.setattr(shards, "_GROUP", 3)


def test_records_and_images_come_back_in_order(tmp_path, small_groups):
    samples = [sample(n, images=n % 3) for n in range(8)]
    assert write_shard(tmp_path / "x.parquet", samples) == 8 == sum(group_lengths(tmp_path / "x.parquet"))
    back = list(read_shard(tmp_path / "x.parquet"))
    assert [s.record.id for s in back] == [str(n) for n in range(8)]
    for given, got in zip(samples, back, strict=True):
        assert [load() for load in got.images] == [load() for load in given.images]
        assert [p.sha256 for p in got.record.pictures] == [sha256(load()) for load in given.images]
        assert got.record.message == given.record.message


def test_some_row_groups_are_read_alone(tmp_path, small_groups):
    write_shard(tmp_path / "x.parquet", [sample(n) for n in range(10)])
    assert group_lengths(tmp_path / "x.parquet") == [3, 3, 3, 1]
    assert [s.record.id for s in read_shard(tmp_path / "x.parquet", [3, 1])] == ["9", "3", "4", "5"]


def test_the_same_samples_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_shard(tmp_path / name, [sample(n) for n in range(5)])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_columns_to_filter_by_stand_beside_the_record(tmp_path):
    write_shard(tmp_path / "x.parquet", [sample(1)])
    table = pq.read_table(tmp_path / "x.parquet")
    assert table["modality"].to_pylist() == ["cxr"] and table["split"].to_pylist() == [None]


def test_an_image_that_fails_leaves_no_half_written_shard(tmp_path):
    def missing() -> bytes:
        raise DataError("2.png: No such file or directory")

    with pytest.raises(DataError, match="2.png"):
        write_shard(tmp_path / "x.parquet", [sample(1), replace(sample(2), images=(missing,))])
    assert not list(tmp_path.iterdir())


def test_an_image_of_another_hash_is_refused(tmp_path):
    one = sample(1)
    first = one.record.input_img[0].model_copy(update={"sha256": "0" * 64})
    wrong = replace(one, record=one.record.model_copy(update={"input_img": (first,)}))
    with pytest.raises(DataError, match=r"1-0.png: expected an image of hash 0000.*, found"):
        write_shard(tmp_path / "x.parquet", [wrong])


def test_what_is_no_shard_is_told(tmp_path):
    file = tmp_path / "x.parquet"
    for call in (lambda: list(read_shard(file)), lambda: group_lengths(file)):
        with pytest.raises(DataError, match="No such file"):
            call()
        file.write_bytes(b"not a shard")
        with pytest.raises(DataError, match="no shard of records"):
            call()
        file.unlink()
    pq.write_table(pa.table({"other": [1]}), file)
    with pytest.raises(DataError, match="no shard of records"):
        list(read_shard(file))
    write_shard(file, [sample(1)])
    table = pq.read_table(file)
    column = table.schema.get_field_index("record")
    pq.write_table(table.set_column(column, "record", pa.array(['{"modality": "cxr"}'])), file)
    with pytest.raises(DataError, match=r"x.parquet: row 0: main_task_type: Field required"):
        list(read_shard(file))
