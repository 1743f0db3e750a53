"""MIMIC-CXR-JPG (Johnson et al., 2019) with the reports of MIMIC-CXR: chest X-ray studies of one hospital.

What is built on these images takes from here where they lie: `release`, `identity`, `study_path`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from unimedvl.data.error import DataError
from unimedvl.data.files import table
from unimedvl.data.record import Record
from unimedvl.data.reports import RULE, WANTED, labels, plain, report_sections, report_turns, split_named
from unimedvl.data.source import Item, Sample, Source, file_bytes, need, pictures, required, samples, words

LICENCE = "PhysioNet Credentialed Health Data License 1.5.0"
# The tables keep this name in release 2.1.0.
_STEM, _ZIP = "mimic-cxr-2.0.0", "mimic-cxr-reports.zip"
_READ_BY_HAND = "mimic-cxr-2.1.0-test-set-labeled.csv"


def release(root: Path, name: str, *markers: str) -> Path:
    """The folder of a PhysioNet release: `root/name/<version>` (the latest), `root/name` or `root` itself.

    markers: files or folders one of which is in it.

    Raises:
        DataError: none of these folders has one.
    """
    versions = sorted((root / name).glob("*.*.*"), reverse=True)
    for folder in (*versions, root / name, root):
        if any((folder / marker).exists() for marker in markers):
            return folder
    raise DataError(f"{root}: expected {' or '.join(markers)} in it, in {name}/ or in {name}/<version>/, found none")


def identity(row: dict, study: str = "study_id") -> tuple[str, str]:
    """The numbers of subject and study, of 8 digits each. study: the column of the second.

    Raises:
        DataError: one is missing or no such number.
    """
    found = required(row, "subject_id"), required(row, study)
    for name, number in zip(("subject_id", study), found, strict=True):
        if not re.fullmatch(r"\d{8}", number):
            raise DataError(f"{name}: expected 8 digits, found {number!r}")
    return found


def study_path(subject: str, study: str) -> str:
    """Where a study lies in a release: the folder of its images, and with `.txt` its report."""
    return f"files/p{subject[:2]}/p{subject}/s{study}"


@dataclass
class _Study:
    """A study as the tables have it; images by their dicom_id, with the view of each."""

    subject: str
    split: str
    images: dict[str, str] = field(default_factory=dict)
    date: str = ""


def read(root: Path) -> Iterator[Item]:
    """One record for each study of the split table."""
    jpg = release(root, "mimic-cxr-jpg", f"{_STEM}-split.csv.gz", f"{_STEM}-split.csv")
    texts = release(root, "mimic-cxr", _ZIP, "files")
    about: dict[str, tuple[str, str]] = {}
    studies: dict[str, _Study] = {}
    yield from samples(_table(jpg, "metadata"), lambda row: _metadata(row, about))
    yield from samples(_table(jpg, "split"), lambda row: _collect(row, studies, about))
    known: dict[str, dict[str, str]] = {}
    if any(jpg.glob(f"{_STEM}-chexpert.csv*")):
        yield from samples(_table(jpg, "chexpert"), lambda row: _labels(row, known, "CheXpert"))
    if (jpg / _READ_BY_HAND).exists():
        yield from samples(table(jpg / _READ_BY_HAND), lambda row: _labels(row, known, "radiologist"))
    with _reports(texts) as report:
        rows = ((f"{texts}: {study_path(s.subject, study)}.txt", {"study": study}) for study, s in studies.items())
        yield from samples(rows, lambda row: _record(row["study"], studies, known, report, root, jpg))


def _table(folder: Path, name: str) -> Iterator[tuple[str, object]]:
    return table(need(folder, f"{_STEM}-{name}.csv.gz", f"{_STEM}-{name}.csv"))


def _metadata(row: dict, about: dict[str, tuple[str, str]]) -> None:
    about[required(row, "dicom_id")] = (words(row, "ViewPosition"), words(row, "StudyDate"))


def _collect(row: dict, studies: dict[str, _Study], about: dict[str, tuple[str, str]]) -> None:
    (subject, study), dicom = identity(row), required(row, "dicom_id")
    split = split_named(required(row, "split"))
    entry = studies.setdefault(study, _Study(subject, split))
    if (entry.subject, entry.split) != (subject, split):
        raise DataError(f"study {study}: of {entry.subject} in {entry.split} before, and of {subject} in {split} here")
    if dicom in entry.images:
        raise DataError(f"dicom_id: {dicom} stands in the table before")
    view, entry.date = about.get(dicom, ("", entry.date))
    entry.images[dicom] = view or "unknown"


def _labels(row: dict, known: dict[str, dict[str, str]], by: str) -> None:
    # The table of the radiologists has another name for this label, and no subjects.
    renamed = {name.replace("Airspace Opacity", "Lung Opacity"): cell for name, cell in row.items()}
    known[required(row, "study_id")] = {"labels_by": by} | labels(renamed)


@contextmanager
def _reports(folder: Path) -> Iterator[Callable[[str], str]]:
    """Reads reports by their path, out of the archive or, where there is none, the unpacked tree."""
    if not (folder / _ZIP).exists():
        yield lambda name: _text(file_bytes(folder / name)())
        return
    try:
        archive = ZipFile(folder / _ZIP)
    except (BadZipFile, OSError) as error:
        raise DataError(f"{folder / _ZIP}: no zip archive: {error}") from error
    with archive:
        yield lambda name: _text(_member(archive, name))


def _member(archive: ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except KeyError:
        raise DataError("no such report in the archive") from None
    except (BadZipFile, OSError, zlib.error) as error:
        raise DataError(f"broken in the archive: {error}") from error


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8: {error.reason}") from error


def _record(study: str, studies: dict, known: dict, report: Callable[[str], str], root: Path, jpg: Path) -> Sample:
    entry: _Study = studies[study]
    place = study_path(entry.subject, study)
    text = report(f"{place}.txt")
    found = report_sections(text)
    # What stands for findings and impression has no name of its own in the answer.
    said = {name if name in WANTED else "": part for name, part in found.items()}
    if not said:
        raise DataError("no usable report: it has no findings, impression, last paragraph or comparison")
    files = [jpg / place / f"{dicom}.jpg" for dicom in entry.images]
    told = {
        "sections": ", ".join(name.lower() for name in found),
        "addendum": "yes" if len([part for part in RULE.split(text) if plain(part)]) > 1 else "",
        "views": ", ".join(entry.images.values()),
        "study_date": entry.date,
    }
    record = Record(
        main_task_type="understanding", sub_task_type="report", modality="cxr", dataset="mimic-cxr",
        input_img=pictures([f.relative_to(root).as_posix() for f in files]), message=report_turns(said, len(files)),
        id=study, licence=LICENCE, patient=entry.subject, study=study, split=entry.split,
        attributes={key: value for key, value in told.items() if value} | known.get(study, {}),
    )  # fmt: skip
    return Sample(record, tuple(map(file_bytes, files)))


SOURCE = Source(
    name="mimic-cxr",
    title="MIMIC-CXR-JPG with the reports of MIMIC-CXR",
    home="https://physionet.org/content/mimic-cxr-jpg/",
    licence=LICENCE,
    access="credentialed",
    modalities=("cxr",),
    expected={"train": 222758, "validation": 1808, "test": 3269},
    read=read,
    notes="A record is a study, with all its images. The folder holds mimic-cxr-jpg/ and mimic-cxr/, the latter with "
    "the reports. Medical-Diff-VQA and part of ICG-CXR have the same patients.",
    tasks=("report",),
)
