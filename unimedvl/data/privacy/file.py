"""One DICOM file without its patient: read, cleaned, and laid out as the bytes of a new file."""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

import pydicom
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from unimedvl.data.error import DataError
from unimedvl.data.privacy.attributes import Changes, Dates, deidentify_attributes, mark_pixels_clean
from unimedvl.data.privacy.key import Key
from unimedvl.data.privacy.pixels import Blanked, Text, clean_pixels
from unimedvl.imaging import ImagingError
from unimedvl.imaging.kind import detect
from unimedvl.imaging.source import MAX_BYTES, inflated_size, open_source

# What pydicom raises on damaged files.
_DAMAGED = (OSError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError, NotImplementedError,
            AssertionError, OverflowError, RecursionError, MemoryError, struct.error, zlib.error, InvalidDicomError,
            BytesLengthException)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """How files are de-identified; see `deidentify_attributes` for dates and `clean_pixels` for text."""

    dates: Dates = "remove"
    text: Text = "auto"

    def __post_init__(self) -> None:
        if self.dates not in ("remove", "shift"):
            raise DataError(f"dates: expected remove or shift, found {self.dates!r}")
        if self.text not in ("auto", "always", "never"):
            raise DataError(f"text: expected auto, always or never, found {self.text!r}")


@dataclass(frozen=True)
class Deidentified:
    """A new file: its patient's pseudonym, its UID, its bytes, and what was changed on the way."""

    patient: str
    uid: str
    data: bytes
    changes: Changes
    blanked: Blanked


def deidentify_bytes(data: bytes, key: Key, options: Options = Options()) -> Deidentified:
    """De-identify the bytes of a DICOM image; the same bytes, key and options give the same file.

    Returns:
        An Explicit VR Little Endian, uncompressed file with an empty preamble and a new file meta group.

    Raises:
        DataError: it is no DICOM image, or is damaged. The message holds nothing of the file's values.
    """
    with _silent(), disable_value_validation():
        try:
            dataset = _read(data)
            blanked = clean_pixels(dataset, options.text)
            changes = deidentify_attributes(dataset, key, options.dates)
            if blanked.looked:
                mark_pixels_clean(dataset)
            uid, patient = str(dataset.SOPInstanceUID), str(dataset.PatientID)
            return Deidentified(patient, uid, _written(dataset), changes, blanked)
        except DataError:
            raise
        except _DAMAGED as error:
            raise DataError(f"damaged, or unlike any DICOM image that is read ({type(error).__name__})") from error


@contextmanager
def _silent() -> Iterator[None]:
    """pydicom's warnings quote values: none is shown or logged meanwhile."""
    log = logging.getLogger("pydicom")
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def _read(data: bytes) -> Dataset:
    try:
        with open_source(data) as source:
            kind = detect(source)
    except ImagingError as error:
        raise DataError("no DICOM file") from error
    if kind != "dicom":
        raise DataError("no DICOM file")
    dataset = pydicom.dcmread(BytesIO(_not_too_deflated(data)), force=True)
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    if not dataset.file_meta.get("TransferSyntaxUID"):
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        if not str(dataset.get(keyword) or "").strip():
            raise DataError(f"{keyword} is missing")
    return dataset


def _not_too_deflated(data: bytes) -> bytes:
    """The same bytes. Raises DataError for a deflated data set that would unpack to over 4 GiB."""
    syntax = b"\x02\x00\x10\x00UI\x16\x00" + DeflatedExplicitVRLittleEndian.encode()
    if syntax not in data[: 1 << 16]:
        return data
    at = 132  # the meta group is walked, as pydicom does, and not skipped by the length that it claims
    while data[at : at + 2] == b"\x02\x00":
        long = data[at + 4 : at + 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT")
        size = data[at + 8 : at + 12] if long else data[at + 6 : at + 8]
        at += (12 if long else 8) + int.from_bytes(size, "little")
    if inflated_size(BytesIO(data), at, MAX_BYTES) > MAX_BYTES:
        raise DataError("unpacks to over 4 GiB; files up to 4 GiB are read")
    return data


def _written(dataset: Dataset) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    # A new data set: the old one knows its preamble, its file's name and its byte order.
    new = Dataset()
    new.update(dataset)
    new.file_meta = meta
    stream = BytesIO()
    dcmwrite(stream, new, enforce_file_format=True)
    return stream.getvalue()
