"""MIMIC-CXR: how reports are taken apart, how tables, images and reports are joined, and what is no use."""

from __future__ import annotations

import gzip
from zipfile import ZipFile

import pytest

from unimedvl.data.error import DataError
from unimedvl.data.reports import report_sections

_JPG, _TEXTS = "mimic-cxr-jpg/2.1.0", "mimic-cxr/2.1.0"


def test_each_study_is_joined_with_its_report_views_and_labels(miniature, read):
    got = read("mimic-cxr", miniature("mimic-cxr"))
    assert not got.faults
    assert [(r.id, r.patient, r.split) for r in got.records] == [
        ("50000901", "10000901", "train"), ("50000902", "10000901", "train"),
        ("50000903", "11000902", "validation"), ("50000904", "12000903", "test"),
    ]  # fmt: skip
    assert [r.message[1].value for r in got.records] == [
        "Findings: The heart is mildly enlarged. There is mild pulmonary edema: see below. "
        "Impression: Mild edema, no pneumonia. Discussed with ___ at 3:15.",
        "The edema has cleared. No effusion.",
        "The lungs are clear as in the study of ___.",
        "Findings: No acute process.",
    ]
    assert [r.attributes["sections"] for r in got.records] == [
        "findings, impression", "last paragraph", "comparison", "findings",
    ]  # fmt: skip
    first = got.records[0]
    assert first.message[0].value == "<image>\n<image>\nWrite the findings and impression of this study."
    assert first.input_img[1].path == (
        f"{_JPG}/files/p10/p10000901/s50000901/50000901-00000001-0badcafe-0badcafe-0badcafe.jpg"
    )
    assert first.attributes["addendum"] == "yes" and first.attributes["study_date"] == "21800105"
    assert [r.attributes["views"] for r in got.records] == ["PA, LATERAL", "AP", "unknown", "PA"]
    assert first.attributes["uncertain"] == "Pneumonia" and first.attributes["labels_by"] == "CheXpert"
    # The radiologists' table, which calls this label Airspace Opacity, goes before CheXpert's.
    assert got.records[3].attributes["positive"] == "Lung Opacity"
    assert got.records[3].attributes["labels_by"] == "radiologist"


def test_unpacked_tables_and_reports_are_read_as_the_packed_ones(miniature, read):
    root = miniature("mimic-cxr")
    packed = read("mimic-cxr", root).records
    for file in (root / _JPG).glob("*.csv.gz"):
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    archive = root / _TEXTS / "mimic-cxr-reports.zip"
    ZipFile(archive).extractall(root / _TEXTS)
    archive.unlink()
    assert read("mimic-cxr", root).records == packed
    (root / "mimic-cxr-jpg").rename(root / "elsewhere")
    with pytest.raises(DataError, match="expected mimic-cxr-2.0.0-split.csv.gz or mimic-cxr-2.0.0-split.csv in it"):
        read("mimic-cxr", root)


def test_studies_without_usable_reports_and_rows_that_contradict_are_faults(miniature, read):
    root = miniature("mimic-cxr")
    split = root / _JPG / "mimic-cxr-2.0.0-split.csv.gz"
    rows = gzip.decompress(split.read_bytes()).decode()
    rows += "d1,50000999,10000901,train\nd2,50000901,10000901,test\nd3,5000,10000901,train\n"
    split.write_bytes(gzip.compress((rows + "d4,50000998,10000901,train\n").encode()))
    with ZipFile(root / _TEXTS / "mimic-cxr-reports.zip", "a") as archive:
        archive.writestr("files/p10/p10000901/s50000998.txt", " FINAL REPORT\n INDICATION:  Cough.\n FINDINGS:  ___\n")
    got = read("mimic-cxr", root)
    assert len(got.records) == 4
    assert [f.reason for f in got.faults] == [
        "study 50000901: of 10000901 in train before, and of 10000901 in test here",
        "study_id: expected 8 digits, found '5000'",
        "no such report in the archive",
        "no usable report: it has no findings, impression, last paragraph or comparison",
    ]
    assert got.faults[0].where.endswith("split.csv.gz: row 8")
    assert got.faults[2].where == f"{root / _TEXTS}: files/p10/p10000901/s50000999.txt"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FINDINGS: a\nIMPRESSION: b\nIMPRESSION: c\n", {"Findings": "a", "Impression": "c"}),
        ("IMPRESSION: b\nIMPRESSION:\n", {"Impression": "b"}),
        ("CONCLUSION: b\n", {"Impression": "b"}),
        ("IMPRESSION: old\n____________________\nFINDINGS: new\n", {"Findings": "new"}),
        ("FINDINGS: seen by\n___\nat noon\n", {"Findings": "seen by ___ at noon"}),
        ("HISTORY: x\n \n y\n\n z\n IMPRESSION:\n", {"Last paragraph": "y z"}),
        ("no heading at all\n\nclear\n", {"Last paragraph": "clear"}),
        ("COMPARISON: clear\nHISTORY: x\n", {"Comparison": "clear"}),
        ("HISTORY: x\n", {}),
        ("", {}),
    ],
)
def test_sections_follow_the_rules_of_the_data_set(text, expected):
    assert report_sections(text) == expected


def test_a_missing_image_is_an_error_when_it_is_loaded(miniature, read):
    root = miniature("mimic-cxr")
    sample = read("mimic-cxr", root).samples[1]
    (root / sample.record.input_img[0].path).unlink()
    with pytest.raises(DataError, match="s50000902/.*jpg: No such file"):
        sample.images[0]()
