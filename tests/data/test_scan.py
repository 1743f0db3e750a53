"""Records read without their images, by place, and fetched with them after."""

from __future__ import annotations

import pytest

from unimedvl.data.error import DataError
from unimedvl.data.scan import Place, count_rows, fetch, scan, shard_files
from unimedvl.data.shards import write_shard


@pytest.fixture
def shards(miniature, read, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("slake", "vqa-rad"):
        write_shard(folder / f"{name}.parquet", read(name, miniature(name)).samples * 4)  # more than one row group
    return folder


def test_every_record_is_fetched_from_its_place(shards):
    files = shard_files([shards])
    found = list(scan(files))
    assert len(found) == count_rows(files) == 44
    for (_, record), sample in zip(found, fetch([p for p, _ in found]), strict=True):
        assert sample.record == record and len(sample.images) == len(record.pictures)
    backwards = [record for _, record in reversed(found)]
    assert [s.record for s in fetch([p for p, _ in reversed(found)])] == backwards


def test_a_builds_folder_stands_for_its_last_shards(shards, tmp_path):
    build = tmp_path / "build"
    (build / "read").mkdir(parents=True)
    shards.rename(build / "read" / "x")
    assert [f.parent.name for f in shard_files([build])] == ["x", "x"]
    (build / "shards").mkdir()
    (build / "read" / "x" / "slake.parquet").rename(build / "shards" / "train-00000.parquet")
    assert [f.name for f in shard_files([build])] == ["train-00000.parquet"]


def test_what_is_no_shard_is_named(shards, tmp_path):
    (tmp_path / "empty").mkdir()
    wrong = tmp_path / "wrong.parquet"
    wrong.write_text("no Parquet")
    for paths, words in (([tmp_path / "empty"], "no shards in this folder"), ([tmp_path / "no"], "no such file")):
        with pytest.raises(DataError, match=words):
            shard_files(paths)
    with pytest.raises(DataError, match="wrong.parquet: "):
        list(scan([wrong]))
    with pytest.raises(DataError, match="row 99: no such row; the shard has 20"):
        list(fetch([Place(shards / "vqa-rad.parquet", 99)]))


def test_parquet_without_records_is_no_shard(tmp_path):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="expected a column `record`"):
        list(scan([tmp_path / "other.parquet"]))
