"""DICOM objects full of planted identities, none of them real."""

from __future__ import annotations

from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from unimedvl.data.privacy.key import Key
from unimedvl.phantoms import simulate

# What must be in no output: texts, numbers and dates of an invented patient.
SECRETS = (
    "Mustermann", "Erika", "PID-4711", "19570321", "ACC-0815", "Klinikum Musterstadt", "Sankt", "Meyer-Beispiel",
    "Zweitname", "555-0123", "20190714", "20190715", "vendor secret", "scanned for Mustermann", "STATION9", "SN-77-11",
    "1.2.3.4711.1", "1.2.3.4711.2", "1.2.3.4711.3", "1.2.3.4711.4", "101530", "clinical note",
)  # fmt: skip


def planted(number: int = 3, patient: str = "PID-4711", pixels: np.ndarray | None = None) -> Dataset:
    """An image of the invented patient with identities in listed, unlisted, private, nested and overlay attributes."""
    d = Dataset()
    d.SOPClassUID, d.SOPInstanceUID = CTImageStorage, f"1.2.3.4711.{number}"
    d.StudyInstanceUID, d.SeriesInstanceUID = "1.2.3.4711.1", "1.2.3.4711.2"
    d.FrameOfReferenceUID = "1.2.840.10008.1.4.1.1"  # the standard's own, of the Talairach atlas
    d.PatientName, d.PatientID, d.PatientBirthDate, d.PatientSex = "Mustermann^Erika", patient, "19570321", "F"
    d.OtherPatientIDs, d.AccessionNumber, d.StudyID = "OLD-4711", "ACC-0815", "1"
    d.InstitutionName, d.StationName, d.DeviceSerialNumber = "Klinikum Musterstadt Sankt", "STATION9", "SN-77-11"
    d.ReferringPhysicianName, d.PatientTelephoneNumbers = "Meyer-Beispiel^Zweitname", "555-0123"
    d.StudyDate, d.SeriesDate, d.AcquisitionDateTime = "20190714", "20190715", "20190715101530.25+0100"
    d.StudyTime, d.PatientAge = "101530", "062Y"
    d.ImageComments, d.StudyDescription = "clinical note", "CT scanned for Mustermann"
    d.ConvolutionKernel, d.SequenceName, d.Manufacturer = "ERIKA 20190714", "epi2d", "Maker of scanners"
    d.Modality, d.BodyPartExamined, d.ImageType = "CT", "CHEST", ["ORIGINAL", "PRIMARY"]
    block = d.private_block(0x0009, "VENDOR", create=True)
    block.add_new(1, "LO", "vendor secret Mustermann")
    referenced, inner = Dataset(), Dataset()
    referenced.ReferencedSOPClassUID, referenced.ReferencedSOPInstanceUID = CTImageStorage, "1.2.3.4711.4"
    inner.PersonName, inner.ContentDate, inner.TextValue = "Mustermann^Erika", "20190714", "clinical note"
    inner.private_block(0x0011, "VENDOR", create=True).add_new(1, "LO", "vendor secret")
    referenced.PurposeOfReferenceCodeSequence = [inner]
    d.ReferencedImageSequence = [referenced]
    d.add_new(0x60000010, "US", 8)
    d.add_new(0x60003000, "OW", b"Mustermann" * 2)
    d.add_new(0x60004000, "LT", "clinical note")
    d.add_new(0x50003000, "OW", b"Mustermann" * 2)
    d.add_new(0xFFFCFFFC, "OB", b"Mustermann")
    set_pixels(d, np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) if pixels is None else pixels)
    return d


def set_pixels(d: Dataset, stored: np.ndarray) -> None:
    """Native pixels; [H, W], [frames, H, W], or RGB [H, W, 3]."""
    colour = stored.ndim == 3 and stored.shape[2] == 3
    if stored.ndim == 3 and not colour:
        d.NumberOfFrames = stored.shape[0]
    d.Rows, d.Columns = stored.shape[:2] if colour else stored.shape[-2:]
    d.SamplesPerPixel, d.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        d.PlanarConfiguration = 0
    d.BitsAllocated = d.BitsStored = 8 * stored.dtype.itemsize
    d.HighBit, d.PixelRepresentation = d.BitsStored - 1, 0
    d.PixelData = stored.tobytes()
    d["PixelData"].VR = "OB" if d.BitsStored == 8 else "OW"


def file_bytes(d: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A DICOM file whose preamble and meta group hold identities too."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = d.SOPClassUID, d.SOPInstanceUID
    meta.TransferSyntaxUID, meta.SourceApplicationEntityTitle = syntax, "STATION9"
    d.file_meta, d.preamble = meta, b"Mustermann".ljust(128, b"\x00")
    stream = BytesIO()
    dcmwrite(stream, d, enforce_file_format=True)
    return stream.getvalue()


def with_words(pixels: np.ndarray, words: str, size: int = 18, place: tuple[int, int] = (12, 12)) -> tuple:
    """An 8-bit image with white words on it, and bool [H, W]: where their strokes are."""
    cover = Image.new("L", pixels.shape[1::-1])
    ImageDraw.Draw(cover).text(place, words, 255, ImageFont.load_default(size))
    strokes = np.asarray(cover) >= 128
    out = pixels.copy()
    out[strokes] = 255
    return out, strokes


def chest(seed: int = 0, side: int = 256) -> np.ndarray:
    """uint8 [side, side]: a simulated chest radiograph."""
    pixels = np.asarray(simulate("cxr", seed, side).images["frontal"])
    return np.ascontiguousarray(pixels if pixels.ndim == 2 else pixels[..., 0])


def captured(pixels: np.ndarray) -> Dataset:
    """A secondary capture of the invented patient."""
    d = planted(pixels=pixels)
    d.SOPClassUID, d.Modality, d.ImageType = SecondaryCaptureImageStorage, "OT", ["DERIVED", "SECONDARY"]
    return d


def secrets_in(data: bytes) -> list[str]:
    """Which of the invented patient's values are in these bytes, in upper or lower case."""
    lower = data.lower()
    return [s for s in SECRETS if s.lower().encode() in lower]


@pytest.fixture
def key() -> Key:
    return Key(b"a key of the tests, 32 bytes long")


@pytest.fixture
def made() -> SimpleNamespace:
    """The functions above, for tests in files of their own."""
    functions = (planted, set_pixels, file_bytes, with_words, chest, captured, secrets_in)
    return SimpleNamespace(**{f.__name__: f for f in functions})
