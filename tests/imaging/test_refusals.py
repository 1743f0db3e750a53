"""Every refusal is one ImagingError of one line that names the file, and comes at once."""

import gzip
import os
import struct
import sys
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as PillowImage
from pydicom.data import get_testdata_file

from unimedvl.imaging import Bounds, ImagingError, ReadOptions, read_image
from unimedvl.imaging import source as limits
from unimedvl.imaging.codestream import webp_size

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)
VOXELS = np.arange(512, dtype=np.int16).reshape(8, 8, 8)
unix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs Unix files")


def refused(source, pattern, options=None, bounds=None):
    with pytest.raises(ImagingError, match=pattern) as caught:
        read_image(source, options, bounds)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    name = "<bytes>" if isinstance(source, bytes) else str(source)[:50].replace("\x00", " ")
    assert message.startswith(name)


def test_missing_folder_and_empty(tmp_path):
    refused(tmp_path / "nothing.png", "no such file")
    refused(tmp_path, "is a folder")
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "is empty")
    refused(b"", "is empty")
    refused("a\x00b.png", "cannot be opened|no such file|null")


@unix
def test_pipes_devices_and_dead_links_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "pipe, socket or device")
    refused("/dev/zero", "pipe, socket or device")
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    refused(tmp_path / "link.png", "link to a file that does not exist")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    refused(tmp_path / "loop.png", "loop.png")


@unix
def test_no_permission(tmp_path, monkeypatch):
    path = tmp_path / "secret.png"
    path.write_bytes(b"x")
    path.chmod(0)
    if os.geteuid() == 0:                     # root may read anything: let the system say what others hear
        def forbid(*_):
            raise PermissionError(13, "Permission denied")
        monkeypatch.setattr(limits.os, "open", forbid)
    refused(path, "not readable; its permissions forbid it")


def test_over_4_gib_is_told_from_the_size_alone(tmp_path):
    path = tmp_path / "huge.dcm"
    with open(path, "wb") as stream:
        stream.truncate(4 * 2**30 + 1)        # sparse: takes no space
    refused(path, "4.0 GiB; files up to 4 GiB")


@pytest.mark.parametrize("data,what", [
    (b"GIF89a" + bytes(50), "a GIF"), (b"%PDF-1.7 ...", "a PDF"), (b"PK\x03\x04" + bytes(30), "a ZIP"),
    (b"hello, this is no picture at all", "a text file"), (b"\x00" * 600, "unknown type"),
    (bytes(range(255, 0, -1)), "unknown type"), (b"<html><body>", "web page"),
    (b"\x00\x00\x00\x18ftypheic" + bytes(40), "HEIC"), (b"x", "text file"),
    (gzip.compress(b"hello" * 500, mtime=0), "gzip file without NIfTI"), (b"\x1f\x8b\x08", "truncated gzip"),
])
def test_what_is_not_an_image_is_named(data, what):
    refused(data, what)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_truncated_pictures(make_picture, kind, keep):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    data = make_picture(pixels, kind)
    refused(data[: int(len(data) * keep)], "truncated")


def header_only_png(make_png_chunk, width, height):
    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + make_png_chunk(b"IHDR", size)
            + make_png_chunk(b"IDAT", zlib.compress(b"")) + make_png_chunk(b"IEND", b""))


def test_too_many_pixels_and_none(make_png_chunk, make_dicom, make_nifti):
    refused(header_only_png(make_png_chunk, 10001, 10000), "100 megapixels|over 100")
    refused(header_only_png(make_png_chunk, 100000, 100000), "over 100 megapixels")
    refused(header_only_png(make_png_chunk, 0, 10), "damaged|at least 1 x 1")
    refused(make_dicom(GREY, Rows=20000, Columns=20000), "400 megapixels")
    refused(make_dicom(GREY, Rows=0), "at least 1 x 1")
    header = nib.Nifti1Header()
    header.set_data_shape((20000, 20000, 2))
    header.set_data_dtype(np.uint8)
    header["magic"], header["vox_offset"] = b"n+1", 352
    refused(header.binaryblock + bytes(4), "truncated: 0 of 800000000 bytes")
    refused(gzip.compress(header.binaryblock + bytes(4)), "400 megapixels")


