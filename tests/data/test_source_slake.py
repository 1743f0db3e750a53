"""SLAKE: two languages, both names of the second file, images by folder or in an archive."""

from __future__ import annotations

import json
import shutil
from zipfile import ZipFile

import pytest

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import encoded, picture


def test_both_languages_and_closed_answers_other_than_yes_or_no_are_read(miniature, read):
    got = read("slake", miniature("slake"))
    assert not got.faults
    assert [(r.id, r.split, r.modality) for r in got.records] == [
        ("0", "train", "cxr"), ("1", "train", "mri"), ("2", "train", "cxr"), ("3", "validation", "mri"),
        ("4", "test", "cxr"), ("5", "test", "cxr"),
    ]  # fmt: skip
    assert [r.message[1].value for r in got.records] == ["Yes", "Brain", "有", "T2", "Left", "Cough"]
    assert got.records[2].message[0].value == "<image>\n图中有肺吗"
    assert [r.attributes["language"] for r in got.records] == ["en", "en", "zh", "en", "en", "en"]
    assert got.records[4].attributes == {
        "language": "en", "answer_type": "closed", "location": "Chest_lung", "modality": "X-Ray",
        "base_type": "vqa", "content_type": "Position",
    }  # fmt: skip
    # Each image is its own, though all have the same file name.
    assert got.samples[0].images[0]() == encoded(picture("cxr", 900))
    assert got.records[2].input_img == got.records[4].input_img
    assert got.samples[4].images[0]() == encoded(picture("cxr", 902))


def test_the_repository_s_names_and_the_archive_s_folder_give_the_same(miniature, read, tmp_path):
    root = miniature("slake")
    expected = read("slake", root).records
    (root / "validate.json").rename(root / "validation.json")
    assert read("slake", root).records == expected
    shutil.copytree(root, tmp_path / "outer" / "Slake1.0")
    assert read("slake", tmp_path / "outer").records == expected


@pytest.mark.parametrize("prefix", ["imgs/", ""])
def test_images_are_read_out_of_the_archive(miniature, read, prefix):
    root = miniature("slake")
    with ZipFile(root / "imgs.zip", "w") as archive:
        for file in sorted((root / "imgs").rglob("xmlab90[01]/source.jpg")):
            archive.write(file, f"{prefix}{file.relative_to(root / 'imgs')}")
    shutil.rmtree(root / "imgs")
    samples = read("slake", root).samples
    assert samples[1].images[0]() == encoded(picture("mri", 901))
    with pytest.raises(DataError, match=f"imgs.zip: no {prefix}xmlab902/source.jpg in it"):
        samples[2].images[0]()
    (root / "imgs.zip").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"imgs\.zip: no zip archive"):
        read("slake", root)


def test_bad_rows_are_faults_that_name_file_and_entry(miniature, read):
    root = miniature("slake")
    rows = json.loads((root / "train.json").read_text(encoding="utf-8"))
    wrong = [rows[0], rows[1] | {"answer": ""}, rows[2] | {"qid": 0}, rows[1] | {"question": ["?"]}]
    no_image = {key: cell for key, cell in rows[1].items() if key != "img_name"}
    (root / "train.json").write_text(json.dumps([*wrong, no_image, 7]))
    got = read("slake", root)
    assert [r.id for r in got.records] == ["0", "3", "4", "5"]
    assert [f.where for f in got.faults] == [f"{root / 'train.json'}: entry {n}" for n in range(1, 6)]
    reasons = [f.reason for f in got.faults]
    assert reasons[:3] == ["answer: empty", "qid: 0 is before it", "question: expected text, found list"]
    assert reasons[3].startswith("no key img_name") and reasons[4] == "expected an object, found int"


def test_missing_images_are_errors(miniature, read):
    root = miniature("slake")
    (root / "imgs/xmlab901/source.jpg").unlink()
    sample = read("slake", root).samples[1]
    with pytest.raises(DataError, match="xmlab901/source.jpg: No such file"):
        sample.images[0]()
    shutil.rmtree(root / "imgs")
    with pytest.raises(DataError, match="expected imgs or imgs.zip in it, found none"):
        read("slake", root)
