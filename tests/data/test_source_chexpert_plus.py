"""CheXpert Plus: studies whose rows lie apart, suffixes, labels, and rows that are no use."""

from __future__ import annotations

import csv

import pytest

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import encoded, picture
from unimedvl.data.reports import labels, split_named

_TABLE = "df_chexpert_plus_240401.csv"


def test_a_study_is_one_record_with_all_its_images(miniature, read):
    got = read("chexpert-plus", miniature("chexpert-plus"))
    assert not got.faults
    assert [r.id for r in got.records] == ["patient90002/study5", "patient90001/study1", "patient90002/study6"]
    assert [r.split for r in got.records] == ["train", "validation", "train"]
    first = got.records[0]
    assert [p.path for p in first.input_img] == [
        f"PNG/train/patient90002/study5/{v}.png" for v in ("view1_frontal", "view2_lateral")
    ]
    assert first.message[1].value == (
        'Findings: Low lung volumes, with "mild" edema. Impression: 1. Mild edema. 2. No effusion.'
    )
    assert first.attributes["positive"] == "Edema" and first.attributes["uncertain"] == "Pneumonia"
    assert first.attributes["negative"] == "Pleural Effusion" and first.attributes["age"] == "61.0"
    assert got.records[1].message[1].value == "Impression: Normal chest." and first.patient == "patient90002"
    assert got.samples[0].images[1]() == encoded(picture("cxr", 102), "PNG")


def test_labels_are_not_needed_and_an_archive_may_stand_before_the_split(miniature, read):
    root = miniature("chexpert-plus")
    for file in (root / "chexbert_labels").iterdir():
        file.unlink()
    (root / "chexbert_labels").rmdir()
    file = root / _TABLE
    file.write_text(file.read_text().replace(",train/", ",CheXpert-v1.0/train/"))
    got = read("chexpert-plus", root)
    assert len(got.records) == 3 and not got.faults
    assert "positive" not in got.records[0].attributes


def test_bad_rows_are_faults_that_say_why(miniature, read):
    root = miniature("chexpert-plus")
    file = root / _TABLE
    with file.open(newline="") as lines:
        first, second, third, last = csv.DictReader(lines)
    second["section_impression"] = "___"
    third["section_findings"] = "Clear."
    rows = [first, second, third, last, last, last | {"path_to_image": "train/patient90002/6th/view1.jpg"}]
    with file.open("w", newline="") as lines:
        out = csv.DictWriter(lines, first)
        out.writeheader()
        out.writerows([*rows, last | {"path_to_image": last["path_to_image"].replace("1_", "2_"), "split": "all"}])
    got = read("chexpert-plus", root)
    assert [(r.id, len(r.input_img)) for r in got.records] == [("patient90002/study6", 1)]
    assert [f.reason for f in got.faults] == [
        "patient90002/study5: its images have 2 different reports",
        "no usable report: expected findings or impression, found neither or only removed words",
        "path_to_image: train/patient90002/study6/view1_frontal stands in the table before",
        "path_to_image: expected train/patientNNNNN/studyN/viewN_frontal.jpg, found 'train/patient90002/6th/view1.jpg'",
        "split: expected train, test, val, valid, validate, validation, found 'all'",
    ]
    assert [f.where.rpartition(": ")[2] for f in got.faults] == ["row 2", "row 3", "row 6", "row 7", "row 8"]


def test_an_image_that_is_not_unpacked_is_an_error_when_it_is_loaded(miniature, read):
    root = miniature("chexpert-plus")
    (root / "PNG/valid/patient90001/study1/view1_frontal.png").unlink()
    with pytest.raises(DataError, match="patient90001/study1/view1_frontal.png: No such file"):
        read("chexpert-plus", root).samples[1].images[0]()


def test_labels_are_read_in_every_notation_and_nothing_else():
    stated = {"Edema": "1.0", "Fracture": -1, "Pneumonia": 0.0}
    row = stated | {"Lung Lesion": -100, "Pneumothorax": None, "No Finding": ""}
    assert labels(row) == {"positive": "Edema", "negative": "Pneumonia", "uncertain": "Fracture"}
    assert labels({"Edema": 1}, "followup_") == {"followup_positive": "Edema"}
    with pytest.raises(DataError, match="Edema: expected 1, 0, -1 or nothing, found '2'"):
        labels({"Edema": 2})
    assert [split_named(w) for w in ("valid", "validate", "val", "test")] == ["validation"] * 3 + ["test"]
