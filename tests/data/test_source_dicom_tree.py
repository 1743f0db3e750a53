"""A folder of DICOM files: what the header says in words, and nothing that names a patient."""

from __future__ import annotations

import csv
import hashlib
import io

import numpy as np
import pydicom
import pytest
from PIL import Image

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.dicom_tree import dataset
from unimedvl.data.miniatures.paint import encoded, picture

_ROOT = "1.2.826.0.1.3680043.10.999."


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_each_image_is_asked_for_its_modality_and_its_part_where_it_is_known(miniature, read):
    got = read("dicom-tree", miniature("dicom-tree"))
    assert not got.faults
    assert [(r.modality, r.message[0].value, r.message[1].value) for r in got.records] == [
        ("cxr", "<image>\nWhich modality is this, and which part of the body is shown?", "X-ray of the chest."),
        ("mri", "<image>\nWhich modality is this, and which part of the body is shown?", "MRI of the brain."),
        ("mixed", "<image>\nWhich modality is this?", "X-ray."),
    ]
    with Image.open(io.BytesIO(got.samples[1].images[0]())) as shown:
        assert np.array_equal(np.asarray(shown), picture("mri", 701))


def test_patients_and_studies_go_by_hashes_and_no_name_is_taken_over(miniature, read):
    records = read("dicom-tree", miniature("dicom-tree")).records
    assert [r.patient for r in records] == [_hashed("A-1"), _hashed("A-1"), _hashed("B-2")]
    assert [r.study for r in records] == [_hashed(f"{_ROOT}{n}") for n in (1, 2, 3)]
    assert [r.id for r in records] == [_hashed(f"{_ROOT}9.{n}") for n in (0, 1, 2)]
    assert records[0].input_img[0].path == f"{records[0].study}/{records[0].id}.png"
    written = "".join(r.to_json() for r in records)
    for word in ("Sample", "Ann", "A-1", "B-2", _ROOT):
        assert word not in written


def test_what_is_no_image_is_a_fault_with_the_reason(miniature, read):
    root = miniature("dicom-tree")
    whole = root / "other/IM0002.dcm"
    odd = root / "z"
    odd.mkdir()
    (odd / "1.txt").write_text("A note, which is long enough to be told from anything else.")
    (odd / "2.png").write_bytes(encoded(picture("cxr", 1), "PNG"))
    (odd / "3.dcm").write_bytes(b"")
    (odd / "4.dcm").write_bytes(whole.read_bytes())
    for name, change in (("5.dcm", {"Modality": "SEG"}), ("6.dcm", {"SOPInstanceUID": ""}), ("7.dcm", {})):
        data = dataset(picture("cxr", 9)[..., 0], int(name[0]))
        data.Modality = "SR"
        for keyword, value in change.items():
            setattr(data, keyword, value)
        if name == "6.dcm":
            data.Modality = "CT"
        if name == "7.dcm":
            del data.PixelData
        pydicom.dcmwrite(odd / name, data)
    got = read("dicom-tree", root)
    assert len(got.records) == 3
    told = {f.where.removeprefix(f"{odd}/"): f.reason for f in got.faults}
    assert list(told) == ["1.txt", "2.png", "3.dcm", "4.dcm", "5.dcm", "6.dcm", "7.dcm"]
    assert told["1.txt"].startswith("not DICOM: is a text file")
    assert told["2.png"] == "expected DICOM, found png"
    assert told["3.dcm"].startswith("not DICOM: is empty")
    assert told["4.dcm"] == "another file has the same SOPInstanceUID"
    assert told["5.dcm"].startswith("Modality: expected one of CR, DX,") and told["5.dcm"].endswith("found 'SEG'")
    assert told["6.dcm"] == "SOPInstanceUID: empty" and told["7.dcm"] == "no image in it: SR"


