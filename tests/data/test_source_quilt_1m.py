"""Quilt-1M: texts that share an image, lists written out, and what is marked as no histology."""

from __future__ import annotations

import csv
from zipfile import ZipFile

import pytest

from unimedvl.data.error import DataError

_TABLE = "quilt_1M_lookup.csv"


def _changed(root, **cells) -> None:
    """The table with its last row changed."""
    with (root / _TABLE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[-1] |= cells
    with (root / _TABLE).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_each_text_of_an_image_is_a_record(miniature, read):
    got = read("quilt-1m", miniature("quilt-1m"))
    assert not got.faults
    assert [(r.id, r.split, r.modality, r.study) for r in got.records] == [
        ("0", "train", "his", "aB_c-9xYz01"),
        ("1", "train", "his", "aB_c-9xYz01"),
        ("2", "validation", "his", ""),
        ("3", None, "mixed", ""),
    ]
    assert got.samples[0].images[0]() == got.samples[1].images[0]()
    assert got.records[1].message[1].value == "The same field, of which more is said,\nin two lines."


def test_lists_that_are_written_out_are_read_and_missing_values_left_out(miniature, read):
    got = read("quilt-1m", miniature("quilt-1m"))
    assert [r.attributes for r in got.records] == [
        {
            "pathology": "Gastrointestinal; Cytopathology",
            "roi_text": "glands; the pathologist's mark",
            "corrected_text": "Here we see glands.",
            "med_umls_ids": "['C0000001']; []",
            "single_wsi": "yes",
            "subset": "quilt",
            "magnification": "1.0",
        },
        {"single_wsi": "yes", "subset": "quilt"},
        {"subset": "openpath"},
        {"pathology": "Dermatopathology", "not_histology": "yes", "subset": "pubmed"},
    ]


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("roi_text", "[open(0)]", "roi_text: expected a list as Python writes it, found '[open(0)]'"),
        ("pathology", "['a'", "pathology: expected a list as Python writes it, found \"['a'\""),
        ("not_histology", "2", "not_histology: expected 0 or 1, found '2'"),
        ("caption", "", "caption: empty"),
        ("image_path", "", "image_path: empty"),
        ("split", "dev", "split: expected train, test, val, valid, validate, validation, found 'dev'"),
    ],
)
def test_a_cell_that_is_no_use_is_a_fault(column, cell, reason, miniature, read):
    root = miniature("quilt-1m")
    _changed(root, **{column: cell})
    got = read("quilt-1m", root)
    assert len(got.records) == 3
    assert [(f.where, f.reason) for f in got.faults] == [(f"{root / _TABLE}: row 5", reason)]


def test_a_table_without_the_later_columns_and_numbers_is_read(miniature, read):
    root = miniature("quilt-1m")
    _changed(root, **{"": ""})
    with (root / _TABLE).open(newline="") as file:
        rows = [row[:-2] for row in csv.reader(file)]
    with (root / _TABLE).open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    got = read("quilt-1m", root)
    assert [r.id for r in got.records] == ["0", "1", "2", "3"] and not got.faults
    assert got.records[3].modality == "his"


def test_an_unpacked_folder_gives_the_same_images_and_a_missing_one_is_an_error(miniature, read):
    root = miniature("quilt-1m")
    packed = [s.images[0]() for s in read("quilt-1m", root).samples]
    for part in sorted(root.glob("*.zip")):
        ZipFile(part).extractall(root)
        part.unlink()
    got = read("quilt-1m", root)
    assert [s.images[0]() for s in got.samples] == packed
    (root / "quilt_1m/0000123.jpg").unlink()
    with pytest.raises(DataError, match="quilt_1m/0000123.jpg: No such file"):
        got.samples[2].images[0]()
