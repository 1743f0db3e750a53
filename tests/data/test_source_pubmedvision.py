"""PubMedVision: ids of two files, marks that are added, and images in archives or unpacked."""

from __future__ import annotations

import json
from zipfile import ZipFile

import pytest

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import encoded, picture

_ALIGNMENT = "PubMedVision_Alignment_VQA.json"


def test_both_files_are_read_with_a_mark_for_each_image(miniature, read):
    got = read("pubmedvision", miniature("pubmedvision"))
    assert not got.faults
    assert [(r.id, r.modality, len(r.input_img)) for r in got.records] == [
        ("alignment-0", "mri", 1),
        ("alignment-1", "cxr", 2),
        ("instruction-0", "mri", 1),
        ("instruction-1", "mixed", 1),
    ]
    assert [r.message[0].value for r in got.records] == [
        "<image>\nDescribe it.",
        "<image>\n<image>\nWhat do both show?",
        "<image>\nWhat is it?",
        "<image>\nIs it normal?",
    ]
    assert [m.value for m in got.records[2].message[1:]] == ["MRI.", "Of what?", "Of the head."]
    assert got.records[3].attributes == {
        "modality": "Digital Radiography", "body_part": "Hand", "subset": "instruction",
    }  # fmt: skip


def test_archives_and_unpacked_images_give_the_same(miniature, read):
    root = miniature("pubmedvision")
    packed = [load() for s in read("pubmedvision", root).samples for load in s.images]
    assert packed[1:3] == [encoded(picture("cxr", 441)), encoded(picture("cxr", 442))]
    for part in sorted(root.glob("*.zip")):
        ZipFile(part).extractall(root)
        part.unlink()
    assert [load() for s in read("pubmedvision", root).samples for load in s.images] == packed


def test_one_file_alone_is_read(miniature, read):
    root = miniature("pubmedvision")
    (root / _ALIGNMENT).unlink()
    assert [r.id for r in read("pubmedvision", root).records] == ["instruction-0", "instruction-1"]


def test_records_without_images_or_conversation_are_faults(miniature, read):
    root = miniature("pubmedvision")
    row = json.loads((root / _ALIGNMENT).read_text())[0]
    turn = {"from": "gpt", "value": "There is <image> in it."}
    wrong = [row | {"image": []}, row | {"image": "images/pmc_90_0.jpg"}, row | {"conversations": None},
             row | {"id": None}, row | {"conversations": [row["conversations"][0], turn]}, 5]  # fmt: skip
    (root / _ALIGNMENT).write_text(json.dumps(wrong))
    got = read("pubmedvision", root)
    assert len(got.records) == 2
    assert got.faults[2].where == f"{root / _ALIGNMENT}: entry 2"
    assert [f.reason for f in got.faults[:4]] == [
        "image: expected a list of paths",
        "image: expected a list of paths",
        "conversations: expected a list of turns",
        "id: empty",
    ]
    assert "2 <image> marks for 1 input images" in got.faults[4].reason
    assert got.faults[5].reason == "expected an object, found int"


def test_a_missing_image_is_an_error_when_it_is_loaded(miniature, read):
    root = miniature("pubmedvision")
    (root / "images_1.zip").unlink()
    sample = read("pubmedvision", root).samples[1]
    sample.images[0]()
    with pytest.raises(DataError, match="images_0.zip: no pmc_90_2.jpg in it"):
        sample.images[1]()
    (root / "images_0.zip").unlink()
    with pytest.raises(DataError, match="expected images or images_.*zip in it, found none"):
        read("pubmedvision", root)