def test_a_part_of_the_body_that_was_typed_in_is_left_out(miniature, read):
    root = miniature("dicom-tree")
    data = pydicom.dcmread(root / "other/IM0002.dcm")
    data.BodyPartExamined = "ANN SAMPLE"
    data.save_as(root / "other/IM0002.dcm")
    record = read("dicom-tree", root).records[2]
    assert record.message[1].value == "X-ray." and record.attributes == {"modality_code": "CR"}


def test_truncated_pixels_are_an_error_when_they_are_loaded(miniature, read):
    root = miniature("dicom-tree")
    file = root / "other/IM0002.dcm"
    got = read("dicom-tree", root)
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(DataError, match="IM0002.dcm: "):
        got.samples[2].images[0]()


def _with_reports(root, rows: list[tuple[str, str]]):
    with (root / "reports.csv").open("w", newline="") as out:
        csv.writer(out).writerows([("study", "report"), *rows])
    return root


def test_a_table_of_reports_gives_each_study_its_own_with_all_its_images(miniature, read):
    root = miniature("dicom-tree")
    data = pydicom.dcmread(root / "other/IM0002.dcm")
    data.SOPInstanceUID, data.StudyInstanceUID, data.BodyPartExamined = f"{_ROOT}9.77", f"{_ROOT}1", "CHEST"
    data.save_as(root / "other/IM0003.dcm")
    said = "EXAMINATION: X-ray\n\nFINDINGS:  The lungs\nare clear.\n\nIMPRESSION: Normal."
    got = read("dicom-tree", _with_reports(root, [(f"{_ROOT}1", said), (f"{_ROOT}2", "A tumour, without headings.")]))
    assert not got.faults
    chest, brain = (s for s in got.samples if s.record.sub_task_type == "report")
    assert [m.value for m in chest.record.message] == [
        "<image>\n<image>\nWrite the findings and impression of this study.",
        "Findings: The lungs are clear. Impression: Normal.",
    ]
    assert brain.record.message[1].value == "A tumour, without headings."
    first = got.records[0]
    assert (chest.record.modality, chest.record.patient, chest.record.study) == ("cxr", first.patient, first.study)
    assert len(chest.images) == len(chest.record.input_img) == 2 and chest.images[0]() == got.samples[0].images[0]()
    assert len({r.id for r in got.records}) == len(got.records) == 6


def test_reports_without_images_twice_or_of_volumes_are_faults(miniature, read, monkeypatch):
    monkeypatch.setattr("unimedvl.data.sources.dicom_tree.MOST_VIEWS", 1)
    root = miniature("dicom-tree")
    data = pydicom.dcmread(root / "other/IM0002.dcm")
    data.SOPInstanceUID, data.StudyInstanceUID = f"{_ROOT}9.77", f"{_ROOT}1"
    data.save_as(root / "other/IM0003.dcm")
    rows = [("1.2.3", "Clear."), (f"{_ROOT}2", "One."), (f"{_ROOT}2", "Two."), (f"{_ROOT}1", "Clear."),
            ("", "Clear."), (f"{_ROOT}3", "___")]  # fmt: skip
    got = read("dicom-tree", _with_reports(root, rows))
    assert [r.sub_task_type for r in got.records].count("report") == 1
    assert [f.reason.split(";")[0] for f in got.faults] == [
        "study: no image of it is in the folder",
        "study: another row has a report of it",
        "study: it has 2 images, and a report can be read with 1 at most",
        "study: empty",
        "no usable report: expected text, found neither or only removed words",
    ]
    assert [f.where for f in got.faults] == [f"{root / 'reports.csv'}: row {n}" for n in (2, 4, 5, 6, 7)]


def test_a_table_and_a_log_are_passed_over_at_the_top_alone(miniature, read):
    root = miniature("dicom-tree")
    for name in ("audit.jsonl", "other/audit.jsonl"):
        (root / name).write_text("{}\n" * 20)
    assert [f.where for f in read("dicom-tree", root).faults] == [str(root / "other/audit.jsonl")]
