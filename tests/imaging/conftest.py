"""Small files of every kind, made in memory."""

from __future__ import annotations

import gzip
import io
import struct
import zlib

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as PillowImage
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import dcmwrite
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def dicom_bytes(stored: np.ndarray, drop: tuple[str, ...] = (), **elements) -> bytes:
    """An uncompressed DICOM file; `stored` is [H, W], [frames, H, W] or [H, W, 3] with colour=True."""
    colour = stored.ndim == 3 and stored.shape[-1] == 3
    frames = stored.shape[0] if stored.ndim == 3 and not colour else None
    rows, columns = stored.shape[1:3] if frames else stored.shape[:2]
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid(entropy_srcs=["test"])
    dataset.Modality, dataset.PatientName, dataset.PatientID = "CT", "Doe^Jane", "SECRET-1"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    bits = 8 * stored.dtype.itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    if colour:
        dataset.PlanarConfiguration = 0
    if frames:
        dataset.NumberOfFrames = frames
    dataset.PixelData = stored.tobytes() + b"\x00" * (stored.nbytes % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    for keyword in drop:
        delattr(dataset, keyword)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    stream = DicomBytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def nifti_bytes(
    voxels: np.ndarray, affine: np.ndarray | None = None, pack: bool = False, kind=nib.Nifti1Image
) -> bytes:
    data = kind(voxels, np.eye(4) if affine is None else affine).to_bytes()
    return gzip.compress(data, mtime=0) if pack else data


def picture_bytes(pixels: np.ndarray | PillowImage.Image, kind: str, **settings) -> bytes:
    picture = PillowImage.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    stream = io.BytesIO()
    picture.save(stream, kind, **settings)
    return stream.getvalue()


def wide_png_bytes(pixels: np.ndarray, extra: bytes = b"") -> bytes:
    """A 16-bit PNG of [H, W, C]; C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA. Pillow cannot write these."""
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[pixels.shape[2]]
    size = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, colour_type, 0, 0, 0)
    lines = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in pixels)
    return (b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", size) + extra
            + png_chunk(b"IDAT", zlib.compress(lines)) + png_chunk(b"IEND", b""))


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@pytest.fixture(scope="session")
def make_dicom():
    return dicom_bytes


@pytest.fixture(scope="session")
def make_nifti():
    return nifti_bytes


@pytest.fixture(scope="session")
def make_picture():
    return picture_bytes


@pytest.fixture(scope="session")
def make_wide_png():
    return wide_png_bytes


@pytest.fixture(scope="session")
def make_png_chunk():
    return png_chunk


@pytest.fixture(scope="session")
def ramp() -> np.ndarray:
    """uint16 [32, 128], every value of 0 to 65535 in steps of 16."""
    return (np.arange(4096, dtype=np.uint32) * 16).astype(np.uint16).reshape(32, 128)
