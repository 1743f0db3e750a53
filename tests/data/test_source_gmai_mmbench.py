"""GMAI-MMBench: options that aren't there, images in cells, and a test part without answers."""

from __future__ import annotations

import csv

import pytest

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import encoded, picture

_VAL = "GMAI_mm_bench_VAL.tsv"


def _rows(file):
    with file.open(encoding="utf-8", newline="") as lines:
        csv.field_size_limit(2**30)
        return list(csv.DictReader(lines, delimiter="\t"))


def _write(file, rows):
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)


def test_a_fifth_option_counts_only_where_there_is_one(miniature, read):
    records = read("gmai-mmbench", miniature("gmai-mmbench")).records
    assert [(r.id, r.message[1].value, r.attributes["options"], r.modality) for r in records] == [
        ("validation-0", "E. 4", "5", "cfp"),
        ("validation-1", "D. None", "4", "mri"),
        ("validation-2", "B. Stroma", "4", "his"),
    ]
    assert (
        records[2].message[0].value
        == '<image>\nWhat is\nin the box?\nA. Gland\nB. Stroma\nC. "Mucus"\nD. Fat'
    )
    assert records[0].attributes == {
        "answer": "E", "options": "5", "category": "grade 4", "clinical_vqa_task": "Severity Grading",
        "department": "Ophthalmology", "modality": "fundus photography", "perceptual_granularity": "image",
    }  # fmt: skip


def test_test_rows_without_an_answer_are_faults_by_the_numbers_of_their_parts(miniature, read):
    root = miniature("gmai-mmbench")
    got = read("gmai-mmbench", root)
    assert [f.where for f in got.faults] == [
        f"{root}/GMAI_mm_bench_TEST_part_{n}.tsv: row 2" for n in (2, 10)
    ]
    assert {f.reason for f in got.faults} == {"no answer is published for the test part"}


def test_test_rows_with_an_answer_are_records(miniature, read):
    root = miniature("gmai-mmbench")
    file = root / "GMAI_mm_bench_TEST_part_10.tsv"
    _write(file, [row | {"answer": "A"} for row in _rows(file)])
    got = read("gmai-mmbench", root)
    assert len(got.faults) == 1
    # The index is also one of the validation part.
    assert (got.records[-1].id, got.records[-1].split) == ("test-0", "test")
    assert got.records[-1].message[1].value == "A. Chest"


def test_the_mirror_s_name_gives_the_same_and_images_are_decoded(miniature, read):
    root = miniature("gmai-mmbench")
    expected = read("gmai-mmbench", root).records
    (root / _VAL).rename(root / "GMAI-MMBench_VAL.tsv")
    got = read("gmai-mmbench", root)
    assert got.records == expected
    assert got.samples[1].images[0]() == encoded(picture("mri", 941), "PNG")


def test_bad_rows_are_faults_and_a_cell_that_is_no_image_is_an_error(miniature, read):
    root = miniature("gmai-mmbench")
    row = _rows(root / _VAL)[1]
    _write(root / _VAL, [row | {"image": "no image!"}, row | {"answer": "E"}, row | {"answer": ""},
                         row | {"image": ""}, row | {"index": " "}])  # fmt: skip
    got = read("gmai-mmbench", root)
    assert [f.where for f in got.faults[:4]] == [f"{root / _VAL}: row {n}" for n in range(3, 7)]
    assert [f.reason for f in got.faults[:4]] == [
        "answer: expected one of A, B, C, D, found 'E'", "answer: empty", "image: empty", "index: empty",
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"validation-1\.png: not base64"):
        got.samples[0].images[0]()
