"""PMC-VQA: both releases, whose Answer differs, and what is right and wrong in questions of multiple choice."""

from __future__ import annotations

from zipfile import ZipFile

import pytest

from unimedvl.data.choices import multiple_choice
from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import encoded, picture


def test_the_answer_is_a_letter_in_both_releases(miniature, read):
    got = read("pmc-vqa", miniature("pmc-vqa"))
    assert not got.faults
    assert [(r.id, r.split, r.message[1].value, r.attributes["answer"]) for r in got.records] == [
        ("train-0", "train", "B. Heart", "B"),
        ("train-1", "train", "C. A nodule: small", "C"),
        ("test-0", "test", "A. Axial", "A"),
        ("test_clean-0", "test", "A. Axial", "A"),
        ("train_2-0", "train", "C. Histology", "C"),
        ("test_2-0", "test", "A. Yes", "A"),
    ]
    assert {r.attributes["options"] for r in got.records} == {"4"}


def test_choices_lose_their_letters_and_nothing_else(miniature, read):
    records = read("pmc-vqa", miniature("pmc-vqa")).records
    assert [records[n].message[0].value for n in (0, 1, 4)] == [
        "<image>\nWhich organ is shown?\nA. Liver\nB. Heart\nC. Lung\nD. Brain",
        "<image>\nWhich finding, if any?\nA. None\nB. Edema\nC. A nodule: small\nD. Fracture, old",
        "<image>\nWhat is it?\nA. Vitamin D: low\nB. CT\nC. Histology\nD. MRI",
    ]
    assert records[4].attributes["caption"] == 'Stained section, "simulated".'
    assert records[5].attributes == {"answer": "A", "options": "4"}
    assert [r.study for r in records[:3]] == ["PMC9000001", "PMC9000001", "PMC9000002"]


def test_archives_and_unpacked_images_give_the_same(miniature, read):
    root = miniature("pmc-vqa")
    packed = [s.images[0]() for s in read("pmc-vqa", root).samples]
    assert packed[2] == encoded(picture("mri", 921)) and packed[4] == encoded(picture("his", 920))
    for part in sorted(root.glob("*.zip")):
        ZipFile(part).extractall(root)
        part.unlink()
    assert [s.images[0]() for s in read("pmc-vqa", root).samples] == packed


def test_one_release_needs_its_own_images_only(miniature, read):
    root = miniature("pmc-vqa")
    for name in ("train.csv", "test.csv", "test_clean.csv", "images.zip"):
        (root / name).unlink()
    got = read("pmc-vqa", root)
    assert [r.id for r in got.records] == ["train_2-0", "test_2-0"]
    (root / "images_2.zip").unlink()
    with pytest.raises(DataError, match=r"expected figures or images or images_2\.zip in it, found none"):
        read("pmc-vqa", root)


def test_bad_rows_are_faults_and_a_missing_image_is_an_error(miniature, read):
    root = miniature("pmc-vqa")
    head = "Figure_path,Question,Answer,Choice A,Choice B,Choice C,Choice D,Answer_label\n"
    rows = ("PMC9.jpg,Which?,Hand, A:Hand, B:Foot, C:Knee, D:Hip,A", "PMC9.jpg,Which?,Hand, A:Hand, B:Foot,,,E",
            "PMC9.jpg,Which?,Hand, A:Hand, B:, C:Knee, D:Hip,A", "PMC9.jpg,Which?,Hand, A:Hand",
            ",Which?,Hand, A:Hand, B:Foot,,,A", "PMC9.jpg,Which?,Hand, A:Hand, B:Foot,,,")  # fmt: skip
    (root / "train.csv").write_text(head + "\n".join(rows) + "\n")
    got = read("pmc-vqa", root)
    assert [f.where for f in got.faults] == [f"{root / 'train.csv'}: row {n}" for n in range(3, 8)]
    assert [f.reason for f in got.faults] == [
        "answer: expected one of A, B, found 'E'",
        "options: B is empty",
        "expected 8 cells, found 4",
        "Figure_path: empty",
        "Answer_label: empty",
    ]
    with pytest.raises(DataError, match=r"images\.zip: no PMC9\.jpg in it"):
        got.samples[0].images[0]()


def test_options_are_in_the_order_of_their_letters_and_empty_ones_at_the_end_are_left_out():
    turns, told = multiple_choice("Which? ", {"B": "two\nwords", "A": "one", "C": " "}, " b ", 0)
    assert [t.value for t in turns] == ["Which?\nA. one\nB. two words", "B. two words"]
    assert told == {"answer": "B", "options": "2"}
    for options, reason in (({"A": "one", "B": ""}, "two or more, found 1"), ({}, "two or more, found 0"),
                            ({"A": "one", "C": "two"}, "the letters A, B and so on, found A, C")):  # fmt: skip
        with pytest.raises(DataError, match=reason):
            multiple_choice("Which?", options, "A", 0)
