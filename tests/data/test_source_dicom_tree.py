"""A folder of DICOM files: what the header says in words, and nothing that names a patient."""

from __future__ import annotations

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
