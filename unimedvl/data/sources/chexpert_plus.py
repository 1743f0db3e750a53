"""CheXpert Plus (Chambon et al., 2024): chest X-ray studies of Stanford with their reports and labels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.files import json_lines, table
from unimedvl.data.record import Record
from unimedvl.data.reports import labels, plain, report_turns, split_named
from unimedvl.data.source import Item, Sample, Source, file_bytes, need, pictures, required, samples, words

_LICENCE = "Stanford University Dataset Research Use Agreement"
_TABLE = "df_chexpert_plus_240401.csv"
_PATH = re.compile(r"(?:.*/)?((?:train|valid)/(patient\d+)/(study\d+)/view\d+_\w+)\.\w+")
_ABOUT = ("age", "sex", "race", "ethnicity", "deceased", "recent_bmi", "patient_report_date_order")


@dataclass
class _Study:
    """What is known of a study before its record is made: its images, whether their reports agree, and what is met.

    met: images whose rows the second walk has passed.
    """

    images: list[str] = field(default_factory=list)
    reports: set[int] = field(default_factory=set)
    met: set[str] = field(default_factory=set)


def read(root: Path) -> Iterator[Item]:
    """One record for each study, at the first of its rows.

    The table has a row for each image, not in the order of the studies, so it is walked twice: first for the
    images of each study, then for the reports, of which only one is held at a time.
    """
    file, folder = need(root, _TABLE), need(root, "PNG")
    known: dict[str, dict[str, str]] = {}
    if (root / "chexbert_labels").is_dir():
        # JSON lines, whatever the name says.
        found = need(root / "chexbert_labels", "report_fixed.json")
        yield from samples(json_lines(found), lambda row: known.update({_parts(row)[0]: labels(row)}))
    studies: dict[str, _Study] = {}
    for _ in samples(table(file), lambda row: _collect(row, studies)):
        pass  # The second walk reports the rows that are no use.
    yield from samples(table(file), lambda row: _record(row, studies, known, root, folder))


def _parts(row: dict) -> tuple[str, str, str]:
    """Of an image: its path from the split on, without suffix, then patient and study.

    An archive's name may stand before the split.
    """
    path = required(row, "path_to_image")
    match = _PATH.fullmatch(path)
    if not match:
        raise DataError(f"path_to_image: expected train/patientNNNNN/studyN/viewN_frontal.jpg, found {path!r}")
    return match.group(1), match.group(2), match.group(3)


def _sections(row: dict) -> dict[str, str]:
    return {name: words(row, f"section_{name.lower()}") for name in ("Findings", "Impression")}


def _collect(row: dict, studies: dict[str, _Study]) -> None:
    path, patient, study = _parts(row)
    split_named(required(row, "split"))  # A row that is no use adds no image.
    entry = studies.setdefault(f"{patient}/{study}", _Study())
    if path not in entry.images:
        entry.images.append(path)
    entry.reports.add(hash(tuple(map(plain, _sections(row).values()))))


def _record(row: dict, studies: dict[str, _Study], known: dict, root: Path, folder: Path) -> Sample | None:
    path, patient, study = _parts(row)
    name, split = f"{patient}/{study}", split_named(required(row, "split"))
    entry = studies[name]
    if path in entry.met:
        raise DataError(f"path_to_image: {path} stands in the table before")
    entry.met.add(path)
    if path != entry.images[0]:
        return None
    if len(entry.reports) > 1:
        raise DataError(f"{name}: its images have {len(entry.reports)} different reports")
    # The table says .jpg, and the files are PNG.
    files = [folder / f"{image}.png" for image in entry.images]
    about = {key: words(row, key) for key in _ABOUT if key in row}
    told = about | {"views": ", ".join(image.rpartition("/")[2] for image in entry.images)} | known.get(path, {})
    record = Record(
        main_task_type="understanding", sub_task_type="report", modality="cxr", dataset="chexpert-plus",
        input_img=pictures([f.relative_to(root).as_posix() for f in files]),
        message=report_turns(_sections(row), len(files)), id=name, licence=_LICENCE, patient=patient, study=name,
        split=split, attributes={key: text for key, text in told.items() if text},
    )  # fmt: skip
    return Sample(record, tuple(map(file_bytes, files)))


SOURCE = Source(
    name="chexpert-plus",
    title="CheXpert Plus",
    home="https://aimi.stanford.edu/datasets/chexpert-plus",
    licence=_LICENCE,
    access="registration",
    modalities=("cxr",),
    expected={"train": None, "validation": None},
    read=read,
    notes="223,462 images; a record is a study, with all its images. The PNG archives must be unpacked to PNG/.",
    tasks=("report",),
)
