import io

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage
from PIL import ImageOps

from unimedvl.imaging import Image, ImagingError, ReadOptions, read_image

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (12, 17, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (12, 17), dtype=np.uint8)


def test_an_image_in_is_the_same_image_out(make_picture):
    image = read_image(make_picture(RGB, "PNG"))
    assert read_image(image) is image


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "WEBP"])
def test_lossless_8_bit_colour_is_exact_and_told_by_content(tmp_path, make_picture, kind):
    path = tmp_path / "wrong_name.dcm"
    path.write_bytes(make_picture(RGB, kind, **({"lossless": True} if kind == "WEBP" else {})))
    image = read_image(path)
    assert isinstance(image, Image) and image.kind == kind.lower() and image.source == str(path)
    assert len(image.sha256) == 64 and (image.width, image.height) == (17, 12)
    assert image.pixels.dtype == np.float32
    assert np.array_equal(image.pixels, RGB.astype(np.float32) / np.float32(255))


def test_jpeg_colour_grey_and_cmyk(make_picture):
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    for picture in (PillowImage.fromarray(flat), PillowImage.fromarray(flat).convert("CMYK")):
        image = read_image(make_picture(picture, "JPEG", quality=95))
        assert image.kind == "jpeg" and np.abs(image.pixels * 255 - flat).max() < 6
    assert read_image(make_picture(GREY, "JPEG")).details["photometric"] == "grey"


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_every_level(make_picture, ramp, kind):
    image = read_image(make_picture(ramp, kind))
    assert np.array_equal(image.pixels[..., 0], ramp / np.float32(65535))
    assert len(np.unique(image.pixels)) == 4096


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_12_bit_data_in_16_bits_is_not_shown_black(make_picture, ramp, kind):
    image = read_image(make_picture(ramp // 16, kind))
    assert image.pixels.max() == 1 and image.details["range"] == [0, 4095]


def test_big_endian_16_bit_tiff(make_picture, ramp):
    assert np.array_equal(read_image(make_picture(PillowImage.fromarray(ramp.astype(">u2")), "TIFF")).pixels,
                          read_image(make_picture(ramp, "TIFF")).pixels)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_of_every_colour_type_is_exact(make_wide_png, channels):
    stored = RNG.integers(0, 65536, (9, 11, channels), dtype=np.uint16)
    image = read_image(make_wide_png(stored))
    scaled = stored / np.float32(65535)
    if channels in (2, 4):
        alpha = scaled[..., -1:]
        scaled = scaled[..., :-1] * alpha + (1 - alpha)
    assert image.details["bits"] == 16
    assert np.abs(image.pixels - scaled).max() < 1e-6


def test_16_bit_png_with_a_transparent_colour(make_wide_png, make_png_chunk):
    stored = RNG.integers(0, 65536, (9, 11, 3), dtype=np.uint16)
    key = stored[2, 3].astype(">u2").tobytes()
    image = read_image(make_wide_png(stored, make_png_chunk(b"tRNS", key)))
    assert image.pixels[2, 3].tolist() == [1, 1, 1]
    assert np.abs(image.pixels[0, 0] - stored[0, 0] / 65535).max() < 1e-6


def test_16_bit_grey_png_with_a_transparent_grey(make_wide_png, make_png_chunk):
    stored = RNG.integers(5000, 65536, (9, 11, 1), dtype=np.uint16)
    stored[2:4, 3] = 1000
    data = make_wide_png(stored, make_png_chunk(b"tRNS", (1000).to_bytes(2, "big")))
    expected = np.where(stored == 1000, 1, stored / 65535)
    image = read_image(data)
    assert np.abs(image.pixels - expected).max() < 1e-6 and image.details["alpha"] == "over white"
    windowed = read_image(data, ReadOptions(window=(30000, 60000))).pixels
    assert windowed[2, 3].tolist() == [1, 1, 1] and abs(windowed[0, 0, 0] - stored[0, 0, 0] / 60000) < 1e-4


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_tiff_is_exact(compression, order, channels):
    tifffile = pytest.importorskip("tifffile")
    stored = RNG.integers(0, 65536, (9, 11, channels), dtype=np.uint16)
    stored[..., 3:] = 65535
    stream = io.BytesIO()
    tifffile.imwrite(stream, stored, photometric="rgb", compression=compression, byteorder=order,
                     extrasamples=["unassalpha"] if channels == 4 else None)
    assert np.abs(read_image(stream.getvalue()).pixels - stored[..., :3] / np.float32(65535)).max() < 1e-6


def test_16_bit_tiff_in_separate_planes_is_refused_rather_than_misread():
    tifffile = pytest.importorskip("tifffile")
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.zeros((3, 9, 11), np.uint16), photometric="rgb", planarconfig="separate")
    with pytest.raises(ImagingError, match="separate planes.*interleaved"):
        read_image(stream.getvalue())


def test_palette_with_and_without_transparency(make_picture):
    palette = PillowImage.fromarray(RGB).quantize(16)
    expected = np.asarray(palette.convert("RGB"), np.float32) / 255
    image = read_image(make_picture(palette, "PNG"))
    assert np.allclose(image.pixels, expected) and image.details["photometric"] == "palette"
    image = read_image(make_picture(palette, "PNG", transparency=int(np.asarray(palette)[0, 0])))
    assert image.pixels[0, 0].tolist() == [1, 1, 1]


def test_alpha_is_laid_over_white(make_picture):
    stored = np.dstack([RGB, np.full(GREY.shape, 51, np.uint8)])
    image = read_image(make_picture(stored, "PNG"))
    assert np.abs(image.pixels - (RGB / 255 * 0.2 + 0.8)).max() < 1e-6
    assert image.details["alpha"] == "over white"
    faint = PillowImage.merge("LA", [PillowImage.fromarray(GREY)] * 2)
    assert read_image(make_picture(faint, "PNG")).pixels.shape == (12, 17, 3)


def test_one_bit_pictures(make_picture):
    bits = GREY > 127
    assert np.array_equal(read_image(make_picture(bits, "PNG")).pixels[..., 0], bits.astype(np.float32))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_turns_upright(make_picture, orientation, kind):
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    rows, columns = np.mgrid[0:48, 0:64]
    smooth = PillowImage.fromarray(np.stack([rows * 5, columns * 3, rows + columns], -1).astype(np.uint8))
    image = read_image(make_picture(smooth, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {})))
    smooth.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(smooth), np.float32) / 255
    assert image.pixels.shape == upright.shape
    assert np.abs(image.pixels - upright).mean() < 0.03


