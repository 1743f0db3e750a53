import gzip
import itertools
import json

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from unimedvl.imaging import ImagingError, ReadOptions, read_image

SHAPE = (6, 7, 8)
VOXELS = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)          # canonical, RAS+
ORIENTATIONS = ["".join(signs) for order in itertools.permutations(["RL", "AP", "SI"])
                for signs in itertools.product(*order)]


def grey(image):
    return image.pixels[..., 0]


def expected(plane, index):
    """What a radiologist sees: right at the left, front or head at the top, front at the left."""
    cut = {"axial": VOXELS[:, :, index], "coronal": VOXELS[:, index], "sagittal": VOXELS[index]}[plane]
    return cut.T[::-1, ::-1]


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_all_48_orientations_look_the_same(make_nifti, codes):
    canonical = axcodes2ornt("RAS")
    to = ornt_transform(canonical, axcodes2ornt(codes))
    stored = nib.orientations.apply_orientation(VOXELS, to)
    affine = inv_ornt_aff(to, SHAPE)
    for plane, index in (("axial", 2), ("coronal", 3), ("sagittal", 1)):
        image = read_image(make_nifti(stored, affine), ReadOptions(plane=plane, slice=index, window="full"))
        assert np.allclose(grey(image) * VOXELS.max(), expected(plane, index), atol=1e-3)
        assert image.details["orientation"] == codes


def test_default_is_the_middle_axial_slice_and_gzip_changes_nothing(make_nifti):
    image = read_image(make_nifti(VOXELS), ReadOptions(window="full"))
    assert np.allclose(grey(image) * VOXELS.max(), expected("axial", 4), atol=1e-3)
    assert image.details["plane"] == "axial" and image.details["slice"] == 4 and image.details["slices"] == 8
    packed = read_image(make_nifti(VOXELS, pack=True), ReadOptions(window="full"))
    assert np.array_equal(packed.pixels, image.pixels)


def test_nifti_2_and_big_endian(make_nifti):
    plain = read_image(make_nifti(VOXELS)).pixels
    assert np.array_equal(read_image(make_nifti(VOXELS, kind=nib.Nifti2Image)).pixels, plain)
    big = nib.Nifti1Image(VOXELS, np.eye(4), nib.Nifti1Header(endianness=">")).to_bytes()
    assert np.allclose(read_image(big).pixels, plain, atol=1e-6)


def test_window_in_hounsfield_units(make_nifti):
    values = np.linspace(-1000, 1000, VOXELS.size).reshape(SHAPE)
    image = read_image(make_nifti(values.astype(np.float32)), ReadOptions(window="lung", slice=0))
    assert image.details["window"] == [-600, 1500] and image.details["window_from"] == "lung"
    image = read_image(make_nifti(values.astype(np.float32)), ReadOptions(window=(0, 2000), slice=0))
    assert np.allclose(grey(image), values[:, :, 0].T[::-1, ::-1] / 2000 + 0.5, atol=1e-5)


def test_default_window_is_of_the_volume_so_that_slices_compare(make_nifti):
    first, last = (read_image(make_nifti(VOXELS), ReadOptions(slice=i)) for i in (0, 7))
    assert first.details["range"] == last.details["range"]


def test_voxels_are_made_square(make_nifti):
    affine = np.diag([1, 1, 5, 1.0])
    coronal = read_image(make_nifti(VOXELS, affine), ReadOptions(plane="coronal"))
    assert (coronal.width, coronal.height) == (6, 40)
    axial = read_image(make_nifti(VOXELS, affine))
    assert (axial.width, axial.height) == (6, 7)
    assert coronal.details["spacing_mm"] == [1, 1, 5]


def test_scale_factors_are_applied(make_nifti):
    image = nib.Nifti1Image(VOXELS, np.eye(4))
    image.header.set_slope_inter(2.0, -10.0)
    shown = read_image(image.to_bytes(), ReadOptions(window="full"))
    assert shown.details["range"] == [-10, 2 * (VOXELS.size - 1) - 10]


