"""SynthRAD2023: both ways between MRI and CT, inside the mask, of patients only."""

from __future__ import annotations

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.synthrad2023 import scans
from unimedvl.data.miniatures.volumes import nifti


def _opened(load) -> np.ndarray:
    with Image.open(io.BytesIO(load())) as picture:
        return np.asarray(picture).astype(float)


def test_patients_of_task_1_both_ways_and_neither_overview_nor_task_2(miniature, read):
    got = read("synthrad2023", miniature("synthrad2023"))
    assert not got.faults
    assert [r.id for r in got.records] == [
        f"{p}-{i:03d}-{way}" for p in ("1BA901", "1BC955", "1PC902") for i in (1, 2) for way in ("mr-ct", "ct-mr")
    ]
    forth, back = got.records[:2]
    assert (forth.modality, back.modality) == ("ct", "mri")
    assert (forth.patient, forth.split, forth.attributes["centre"]) == ("1BA901", "train", "A")
    assert "MRI" in forth.message[0].value and forth.message[1].value == (
        "This is the CT image; the anatomy is unchanged."
    )
    assert [p.path for p in forth.pictures] == [p.path for p in reversed(back.pictures)]


def test_ct_is_windowed_in_hounsfield_units_and_black_outside_the_mask(miniature, read):
    sample = read("synthrad2023", miniature("synthrad2023")).samples[0]
    mr, ct = map(_opened, sample.images)
    truth = {name: values[..., 1].T[::-1, ::-1].astype(float) for name, values in scans(521).items()}
    shown = ((truth["ct"] + 160) / 400).clip(0, 1) * 255 * (truth["mask"] > 0)
    assert np.abs(ct - shown).max() <= 0.51
    assert truth["ct"][-2].min() == 300 and not ct[-2].any(), "the table is seen"
    assert not mr[truth["mask"] == 0].any() and mr.max() == 255
    assert sample.record.attributes["intensities"].startswith("CT: -160 to 240 HU;")


def test_folders_that_are_no_patients_and_patients_without_ct_are_faults(miniature, read):
    root = miniature("synthrad2023")
    task = root / "Task1"
    shutil.copytree(task / "brain/1BA901", task / "pelvis/1BA901")
    (task / "brain/1BA901/ct.nii.gz").unlink()
    short = nifti(scans(522)["mask"][..., :3])
    (task / "brain/1BC955/mask.nii").unlink()
    (task / "brain/1BC955/mask.nii.gz").write_bytes(short)
    got = read("synthrad2023", task)
    assert {r.patient for r in got.records} == {"1PC902"}
    assert [(f.where, f.reason) for f in got.faults] == [
        (str(task / "brain/1BA901"), f"{task}/brain/1BA901: expected ct.nii.gz or ct.nii in it, found neither"),
        (str(task / "brain/1BC955"), "expected as many slices in each, found {'mr': 4, 'ct': 4, 'mask': 3}"),
        (str(task / "pelvis/1BA901"), "expected an id like 1PA001"),
    ]


def test_a_volume_that_is_gone_is_an_error_when_it_is_loaded(miniature, read):
    root = miniature("synthrad2023")
    got = read("synthrad2023", root)
    (root / "Task1/pelvis/1PC902/mr.nii.gz").unlink()
    with pytest.raises(DataError, match="mr.nii.gz: No such file"):
        got.samples[-1].images[1]()
    (root / "Task1/brain/1BA901/mask.nii.gz").write_bytes(nifti(scans(521)["mask"][:99]))
    with pytest.raises(DataError, match=r"expected slices of \(128, 128\)"):
        got.samples[0].images[0]()
