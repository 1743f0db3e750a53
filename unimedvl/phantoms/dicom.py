"""Simulated studies as DICOM files, to try out what reads those: a file a view, all marked as simulated."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from unimedvl.phantoms.study import Study

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# By modality of the study: the storage class (PS3.4 B.5), the code of (0008,0060), and the part of the body.
_KINDS = {
    "cxr": ("DigitalXRayImageStorageForPresentation", "DX", "CHEST"),
    "ct": ("CTImageStorage", "CT", ""),
    "mri": ("MRImageStorage", "MR", "BRAIN"),
    "us": ("UltrasoundImageStorage", "US", ""),
    "cfp": ("OphthalmicPhotography8BitImageStorage", "OP", "EYE"),
    "oct": ("SecondaryCaptureImageStorage", "OPT", "EYE"),
    "endoscopy": ("VLEndoscopicImageStorage", "ES", ""),
    "his": ("VLMicroscopicImageStorage", "SM", ""),
    "dermoscopy": ("DermoscopicPhotographyImageStorage", "DMS", ""),
}


def study_uid(study: Study) -> str:
    """The StudyInstanceUID of a simulated study, which follows from its modality and seed."""
    return _uid(study.modality, study.case.seed)


def dicom_of(study: Study, view: str) -> Dataset:
    """A view of a study as a data set to be saved: 8 bits, greyscale where the image is grey, else RGB.

    view: one of `study.images`. It has the attributes that readers look for and not all that its class asks for.
    """
    import pydicom.uid
    from pydicom.dataset import Dataset, FileMetaDataset

    storage, code, part = _KINDS[study.modality]
    seed, image = study.case.seed, study.images[view]
    data = Dataset()
    data.SOPClassUID = getattr(pydicom.uid, storage)
    data.SOPInstanceUID = _uid(study.modality, seed, view)
    data.StudyInstanceUID, data.SeriesInstanceUID = study_uid(study), _uid(study.modality, seed, "series")
    data.PatientName, data.PatientID = f"Simulated^{study.modality} {seed}", f"SIMULATED-{study.modality}-{seed}"
    data.Modality, data.StudyDescription = code, "Simulated; not a patient"
    data.SyntheticData, data.BurnedInAnnotation = "YES", "NO"
    if part:
        data.BodyPartExamined = part
    grey = bool((image == image[..., :1]).all())
    stored = image[..., 0] if grey else image
    data.Rows, data.Columns = stored.shape[:2]
    data.SamplesPerPixel, data.PhotometricInterpretation = (1, "MONOCHROME2") if grey else (3, "RGB")
    if not grey:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    pixels = np.ascontiguousarray(stored).tobytes()
    data.add_new("PixelData", "OB", pixels + b"\0" * (len(pixels) % 2))
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta = meta
    return data


def _uid(*names: object) -> str:
    """A UID under 2.25 (PS3.5 B.2) from 128 bits of a hash of names."""
    digest = hashlib.sha256(" ".join(map(str, ("unimedvl phantom", *names))).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"
