import json

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from unimedvl.imaging import ImagingError, ReadOptions, read_image
from unimedvl.imaging.lut import _expand_segments

HU = np.arange(-1000, 3096, dtype=np.int16).reshape(64, 64)


def shipped(name):
    return get_testdata_file(name, download=False)


def need_decoder_of(name):
    """JPEG lossless and 12-bit JPEG have no decoder but one under the GPL, which may be left out."""
    if name in ("SC_rgb_jpeg_gdcm.dcm", "JPGExtended.dcm"):
        pytest.importorskip("libjpeg")
    elif "jls" in name or "jpeg_ls" in name or "JPEGLS" in name:
        pytest.importorskip("jpeg_ls")


def grey(image):
    return image.pixels[..., 0]


@pytest.mark.parametrize("name", [
    "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_expb.dcm",
    "MR_small_implicit.dcm", "MR_small_padded.dcm"])
def test_every_lossless_syntax_gives_the_same_pixels(name):
    need_decoder_of(name)
    assert np.array_equal(read_image(shipped(name)).pixels, read_image(shipped("MR_small.dcm")).pixels)


@pytest.mark.parametrize("name", [
    "SC_rgb_jpeg_gdcm.dcm",                      # JPEG lossless, first-order prediction
    "SC_rgb_jpeg_dcmtk.dcm",                     # JPEG baseline, YBR_FULL
    "SC_rgb_dcmtk_+eb+cy+np.dcm",                # JPEG baseline, YBR_FULL_422
    "SC_rgb_dcmtk_+eb+cr.dcm",                   # JPEG baseline, RGB
    "SC_rgb_gdcm_KY.dcm",                        # JPEG 2000
    "SC_rgb_jls_lossy_line.dcm",                 # JPEG-LS near-lossless
    "SC_rgb_rle.dcm", "SC_rgb_rle_16bit.dcm", "SC_rgb_rle_32bit.dcm", "SC_ybr_full_422_uncompressed.dcm"])
def test_every_colour_syntax_gives_the_same_bars(name):
    """Bars of red, green, blue, black, grey and white, known from their plain copy."""
    need_decoder_of(name)
    pixels = read_image(shipped(name)).pixels
    bars = [pixels[row, 50].round(1).tolist() for row in (5, 25, 45, 65, 75, 95)]
    reference = read_image(shipped("SC_rgb_rle.dcm")).pixels
    assert np.allclose(bars, [reference[row, 50] for row in (5, 25, 45, 65, 75, 95)], atol=0.06)


@pytest.mark.parametrize("name,bits", [("JPGExtended.dcm", 12), ("693_J2KI.dcm", 14), ("image_dfl.dcm", 8),
                                       ("liver_1frame.dcm", 1), ("JPEGLSNearLossless_16.dcm", 16)])
def test_other_shipped_files_load(name, bits):
    need_decoder_of(name)
    image = read_image(shipped(name))
    assert image.kind == "dicom" and image.details["bits"] == bits and image.pixels.max() > 0.5


def test_rescale_and_chosen_window(make_dicom):
    data = make_dicom((HU + 1000).astype(np.uint16), RescaleSlope=1, RescaleIntercept=-1000)
    image = read_image(data, ReadOptions(window=(40, 400)))
    assert np.allclose(grey(image), np.clip((HU - 39.5) / 399 + 0.5, 0, 1), atol=1e-6)
    assert image.details["window"] == [40, 400] and image.details["rescale"] == [1, -1000]
    assert read_image(data, ReadOptions(window="Lung")).details["window"] == [-600, 1500]


def test_first_of_the_files_windows_and_one_chosen_by_its_name(make_dicom):
    data = make_dicom(HU, WindowCenter=[40, -600], WindowWidth=[400, 1500],
                      WindowCenterWidthExplanation=["BODY", "MY_LUNGS"])
    assert read_image(data).details["window"] == [40, 400]
    assert read_image(data, ReadOptions(window="my lungs")).details["window"] == [-600, 1500]


