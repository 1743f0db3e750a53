"""MedTrinity-25M: rows and images joined by name over files and shards, and what finds no partner."""

from __future__ import annotations

import shutil
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import encoded, picture, tarred
from unimedvl.data.sources import medtrinity

_SHARDS = "25M_accessible"


def test_both_configurations_are_read_in_the_order_of_the_shards(miniature, read):
    got = read("medtrinity", miniature("medtrinity"))
    assert not got.faults
    assert [(r.id, r.modality, r.attributes.get("source")) for r in got.records] == [
        ("demo-demo_0", "mixed", None),
        ("90_a.jpg", "cxr", "nih_chest"),
        ("90_b.png", "mri", "brats24"),
        ("90_b.png-2", "mri", "brats24"),
        ("90_c.jpg", "his", "TCGA"),
    ]
    assert got.records[3].message[1].value == "The same lesion in other words."
    images = [s.images[0]() for s in got.samples]
    assert images[:2] == [encoded(picture("mri", 460)), encoded(picture("cxr", 461))]
    assert images[2] == images[3] == encoded(picture("mri", 462), "PNG")


def test_the_result_is_the_same_however_many_shards_are_joined_at_once(miniature, read, monkeypatch):
    root = miniature("medtrinity")
    together = read("medtrinity", root).records
    monkeypatch.setattr(medtrinity, "_AT_ONCE", 1)
    got = read("medtrinity", root)
    assert got.records == together and not got.faults


@pytest.mark.parametrize("at_once", [1, 1000])
def test_rows_and_images_without_a_partner_are_faults(at_once, miniature, read, monkeypatch):
    monkeypatch.setattr(medtrinity, "_AT_ONCE", at_once)
    root = miniature("medtrinity")
    rows = {"file_name": ["chexpert_1.jpg", "", None], "caption": ["Said."] * 3, "source": ["chexpert"] * 3}
    pq.write_table(pa.table(rows), root / "25M_full/train-00002.parquet")
    # A name that has no row, one twice in a shard, and one that an earlier shard has.
    data = encoded(picture("mri", 1))
    members = [("x/90_z.jpg", data), ("x/90_z.jpg", data), ("x/90_a.jpg", data)]
    (root / _SHARDS / "dataset_shard_99.tar").write_bytes(tarred(members))
    got = read("medtrinity", root)
    assert [r.id for r in got.records] == ["demo-demo_0", "90_a.jpg", "90_b.png", "90_b.png-2", "90_c.jpg"]
    shard, table = root / _SHARDS / "dataset_shard_99.tar", root / "25M_full/train-00002.parquet"
    assert [(f.where, f.reason) for f in got.faults] == [
        (f"{shard}: 90_z.jpg", "an image of this name is before it"),
        (f"{shard}: 90_z.jpg", "no row of the metadata has this name"),
        (f"{shard}: 90_a.jpg", "an image of this name is before it"),
        (f"{table}: row 0", "no image called chexpert_1.jpg in the shards that are here"),
        (f"{table}: row 1", "file_name: empty"),
        (f"{table}: row 2", "file_name: empty"),
    ]


def test_a_shard_cut_short_is_a_fault_and_one_removed_later_an_error(miniature, read):
    root = miniature("medtrinity")
    shard = root / _SHARDS / "dataset_shard_67.tar"
    whole = shard.read_bytes()
    with tarfile.open(shard) as archive:
        second = archive.getmembers()[1]
    # Within the second image: it has its header, and can't be loaded.
    shard.write_bytes(whole[: second.offset_data + 100])
    got = read("medtrinity", root)
    assert len(got.samples) == 5 and [f.where for f in got.faults] == [str(shard)]
    with pytest.raises(DataError, match=f"dataset_shard_67.tar: expected .* bytes at {second.offset_data}, found 100"):
        got.samples[2].images[0]()
    # Within the second header.
    shard.write_bytes(whole[: second.offset + 100])
    got = read("medtrinity", root)
    assert [r.id for r in got.records] == ["demo-demo_0", "90_a.jpg", "90_c.jpg"]
    assert got.faults[0].where == str(shard) and "no whole tar archive" in got.faults[0].reason
    assert got.faults[1].reason == "no image called 90_b.png in the shards that are here"
    shard.unlink()
    with pytest.raises(DataError, match="dataset_shard_67.tar: No such file"):
        got.samples[1].images[0]()
    shutil.rmtree(root / _SHARDS)
    with pytest.raises(DataError, match="expected 25M_accessible in it, found none"):
        read("medtrinity", root)


def test_compressed_shards_give_the_same_and_a_broken_one_a_fault(miniature, read):
    root = miniature("medtrinity")
    plain = read("medtrinity", root)
    expected = [s.images[0]() for s in plain.samples]
    for shard in sorted((root / _SHARDS).glob("*.tar")):
        half = shard.stat().st_size // 2
        # Two frames, as a packer on several processors writes them.
        parts = (shard.read_bytes()[:half], shard.read_bytes()[half:])
        frames = (pa.compress(part, "zstd", asbytes=True) for part in parts)
        shard.with_suffix(".tar.zst").write_bytes(b"".join(frames))
        shard.unlink()
    got = read("medtrinity", root)
    assert got.records == plain.records
    assert [s.images[0]() for s in got.samples] == expected
    # Going back works too, if slowly.
    assert [s.images[0]() for s in reversed(got.samples)] == expected[::-1]
    shard = root / _SHARDS / "dataset_shard_67.tar.zst"
    whole = shard.read_bytes()
    for broken in (whole[: len(whole) // 2], b"no archive"):
        shard.write_bytes(broken)
        assert read("medtrinity", root).faults[0].where == str(shard)
