"""ICG-CXR: both branches, what is not stated, and the lists that may name the splits."""

from __future__ import annotations

import json

import pytest

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import encoded, picture

_PLUS = "icg-cxr-v1/chexpertplus/pa/1/train/p90001/i01s0001-i04s0002/i01s0001-i04s0002"
_MIMIC = "icg-cxr-v1/mimic_cxr/pa/1/p10/p10000901/i01s50000901-i02s50000902/i01s50000901-i02s50000902"


def test_a_pair_is_a_prior_its_progression_the_follow_up_and_the_changes(miniature, read):
    got = read("icg-cxr", miniature("icg-cxr"))
    assert not got.faults
    assert [r.id for r in got.records] == [
        "p90001/i01s0001-i04s0002", "p90002/i01s0001-i04s0002", "p10000901/i01s50000901-i02s50000902",
    ]  # fmt: skip
    first, _, third = got.records
    assert (first.main_task_type, first.sub_task_type) == ("interleaved", "counterfactual")
    assert first.input_img[0].path == f"{_PLUS}-ref-reg.png" and first.output_img[0].path == f"{_PLUS}-flu-reg.png"
    assert [m.value for m in first.message] == [
        "<image>\nEdema develops over both lungs.", "New bilateral opacities that were not there before.",
    ]  # fmt: skip
    assert [load() for load in got.samples[0].images] == [
        encoded(picture("cxr", seed, 512), "PNG") for seed in (300, 310)
    ]
    assert [r.split for r in got.records] == ["train", "validation", "validation"]
    assert "Stanford" in first.licence and "PhysioNet" in third.licence and third.patient == "10000901"


def test_what_is_not_stated_leaves_no_attribute(miniature, read):
    first, _, third = read("icg-cxr", miniature("icg-cxr")).records
    assert first.attributes == {
        "view": "PA", "age": "61.0", "sex": "Female", "race": "Other", "ethnicity": "Unknown",
        "reference_study_id": "0001", "followup_study_id": "0002", "confidence": "4",
        "followup_positive": "Edema", "followup_negative": "Pneumothorax", "followup_uncertain": "Pneumonia",
    }  # fmt: skip
    assert third.attributes["time_interval"] == "55" and "age" not in third.attributes


@pytest.mark.parametrize("prefixed", [False, True])
def test_lists_go_before_the_split_of_the_parent(miniature, read, prefixed):
    root = miniature("icg-cxr")
    names = {"train": [_PLUS, _MIMIC], "test": [_PLUS.replace("train/p90001", "valid/p90002"), "p1/x/x", _MIMIC]}
    for split, stems in names.items():
        paths = [f"{stem.removeprefix('icg-cxr-v1/')}.json" for stem in stems]
        content = {"prefix": "/data/icg-cxr-v1", "path_list": paths} if prefixed else paths
        (root / f"icg-cxr-v1/{split}_list.json").write_text(json.dumps(content))
    got = read("icg-cxr", root)
    assert [r.split for r in got.records] == ["train", "test", "train"]
    folder = root / "icg-cxr-v1"
    assert [(f.where, f.reason) for f in got.faults] == [
        (f"{folder}/test_list.json: p10000901/i01s50000901-i02s50000902",
         "in the list of train too, which is what it counts as"),
        (f"{folder}: p1/x", "no such pair, though a list has it in test"),
    ]  # fmt: skip


def test_bad_pairs_are_faults_and_a_missing_image_an_error_when_it_is_loaded(miniature, read):
    root = miniature("icg-cxr")
    one, two = root / f"{_PLUS}.json", root / f"{_MIMIC}.json"
    content = json.loads(one.read_text())
    one.write_text(json.dumps(content | {"changes-of-findings": None}))
    two.write_text(two.read_text()[:50])
    got = read("icg-cxr", root)
    assert [f.where for f in got.faults] == [str(one), str(two)]
    assert got.faults[0].reason == "changes-of-findings: empty" and "not JSON" in got.faults[1].reason
    (root / got.records[0].output_img[0].path).unlink()
    assert got.samples[0].images[0]()
    with pytest.raises(DataError, match="flu-reg.png: No such file"):
        got.samples[0].images[1]()


def test_a_label_of_another_value_is_a_fault(miniature, read):
    root = miniature("icg-cxr")
    file = root / f"{_PLUS}.json"
    file.write_text(file.read_text().replace('"Edema": 1.0', '"Edema": 3'))
    assert [f.reason for f in read("icg-cxr", root).faults] == ["Edema: expected 1, 0, -1 or nothing, found '3'"]
