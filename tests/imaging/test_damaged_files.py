"""Whatever happens to a file, it loads or is refused in one line, within seconds."""

import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from unimedvl.imaging import ImagingError, read_image

KINDS = ["png", "wide png", "jpeg", "tiff", "bmp", "webp", "dicom", "frames", "nifti", "nifti.gz",
         "MR_small_RLE.dcm", "SC_rgb_jpeg_gdcm.dcm", "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_gdcm_KY.dcm"]


@pytest.fixture(scope="module")
def whole(make_dicom, make_nifti, make_picture, make_wide_png):
    rng = np.random.default_rng(0)
    rgb, wide = rng.integers(0, 256, (9, 10, 3), np.uint8), rng.integers(0, 65536, (9, 10, 3), np.uint16)
    volume = rng.integers(0, 500, (5, 6, 7)).astype(np.int16)
    files = {kind: make_picture(rgb, kind) for kind in ("png", "jpeg", "tiff", "bmp", "webp")}
    files |= {"wide png": make_wide_png(wide), "frames": make_dicom(volume),
              "dicom": make_dicom(wide[..., 0], WindowCenter=40, WindowWidth=400, PixelSpacing=[1, 1]),
              "nifti": make_nifti(volume), "nifti.gz": make_nifti(volume, pack=True)}
    for name in KINDS[-4:]:
        with open(get_testdata_file(name, download=False), "rb") as stream:
            files[name] = stream.read()
    return files


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    cut=st.none() | st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8),
)
def test_a_damaged_file_loads_or_is_refused(whole, kind, cut, flips):
    data = bytearray(whole[kind])
    if cut is not None:
        data = data[: int(cut * len(data))]
    for place, value in flips:
        if data:
            data[int(place * (len(data) - 1))] = value
    started = time.process_time()
    try:
        image = read_image(bytes(data))
    except ImagingError as error:
        assert "\n" not in str(error)
    else:
        assert image.pixels.dtype == np.float32 and image.pixels.shape[2] == 3
        assert image.pixels.min() >= 0 and image.pixels.max() <= 1
    assert time.process_time() - started < 10
