"""Any folder of DICOM files: each image is asked for its modality, which its header has, and each study for its report,
where a table of reports lies beside the images.

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
from unimedvl.data.files import Rows, json_lines, table
from unimedvl.data.record import Record
from unimedvl.data.reports import WANTED, report_sections, report_turns
from unimedvl.data.slices import png
from unimedvl.data.source import UNSTATED, Item, Sample, Source, answer, pictures, question, required, samples
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
# Tables of reports, and the log of a de-identification: at the top of the folder these are no images.
_TABLES = {"reports.csv": table, "reports.jsonl": json_lines}
_NO_IMAGES = (*_TABLES, "audit.jsonl")
# A report is read with all images of its study. More than these are a volume, which no sequence holds.
MOST_VIEWS = 8
# Longer values, which only pixels have, stay in the file while the tree is walked.
_DEFER = 1 << 16
# What pydicom raises on damaged files.
_DAMAGED = (OSError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError, NotImplementedError,
            AssertionError, struct.error, InvalidDicomError)  # fmt: skip


def read(root: Path) -> Iterator[Item]:
    """A record for each DICOM image below the folder; every other file is a fault. Multi-frame files give one frame.

    `reports.csv` or `reports.jsonl` in the folder has columns `study`, a StudyInstanceUID, and `report`: each row
    gives one record more, of all images of that study. Of a report with headings, as FINDINGS: and IMPRESSION:, those
    two are taken, else all of it.
    """
    rows = [row for name, reader in _TABLES.items() if (root / name).is_file() for row in reader(root / name)]
    reported = {_hashed(str(row.get("study", "")).strip()) for _, row in rows if isinstance(row, dict)}
    taken: set[str] = set()
    studies: dict[str, list[Sample]] = {study: [] for study in reported}
    for item in samples(_files(root), lambda row: _record(row["file"], taken)):
        yield item
        if isinstance(item, Sample) and item.record.study in studies:
            studies[item.record.study].append(item)
    yield from samples(rows, lambda row: _report(row, studies, taken))


def _files(root: Path) -> Rows:
    """Every file below the folder, in the order of their names.

    Raises:
        DataError: there is none.
    """
    found = False
    for place, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            if Path(place) == root and name in _NO_IMAGES:
                continue
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


def _report(row: dict, studies: dict[str, list[Sample]], taken: set[str]) -> Sample:
    study, text = _hashed(required(row, "study")), required(row, "report")
    views = studies[study]
    if not views:
        raise DataError("study: no image of it is in the folder; expected a StudyInstanceUID")
    if len(views) > MOST_VIEWS:
        raise DataError(f"study: it has {len(views)} images, and a report can be read with {MOST_VIEWS} at most; leave "
                        "those in the folder that show what it says")  # fmt: skip
    key = f"{study}-report"
    if key in taken:
        raise DataError("study: another row has a report of it")
    found = report_sections(text)
    said = {name: found[name] for name in WANTED if name in found} or {"": text}
    seen = {view.record.modality for view in views}
    record = Record(
        main_task_type="understanding",
        sub_task_type="report",
        modality=seen.pop() if len(seen) == 1 else "mixed",
        dataset="dicom-tree",
        input_img=pictures([view.record.input_img[0].path for view in views]),
        message=report_turns(said, len(views)),
        id=key,
        licence=UNSTATED,
        patient=views[0].record.patient,
        study=study,
    )
    taken.add(key)
    return Sample(record, tuple(view.images[0] for view in views))


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
    "who has the list of ids can tell which is which; and what is burnt into the pixels stays there. A table "
    "reports.csv or reports.jsonl (study, report) in the folder gives the studies their reports, in their words.",
    tasks=("classification", "report"),
)
