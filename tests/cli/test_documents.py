"""--dicom-out and --fhir-out: results as files of the images' study, with all that is wrong told at once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pydicom
import pytest
from fhir.resources.R4B.bundle import Bundle
from pydicom.data import get_testdata_file


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return Path(shutil.copy(get_testdata_file("CT_small.dcm", download=False), tmp_path / "scan.dcm"))


def test_a_report_is_written_as_dicom_and_fhir(run, scan) -> None:
    done = run("report", scan, "--max-tokens", "8", "--dicom-out", "report.dcm", "--fhir-out", "report.json", "--json")
    assert done.status == 0, done.err
    assert (done.json["dicom"], done.json["fhir"]) == ("report.dcm", "report.json")
    document, source = pydicom.dcmread("report.dcm"), pydicom.dcmread(scan)
    assert document.SOPClassUID == pydicom.uid.EnhancedSRStorage
    assert document.StudyInstanceUID == source.StudyInstanceUID and document.PatientID == source.PatientID
    bundle = Bundle.model_validate_json(Path("report.json").read_text())
    report = bundle.entry[0].resource
    assert any(str(document.SOPInstanceUID) in identifier.value for identifier in report.identifier)


def test_a_mask_is_written_on_the_grid_of_its_image(run, scan) -> None:
    done = run("segment", scan, "left lung", "--steps", "2", "--max-tokens", "4", "--dicom-out", "seg.dcm")
    assert done.status == 0, done.err
    assert done.out.splitlines()[-1] == "seg.dcm"
    document = pydicom.dcmread("seg.dcm")
    assert (document.Modality, document.Rows, document.Columns) == ("SEG", 128, 128)
    assert document.SegmentSequence[0].SegmentLabel == "left lung"


def test_an_image_of_words_is_written_as_a_study_of_nobody(run) -> None:
    done = run("generate", "a small chest image", "--steps", "2", "--size", "32x32", "--dicom-out", "made.dcm")
    assert done.status == 0, done.err
    assert pydicom.dcmread("made.dcm").SyntheticData == "YES"


def test_what_is_wrong_is_told_before_the_model_is_loaded(run, scan, picture, no_model) -> None:
    Path("there.dcm").write_bytes(b"")
    for arguments, said in (
        (["report", picture, "--dicom-out", "a.dcm"], "is png, not DICOM"),
        (["report", scan, "--dicom-out", "there.dcm"], "exists"),
        (["ask", scan, "What is it?", "--fhir-out", "no/a.json"], "does not exist"),
        (["segment", scan, "lung", "--dicom-out", "a", "--fhir-out", "a"], "give two names"),
        (["generate", "a chest", "--fhir-out", "a.json"], "needs an image"),
        (["report", scan, get_testdata_file("MR_small.dcm"), "--dicom-out", "a.dcm"], "2 patients"),
    ):
        done = run(*arguments)
        assert done.status == 2 and said in done.err and len(done.err.splitlines()) == 1, done.err
    assert sorted(p.name for p in Path().iterdir()) == ["there.dcm"]


def test_the_same_call_gives_the_same_instance(run, scan) -> None:
    uids = set()
    for name in ("one", "other"):
        run("report", scan, "--max-tokens", "4", "--dicom-out", f"{name}.dcm", "--fhir-out", f"{name}.json")
        bundle = json.loads(Path(f"{name}.json").read_text())
        uids.add((str(pydicom.dcmread(f"{name}.dcm").SOPInstanceUID), bundle["entry"][0]["fullUrl"]))
    assert len(uids) == 1
