"""PMC-OA: which file is read, keys that may miss, and images whatever folder they are in."""

from __future__ import annotations

import json
from zipfile import ZipFile

import pytest

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import encoded, picture


def test_the_captions_that_are_cut_up_are_read_with_their_articles(miniature, read):
    got = read("pmc-oa", miniature("pmc-oa"))
    assert not got.faults
    assert [(r.id, r.study, r.split) for r in got.records] == [
        ("PMC9000011_Fig1_0", "PMC9000011", None),
        ("PMC9000011_Fig1_1", "PMC9000011", None),
        ("PMC9000012_Fig2_4", "PMC9000012", None),
    ]
    assert got.records[0].message[1].value == "A. Simulated section, “axial”."
    assert [s.images[0]() for s in got.samples] == [
        encoded(picture(kind, 410 + n)) for n, kind in enumerate(("mri", "mri", "cxr"))
    ]


def test_an_unpacked_folder_of_any_name_gives_the_same_images(miniature, read):
    root = miniature("pmc-oa")
    packed = [s.images[0]() for s in read("pmc-oa", root).samples]
    ZipFile(root / "images.zip").extractall(root / "unpacked")
    (root / "images.zip").unlink()
    assert [s.images[0]() for s in read("pmc-oa", root).samples] == packed


def test_the_beta_and_the_first_release_by_split_are_read_too(miniature, read):
    root = miniature("pmc-oa")
    rows = (root / "pmc_oa.jsonl").read_text()
    (root / "pmc_oa.jsonl").unlink()
    assert [r.id for r in read("pmc-oa", root).records] == ["PMC9000011_Fig1"]
    (root / "pmc_oa_beta.jsonl").rename(root / "valid.jsonl")
    (root / "test.jsonl").write_text(rows)
    assert [r.split for r in read("pmc-oa", root).records] == ["validation", "test", "test", "test"]


def test_bad_lines_and_second_captions_of_an_image_are_faults(miniature, read):
    root = miniature("pmc-oa")
    more = [{"image": "PMC9000013_Fig1_0.jpg", "caption": None}, {"caption": "No image."},
            {"image": "PMC9000011_Fig1_0.jpg", "caption": "Again."}]  # fmt: skip
    with (root / "pmc_oa.jsonl").open("a") as out:
        out.write("".join(json.dumps(row) + "\n" for row in more) + "nothing\n")
    got = read("pmc-oa", root)
    assert len(got.records) == 3
    assert [(f.where.rpartition(": ")[2], f.reason) for f in got.faults] == [
        ("line 6", "caption: empty"),
        ("line 7", "no key image; the row has caption"),
        ("line 8", "image: PMC9000011_Fig1_0.jpg has a caption before"),
        ("line 9", "not JSON: Expecting value at column 1"),
    ]


def test_a_missing_image_is_an_error_when_it_is_loaded(miniature, read):
    root = miniature("pmc-oa")
    with (root / "pmc_oa.jsonl").open("a") as out:
        out.write('{"image": "../PMC9_Fig1_0.jpg", "caption": "Not there."}\n')
    with pytest.raises(DataError, match="images.zip: no PMC9_Fig1_0.jpg in it"):
        read("pmc-oa", root).samples[3].images[0]()
    (root / "images").mkdir()
    with pytest.raises(DataError, match="/images/PMC9_Fig1_0.jpg: No such file"):
        read("pmc-oa", root).samples[3].images[0]()
