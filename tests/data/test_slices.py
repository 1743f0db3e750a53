"""Slices of volumes: the same picture whatever way the voxels are stored, and clear errors."""

from __future__ import annotations

import gzip
import io
import itertools

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.volumes import brain, nifti
from unimedvl.data.slices import (
    Volume,
    axial_grey,
    axial_mask,
    axial_values,
    find_volume,
    grey_png,
    label_count,
    labels,
    middle,
    slice_count,
)
from unimedvl.phantoms import mri

SHAPE = (6, 7, 8)
VOXELS = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)  # canonical: to the right, the front, the head
ORIENTATIONS = ["".join(s) for order in itertools.permutations(["RL", "AP", "SI"]) for s in itertools.product(*order)]


@pytest.fixture
def volume(tmp_path):
    """Write a volume; returns where it lies."""

    def write(data: bytes, name: str = "v.nii.gz") -> Volume:
        (tmp_path / name).write_bytes(data)
        return Volume(tmp_path / name)

    return write


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_right_is_at_the_left_and_the_front_at_the_top_in_all_48_orientations(volume, codes):
    found = volume(nifti(VOXELS, codes), f"{codes}.nii.gz")
    assert slice_count(found) == 8
    shown = axial_values(found, 2)
    assert shown.shape == (7, 6)
    # The corner at top left is the patient's right, in front; below it lies what is behind.
    assert shown[0, 0] == VOXELS[5, 6, 2] and shown[-1, 0] == VOXELS[5, 0, 2] and shown[0, -1] == VOXELS[0, 6, 2]
    assert np.array_equal(shown, VOXELS[:, :, 2].T[::-1, ::-1])


def test_a_simulated_brain_comes_back_as_it_was_drawn(volume):
    case = mri.sample(511)
    found = volume(nifti(brain(511, 3)["t2"], "PSR"))
    drawn = mri.render(type(case)(**{**vars(case), "anatomy": case.anatomy | {"level": 11.0}})).images["t2"]
    assert np.array_equal(axial_grey(found, 1, (0, 255)), drawn[..., 0])


def test_greys_are_of_the_whole_volume_or_of_the_window(volume):
    values = np.zeros(SHAPE, np.float32)
    values[:, :, 4:] = np.arange(6 * 7 * 4).reshape(6, 7, 4)
    found = volume(nifti(values))
    low, high = np.percentile(values, (0.5, 99.5))
    expected = ((values[:, :, 6].T[::-1, ::-1] - low) / (high - low)).clip(0, 1) * 255
    assert np.abs(axial_grey(found, 6) - expected).max() <= 0.51
    assert not axial_grey(found, 0).any()
    windowed = axial_grey(found, 6, (50, 100))
    assert windowed[values[:, :, 6].T[::-1, ::-1] <= 50].max() == 0 and windowed.max() == 255
    inside = volume(nifti((values > 100).astype(np.uint8)), "mask.nii.gz")
    masked = axial_grey(found, 6, (0, 167), inside)
    assert not masked[values[:, :, 6].T[::-1, ::-1] <= 100].any() and masked.any()


def test_pixels_are_made_square_and_labels_stay_labels(volume):
    wide = volume(nifti(VOXELS, "PSR", (2.0, 1.0, 1.0)))
    assert axial_grey(wide, 3).shape == (7, 12)
    marked = volume(nifti((VOXELS // 8 % 4).astype(np.uint8), "LPS", (2.0, 1.0, 1.0)), "seg.nii.gz")
    assert labels(marked) == [1, 2, 3]
    mask = axial_mask(marked, 3, 2)
    assert mask.shape == (7, 12) and set(np.unique(mask)) == {0, 255}
    assert np.array_equal(mask[:, ::2] > 0, (VOXELS[:, :, 3] // 8 % 4 == 2).T[::-1, ::-1])
    assert label_count(marked, 2).tolist() == (VOXELS // 8 % 4 == 2).sum((0, 1)).tolist()


def test_png_scale_factors_plain_files_and_nifti_2(volume):
    image = nib.Nifti2Image(VOXELS, np.eye(4))
    image.header.set_slope_inter(2.0, -10.0)
    found = volume(image.to_bytes(), "plain.nii")
    assert axial_values(found, 0)[-1, -1] == -10 and axial_values(found, 0).max() == 2 * VOXELS[:, :, 0].max() - 10
    with Image.open(io.BytesIO(grey_png(found, 1))) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (6, 7))
        assert np.array_equal(np.asarray(picture), axial_grey(found, 1))
    assert find_volume(found.file.parent, "plain") == found


def test_the_middle_half_evenly_spread():
    assert middle(16, 4) == [4, 6, 9, 11]
    assert middle(4) == [1, 2] and middle(1) == [0] and middle(2) == [0, 1] and middle(3) == [0, 1, 2]
    assert len(middle(155)) == 8 and min(middle(155)) == 38 and max(middle(155)) == 116


def test_a_file_that_took_another_ones_place_is_read_anew(volume):
    assert axial_values(volume(nifti(VOXELS)), 0).max() == VOXELS[:, :, 0].max()
    assert axial_values(volume(nifti(VOXELS[:5, :5, :5] + 9)), 0).shape == (5, 5)


def test_damaged_missing_and_odd_volumes_are_errors_that_name_the_file(volume, tmp_path):
    whole = nifti(VOXELS)
    with pytest.raises(DataError, match="cut.nii.gz: damaged, truncated"):
        axial_values(volume(whole[: len(whole) // 2], "cut.nii.gz"), 0)
    with pytest.raises(DataError, match="short.nii: damaged, truncated"):
        axial_values(volume(gzip.decompress(whole)[:500], "short.nii"), 0)
    with pytest.raises(DataError, match="text.nii.gz: damaged, truncated or no NIfTI"):
        slice_count(volume(b"no volume at all, but a text", "text.nii.gz"))
    with pytest.raises(DataError, match="v.nii.gz: slice 8: expected 0 to 7"):
        axial_values(volume(whole), 8)
    with pytest.raises(DataError, match=r"four.nii: expected three dimensions, found \(6, 7, 8, 2\)"):
        slice_count(volume(nib.Nifti1Image(np.zeros((*SHAPE, 2)), np.eye(4)).to_bytes(), "four.nii"))
    with pytest.raises(DataError, match="expected whole numbers as labels, found 0.5"):
        labels(volume(nifti(VOXELS.astype(np.float32) / 2), "half.nii.gz"))
    with pytest.raises(DataError, match="gone.nii.gz: No such file"):
        slice_count(Volume(tmp_path / "gone.nii.gz"))
    with pytest.raises(DataError, match=f"{tmp_path}: expected x.nii.gz or x.nii in it, found neither"):
        find_volume(tmp_path, "x")