def test_gzip_bomb_is_refused_by_its_header():
    header = nib.Nifti1Header()
    header.set_data_shape((9000, 9000, 60))
    header.set_data_dtype(np.uint8)
    header["magic"], header["vox_offset"] = b"n+1", 352
    refused(gzip.compress(header.binaryblock + bytes(2000)), "unpacks to 4.5 GiB or more; .* at most 4 GiB")


def test_deflated_bomb_is_counted_not_kept():
    data = Path(get_testdata_file("image_dfl.dcm", download=False)).read_bytes()
    assert read_image(data).width == 512
    refused(data, "unpacks to .* or more; files that unpack to at most 195.3 KiB", bounds=Bounds(bytes=200_000))
    bomb = data[: data.index(b"UI\x16\x001.2.840.10008.1.2.1.99") + 26]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb += b"".join(packer.compress(bytes(2**20)) for _ in range(64)) + packer.flush()
    refused(bomb, "unpacks to 1(0|1).* MiB or more", bounds=Bounds(bytes=10 * 2**20))


def test_gzip_with_more_behind_the_voxels_is_unpacked_to_the_bound_only():
    header = nib.Nifti1Header()
    header.set_data_shape((8, 8, 8))
    header.set_data_dtype(np.uint8)
    header["magic"], header["vox_offset"] = b"n+1", 352
    header.set_sform(np.eye(4))
    packed = gzip.compress(header.binaryblock + bytes(4 + 512)) + gzip.compress(bytes(2**25)) * 4
    assert read_image(packed).width == 8
    refused(packed, "unpacks to 17 MiB or more; files that unpack to at most 16 MiB", bounds=Bounds(bytes=2**24))


@pytest.mark.parametrize("offset", [1e30, float("inf"), float("nan"), 2e9])
def test_voxels_that_begin_nowhere(make_nifti, offset):
    data = bytearray(make_nifti(VOXELS))
    data[108:112] = struct.pack("<f", offset)
    refused(bytes(data), "which is no place; it is damaged")
    refused(gzip.compress(bytes(data)), "which is no place; it is damaged")


def test_bounds_of_the_caller(make_picture, make_dicom, make_nifti):
    small = Bounds(bytes=2**20, pixels=1000, frames=3)
    wide = np.zeros((40, 30), np.uint8)
    for data in (make_picture(wide, "PNG"), make_picture(wide, "WEBP"), make_dicom(wide), make_nifti(wide)):
        assert read_image(data).pixels.size == 3600
        refused(data, "0.0012 megapixels.; at most 0.001 are read", bounds=small)
    refused(make_dicom(np.zeros((4, 8, 8), np.uint8)), "has 4 frames; at most 3", bounds=small)
    refused(make_nifti(VOXELS), "has 8 slices; at most 3", bounds=small)
    pages = [PillowImage.fromarray(GREY) for _ in range(4)]
    tiff = make_picture(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    refused(tiff, "has 4 pages; at most 3", bounds=small)
    refused(tiff, "has 4 pages; at most 3", ReadOptions(frame=1), bounds=small)
    refused(make_picture(GREY, "BMP") + bytes(2**20), "1.0 MiB; files up to 1 MiB", bounds=small)


@pytest.mark.parametrize("lossless", [False, True])
def test_webp_that_claims_a_huge_canvas(make_picture, lossless):
    data = make_picture(np.zeros((9, 10, 3), np.uint8), "WEBP", lossless=lossless)
    assert webp_size(data[:30]) == (10, 9)
    huge = b"RIFF" + struct.pack("<I", 40) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff" * 6
    refused(huge + bytes(9), "megapixels")


def test_jpeg_of_many_scans(make_picture):
    data = make_picture(np.zeros((16, 16, 3), np.uint8), "JPEG", progressive=True)
    scan = data[data.index(b"\xff\xda") : -2]
    assert read_image(data).width == 16
    refused(data[:-2] + scan * 200 + data[-2:], "scans; at most 200")


def test_tiff_of_one_huge_tile():
    tags = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: 60000, 323: 60000, 324: 200, 325: 10}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    data = b"II*\x00" + struct.pack("<IH", 8, len(tags)) + entries + bytes(100)
    refused(data, "tiles of 60000 x 60000")


