"""BIOMEDICA: three members that make a sample, labels, licences, and shards that are broken."""

from __future__ import annotations

import json

import pytest

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import encoded, picture, tarred

_SHARD = "commercial/0_100000000.tar"


def test_members_are_joined_by_key_wherever_they_stand(miniature, read):
    got = read("biomedica", miniature("biomedica"))
    assert not got.faults
    assert [(r.id, r.study, r.licence, r.modality) for r in got.records] == [
        ("0-PMC9000031-1-f.2", "PMC9000031", "CC BY", "mixed"),
        ("0-PMC9000031-0-fig-1a", "PMC9000031", "CC BY", "mri"),
        ("3-PMC9000032-0-g001", "PMC9000032", "not stated; of the group noncommercial", "mixed"),
    ]
    assert [r.message[1].value for r in got.records] == ["A nodule.", "Simulated section.", "Stained section."]
    assert [s.images[0]() for s in got.samples] == [
        encoded(picture(kind, seed)) for kind, seed in (("cxr", 471), ("mri", 470), ("his", 472))
    ]
    told = got.records[2].attributes
    assert told["group"] == "noncommercial" and told["article_mesh_terms"] == "Humans; Lung"
    assert told["image_secondary_label"] == "Light_Microscopy; Magnetic_Resonance; Ultrasound"
    assert "article_keywords" not in told


def test_samples_that_are_not_whole_are_faults(miniature, read):
    root = miniature("biomedica")
    about = json.dumps({"article_license": None, "image_secondary_label": None}).encode()
    members = [
        ("a.jpg", b"j"), ("a.txt", b"Said."), ("a.json", about), ("b.jpg", b"j"), ("c.json", b"{"), ("c.jpg", b"j"),
        ("c.txt", b"Said."), ("d.jpg", b"j"), ("d.txt", b" \n"), ("d.json", about), ("e.txt", b"\xff"), ("e.jpg", b"j"),
        ("e.json", about), ("a.txt", b"Again."), ("f.npy", b"x"), ("g.jpeg", b"j"), ("g.txt", b"x"), ("g.json", b"[]"),
    ]  # fmt: skip
    (root / "other").mkdir()
    (root / "other/1.tar").write_bytes(tarred(members))
    got = read("biomedica", root)
    assert [r.id for r in got.records[3:]] == ["a"] and got.records[3].licence == "not stated; of the group other"
    where = f"{root}/other/1.tar: "
    assert [(f.where.removeprefix(where), f.reason) for f in got.faults] == [
        ("c", "json: not JSON: Expecting property name enclosed in double quotes at line 1"),
        ("d", "txt: empty"),
        ("e", "txt: not UTF-8: invalid start byte"),
        ("a.txt", "a member of this name is before it"),
        ("f.npy", "expected .jpg, .json or .txt, found .npy"),
        ("g", "json: expected an object, found list"),
        ("b", "no .json, .txt of this key in the shard"),
    ]


# Within the first image, after the first member's header, and at a whole number of members without an end.
@pytest.mark.parametrize("kept", [1000, 512, -1])
def test_a_shard_cut_short_is_a_fault_and_the_next_is_read(kept, miniature, read):
    root = miniature("biomedica")
    whole = (root / _SHARD).read_bytes()
    blocks = -(-len(whole.rstrip(b"\0")) // 512)
    (root / _SHARD).write_bytes(whole[: blocks * 512] if kept < 0 else whole[:kept])
    got = read("biomedica", root)
    assert [r.id for r in got.records][-1] == "3-PMC9000032-0-g001"
    assert any(f.where == str(root / _SHARD) and "no whole tar archive" in f.reason for f in got.faults)


def test_a_file_that_is_no_archive_is_a_fault_and_a_group_without_shards_an_error(miniature, read):
    root = miniature("biomedica")
    (root / _SHARD).write_bytes(b"no archive" * 100)
    got = read("biomedica", root)
    assert [r.id for r in got.records] == ["3-PMC9000032-0-g001"]
    assert [f.where for f in got.faults] == [str(root / _SHARD)]
    (root / _SHARD).unlink()
    with pytest.raises(DataError, match="commercial: expected .*tar in it, found none"):
        read("biomedica", root)


def test_an_image_is_an_error_when_its_shard_has_gone_or_shrunk(miniature, read):
    root = miniature("biomedica")
    load = read("biomedica", root).samples[0].images[0]
    (root / _SHARD).write_bytes((root / _SHARD).read_bytes()[:700])
    with pytest.raises(DataError, match="0_100000000.tar: expected .* bytes at .*, found 0"):
        load()
    (root / _SHARD).unlink()
    with pytest.raises(DataError, match="0_100000000.tar: No such file"):
        load()
