"""Any folder of DICOM files: each image is asked for its modality, which its header has.

Names, numbers and dates of patients are never taken over. Patients, studies and images go by the first digits of
SHA-256 hashes, paths too, as folders are often called after patients.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from unimedvl.data.error import DataError
from unimedvl.data.files import Rows
from unimedvl.data.record import Record
from unimedvl.data.slices import png
from unimedvl.data.source import UNSTATED, Item, Sample, Source, answer, pictures, question, samples
from unimedvl.imaging import ImagingError, read_image
from unimedvl.imaging.kind import detect
from unimedvl.imaging.source import open_source

# Code of (0008,0060): in words, and as records call it. Radiographs are so by their part of the body.
_MODALITIES = {
    "CR": ("X-ray", ""), "DX": ("X-ray", ""), "RG": ("X-ray", ""),
    "CT": ("CT", "ct"), "MR": ("MRI", "mri"), "US": ("Ultrasound", "us"), "MG": ("Mammography", "mixed"),
    "PT": ("PET", "mixed"), "NM": ("Nuclear medicine", "mixed"), "XA": ("X-ray angiography", "mixed"),
    "RF": ("Fluoroscopy", "mixed"), "OP": ("Ophthalmic photography", "mixed"), "OPT": ("OCT", "oct"),
    "ES": ("Endoscopy", "endoscopy"), "SM": ("Slide microscopy", "his"), "GM": ("Microscopy", "mixed"),
    "XC": ("Photography", "mixed"), "IO": ("Intra-oral X-ray", "mixed"), "PX": ("Panoramic X-ray", "mixed"),
    "DMS": ("Dermoscopy", "dermoscopy"), "IVUS": ("Intravascular ultrasound", "mixed"),
    "IVOCT": ("Intravascular OCT", "mixed"),
}  # fmt: skip
# Terms of PS3.16 Annex L for (0018,0015). What is none of them may be anything that was typed in, and is left out.
_PARTS = {
    "CSPINE": "cervical spine", "TSPINE": "thoracic spine", "LSPINE": "lumbar spine", "SSPINE": "sacrum",
} | {
    part.upper().replace(" ", ""): part
    for part in ("abdomen", "ankle", "arm", "bladder", "brain", "breast", "chest", "clavicle", "coccyx", "elbow", "eye",
                 "femur", "finger", "foot", "hand", "head", "heart", "hip", "humerus", "jaw", "kidney", "knee", "leg",
                 "liver", "neck", "pancreas", "pelvis", "prostate", "shoulder", "skull", "spine", "thumb", "toe",
                 "uterus", "wrist")
}  # fmt: skip
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_DIGITS = 16
# Longer values, which only pixels have, stay in the file while the tree is walked.
_DEFER = 1 << 16
# What pydicom raises on damaged files.
_DAMAGED = (OSError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError, NotImplementedError,
            AssertionError, struct.error, InvalidDicomError)  # fmt: skip


def read(root: Path) -> Iterator[Item]:
    """A record for each DICOM image below the folder; every other file is a fault. Multi-frame files give one frame."""
    taken: set[str] = set()
    yield from samples(_files(root), lambda row: _record(row["file"], taken))


def _files(root: Path) -> Rows:
    """Every file below the folder, in the order of their names.

    Raises:
        DataError: there is none.
    """
    found = False
    for place, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            found = True
            yield str(Path(place, name)), {"file": Path(place, name)}
    if not found:
        raise DataError(f"{root}: expected DICOM files below it, found no file")


def _record(file: Path, taken: set[str]) -> Sample:
    header = _header(file)
    code = _text(header, "Modality")
    if not any(keyword in header for keyword in _PIXELS):
        raise DataError(f"no image in it: {code or 'without a modality'}")
    if code not in _MODALITIES:
        raise DataError(f"Modality: expected one of {', '.join(_MODALITIES)}, found {code!r}")
    key = _hashed(_text(header, "SOPInstanceUID"))
    if not key:
        raise DataError("SOPInstanceUID: empty")
    if key in taken:
        raise DataError("another file has the same SOPInstanceUID")
    part = _PARTS.get(_text(header, "BodyPartExamined").upper().replace(" ", ""), "")
    name, modality = _MODALITIES[code]
    study = _hashed(_text(header, "StudyInstanceUID"))
    record = Record(
        main_task_type="understanding",
        sub_task_type="classification",
        modality=modality or ("cxr" if part == "chest" else "mixed"),
        dataset="dicom-tree",
        input_img=pictures([f"{study or 'unknown'}/{key}.png"]),
        message=(question(_asked(part)), answer(f"{name} of the {part}." if part else f"{name}.")),
        id=key,
        licence=UNSTATED,
        patient=_hashed(_text(header, "PatientID")),
        study=study,
        attributes={"modality_code": code} | ({"body_part": part} if part else {}),
    )
    taken.add(key)
    return Sample(record, (partial(_png, file),))


def _asked(part: str) -> str:
    return "Which modality is this, and which part of the body is shown?" if part else "Which modality is this?"


def _header(file: Path) -> Dataset:
    """The header of a DICOM file; its pixels stay where they are.

    Raises:
        DataError: it is none, or is damaged.
    """
    try:
        with open_source(file) as opened:
            kind = detect(opened)
        if kind != "dicom":
            raise DataError(f"expected DICOM, found {kind}")
        return pydicom.dcmread(file, force=True, defer_size=_DEFER)
    except ImagingError as error:
        raise DataError(f"not DICOM: {error.problem}") from error
    except DataError:
        raise
    except _DAMAGED as error:
        raise DataError(f"damaged: {' '.join(str(error).split()) or type(error).__name__}") from error


def _text(header: Dataset, keyword: str) -> str:
    """A value of the header as text; empty where there is none, or where it can't be read."""
    try:
        return str(header.get(keyword) or "").strip()
    except _DAMAGED:
        return ""


def _hashed(text: str) -> str:
    """The first digits of the SHA-256 of a text; empty for an empty one."""
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS] if text else ""


def _png(file: Path) -> bytes:
    """The image as the rest of the package shows it: windowed, with square pixels, 8-bit RGB."""
    try:
        pixels = read_image(file).pixels
    except ImagingError as error:
        raise DataError(str(error)) from error
    return png((pixels * 255).round().astype(np.uint8))


SOURCE = Source(
    name="dicom-tree",
    title="A folder of DICOM files",
    home="https://www.dicomstandard.org",
    licence="not stated by the files",
    access="open",
    modalities=("ct", "mri", "cxr", "us", "oct", "endoscopy", "his", "dermoscopy", "mixed"),
    expected={"train": None},
    read=read,
    notes="For images of your own, which should be de-identified: a patient's pseudonym is a hash of the PatientID, so "
    "who has the list of ids can tell which is which; and what is burnt into the pixels stays there.",
    tasks=("classification",),
)
