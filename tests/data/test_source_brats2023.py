"""BraTS 2023: translations both ways and the parts of the tumour, with the patient of each."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.brats2023 import parts
from unimedvl.data.miniatures.volumes import brain, nifti

_TRAINING = "ASNR-MICCAI-BraTS2023-GLI-Challenge-TrainingData"
_CASE = f"{_TRAINING}/BraTS-GLI-90012-000"


def _opened(load) -> np.ndarray:
    with Image.open(io.BytesIO(load())) as picture:
        return np.asarray(picture)


def _seen(values: np.ndarray) -> np.ndarray:
    return values.T[::-1, ::-1]


def test_t2_and_flair_both_ways_for_every_case_gzipped_or_not(miniature, read):
    got = read("brats2023", miniature("brats2023"))
    assert not got.faults
    ways = [s for s in got.samples if s.record.sub_task_type == "translation"]
    assert [s.record.id for s in ways][:4] == [
        f"BraTS-GLI-90012-000-{slice:03d}-{way}" for slice in (1, 2) for way in ("t2w-t2f", "t2f-t2w")
    ]
    cases = ["BraTS-GLI-90012-000", "BraTS-GLI-90012-001", "BraTS-SSA-90002-000", "BraTS-GLI-90500-000"]
    assert [s.record.study for s in ways] == [case for case in cases for _ in range(4)]
    forth, back = (s for s in ways[2:4])
    assert "T2" in forth.record.message[0].value and "FLAIR" in forth.record.message[0].value
    assert forth.record.message[1].value == "This is the FLAIR image; the anatomy is unchanged."
    assert back.record.message[1].value == "This is the T2 image; the anatomy is unchanged."
    assert [load() for load in forth.images] == [load() for load in reversed(back.images)]
    flair = _seen(brain(7)["flair"][..., 2]).astype(float)
    assert np.corrcoef(_opened(forth.images[1]).ravel(), flair.ravel())[0, 1] > 0.99


def test_both_time_points_are_of_one_patient_and_the_folder_says_the_split(miniature, read):
    records = read("brats2023", miniature("brats2023")).records
    assert {r.study: (r.patient, r.split) for r in records} == {
        "BraTS-GLI-90012-000": ("BraTS-GLI-90012", "train"),
        "BraTS-GLI-90012-001": ("BraTS-GLI-90012", "train"),
        "BraTS-SSA-90002-000": ("BraTS-SSA-90002", "train"),
        "BraTS-GLI-90500-000": ("BraTS-GLI-90500", "validation"),
    }
    assert {r.attributes["challenge"] for r in records} == {"GLI", "SSA"}


def test_each_part_has_its_name_its_sequence_and_the_slices_that_show_most(miniature, read):
    got = read("brats2023", miniature("brats2023"))
    masks = [s for s in got.samples if s.record.sub_task_type == "segmentation"]
    assert {s.record.split for s in masks} == {"train"}
    told = [s.record.attributes for s in masks]
    assert {t["label"]: (t["target"], t["source"]) for t in told} == {
        "1": ("necrotic or non-enhancing tumour core", "contrast-enhanced T1"),
        "2": ("oedema around the tumour", "FLAIR"),
        "3": ("enhancing tumour", "contrast-enhanced T1"),
    }
    truth = parts(brain(7)["finding"])
    mine = [s for s in masks if s.record.study == "BraTS-GLI-90012-000"]
    for label in (1, 2, 3):
        counts = (truth == label).sum((0, 1))
        of = [s for s in mine if s.record.attributes["label"] == str(label)]
        shown = [int(s.record.attributes["slice"]) for s in of]
        assert shown and counts[shown].min() >= np.sort(counts)[-2]
        for sample, index in zip(of, shown, strict=True):
            assert np.array_equal(_opened(sample.images[1]) == 255, _seen(truth[..., index] == label))
            target = sample.record.attributes["target"]
            assert target in sample.record.message[0].value
            assert sample.record.message[1].value == f"Here is the mask of the {target}."


def test_missing_volumes_other_labels_and_other_names_are_faults_of_their_case_only(miniature, read):
    root = miniature("brats2023")
    one, two = root / _CASE, root / f"{_TRAINING}/BraTS-GLI-90012-001"
    (one / "BraTS-GLI-90012-000-t2f.nii.gz").unlink()
    (two / "BraTS-GLI-90012-001-seg.nii.gz").write_bytes(nifti(parts(brain(22)["finding"]).astype(np.uint8) * 2))
    (root / _TRAINING / "extra").mkdir()
    got = read("brats2023", root)
    segmentation = two / "BraTS-GLI-90012-001-seg.nii.gz"
    expected = "expected BraTS-GLI-90012-000-t2f.nii.gz or BraTS-GLI-90012-000-t2f.nii in it, found neither"
    assert [(f.where, f.reason) for f in got.faults] == [
        (str(one), f"{one}: {expected}"),
        (str(one), f"{one}: {expected}"),
        (str(two), f"{segmentation}: expected the labels 1, 2 and 3, found 4, 6"),
        (str(root / _TRAINING / "extra"), "expected a case like BraTS-GLI-00012-000"),
    ]
    assert [r.sub_task_type for r in got.records if r.study == one.name] == ["segmentation"] * 2
    assert {r.sub_task_type for r in got.records if r.study == two.name} == {"translation"}
    (two / "BraTS-GLI-90012-001-t2w.nii.gz").unlink()
    with pytest.raises(DataError, match="No such file"):
        next(s for s in got.samples if s.record.study == two.name).images[0]()


def test_the_folder_of_one_set_may_be_given(miniature, read):
    root = miniature("brats2023")
    assert {r.study for r in read("brats2023", root / _TRAINING).records} == {
        "BraTS-GLI-90012-000", "BraTS-GLI-90012-001",
    }  # fmt: skip
