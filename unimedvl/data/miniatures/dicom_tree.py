"""A folder of DICOM files in miniature: folders called after a made-up patient, with and without a part of the body."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from unimedvl.data.miniatures.paint import picture

_ROOT = "1.2.826.0.1.3680043.10.999."
# File, modality, part of the body, simulated modality, study, patient.
_IMAGES = (
    ("Sample^Ann/1/IM0001", "DX", "CHEST", "cxr", 1, "A-1"),
    ("Sample^Ann/2/IM0001.dcm", "MR", "BRAIN ", "mri", 2, "A-1"),
    ("other/IM0002.dcm", "CR", "", "cxr", 3, "B-2"),
)


def write(root: Path) -> None:
    for number, (name, code, part, modality, study, patient) in enumerate(_IMAGES):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        data = dataset(picture(modality, 700 + number)[..., 0], number)
        data.Modality, data.StudyInstanceUID, data.PatientID = code, f"{_ROOT}{study}", patient
        if part:
            data.BodyPartExamined = part
        data.save_as(file, enforce_file_format=True)


def dataset(grey: np.ndarray, number: int) -> Dataset:
    """A secondary capture of [H, W] uint8. number: makes its SOP instance UID."""
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = SecondaryCaptureImageStorage, f"{_ROOT}9.{number}"
    data.PatientName = "Sample^Ann"
    data.Rows, data.Columns = grey.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    data.add_new("PixelData", "OB", grey.tobytes())
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta = meta
    return data