def test_sigmoid_and_exact_functions_are_followed(make_dicom):
    for function, center_value in (("SIGMOID", 0.5), ("LINEAR_EXACT", 0.5)):
        image = read_image(make_dicom(HU, WindowCenter=0, WindowWidth=100, VOILUTFunction=function))
        assert grey(image)[HU == 0][0] == pytest.approx(center_value)
        assert image.details["window_function"] == function


@pytest.mark.parametrize("width", [0, -5, ""])
def test_a_files_senseless_window_falls_back_to_percentiles(make_dicom, width):
    image = read_image(make_dicom(HU, WindowCenter=40, WindowWidth=width))
    assert image.details["window"] == "auto"


def test_12_and_16_bit_keep_their_precision(make_dicom, ramp):
    data = make_dicom(ramp // 16, BitsStored=12, HighBit=11)
    assert len(np.unique(read_image(data, ReadOptions(window="full")).pixels)) == 4096
    assert len(np.unique(read_image(make_dicom(ramp), ReadOptions(window="full")).pixels)) == 4096
    assert len(np.unique(read_image(make_dicom(ramp)).pixels)) > 4000


def test_monochrome1_is_inverted(make_dicom):
    window = ReadOptions(window=(0, 1000))
    plain = read_image(make_dicom(HU), window)
    inverted = read_image(make_dicom(HU, PhotometricInterpretation="MONOCHROME1"), window)
    assert np.allclose(grey(inverted), 1 - grey(plain))


def test_padding_does_not_count_and_is_black_even_when_inverted(make_dicom):
    stored = (HU.astype(np.int32) % 500 + 100).astype(np.int16)
    stored[:20] = -2000
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        image = read_image(make_dicom(stored, PixelPaddingValue=-2000, PhotometricInterpretation=photometric))
        assert image.details["range"][0] > 0 and (grey(image)[:20] == 0).all()


def test_overlay_bits_above_the_stored_ones_are_dropped(make_dicom):
    stored = (np.arange(4096, dtype=np.uint16) | 0xF000).reshape(64, 64)
    image = read_image(make_dicom(stored, BitsStored=12, HighBit=11), ReadOptions(window="full"))
    assert image.details["range"] == [0, 4095]


def test_modality_and_voi_tables(make_dicom):
    item = Dataset()
    item.LUTDescriptor = [4, 10, 16]
    item.LUTData = np.array([0, 100, 1000, 65535], "<u2").tobytes()
    stored = np.array([[0, 10, 11], [12, 13, 99]], np.uint16)
    image = read_image(make_dicom(stored, VOILUTSequence=[item]))
    assert np.allclose(grey(image) * 65535, [[0, 0, 100], [1000, 65535, 65535]], atol=0.01)
    assert image.details["window"] == "the file's lookup table"
    item.ModalityLUTType = "US"
    image = read_image(make_dicom(stored, ModalityLUTSequence=[item]), ReadOptions(window="full"))
    assert np.allclose(grey(image) * 65535, [[0, 0, 100], [1000, 65535, 65535]], atol=0.01)


def test_palette_agrees_with_pydicom():
    import pydicom
    from pydicom.pixels import apply_color_lut, pixel_array

    dataset = pydicom.dcmread(shipped("examples_palette.dcm"))
    theirs = apply_color_lut(pixel_array(dataset), dataset)
    assert np.abs(read_image(shipped("examples_palette.dcm")).pixels - theirs / 65535).max() < 0.005


def test_segmented_palette_expands_and_cannot_grow_for_ever():
    assert _expand_segments([0, 2, 5, 7, 1, 3, 10, 2, 1, 0, 0], True) == [5, 7, 8, 9, 10, 5, 7]
    with pytest.raises(ValueError):
        _expand_segments([0, 1, 5, 2, 1, 3, 0], True)         # leads to itself
    with pytest.raises(ValueError):
        _expand_segments([0, 1, 5, *[1, 65535, 9] * 3], True)


def test_multi_frame_gives_the_middle_or_the_chosen_one(make_dicom):
    frames = np.stack([np.full((4, 4), v, np.uint8) for v in (0, 50, 100, 150, 200)])
    data = make_dicom(frames)
    assert read_image(data).details["frame"] == 2
    each = [grey(read_image(data, ReadOptions(frame=i)))[0, 0] for i in range(5)]
    assert np.allclose(np.array(each) * 255, [0, 50, 100, 150, 200])
    with pytest.raises(ImagingError, match="5 frames; frame 5 is out of range, give 0 to 4"):
        read_image(data, ReadOptions(frame=5))
    with pytest.raises(ImagingError, match="out of range"):
        read_image(data, ReadOptions(frame=-1))
    assert read_image(shipped("examples_ybr_color.dcm")).details["frames"] == 30


def test_one_frame_of_a_large_file_is_read_without_the_others(make_dicom):
    frames = np.zeros((40, 256, 256), np.uint16)
    frames[7] = 9
    frames[7, 0, 0] = 10
    image = read_image(make_dicom(frames), ReadOptions(frame=7, window=(9.5, 3)))
    assert grey(image)[1, 1] == 0.5


def test_frame_groups_of_enhanced_files(make_dicom):
    groups = []
    for slope in (1.0, 2.0):
        group, transform, voi = Dataset(), Dataset(), Dataset()
        transform.RescaleSlope, transform.RescaleIntercept = slope, 0
        voi.WindowCenter, voi.WindowWidth = 100 * slope, 200
        group.PixelValueTransformationSequence, group.FrameVOILUTSequence = [transform], [voi]
        groups.append(group)
    data = make_dicom(np.full((2, 4, 4), 50, np.uint16), PerFrameFunctionalGroupsSequence=groups)
    assert read_image(data, ReadOptions(frame=0)).details["window"] == [100, 200]
    second = read_image(data, ReadOptions(frame=1))
    assert second.details["window"] == [200, 200] and second.details["rescale"] == [2, 0]


def test_pixels_are_made_square(make_dicom):
    image = read_image(make_dicom(HU, PixelSpacing=[2.0, 1.0]))
    assert (image.width, image.height) == (64, 128) and "resampled" in image.details
    assert read_image(make_dicom(HU, PixelAspectRatio=[1, 3])).width == 192
    assert read_image(make_dicom(HU, PixelSpacing=[0.0, 1.0])).width == 64


def test_preset_needs_hounsfield_units(make_dicom):
    with pytest.raises(ImagingError, match="Hounsfield.*not CT .MR."):
        read_image(make_dicom(HU, Modality="MR"), ReadOptions(window="lung"))
    with pytest.raises(ImagingError, match="'lungs' is not known.*soft tissue"):
        read_image(make_dicom(HU), ReadOptions(window="lungs"))


def test_window_on_colour_is_refused(make_dicom):
    with pytest.raises(ImagingError, match="colour image"):
        read_image(make_dicom(np.zeros((4, 4, 3), np.uint8)), ReadOptions(window=(1, 2)))


def test_file_without_preamble_and_meta(make_dicom):
    data = make_dicom(HU)
    group_length = int.from_bytes(data[140:144], "little")
    bare = data[144 + group_length :]
    assert np.array_equal(read_image(bare).pixels, read_image(data).pixels)


def test_float_pixels_and_their_nan(make_dicom):
    values = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4)
    values[0, 0] = np.nan
    dropped = ("PixelData", "BitsStored", "HighBit", "PixelRepresentation")
    image = read_image(make_dicom(values, drop=dropped, FloatPixelData=values.tobytes()))
    assert np.isfinite(image.pixels).all() and image.pixels.max() == 1


def test_details_never_name_the_patient(make_dicom):
    image = read_image(make_dicom(HU, PixelSpacing=[2, 1], WindowCenter=40, WindowWidth=80))
    text = json.dumps(image.details)
    assert "Doe" not in text and "SECRET" not in text
