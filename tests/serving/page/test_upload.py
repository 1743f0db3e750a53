"""Images of a tab: which controls fit them, and what is read when one of them is moved."""

from __future__ import annotations

import io
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from PIL import Image as PillowImage

from unimedvl.imaging import ReadOptions, read_image
from unimedvl.phantoms import simulate
from unimedvl.phantoms.dicom import dicom_of
from unimedvl.serving.page.upload import (
    AS_SAVED,
    CUSTOM,
    Item,
    context_of,
    controls,
    in_order,
    options_for,
    shown,
    thumbnail,
)  # fmt: skip
from unimedvl.serving.uploads import Refused


def item(data: bytes, name: str = "file") -> Item:
    return Item(name, data, read_image(data))


@pytest.fixture(scope="module")
def volume() -> Item:
    """A NIfTI of 20 x 30 x 5 voxels, twice."""
    voxels = np.random.default_rng(0).integers(-1000, 1000, (20, 30, 5, 2)).astype(np.int16)
    return item(nibabel.Nifti1Image(voxels, np.diag([1.0, 1.0, 3.0, 1.0])).to_bytes())


def dicom(seed: int = 3, number: int = 1, series: str | None = None, **more) -> bytes:
    data = dicom_of(simulate("cxr", seed, 64), "frontal")
    data.InstanceNumber = number
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.{seed}.{number}"
    if series:
        data.SeriesInstanceUID = series
    for keyword, value in more.items():
        setattr(data, keyword, value)
    out = io.BytesIO()
    data.save_as(out, enforce_file_format=True)
    return out.getvalue()


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    PillowImage.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def test_a_volume_has_slices_planes_volumes_and_the_windows_of_ct(volume):
    can = controls(volume.image)
    assert (can.slices, can.slice, can.volumes, can.plane) == (5, 2, 2, "axial")
    assert can.windows[0] == AS_SAVED and can.windows[-1] == CUSTOM and "lung" in can.windows


def test_colour_has_no_window_and_a_radiograph_none_of_ct():
    assert controls(item(png(np.full((8, 8, 3), (1, 2, 3), np.uint8))).image).windows == ()
    windows = controls(item(dicom()).image).windows
    assert "auto" in windows and "lung" not in windows


def test_every_window_that_is_offered_can_be_read(volume):
    for one in (volume, item(dicom()), item(png(np.eye(8, dtype=np.uint8)))):
        if controls(one.image).windows:
            assert controls(one.image).center is not None and controls(one.image).width > 0  # to begin with
        for window in controls(one.image).windows:
            look = options_for(one, window, 40.0, 400.0, controls(one.image).plane, 0, 0)
            read_image(one.data, look)


def test_the_look_follows_the_controls_and_another_plane_begins_in_its_middle(volume):
    assert options_for(volume, "lung", None, None, "axial", 3, 1) == ReadOptions(
        slice=3, plane="axial", volume=1, window="lung"
    )
    turned = options_for(volume, CUSTOM, 40, 400, "sagittal", 3, 0)
    assert turned == ReadOptions(plane="sagittal", volume=0, window=(40.0, 400.0))
    assert read_image(volume.data, turned).details["slice"] == 10


@pytest.mark.parametrize(("center", "width"), [(None, 400.0), (40.0, None), (40.0, 0.0), (40.0, -1.0)])
def test_a_window_that_is_none_is_refused_in_a_sentence(volume, center, width):
    with pytest.raises(Refused, match=r"width"):
        options_for(volume, CUSTOM, center, width, "axial", 0, 0)


def test_files_of_one_series_come_in_their_order_and_others_as_they_came():
    series = [item(dicom(number=n, series="1.2.9")) for n in (10, 2, 1)]
    assert in_order(series) == series[::-1]
    apart = [item(dicom(number=2, series="1.2.9")), item(dicom(number=1, series="1.2.8"))]
    assert in_order(apart) == apart
    mixed = [item(dicom(number=2)), item(png(np.eye(8, dtype=np.uint8)))]
    assert in_order(mixed) == mixed


def test_results_belong_to_the_study_of_dicom_images_of_one_patient_alone():
    first, second = item(dicom(3, 1)), item(dicom(3, 2))
    assert context_of([first, second]).study_uid == context_of([first]).study_uid != ""
    assert context_of([first, item(dicom(4))]) is None
    assert context_of([first, item(png(np.eye(8, dtype=np.uint8)))]) is None
    assert context_of([]) is None


def test_what_is_shown_is_small_and_of_the_right_kind():
    grey = replace(item(dicom()).image, pixels=np.zeros((900, 1800, 3), np.float32))
    kind, data = shown(grey)
    assert kind == "image/png" and PillowImage.open(io.BytesIO(data)).size == (768, 384)
    colour = np.zeros((90, 180, 3), np.float32)
    colour[..., 0] = 1
    assert shown(replace(grey, pixels=colour))[0] == "image/jpeg"
    assert PillowImage.open(io.BytesIO(thumbnail(grey))).size == (384, 192)


def test_how_an_image_was_read_names_no_patient():
    told = item(dicom(PatientName="Meyer^Anna", PatientID="4711"), "x.dcm").how
    assert "Meyer" not in told and "4711" not in told and "DICOM, 64 x 64" in told
