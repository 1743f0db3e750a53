"""OmniMedVQA: answers as text, fewer options than four, and both parts."""

from __future__ import annotations

import json
import shutil

import pytest

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import encoded, picture
from unimedvl.data.sources.omnimedvqa import modality_named

_INFO = "OmniMedVQA/QA_information"


def test_the_letter_is_found_by_the_option_s_text(miniature, read):
    got = read("omnimedvqa", miniature("omnimedvqa"))
    assert not got.faults
    found = [(r.id, r.message[1].value, r.attributes["answer"], r.attributes["options"]) for r in got.records]
    assert found == [
        ("Demo MR Scan_0000", "B. MRI", "B", "4"),
        ("DemoFundus_0000", "B. No, it is not.", "B", "2"),
        ("DemoFundus_0001", "C. Ab", "C", "3"),
        ("DemoChest_0000", "B. Chest", "B", "3"),
    ]
    assert got.records[1].message[0].value == "<image>\nIs the disc pale?\nA. Yes\nB. No, it is not."
    assert [(r.modality, r.attributes["access"], r.split) for r in got.records] == [
        ("mri", "open", "test"), ("cfp", "open", "test"), ("cfp", "open", "test"), ("mixed", "restricted", "test"),
    ]  # fmt: skip
    assert got.records[0].attributes["source"] == "Demo MR Scan"
    assert got.samples[0].images[0]() == encoded(picture("mri", 930))


def test_modalities_are_told_by_how_their_names_begin():
    names = ("CT(Computed Tomography)", "MR (Mag-netic Resonance Imaging)", "OCT (Optical Coherence Tomography",
             "ultrasound", "Microscopy Images", "X-Ray", "Dermoscopy", "")  # fmt: skip
    assert [modality_named(n) for n in names] == [
        "ct",
        "mri",
        "oct",
        "us",
        "mixed",
        "mixed",
        "dermoscopy",
        "mixed",
    ]


def test_answers_that_are_no_option_or_several_are_faults(miniature, read):
    root = miniature("omnimedvqa")
    file = root / _INFO / "Open-access/DemoFundus.json"
    row = json.loads(file.read_text())[0]
    wrong = [row | {"gt_answer": "Maybe"}, row | {"option_A": "NO, it is not."}, row | {"question": None}, row, row,
             {key: cell for key, cell in row.items() if key != "option_B"}]  # fmt: skip
    file.write_text(json.dumps(wrong))
    got = read("omnimedvqa", root)
    assert [f.where for f in got.faults] == [f"{file}: entry {n}" for n in (0, 1, 2, 4, 5)]
    expected = "gt_answer: expected the text of one option, found "
    assert [f.reason for f in got.faults] == [
        f"{expected}'Maybe'; they are Yes, No, it is not.",
        f"{expected}'no, it is not.'; it is options A and B",
        "question: empty",
        "question_id: DemoFundus_0000 is before it",
        f"{expected}'no, it is not.'; they are Yes",
    ]


def test_the_open_part_is_read_alone_and_a_missing_image_is_an_error(miniature, read):
    root = miniature("omnimedvqa")
    shutil.rmtree(root / _INFO / "Restricted-access")
    shutil.rmtree(root / "OmniMedVQA/Images/DemoFundus")
    samples = read("omnimedvqa", root / "OmniMedVQA").samples
    assert len(samples) == 3
    with pytest.raises(DataError, match=r"Images/DemoFundus/eyes/left/f_01\.png: No such file"):
        samples[1].images[0]()
    for file in (root / _INFO / "Open-access").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"expected Open-access/\*\.json or Restricted-access/\*\.json in it"):
        read("omnimedvqa", root)
