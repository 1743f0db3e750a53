"""What strangers send is an image or is refused in one sentence, whatever it is made of."""

from __future__ import annotations

import base64
import gzip
import io
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage
from pydicom.data import get_testdata_file

from unimedvl.imaging import Image, ReadOptions
from unimedvl.phantoms import simulate
from unimedvl.serving.decoding import Decoders
from unimedvl.serving.limits import Limits
from unimedvl.serving.uploads import Refused, from_data_url, label, read_options, read_upload

MIB = 2**20
LIMITS = Limits(
    file_bytes=2 * MIB, pixels=1_000_000, unpacked_bytes=8 * MIB, frames=50, decode_seconds=10,
    decode_bytes=1024 * MIB, decoders=1,
)  # fmt: skip
GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    with Decoders(LIMITS) as decoders:
        yield decoders


def picture(pixels: np.ndarray, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    PillowImage.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def shipped(name: str) -> bytes:
    return Path(get_testdata_file(name, download=False)).read_bytes()


def nifti(shape: tuple[int, ...], fill: int = 0, **header) -> bytes:
    image = nibabel.Nifti1Image(np.full(shape, fill, np.uint8), np.eye(4))
    for key, value in header.items():
        image.header[key] = value
    return image.to_bytes()


def refused(status: int, said: str, data: bytes, decoders: Decoders | None = None, name: str = "image", **options):
    with pytest.raises(Refused) as caught:
        read_upload(data, name, LIMITS, ReadOptions(**options), decoders=decoders)
    sentence = str(caught.value)
    assert (caught.value.status, said in sentence, "\n" in sentence) == (status, True, False), sentence
    assert len(sentence) < 500 and sentence.startswith(f"{label(name)}: ")
    return sentence


@pytest.fixture(scope="module")
def real() -> dict[str, bytes]:
    """Whole files of every kind, small."""
    film = simulate("cxr", 3).images["frontal"]
    small = np.ascontiguousarray(film[::4, ::4])
    files = {kind.lower(): picture(small, kind) for kind in ("PNG", "JPEG", "TIFF", "BMP", "WEBP")}
    files["progressive"] = picture(small, "JPEG", progressive=True)
    files["tiff-lzw"] = picture(small, "TIFF", compression="tiff_lzw")
    files["nifti"] = nifti((9, 8, 7), 3)
    files["nifti.gz"] = gzip.compress(files["nifti"], mtime=0)
    names = ("CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "SC_rgb_jpeg_gdcm.dcm", "image_dfl.dcm",
             "MR_small_jpeg_ls_lossless.dcm", "MR_small_bigendian.dcm", "examples_palette.dcm")  # fmt: skip
    return files | {name: shipped(name) for name in names}


def test_every_kind_is_read_alike_here_and_in_a_process(real, decoders):
    for name, data in real.items():
        here = read_upload(data, name, LIMITS)
        there = read_upload(data, name, LIMITS, decoders=decoders)
        np.testing.assert_array_equal(here.pixels, there.pixels)
        assert (here.sha256, here.kind, here.source) == (there.sha256, there.kind, there.source)
        assert here.details.keys() == there.details.keys()


def test_options_reach_the_process(decoders, real):
    asked = read_options({"slice": "2", "plane": "Coronal", "window": "10, 20", "prompt": "not of images"})
    image = read_upload(real["nifti"], "brain", LIMITS, asked, decoders=decoders)
    assert (image.details["slice"], image.details["plane"], image.details["window"]) == (2, "coronal", [10.0, 20.0])


@pytest.mark.parametrize(("given", "said"), [
    ({"frame": "-1"}, "frame: must be a whole number from 0"), ({"slice": "1.5"}, "slice: must be a whole number"),
    ({"volume": "9" * 40}, "volume: must be"), ({"plane": "oblique"}, "axial, coronal, sagittal"),
    ({"window": "1,0"}, "width above 0"), ({"window": "nan,nan"}, "must be finite"), ({"frame": "٣"}, "frame: must"),
])  # fmt: skip
def test_options_that_are_none_are_named(given, said):
    with pytest.raises(Refused) as caught:
        read_options(given)
    assert caught.value.status == 400 and said in str(caught.value)


def test_empty_options_are_none():
    assert read_options({}) == read_options({"frame": "", "plane": None, "window": " ", "slice": ""}) == ReadOptions()


@pytest.mark.parametrize("name", [
    "../../etc/passwd", "..\\..\\windows\\system32", "/etc/passwd", "C:\\x\\passwd", "a/../../passwd", "....//passwd",
])
def test_names_are_words_and_never_paths(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "passwd").write_bytes(picture(GREY, "PNG"))
    assert "/" not in label(name) and "\\" not in label(name)
    refused(415, "is a text file", b"root:x:0:0", name=name)
    image = read_upload(picture(GREY, "PNG"), name, LIMITS)
    assert image.source == label(name) and sorted(p.name for p in tmp_path.rglob("*")) == ["passwd"]


@pytest.mark.parametrize("name", ["", "..", "/", "\n\r\x00\x1b[31m", "a\nb: everything is fine", "x" * 10_000])
def test_names_cannot_break_a_line(name):
    assert label(name).isprintable() and 0 < len(label(name)) <= 60
    refused(415, "is a text file", b"hello, this is text", name=name)


def test_sizes_are_told_before_anything_is_decoded():
    refused(413, "is 3 MiB; at most 2 MiB are taken", bytes(3 * MIB))
    refused(422, "is empty", b"")
    refused(413, "at most 1 are read", picture(np.zeros((1001, 1000), np.uint8), "PNG"))
    refused(413, "at most 1 are read", picture(np.zeros((1001, 1000), np.uint8), "WEBP", lossless=True))


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def test_bombs_are_refused(decoders):
    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10 * MIB), 9))
    refused(413, "megapixels", bomb + chunk(b"IEND", b""), decoders)
    small = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    text = chunk(b"zTXt", b"a\x00\x00" + zlib.compress(bytes(100 * MIB), 9))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", small) + text + chunk(b"IEND", b"")
    refused(422, "PNG", bomb, decoders)
    packed = gzip.compress(nifti((8, 8, 8)) + bytes(40 * MIB), 9)
    refused(413, "files that unpack to at most 8 MiB", packed, decoders)
    refused(413, "has 60 slices; at most 50", nifti((4, 4, 60)), decoders)
    refused(413, "has 60 slices; at most 50", nifti((4, 4, 2, 30)), decoders)
    pages = [PillowImage.fromarray(GREY) for _ in range(51)]
    stream = io.BytesIO()
    pages[0].save(stream, "TIFF", save_all=True, append_images=pages[1:])
    refused(413, "has 51 pages; at most 50", stream.getvalue(), decoders)
    deflated = shipped("image_dfl.dcm")
    start = deflated[: deflated.index(b"1.2.840.10008.1.2.1.99") + 22]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    refused(413, "unpack", start + packer.compress(bytes(100 * MIB)) + packer.flush(), decoders)