def test_dicom_without_pixels_or_with_too_few(make_dicom):
    refused(get_testdata_file("rtplan.dcm", download=False), r"without pixels \(RTPLAN\)")
    refused(make_dicom(GREY, drop=("PixelData",)), "without its pixel data")
    refused(make_dicom(GREY, PixelData=b"\x00" * 10), "truncated: 10 of 64 bytes")
    refused(make_dicom(GREY, NumberOfFrames=3), "truncated: 64 of 192 bytes")
    refused(make_dicom(GREY, drop=("Rows",)), "no Rows and Columns")
    refused(make_dicom(GREY, PhotometricInterpretation="HSV"), "HSV")
    refused(make_dicom(GREY, BitsAllocated=7), "BitsAllocated|Bits Allocated|truncated")
    data = make_dicom(np.zeros((3, 700, 700), np.uint16))
    refused(data[: len(data) // 2], "truncated")
    refused(get_testdata_file("MR_truncated.dcm", download=False), "truncated: 8130 of 8192")
    refused(get_testdata_file("badVR.dcm", download=False), "NumberOfFrames")
    for name in ("MR_small_RLE.dcm", "SC_rgb_jpeg_dcmtk.dcm", "examples_ybr_color.dcm"):
        data = Path(get_testdata_file(name, download=False)).read_bytes()
        refused(data[: len(data) * 2 // 3], "truncated")


def test_compressed_frame_of_another_size_than_the_header_says():
    data = Path(get_testdata_file("SC_rgb_jpeg_dcmtk.dcm", download=False)).read_bytes()
    rows = data.index(b"\x28\x00\x10\x00US\x02\x00") + 8
    refused(data[:rows] + struct.pack("<H", 50) + data[rows + 2 :], "100 x 100 pixels.*100 x 50.*damaged")


def test_frames_of_single_frame_files_and_foreign_options(make_dicom, make_picture, make_nifti):
    refused(make_dicom(GREY), "1 frame; frame 1 is out of range", ReadOptions(frame=1))
    assert read_image(make_dicom(GREY), ReadOptions(frame=0)).width == 8
    refused(make_picture(GREY, "PNG"), "one frame; frame 2", ReadOptions(frame=2))
    refused(make_picture(GREY, "PNG"), "has no slice; leave out slice=2", ReadOptions(slice=2))
    refused(make_dicom(GREY), "has no plane", ReadOptions(plane="axial"))
    refused(make_nifti(VOXELS), "has no frame", ReadOptions(frame=0))
    refused(make_picture(GREY, "PNG"), "Hounsfield", ReadOptions(window="lung"))
    refused(make_picture(GREY, "PNG"), "not known", ReadOptions(window="lugn"))
    unknown = "'lugn' is not known; give center,width or one of auto"
    refused(make_nifti(VOXELS), unknown, ReadOptions(window="lugn"))
    refused(make_picture(np.dstack([GREY] * 3), "PNG"), "colour image", ReadOptions(window=(1, 2)))


def test_options_are_checked_when_made():
    with pytest.raises(ImagingError, match="axial, coronal, sagittal"):
        ReadOptions(plane="oblique")
    for window in ((1, 0), (1, -2), (float("nan"), 1), (1,), 7, ("a", "b")):
        with pytest.raises(ImagingError, match="width above 0"):
            ReadOptions(window=window)


def test_damaged_nifti(make_nifti):
    data = make_nifti(VOXELS)
    refused(data[:500], "truncated: 148 of 1024 bytes")
    refused(data[:350], "truncated")
    noise = np.random.default_rng(0).integers(0, 255, (16, 16, 16), dtype=np.uint8)
    packed = make_nifti(noise, pack=True)
    refused(packed[: len(packed) // 2], "truncated")
    refused(data[:344] + b"ni1\x00" + data[348:], "pair")
    singular = bytearray(make_nifti(VOXELS))
    singular[280:328] = bytes(48)
    refused(bytes(singular), "orientation")


def test_other_types_are_a_programming_error():
    with pytest.raises(TypeError, match="not int"):
        read_image(7)


def test_file_names_cannot_break_the_line(tmp_path):
    name = tmp_path / ("two\nlines\x1b[31m" if sys.platform != "win32" else "x")
    with pytest.raises(ImagingError) as caught:
        read_image(name)
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)


def test_lazy_pillow_image_of_a_truncated_file(tmp_path, make_picture):
    path = tmp_path / "half.png"
    pixels = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    path.write_bytes(make_picture(pixels, "PNG")[:5000])
    with pytest.raises(ImagingError, match="^<PIL image>"):
        read_image(PillowImage.open(path))
