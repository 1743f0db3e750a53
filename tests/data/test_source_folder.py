"""A folder with a table: CSV and JSON lines, what may be left out, and what is refused."""

from __future__ import annotations

import pytest

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import encoded, picture


def test_questions_of_a_csv_and_captions_of_json_lines(miniature, read):
    got = read("folder", miniature("folder"))
    assert not got.faults
    assert [(r.id, r.sub_task_type, r.modality, r.split, r.licence, r.patient) for r in got.records] == [
        ("captions-0", "caption", "cfp", "validation", "NOASSERTION", ""),
        ("7", "caption", "mixed", None, "NOASSERTION", ""),
        ("first", "vqa", "cxr", "train", "CC0-1.0", "p1"),
        ("train-1", "vqa", "cxr", "train", "NOASSERTION", "p2"),
    ]
    assert [m.value for m in got.records[3].message] == ["<image>\nWhere is it,\nand how large?", "Left, 2 cm"]
    assert got.records[0].message[1].value == "A healthy fundus."
    assert [r.attributes for r in got.records] == [{}, {}, {"site": "north"}, {}]
    assert got.samples[3].images[0]() == encoded(picture("cxr", 601), "PNG")


def test_bad_rows_are_faults_that_say_what_is_wrong(miniature, read):
    root = miniature("folder")
    (root / "captions.jsonl").unlink()
    rows = ["a.png,Why?,,,", "/etc/x.png,Why?,So.,,", "../x.png,Why?,So.,,", ",Why?,So.,,", "a.png,,,,",
            "a.png,Why?,So.,xray,", "a.png,Why?,So.,ct,one", "a.png,Why?,So.,ct,one", "a.png,Why?"]  # fmt: skip
    file = root / "train.csv"
    file.write_text("\n".join(["image,question,answer,modality,id", *rows]))
    got = read("folder", root)
    assert [r.id for r in got.records] == ["one"]
    assert [f.where for f in got.faults] == [f"{file}: row {n}" for n in (2, 3, 4, 5, 6, 7, 9, 10)]
    reasons = [f.reason for f in got.faults]
    assert reasons[:5] == [
        "answer: empty",
        "image: expected a path within the folder, found '/etc/x.png'",
        "image: expected a path within the folder, found '../x.png'",
        "image: empty",
        "expected question and answer, or caption; found neither",
    ]
    assert reasons[5].startswith("modality: expected cfp, cxr, ct, ") and reasons[5].endswith("found 'xray'")
    assert reasons[6:] == ["id: 'one' is there twice", "expected 5 cells, found 2"]


def test_an_unknown_split_is_a_fault_and_a_missing_image_an_error_when_it_is_loaded(miniature, read):
    root = miniature("folder")
    (root / "train.csv").write_text("image,caption,split\nxrays/c.png,Seen.,test\nxrays/c.png,Seen.,later\n")
    got = read("folder", root)
    assert got.records[-1].split == "test" and "found 'later'" in got.faults[0].reason
    with pytest.raises(DataError, match="xrays/c.png: No such file"):
        got.samples[-1].images[0]()
