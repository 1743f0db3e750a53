"""BCI: pairs by name, and the level that the name ends with."""

from __future__ import annotations

import shutil

import pytest

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import encoded, picture


def test_a_pair_is_one_name_in_two_folders_and_the_request_names_the_level(miniature, read):
    got = read("bci", miniature("bci"))
    assert not got.faults
    assert [r.id for r in got.records] == ["00000_train_1+", "00001_train_0", "00002_train_3+", "00000_test_2+"]
    assert [r.attributes["her2"] for r in got.records] == ["1+", "0", "3+", "2+"]
    assert [r.split for r in got.records] == ["train", "train", "train", "test"]
    for record in got.records:
        request, reply = (m.value for m in record.message)
        assert request.startswith("<image>\n") and f"level {record.attributes['her2']}." in request
        assert reply == f"Here is the HER2 stain at level {record.attributes['her2']}."
    assert [p.path for p in got.records[1].pictures] == [
        "BCI_dataset/HE/train/00001_train_0.png", "BCI_dataset/IHC/train/00001_train_0.png",
    ]  # fmt: skip
    he, ihc = (load() for load in got.samples[1].images)
    assert he == encoded(picture("his", 401, 128, 0), "PNG") and ihc == encoded(picture("his", 401, 128, 1), "PNG")


def test_the_folder_itself_may_be_given(miniature, read):
    root = miniature("bci")
    inside = read("bci", root / "BCI_dataset").records
    assert [r.id for r in inside] == [r.id for r in read("bci", root).records]
    assert inside[0].input_img[0].path == "HE/train/00000_train_1+.png"


def test_files_without_a_partner_or_of_another_name_are_faults(miniature, read):
    root = miniature("bci")
    he, ihc = root / "BCI_dataset/HE/train", root / "BCI_dataset/IHC/train"
    (he / "00000_train_1+.png").unlink()
    (ihc / "00001_train_0.png").unlink()
    for folder in (he, ihc):
        shutil.copy(folder / "00002_train_3+.png", folder / "00003_train_0+.png")
        shutil.copy(folder / "00002_train_3+.png", folder / "00003_test_1+.png")
    got = read("bci", root)
    assert [r.id for r in got.records] == ["00002_train_3+", "00000_test_2+"]
    expected = "expected a name like 00000_train_1+.png, with level 0, 1+, 2+ or 3+"
    assert [(f.where, f.reason) for f in got.faults] == [
        (str(ihc / "00000_train_1+.png"), "no file of this name in HE/train"),
        (str(he / "00001_train_0.png"), "no file of this name in IHC/train"),
        (str(he / "00003_test_1+.png"), expected),
        (str(he / "00003_train_0+.png"), expected),
    ]


def test_a_folder_of_one_stain_is_an_error_and_so_is_an_image_that_is_gone_when_loaded(miniature, read):
    root = miniature("bci")
    got = read("bci", root)
    shutil.rmtree(root / "BCI_dataset/IHC")
    with pytest.raises(DataError, match="expected IHC in it"):
        read("bci", root)
    with pytest.raises(DataError, match="No such file"):
        got.samples[0].images[1]()