def test_volume_of_a_series(make_nifti):
    series = np.stack([VOXELS, VOXELS[::-1]], axis=-1)
    first = read_image(make_nifti(series))
    assert first.details["volume"] == 0 and first.details["volumes"] == 2
    second = read_image(make_nifti(series), ReadOptions(volume=1))
    assert np.array_equal(second.pixels[:, ::-1], first.pixels)
    with pytest.raises(ImagingError, match="2 volumes; volume 2 is out of range, give 0 to 1"):
        read_image(make_nifti(series), ReadOptions(volume=2))


def test_slice_out_of_range_tells_the_range(make_nifti):
    for plane, index, last in (("axial", 8, 7), ("sagittal", 6, 5), ("coronal", -1, 6)):
        with pytest.raises(ImagingError, match=f"slice {index} is out of range, give 0 to {last}"):
            read_image(make_nifti(VOXELS), ReadOptions(plane=plane, slice=index))


def test_a_single_slice_is_shown_whatever_its_plane(make_nifti):
    assert read_image(make_nifti(VOXELS[:, :, :1])).details["plane"] == "axial"
    sagittal = read_image(make_nifti(VOXELS[:1]))
    assert sagittal.details["plane"] == "sagittal" and sagittal.pixels.shape == (8, 7, 3)
    flat = read_image(make_nifti(VOXELS[:, :, 0]))
    assert flat.pixels.shape == (7, 6, 3)


def test_colour_volumes(make_nifti):
    voxels = np.zeros((4, 5, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    voxels["G"] = 255
    image = read_image(make_nifti(voxels))
    assert image.pixels[0, 0].tolist() == [0, 1, 0]


def test_what_is_not_finite_is_black(make_nifti):
    values = np.linspace(1, 2, VOXELS.size, dtype=np.float32).reshape(SHAPE)
    values[0, 0, 4], values[1, 0, 4] = np.nan, np.inf
    image = read_image(make_nifti(values))
    assert grey(image)[-1, -1] == 0 and grey(image)[-1, -2] == 0 and np.isfinite(image.pixels).all()


def test_float_precision_is_kept(make_nifti):
    values = np.arange(64 * 64, dtype=np.float32).reshape(64, 64, 1) / 7
    assert len(np.unique(read_image(make_nifti(values), ReadOptions(window="full")).pixels)) == 4096


@pytest.mark.parametrize("broken,message", [
    (np.full(SHAPE, np.nan, np.float32), "NaN"),
    (np.ones(SHAPE, np.complex64), "complex"),
    (np.ones((2, 2, 2, 1, 3), np.uint8), "dimensions"),
])
def test_volumes_that_are_no_picture_are_refused(make_nifti, broken, message):
    with pytest.raises(ImagingError, match=message):
        read_image(make_nifti(broken))


def test_description_of_the_header_stays_out_of_the_details():
    image = nib.Nifti1Image(VOXELS, np.eye(4))
    image.header["descrip"] = b"Doe^Jane"
    assert "Doe" not in json.dumps(read_image(image.to_bytes()).details)


@pytest.mark.parametrize("damage", ["cut", "flipped", "checksum"])
@pytest.mark.parametrize("options", [ReadOptions(), ReadOptions(window=(2000, 4000), slice=0)])
def test_a_damaged_gzip_is_refused_whichever_slice_is_wanted(damage, options):
    values = np.random.default_rng(0).integers(0, 4000, (32, 32, 40), dtype=np.int16)
    packed = bytearray(gzip.compress(nib.Nifti1Image(values, np.eye(4)).to_bytes(), 1))
    assert read_image(bytes(packed), options).pixels.shape == (32, 32, 3)
    if damage == "cut":
        packed = packed[: len(packed) * 6 // 10]
    elif damage == "flipped":
        packed[len(packed) // 3] ^= 0x55
    else:
        packed[-8:] = bytes(8)
    with pytest.raises(ImagingError):
        read_image(bytes(packed), options)
