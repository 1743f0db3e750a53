"""Open-i: both forms, empty sections and removed words."""

from __future__ import annotations

import pytest

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import encoded, picture, save
from unimedvl.data.reports import plain, report_turns


def test_a_report_is_the_sections_that_have_text(miniature, read):
    got = read("openi", miniature("openi"))
    assert not got.faults
    assert [r.id for r in got.records] == ["CXR9002", "CXR9010", "CXR9011"]
    assert [r.message[0].value for r in got.records] == [
        "<image>\n<image>\nWrite the findings and impression of this study.",
        "<image>\nWrite the impression of this study.",
        "<image>\nWrite the findings of this study.",
    ]
    assert [r.message[1].value for r in got.records] == [
        "Findings: Heart size is normal. Lungs are clear. Impression: No acute disease.",
        "Impression: Right lower lobe opacity & small effusion.",
        "Findings: The XXXX is clear.",
    ]
    first, second, third = got.records
    assert [p.path for p in first.input_img] == [f"NLMCXR_png/CXR9002_IM-0901-{n}001.png" for n in (1, 2)]
    assert third.input_img[0].path == "NLMCXR_png/CXR9011_1_IM-0903-1001.png"
    assert second.attributes["mesh"] == "Opacity/lung/base/right;Pleural Effusion/right/small"
    assert second.attributes["indication"] == "XXXX-year-old with fever"
    assert all(r.split is None for r in got.records)


def test_reports_without_text_or_images_or_that_are_no_xml_are_faults(miniature, read):
    root = miniature("openi")
    reports = root / "ecgen-radiology"
    whole = (reports / "9002.xml").read_text()
    bare = whole.replace("Heart size is normal.\n  Lungs are clear.", "XXXX.").replace("No acute disease.", "")
    (reports / "9002.xml").write_text(bare)
    (reports / "9003.xml").write_text(whole.replace("parentImage", "sibling"))
    (reports / "9004.xml").write_text(whole[:200])
    got = read("openi", root)
    assert [r.id for r in got.records] == ["CXR9010", "CXR9011"]
    assert [f.where for f in got.faults] == [str(reports / f"{n}.xml") for n in (9002, 9003, 9004)]
    reasons = [f.reason for f in got.faults]
    assert reasons[0] == "no usable report: expected findings or impression, found neither or only removed words"
    assert reasons[1] == "no image: the study has a report only" and reasons[2].startswith("not XML: ")


def test_a_missing_image_is_an_error_when_it_is_loaded(miniature, read):
    root = miniature("openi")
    (root / "NLMCXR_png/CXR9002_IM-0901-2001.png").unlink()
    first = read("openi", root).samples[0]
    assert first.images[0]()
    with pytest.raises(DataError, match="CXR9002_IM-0901-2001.png: No such file"):
        first.images[1]()


def test_the_tables_of_kaggle_give_the_ids_of_the_xml_form(tmp_path, read):
    (tmp_path / "indiana_reports.csv").write_text(
        "uid,MeSH,Problems,image,indication,comparison,findings,impression\n"
        '9002,normal,normal,Xray Chest PA,Cough,None.,"Heart size, normal.",Clear.\n'
        "9003,normal,normal,Xray Chest PA,Cough,None.,Clear.,\n"
    )
    (tmp_path / "indiana_projections.csv").write_text(
        "uid,filename,projection\n9002,9002_IM-0901-1001.dcm.png,Frontal\n"
        "9002,9002_IM-0901-2001.dcm.png,Lateral\n9099,9099_IM-1.dcm.png,Frontal\n"
    )
    save(tmp_path / "images/images_normalized/9002_IM-0901-1001.dcm.png", picture("cxr", 1))
    got = read("openi", tmp_path)
    assert [r.id for r in got.records] == ["CXR9002"]
    assert got.records[0].message[1].value == "Findings: Heart size, normal. Impression: Clear."
    assert got.records[0].attributes["views"] == "Frontal, Lateral"
    assert got.samples[0].images[0]() == encoded(picture("cxr", 1), "PNG")
    assert [(f.where.rpartition("/")[2], f.reason) for f in got.faults] == [
        ("indiana_reports.csv: row 3", "no image: the study has a report only"),
        ("indiana_reports.csv: uid 9099", "images without a report"),
    ]


def test_what_is_left_of_a_text_decides_whether_it_is_one():
    assert [plain(t) for t in ("___.", "XXXX, XXXX.", " 1.\n", "See ___.\n Clear")] == ["", "", "", "See ___. Clear"]
    assert report_turns({"": "Clear."}, 1)[0].value == "<image>\nWrite the report of this study."
    assert report_turns({"": "Clear."}, 1)[1].value == "Clear."
