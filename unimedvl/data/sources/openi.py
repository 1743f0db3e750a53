"""Open-i, Indiana University (Demner-Fushman et al., JAMIA 2016): chest X-ray studies with their reports.

Two forms are read: the XML files of the National Library of Medicine, and the two tables of Kaggle.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.files import Rows, table
from unimedvl.data.record import Record
from unimedvl.data.reports import plain, report_turns
from unimedvl.data.source import (
    Fault,
    Item,
    Sample,
    Source,
    file_bytes,
    need,
    pictures,
    required,
    samples,
    words,
)

_LICENCE = "CC-BY-NC-ND-4.0"
_REPORTS, _KAGGLE = "ecgen-radiology", "indiana_reports.csv"
# The archive of the images is flat, so where they lie is the user's choice.
_PNG = ("NLMCXR_png", "png", "images")


def read(root: Path) -> Iterator[Item]:
    """The XML files, or the tables of Kaggle, whichever are there."""
    found = need(root, _REPORTS, _KAGGLE)
    if found.is_dir():
        folder = next((root / name for name in _PNG if (root / name).is_dir()), root)
        yield from samples(_xml(found), lambda row: _study(row, row["names"], root, folder))
        return
    folder = need(root, "images/images_normalized", "images_normalized")
    views: dict[str, dict[str, str]] = {}
    yield from samples(table(need(root, "indiana_projections.csv")), lambda row: _collect(row, views))
    yield from samples(table(found), lambda row: _kaggle(row, views, root, folder))
    yield from (Fault(f"{found}: uid {uid}", "images without a report") for uid in sorted(views))


def _xml(folder: Path) -> Rows:
    """Each report as a row of its sections in lower case, the names of its images, and its headings.

    Raises:
        DataError: there is no XML file.
    """
    files = sorted(folder.glob("*.xml"), key=lambda f: (len(f.stem), f.stem))
    if not files:
        raise DataError(f"{folder}: expected XML files, found none")
    for file in files:
        try:
            tree = ET.parse(file).getroot()
        except ET.ParseError as error:
            yield str(file), DataError(f"not XML: {error}")
            continue
        uid = tree.find("uId")
        row = {e.get("Label", "").lower(): "".join(e.itertext()) for e in tree.iter("AbstractText")}
        row["uid"] = "" if uid is None else uid.get("id", "")
        row["mesh"] = ";".join((e.text or "").strip() for e in tree.iterfind("MeSH/major"))
        yield str(file), row | {"names": {f"{e.get('id')}.png": "" for e in tree.iter("parentImage")}}


def _collect(row: dict, views: dict[str, dict[str, str]]) -> None:
    """Add an image to those of its study; the files end `.dcm.png`."""
    views.setdefault(required(row, "uid"), {})[required(row, "filename")] = words(row, "projection")


def _kaggle(row: dict, views: dict[str, dict[str, str]], root: Path, folder: Path) -> Sample:
    uid = required(row, "uid")
    # The XML form calls the same study CXR and its number.
    renamed = row | {"uid": f"CXR{uid}", "mesh": words(row, "MeSH")}
    return _study(renamed, views.pop(uid, {}), root, folder)


def _study(row: dict, names: Mapping[str, str], root: Path, folder: Path) -> Sample:
    """names: the files of the images and their views, in order."""
    uid = required(row, "uid")
    if not names:
        raise DataError("no image: the study has a report only")
    sections = {name: words(row, name.lower()) for name in ("Findings", "Impression")}
    told = {
        "indication": plain(words(row, "indication")) if "indication" in row else "",
        "mesh": words(row, "mesh"),
        "views": ", ".join(v for v in names.values() if v),
    }
    record = Record(
        main_task_type="understanding",
        sub_task_type="report",
        modality="cxr",
        dataset="openi",
        input_img=pictures([(folder / name).relative_to(root).as_posix() for name in names]),
        message=report_turns(sections, len(names)),
        id=uid,
        licence=_LICENCE,
        study=uid,
        attributes={key: text for key, text in told.items() if text},
    )
    return Sample(record, tuple(file_bytes(folder / name) for name in names))


SOURCE = Source(
    name="openi",
    title="Open-i chest X-rays (Indiana University)",
    home="https://openi.nlm.nih.gov",
    licence=_LICENCE,
    access="open",
    modalities=("cxr",),
    expected={"train": None},
    read=read,
    notes="No official split. 3,955 reports, of which 3,851 have images; some have neither findings nor impression. "
    "The tables of Kaggle hold the 3,851, under the same ids.",
    tasks=("report",),
)