def deep_dicom(depth: int, undefined: bool = True) -> bytes:
    """A data set of sequences within one another, in Explicit VR Little Endian."""
    head = shipped("CT_small.dcm")
    at = head.index(b"\x08\x00\x05\x00CS")
    inner = b""
    if undefined:
        inner = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * depth
    else:
        for _ in range(depth):
            inner = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(inner)) + inner
            inner = b"\x08\x00\x40\x11SQ\x00\x00" + struct.pack("<I", len(inner)) + inner
    return head[:at] + inner + head[at:]


def test_dicom_that_is_malformed_is_refused(decoders):
    refused(422, "DICOM", deep_dicom(50_000), decoders)
    read_upload(deep_dicom(300, undefined=False), "image", LIMITS, decoders=decoders)  # nobody looks into it
    whole = shipped("CT_small.dcm")
    refused(422, "truncated", whole[: len(whole) // 2], decoders)
    refused(422, "", whole[:140], decoders)
    refused(422, "without pixels", shipped("rtplan.dcm"), decoders)
    refused(422, "frame 7 is out of range", whole, decoders, frame=7)
    length = whole.index(b"\xe0\x7f\x10\x00OW") + 8
    refused(422, "", whole[:length] + b"\xf0\xff\xff\xff" + whole[length + 4 :][:100], decoders)


def test_what_is_no_image_is_named(decoders):
    stream = io.BytesIO()
    PillowImage.fromarray(GREY).save(stream, "GIF")
    for data, what in ((stream.getvalue(), "GIF"), (b"PK\x03\x04" + bytes(60), "ZIP"), (b"%PDF-1.7 x", "PDF"),
                       (b"<svg onload='x'>", "SVG"), (gzip.compress(b"x" * 600), "gzip")):  # fmt: skip
        refused(415, what, data, decoders)


def url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def test_data_urls_are_read(decoders, real):
    for kind, name in (("image/png", "png"), ("image/jpeg", "jpeg"), ("IMAGE/JPG", "jpeg"), ("image/webp", "webp"),
                       ("application/dicom", "CT_small.dcm"), ("application/gzip", "nifti.gz"), ("", "png"),
                       ("application/octet-stream", "bmp"), ("image/png;name=a.png", "png")):  # fmt: skip
        assert from_data_url(url(real[name], kind), LIMITS, decoders=decoders).pixels.ndim == 3


@pytest.mark.parametrize(("text", "status", "said"), [
    ("", 400, "is no data URL"), ("http://x/y.png", 400, "is no data URL"), ("file:///etc/passwd", 400, "no data URL"),
    ("data:image/png,abc", 400, "without ;base64"), ("data:image/png;base64,@@@@", 400, "base64 is wrong"),
    ("data:image/png;base64,iVBORw0KGg", 400, "base64 is wrong or cut off"), ("data:image/png;base64,é", 400, "wrong"),
    ("data:image/png;base64,AAAA\n", 400, "base64 is wrong"), ("data:image/png;base64,", 422, "is empty"),
    ("data:text/html;base64,PGI+", 415, "text html"), ("data:image/svg+xml;base64,PGI+", 415, "no image read here"),
    ("data:" + "a" * 10_000 + ";base64,AAAA", 400, "is no data URL"), ("data:image/png" + ";a" * 5000, 400, "no data"),
    ("data:image/png;base64," + "A" * 4 * MIB, 413, "at most 2 MiB"), ("data:\u202e;base64,AAAA", 415, "no image"),
])  # fmt: skip
def test_data_urls_that_are_wrong_are_refused(text, status, said):
    with pytest.raises(Refused) as caught:
        from_data_url(text, LIMITS, name="messages[0].content[1]")
    assert (caught.value.status, said in str(caught.value)) == (status, True), str(caught.value)
    assert str(caught.value).startswith("messages[0].content[1]: ") and str(caught.value).isprintable()


def test_a_type_that_is_another_is_refused(real):
    with pytest.raises(Refused, match="says it is image/png but is JPEG; say what it is") as caught:
        from_data_url(url(real["jpeg"]), LIMITS)
    assert caught.value.status == 415


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=400, suppress_health_check=list(HealthCheck))
@given(
    place=st.integers(0, 10**6),
    cut=st.none() | st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    early=st.lists(st.tuples(st.integers(0, 800), st.sampled_from((0, 1, 127, 255))), max_size=4),
    twice=st.none() | st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
@example(place=0, cut=0.0, flips=[], early=[], twice=None)
def test_mutated_files_are_images_or_refused(real, decoders, place, cut, flips, early, twice):
    data = bytearray(list(real.values())[place % len(real)])
    if twice is not None:
        start, end = sorted(int(t * len(data)) for t in twice)
        data[end:end] = data[start:end]
    for where, value in flips:
        data[int(where * (len(data) - 1))] = value
    for where, value in early:
        data[min(where, len(data) - 1)] = value
    if cut is not None:
        del data[int(cut * len(data)) :]
    started = time.monotonic()
    try:
        image = read_upload(bytes(data), "image", LIMITS, decoders=decoders)
    except Refused as error:
        assert error.status in (413, 415, 422) and str(error).isprintable() and len(str(error)) < 600
    else:
        assert isinstance(image, Image) and image.pixels.dtype == np.float32 and image.pixels.shape[2] == 3
        assert image.pixels.size <= 3 * LIMITS.pixels and np.isfinite(image.pixels).all()
        assert image.pixels.min() >= 0 and image.pixels.max() <= 1
    assert time.monotonic() - started < LIMITS.decode_seconds + 20  # the process's time is bounded


@settings(max_examples=100)
@given(st.text(max_size=80) | st.builds("data:{};base64,{}".format, st.text(max_size=20), st.text(max_size=40)))
def test_any_text_as_url_is_refused(text):
    with pytest.raises(Refused) as caught:
        from_data_url(text, LIMITS)
    assert str(caught.value).isprintable()
