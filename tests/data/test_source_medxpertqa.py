"""MedXpertQA: both layouts, several images, and questions that end with their options."""

from __future__ import annotations

import json

import pytest

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import encoded, picture


def _rows(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_options_stand_in_the_question_once_and_each_image_has_a_mark(miniature, read):
    got = read("medxpertqa", miniature("medxpertqa"))
    assert not got.faults
    assert [(r.id, r.split, r.sub_task_type, r.modality, r.message[1].value) for r in got.records] == [
        ("validation-MM-0", "validation", "vqa", "mixed", "C. Lung"),
        ("test-MM-0", "test", "vqa", "mixed", "D. Brain"),
        ("validation-Text-0", "validation", "text_qa", "text", "A. Simulated remedy 1"),
        ("test-Text-1", "test", "text_qa", "text", "J. Simulated remedy 10"),
    ]
    five = "A. Liver\nB. Heart\nC. Lung\nD. Brain\nE. Kidney"
    assert got.records[1].message[0].value == "<image>\n" * 3 + f"What do the three show?\n{five}"
    assert (
        got.records[3]
        .message[0]
        .value.startswith("Two remarks.\nWhich is given last?\nA. Simulated remedy 1\nB.")
    )
    assert got.records[1].attributes == {
        "answer": "D", "options": "5", "medical_task": "Diagnosis", "body_system": "Nervous",
        "question_type": "Reasoning",
    }  # fmt: skip
    assert got.records[3].attributes["options"] == "10" and not got.samples[3].images
    assert got.samples[1].images[1]() == encoded(picture("mri", 952))


def test_the_layout_of_the_authors_code_gives_the_same(miniature, read):
    root = miniature("medxpertqa")
    expected = [r for r in read("medxpertqa", root).records if r.split == "test"]
    folder = root / "eval/data/medxpertqa/input"
    folder.mkdir(parents=True)
    for part in ("MM", "Text"):
        rows = _rows(root / f"{part}/test.jsonl")
        for row in rows:
            row["options"] = [{"letter": letter, "content": text} for letter, text in row["options"].items()]
            row["label"] = [row["label"]]
            row["images"] = [{"image_path": f"images/{name}"} for name in row.get("images", [])]
        file = folder / f"medxpertqa_{part.lower()}_input.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        for name in ("dev", "test"):
            (root / f"{part}/{name}.jsonl").unlink()
    got = read("medxpertqa", root)
    assert not got.faults and got.records == expected


def test_the_part_of_text_needs_no_images(miniature, read):
    root = miniature("medxpertqa")
    (root / "images.zip").unlink()
    with pytest.raises(DataError, match=r"expected images or images\.zip in it, found none"):
        read("medxpertqa", root)
    for name in ("dev", "test"):
        (root / f"MM/{name}.jsonl").unlink()
    assert [r.id for r in read("medxpertqa", root).records] == ["validation-Text-0", "test-Text-1"]


def test_a_question_that_only_mentions_choices_is_left_whole(miniature, read):
    root = miniature("medxpertqa")
    row = _rows(root / "MM/dev.jsonl")[0] | {"question": "What is meant by\nAnswer Choices: none?"}
    (root / "MM/dev.jsonl").write_text(json.dumps(row))
    asked = read("medxpertqa", root).records[0].message[0].value
    assert asked.startswith("<image>\nWhat is meant by\nAnswer Choices: none?\nA. Liver\n")


def test_bad_lines_are_faults_and_a_missing_image_is_an_error(miniature, read):
    root = miniature("medxpertqa")
    file = root / "MM/test.jsonl"
    row = _rows(file)[0]
    twice = [{"letter": "A", "content": "one"}, {"letter": "A", "content": "two"}]
    wrong = [row | {"images": ["MM-9-a.png"]}, row | {"images": []}, row | {"images": [{"path": "a"}]},
             row | {"label": ["A", "B"]}, row | {"label": "F"}, row | {"options": "A"}, row | {"options": twice},
             row | {"options": {"A": "one", "C": "two"}}]  # fmt: skip
    file.write_text("".join(json.dumps(r) + "\n" for r in wrong) + "{\n")
    got = read("medxpertqa", root)
    assert [f.where for f in got.faults] == [f"{file}: line {n}" for n in range(2, 10)]
    assert [f.reason for f in got.faults[:-1]] == [
        "images: expected a list of one or more file names",
        "images: expected file names, or objects with an image_path",
        "label: expected one letter, found ['A', 'B']",
        "answer: expected one of A, B, C, D, E, found 'F'",
        "options: expected an object, or a list of objects with letter and content",
        "options: a letter is there twice",
        "options: expected the letters A, B and so on, found A, C",
    ]
    assert got.faults[-1].reason.startswith("not JSON")
    with pytest.raises(DataError, match=r"images\.zip: no MM-9-a\.png in it"):
        got.samples[1].images[0]()
