"""Every layout of pixels that a TIFF may have is read right, or refused in one line that says what would be right."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from unimedvl.imaging import ImagingError, ReadOptions, read_image

FULL = ReadOptions(window="full")
RNG = np.random.default_rng(0)


def tiff(values: np.ndarray, **settings) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, **settings)
    return stream.getvalue()


def over(kind, *shape: int) -> np.ndarray:
    """Random values over the whole range of an integer type, or floats in [0, 1]."""
    if np.dtype(kind).kind == "f":
        return RNG.random(shape).astype(kind)
    limits = np.iinfo(kind)
    return RNG.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(
    ("kind", "order"), [(k, o) for k in ("i1", "i2", "i4", "u4", "f4") for o in "<>" if (k, o) != ("u4", ">")]
)
def test_grey_of_every_type_is_read_in_its_type_and_byte_order(kind, order, compression):
    values = over(kind, 9, 11)
    grey = read_image(tiff(values, byteorder=order, compression=compression), FULL).pixels[..., 0]
    exact = values.astype(float)
    assert np.abs(grey - (exact - exact.min()) / np.ptp(exact)).max() < 1e-5


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(("kind", "channels"), [("u1", 4), ("u2", 4)])
def test_premultiplied_alpha_is_laid_over_white_without_losing_levels(kind, channels, compression):
    top = np.iinfo(kind).max
    stored = over(kind, 9, 11, channels)
    stored[0, :, -1] = 3  # where dividing by alpha would lose the levels
    stored[..., :-1] = np.minimum(stored[..., :-1], stored[..., -1:])
    data = tiff(stored, photometric="rgb", extrasamples=["assocalpha"], compression=compression)
    expected = (stored[..., :-1].astype(float) + top - stored[..., -1:]) / top
    assert np.abs(read_image(data).pixels - expected).max() < 1e-6


@pytest.mark.parametrize(("mode", "colours"), [("La", 1), ("RGBa", 3)])
def test_premultiplied_pictures_in_memory_are_read_alike(mode, colours):
    stored = over("u1", 9, 11, colours + 1)
    stored[..., :-1] = np.minimum(stored[..., :-1], stored[..., -1:])
    picture = PillowImage.frombytes(mode, (11, 9), stored.tobytes())
    expected = (stored[..., :-1] / 255) + 1 - stored[..., -1:] / 255
    assert np.abs(read_image(picture).pixels - expected).max() < 1e-6


def test_floats_whose_smallest_value_is_white_are_turned_over():
    values = over("f4", 9, 11)
    black, white = (read_image(tiff(values, photometric=p), FULL).pixels for p in ("minisblack", "miniswhite"))
    assert np.allclose(white, 1 - black)


def test_8_bit_rgb_in_separate_planes_is_read():
    planes = over("u1", 3, 9, 11)
    for compression in (None, "zlib"):
        data = tiff(planes, photometric="rgb", planarconfig="separate", compression=compression)
        assert np.abs(read_image(data).pixels - planes.transpose(1, 2, 0) / 255).max() < 1e-6


@pytest.mark.parametrize("loaded", [False, True])
def test_a_tiff_that_pillow_has_opened_is_read_like_the_file(loaded):
    premultiplied = np.minimum(over("u1", 9, 11, 4), 200)
    premultiplied[..., 3] = 255
    for data in (
        tiff(over("u2", 9, 11), photometric="miniswhite"),
        tiff(over("i1", 9, 11), photometric="minisblack"),
        tiff(over("u4", 9, 11), photometric="minisblack"),
        tiff(premultiplied, photometric="rgb", extrasamples=["assocalpha"]),
    ):
        picture = PillowImage.open(io.BytesIO(data))
        if loaded:
            picture.load()
        assert np.array_equal(read_image(picture).pixels, read_image(data).pixels)


RGB, GREY = dict(photometric="rgb"), dict(photometric="minisblack")
APART = dict(planarconfig="separate")
UNREAD = [
    (over("f2", 9, 11), GREY, "one 16-bit float.*32-bit float"),
    (over("f8", 9, 11), GREY, "one 64-bit float.*32-bit float"),
    (over("f4", 9, 11, 3), RGB, "3 x 32-bit float.*16-bit RGB"),
    (over("f4", 3, 9, 11), RGB | APART, "3 x 32-bit float in separate planes.*16-bit RGB"),
    (over("i1", 9, 11, 3), RGB, "3 x 8-bit signed integer.*16-bit RGB"),
    (over("i2", 9, 11), dict(photometric="miniswhite"), "smallest value is white.*smallest value as black"),
    (over("u4", 9, 11), dict(byteorder=">"), "one 32-bit unsigned integer.*32-bit float|big-endian BigTIFF.*little"),
    (over("u2", 9, 11, 2), GREY | dict(extrasamples=["unassalpha"]), "2 x 16-bit unsigned integer with alpha.*8-bit"),
    (over("u2", 9, 11, 2), GREY | dict(extrasamples=["assocalpha"]), "premultiplied alpha.*8-bit"),
    (over("u1", 9, 11, 2), GREY | dict(extrasamples=["assocalpha"]), "premultiplied alpha.*not premultiplied"),
    (over("u1", 2, 9, 11), GREY | APART | dict(extrasamples=["unassalpha"]), "separate planes.*interleaved"),
    (over("u2", 3, 9, 11), RGB | APART, "separate planes.*interleaved"),
    (over("u2", 4, 9, 11), RGB | APART | dict(extrasamples=["assocalpha"]), "separate planes.*interleaved"),
    (over("u1", 4, 9, 11), RGB | APART | dict(extrasamples=["assocalpha"]), "separate planes.*interleaved"),
]


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"bigtiff": True}])
@pytest.mark.parametrize(("values", "settings", "message"), UNREAD)
def test_what_is_not_read_is_named_with_what_would_be_right(values, settings, message, options):
    with pytest.raises(ImagingError, match=message) as error:
        read_image(tiff(values, **settings, **options))
    assert "\n" not in str(error.value) and "damaged" not in str(error.value)


@pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"bigtiff": True}])
def test_every_page_is_counted_and_read_whatever_the_others_are(options):
    stream, first, last = io.BytesIO(), over("u1", 9, 11), over("u1", 5, 7)
    with tifffile.TiffWriter(stream, **options) as pages:
        for values in (first, over("f8", 9, 11), last):
            pages.write(values, photometric="minisblack")
    for frame, values in ((None, first), (2, last)):
        image = read_image(stream.getvalue(), ReadOptions(frame=frame))
        assert np.abs(image.pixels[..., 0] - values / 255).max() < 1e-6
        assert image.details["frames"] == 3 and image.details["frame"] == (frame or 0)
    with pytest.raises(ImagingError, match="has 3 frames; frame 3 is out of range"):
        read_image(stream.getvalue(), ReadOptions(frame=3))


def test_a_later_page_of_a_layout_that_is_not_read_is_named():
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as pages:
        pages.write(over("u1", 9, 11), photometric="minisblack")
        pages.write(over("f8", 9, 11), photometric="minisblack")
    assert read_image(stream.getvalue()).width == 11
    with pytest.raises(ImagingError, match="64-bit float"):
        read_image(stream.getvalue(), ReadOptions(frame=1))


def test_damaged_tags_are_called_damaged():
    data = bytearray(tiff(over("f8", 9, 11)))
    data[4:8] = (2**31).to_bytes(4, "little")  # where the first directory should be
    with pytest.raises(ImagingError, match="damaged|truncated"):
        read_image(bytes(data))
