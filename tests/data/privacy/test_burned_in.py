"""Burned-in text is blanked, in images and files of every kind, and little else is."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.pixels import pixel_array
from pydicom.uid import JPEG2000Lossless, RLELossless

from unimedvl.data.error import DataError
from unimedvl.data.privacy.burned_in import text_boxes, text_mask
from unimedvl.data.privacy.file import Options, deidentify_bytes
from unimedvl.imaging import read_image
from unimedvl.phantoms import simulate

NAME = "MUSTERMANN ERIKA 1957"


def blanked(made, pixels: np.ndarray, key, **elements) -> tuple[np.ndarray, pydicom.Dataset]:
    d = made.captured(pixels)
    for keyword, value in elements.items():
        setattr(d, keyword, value)
    new = pydicom.dcmread(BytesIO(deidentify_bytes(made.file_bytes(d), key).data))
    return pixel_array(new), new


@pytest.mark.parametrize("size", [10, 14, 18, 28, 40])
@pytest.mark.parametrize("place", [(8, 8), (30, 190)])
def test_a_name_on_a_simulated_radiograph_is_found(made, size, place) -> None:
    words = NAME if size < 28 else NAME[:10]
    image, strokes = made.with_words(made.chest(), words, size, place)
    mask = text_mask(image)
    assert mask[strokes].mean() > 0.97 and mask.mean() < 0.35


def test_dark_text_in_a_light_box_and_coloured_text_are_found(made) -> None:
    image, strokes = made.with_words(np.zeros((128, 256), np.uint8), NAME)
    assert text_mask(255 - image)[strokes].mean() > 0.99
    colour = np.stack([image, image, np.zeros_like(image)], axis=2)
    assert text_mask(colour)[strokes].mean() > 0.99
    deep = image.astype(np.uint16) * 12 + 300
    assert text_mask(deep)[strokes].mean() > 0.99


@pytest.mark.parametrize(("modality", "most"), [("cxr", 0.01), ("mri", 0.03), ("cfp", 0.03), ("his", 0.1)])
def test_little_of_simulated_anatomy_is_taken_for_text(modality, most) -> None:
    shares = [text_mask(np.asarray(next(iter(simulate(modality, s, 256).images.values())))).mean() for s in range(3)]
    assert np.mean(shares) <= most


def test_the_real_text_of_an_ultrasound_image_is_found() -> None:
    image = pydicom.dcmread(get_testdata_file("examples_rgb_color.dcm", download=False)).pixel_array
    mask = text_mask(image)
    letters = image[:52].min(axis=2) > 200  # above the scan are institution and numbers
    letters[:, 140:170] = False  # the maker's mark
    assert mask[:52][letters].mean() > 0.95


def test_no_text_in_an_empty_or_tiny_image() -> None:
    assert text_boxes(np.zeros((64, 64), np.uint8)) == [] == text_boxes(np.full((1, 1), 7, np.uint16))


def test_a_secondary_capture_loses_its_name_and_says_so(made, key) -> None:
    image, strokes = made.with_words(made.chest(), NAME)
    stored, new = blanked(made, image, key)
    assert (stored[strokes] == image.min()).mean() > 0.97
    assert new.BurnedInAnnotation == "NO" and "113101" in [c.CodeValue for c in new.DeidentificationMethodCodeSequence]
    kept = stored != image.min()
    assert kept.mean() > 0.8 and np.array_equal(stored[kept], image[kept])


def test_a_light_background_film_is_blanked_dark(made, key) -> None:
    image, strokes = made.with_words(made.chest(), NAME)
    stored, _ = blanked(made, 255 - image, key, PhotometricInterpretation="MONOCHROME1")
    assert (stored[strokes] == (255 - image).max()).mean() > 0.97


def test_text_in_one_frame_is_blanked_in_all(made, key) -> None:
    image, strokes = made.with_words(np.zeros((96, 224), np.uint8), NAME)
    frames = np.stack([np.zeros_like(image)] * 30)
    frames[17] = image
    stored, new = blanked(made, frames, key)
    assert stored.shape == frames.shape and not stored[:, strokes].any() and new.NumberOfFrames == 30


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_files_come_out_blanked_and_uncompressed(made, key, syntax) -> None:
    image, strokes = made.with_words(made.chest(), NAME)
    d = pydicom.dcmread(BytesIO(made.file_bytes(made.captured(image))))
    d.compress(syntax, generate_instance_uid=False)
    stream = BytesIO()
    d.save_as(stream)
    new = pydicom.dcmread(BytesIO(deidentify_bytes(stream.getvalue(), key).data))
    assert new.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    assert (new.pixel_array[strokes] == image.min()).mean() > 0.97


def test_only_what_lies_in_the_ultrasound_regions_is_kept(made, key) -> None:
    region = Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 40, 60
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 199, 219
    image, _ = made.with_words(made.chest() | 1, NAME)
    stored, _ = blanked(made, image, key, Modality="US", SequenceOfUltrasoundRegions=[region])
    inside = np.zeros(image.shape, bool)
    inside[60:220, 40:200] = True
    assert (stored[~inside] == image.min()).all() and np.array_equal(stored[inside], image[inside])


def test_pixels_are_not_called_clean_where_text_was_not_looked_for(made, key) -> None:
    region = Dataset()
    region.RegionLocationMinX0 = region.RegionLocationMinY0 = 0
    region.RegionLocationMaxX1 = region.RegionLocationMaxY1 = 255
    d = made.captured(made.chest())
    d.Modality, d.SequenceOfUltrasoundRegions = "US", [region]
    new = pydicom.dcmread(BytesIO(deidentify_bytes(made.file_bytes(d), key, Options(text="never")).data))
    assert "BurnedInAnnotation" not in new and len(new.DeidentificationMethodCodeSequence) == 1


def test_text_inside_an_ultrasound_region_is_blanked_too(made, key) -> None:
    region = Dataset()
    region.RegionLocationMinX0 = region.RegionLocationMinY0 = 0
    region.RegionLocationMaxX1 = region.RegionLocationMaxY1 = 255
    image, strokes = made.with_words(made.chest(), NAME)
    stored, _ = blanked(made, image, key, Modality="US", SequenceOfUltrasoundRegions=[region])
    assert (stored[strokes] == image.min()).mean() > 0.97


def test_what_says_it_has_text_but_shows_none_is_refused(made, key) -> None:
    with pytest.raises(DataError, match="BurnedInAnnotation is YES but no text was found"):
        blanked(made, np.zeros((64, 64), np.uint8), key, BurnedInAnnotation="YES")


def test_a_ct_is_searched_only_where_it_is_told_to(made, key) -> None:
    image, strokes = made.with_words(made.chest(), NAME)
    data = made.file_bytes(made.planted(pixels=image))
    for text, gone in (("auto", False), ("never", False), ("always", True)):
        stored = pixel_array(pydicom.dcmread(BytesIO(deidentify_bytes(data, key, Options(text=text)).data)))
        assert bool((stored[strokes] == image.min()).mean() > 0.97) is gone


@pytest.mark.parametrize("name", [
    "CT_small.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "MR_small_RLE.dcm", "image_dfl.dcm",
    "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_jpeg_gdcm.dcm",
    "SC_ybr_full_422_uncompressed.dcm", "SC_rgb_rle_16bit_2frame.dcm", "SC_rgb_small_odd.dcm", "SC_rgb_gdcm_KY.dcm",
    "examples_overlay.dcm", "examples_jpeg2k.dcm", "liver_1frame.dcm", "rtdose_expb.dcm", "J2K_pixelrep_mismatch.dcm",
])  # fmt: skip
def test_pixels_of_every_kind_of_file_look_the_same_afterwards(key, name) -> None:
    file = get_testdata_file(name, download=False)
    with open(file, "rb") as stream:
        new = deidentify_bytes(stream.read(), key, Options(text="never")).data
    assert pydicom.dcmread(BytesIO(new)).file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    assert np.array_equal(read_image(new).pixels, read_image(file).pixels)


def test_bits_above_those_stored_are_cleared(made, key) -> None:
    d = made.planted(pixels=np.full((8, 8), 0xF123, np.uint16))
    d.BitsStored, d.HighBit = 12, 11
    new = pydicom.dcmread(BytesIO(deidentify_bytes(made.file_bytes(d), key).data))
    assert set(np.frombuffer(new.PixelData, "<u2")) == {0x0123}