def test_16_bit_png_with_orientation(make_wide_png, make_png_chunk):
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    stored = RNG.integers(0, 65536, (9, 11, 3), dtype=np.uint16)
    image = read_image(make_wide_png(stored, make_png_chunk(b"eXIf", exif.tobytes()[6:])))
    assert np.abs(image.pixels - np.rot90(stored, -1) / np.float32(65535)).max() < 1e-6


def test_pages_are_chosen_by_frame(make_picture):
    pages = [PillowImage.fromarray(np.full((4, 5), v, np.uint8)) for v in (10, 20, 30)]
    data = make_picture(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    each = [read_image(data, ReadOptions(frame=i)).pixels[0, 0, 0] for i in range(3)]
    assert np.allclose(np.array(each) * 255, [10, 20, 30])
    assert read_image(data).details["frames"] == 3
    with pytest.raises(ImagingError, match="frame 3 is out of range, give 0 to 2"):
        read_image(data, ReadOptions(frame=3))


def test_float_and_signed_tiff_need_a_window_and_get_one(make_picture):
    values = np.linspace(-1000, 3000, 400, dtype=np.float32).reshape(20, 20)
    auto = read_image(make_picture(values, "TIFF"))
    assert auto.details["window"] == "auto" and auto.pixels.min() == 0 and auto.pixels.max() == 1
    given = read_image(make_picture(values, "TIFF"), ReadOptions(window=(0, 2000)))
    assert np.abs(given.pixels[..., 0] - np.clip(values / 2000 + 0.5, 0, 1)).max() < 1e-5
    signed = make_picture(values.astype(np.int32), "TIFF")
    assert read_image(signed, ReadOptions(window="full")).pixels.max() == 1


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([np.uint8, np.uint16, np.bool_, np.float32]), st.sampled_from([(), (1,), (3,), (4,)]))
def test_arrays_of_every_type(kind, channels):
    array = np.random.default_rng(1).random((5, 6, *channels))
    array = array.astype(kind) if kind == np.float32 else (array * 200).astype(kind)
    image = read_image(array)
    assert image.kind == "array" and image.pixels.shape == (5, 6, 3) and image.pixels.dtype == np.float32
    assert 0 <= image.pixels.min() and image.pixels.max() <= 1


@pytest.mark.parametrize("array", [
    np.zeros((0, 5)), np.zeros(5), np.zeros((5, 5, 2)), np.full((5, 5), 2.0), np.full((5, 5), np.nan),
    np.zeros((5, 5), np.int64), np.zeros((5, 5), complex), np.zeros((5, 5), "U3")])
def test_arrays_that_are_no_picture_are_refused(array):
    with pytest.raises(ImagingError, match="^<array>: "):
        read_image(array)


def test_hash_tells_arrays_apart_and_not_their_layout():
    assert read_image(RGB).sha256 == read_image(np.asfortranarray(RGB)).sha256
    assert read_image(RGB).sha256 != read_image(RGB[::-1]).sha256


def test_pillow_image():
    image = read_image(PillowImage.fromarray(RGB))
    assert np.array_equal(image.pixels, read_image(RGB).pixels) and image.source == "<PIL image>"


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_tiff_whose_smallest_value_is_white_is_turned_over(kind):
    values = np.linspace(0, np.iinfo(kind).max, 64).astype(kind).reshape(8, 8)
    out = io.BytesIO()
    tifffile.imwrite(out, values, photometric="miniswhite")
    grey = read_image(out.getvalue()).pixels[..., 0]
    assert np.allclose(grey, 1 - values / np.iinfo(kind).max, atol=1e-4)
