"""Attributes of a DICOM data set by the basic profile of PS3.15 Annex E, in every sequence.

What the profile's table leaves out is looked into as well: person names, free text, UIDs, dates and code strings that
are not listed may still say who the patient is.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import dictionary_has_tag, repeater_has_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from unimedvl.data.privacy.identifiers import identifiers
from unimedvl.data.privacy.key import Key
from unimedvl.data.privacy.profile import EDITION, Action, action_for

Dates = Literal["remove", "shift"]

METHOD = f"unimedvl; PS3.15 E basic profile, table {EDITION}"
# CID 7050 of PS3.16.
_BASIC = ("113100", "Basic Application Confidentiality Profile")
_PIXELS = ("113101", "Clean Pixel Data Option")
_DATES = ("113107", "Retain Longitudinal Temporal Information Modified Dates Option")

_TEXT_DUMMY = "REMOVED"
_DUMMIES = {
    "AE": _TEXT_DUMMY, "AS": "000Y", "CS": _TEXT_DUMMY, "LO": _TEXT_DUMMY, "LT": _TEXT_DUMMY, "PN": _TEXT_DUMMY,
    "SH": _TEXT_DUMMY, "ST": _TEXT_DUMMY, "UC": _TEXT_DUMMY, "UT": _TEXT_DUMMY, "UR": "http://removed.invalid",
    "DA": "19000101", "DT": "19000101000000", "TM": "000000", "DS": "0", "IS": "0",
    "FD": 0.0, "FL": 0.0, "SL": 0, "SS": 0, "SV": 0, "UL": 0, "US": 0, "UV": 0,
}  # fmt: skip
_FREE_TEXT = ("LT", "ST", "UT", "UC", "UR", "PN", "AE")
_SHORT_TEXT = ("LO", "SH", "CS")
# Short, but whatever somebody typed.
_TYPED = re.compile(r"(Description|Comments?|ImageID)$")
_DATE_VRS = ("DA", "DT", "TM")
# Of a person, not of an examination: no option of the profile keeps them.
_OF_A_LIFE = re.compile("Birth|Death|Deceased")
# UIDs that stand for kinds of things, not for things. Whatever is no UID is none of them.
_KINDS = re.compile(r"SOPClass|TransferSyntax|CodingScheme|ContextUID|MappingResourceUID|SpecializedSOPClass")
# Raw bytes that are part of how pixels are shown. All others, such as documents and waveforms, go.
_KEPT_BYTES = re.compile(r"LUTData|Palette|ICCProfile")
_PIXEL_DATA = "PixelData"
# The image's own terms, without which it can't be shown, whatever the patient is called.
_KEPT_TERMS = ("SpecificCharacterSet", "PhotometricInterpretation", "Modality", "ImageType", "CodingSchemeDesignator",
               "CodeValue", "PixelPresentation", "PresentationLUTShape", "VOILUTFunction")  # fmt: skip
# What an element's value raises where its bytes are no such value.
_UNREADABLE = (ValueError, TypeError, KeyError, NotImplementedError, AttributeError, LookupError, OverflowError)


@dataclass
class Changes:
    """How many attributes were treated how: a name of what was done, then tags with their numbers. No values."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, done: str, tag: BaseTag) -> None:
        self.counts.setdefault(done, Counter())[f"({tag.group:04X},{tag.element:04X})"] += 1

    def as_dict(self) -> dict[str, dict[str, int]]:
        return {done: dict(sorted(tags.items())) for done, tags in sorted(self.counts.items())}


def patient_of(dataset: Dataset) -> str:
    """What tells a patient from others: ID and its issuer; without an ID, name and birth date; else the study."""
    number = str(dataset.get("PatientID") or "").strip()
    if number:
        return f"id\x00{number}\x00{str(dataset.get('IssuerOfPatientID') or '').strip()}"
    name = str(dataset.get("PatientName") or "").strip()
    if name:
        return f"name\x00{name}\x00{str(dataset.get('PatientBirthDate') or '').strip()}"
    return f"study\x00{dataset.get('StudyInstanceUID') or dataset.get('SOPInstanceUID') or ''!s}"


def deidentify_attributes(dataset: Dataset, key: Key, dates: Dates = "remove") -> Changes:
    """Change a data set in place so that its attributes fit the basic profile; the pixels stay as they are.

    PatientID and PatientName become a pseudonym and UIDs others that follow from the key. `dates` "remove" is the basic
    profile; "shift" moves all dates of a patient by the same number of days and keeps times of day (the profile's
    option to retain longitudinal information with modified dates). Birth and death dates always go.

    Returns:
        What was changed, by tag and without values.
    """
    patient, known = patient_of(dataset), identifiers(dataset)
    changes = Changes()
    days = key.days(patient) if dates == "shift" else None
    _Cleaner(key, days, known, changes).clean(dataset, top=True)
    dataset.PatientID = dataset.PatientName = key.pseudonym(patient)
    for keyword in ("PatientBirthDate", "PatientSex"):  # type 2: there, though empty
        setattr(dataset, keyword, "")
    mark(dataset, [_BASIC] + [_DATES] * (dates == "shift"))
    dataset.LongitudinalTemporalInformationModified = "MODIFIED" if dates == "shift" else "REMOVED"
    return changes


def mark(dataset: Dataset, codes: list[tuple[str, str]]) -> None:
    """Say in the data set that, and how, the patient's identity was removed (PS3.15 E.1.1)."""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = METHOD
    dataset.DeidentificationMethodCodeSequence = Sequence(_code(*code) for code in codes)


def mark_pixels_clean(dataset: Dataset) -> None:
    """Say that burned-in text was looked for and blanked (option Clean Pixel Data)."""
    dataset.BurnedInAnnotation = "NO"
    dataset.DeidentificationMethodCodeSequence.append(_code(*_PIXELS))


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


class _Cleaner:
    """The rules for one data set and all its items."""

    def __init__(self, key: Key, days: int | None, known: re.Pattern[str] | None, changes: Changes) -> None:
        self.key, self.days, self.known, self.changes = key, days, known, changes

    def clean(self, dataset: Dataset, top: bool = False) -> None:
        """Treat all elements. Pixels stay at the top alone: text in those of icons is looked for by nobody."""
        for tag in sorted(dataset.keys()):
            try:
                element = dataset[tag]
            except _UNREADABLE:
                del dataset[tag]
                self.changes.add("unreadable", tag)
                continue
            if top and element.keyword == _PIXEL_DATA:
                continue
            done = self._element(dataset, element)
            if done:
                self.changes.add(done, tag)

    def _element(self, dataset: Dataset, element: DataElement) -> str | None:
        """Treat one element; returns the name of what was done to it, None where it is kept."""
        action = action_for(element.tag)
        if self.days is not None and element.VR in _DATE_VRS and not element.tag.is_private:
            return self._shift(dataset, element)
        if action is Action.REMOVE or (action is None and self._unknown(element)):
            del dataset[element.tag]
            return "removed"
        if element.is_empty:
            return None
        if action is Action.UID or (element.VR == "UI" and action is not None):
            return self._uid(element)
        if action is Action.DUMMY:
            return self._dummy(dataset, element)
        if action is Action.EMPTY:
            element.value = Sequence() if element.VR == "SQ" else b"" if element.VR[0] == "O" else ""
            return "emptied"
        return self._unlisted(dataset, element)

    def _unknown(self, element: DataElement) -> bool:
        """Whether nothing is known of what the element may hold: not in the dictionary, or bytes of no image."""
        tag = element.tag
        if tag.element == 0 or tag == 0xFFFCFFFC or not (dictionary_has_tag(tag) or repeater_has_tag(int(tag))):
            return True
        return element.VR in ("OB", "OW", "OD", "OF", "OL", "OV", "UN") and not _KEPT_BYTES.search(element.keyword)

    def _unlisted(self, dataset: Dataset, element: DataElement) -> str | None:
        """What the profile doesn't list, or keeps for its references."""
        if element.VR == "SQ":
            for item in element.value:
                self.clean(item)
            return None
        if element.VR == "UI":
            return self._uid(element, keep=bool(_KINDS.search(element.keyword)))
        if element.VR in _DATE_VRS:
            del dataset[element.tag]
            return "removed"
        if element.VR in _FREE_TEXT or (element.VR in _SHORT_TEXT and _TYPED.search(element.keyword)):
            element.value = ""
            return "emptied"
        if element.VR in _SHORT_TEXT and element.keyword not in _KEPT_TERMS and self._identifies(element):
            element.value = _TEXT_DUMMY
            return "identifying text replaced"
        return None

    def _identifies(self, element: DataElement) -> bool:
        if self.known is None:
            return False
        values = element.value if isinstance(element.value, MultiValue) else [element.value]
        return any(self.known.search(str(v)) for v in values)

    def _uid(self, element: DataElement, keep: bool = False) -> str | None:
        """Replace UIDs but for those that the standard itself defines, such as frames of reference of atlases.

        `keep`: of kinds of things, which stay if they are UIDs at all.
        """
        values = element.value if isinstance(element.value, MultiValue) else [element.value]
        instance = element.keyword == "SOPInstanceUID"

        def kept(uid: str) -> bool:
            return (uid in UID_dictionary and not instance) or (keep and bool(re.fullmatch(r"[0-9.]{1,64}", uid)))

        new = [str(v) if kept(str(v)) else self.key.uid(str(v)) for v in values]
        if new == [str(v) for v in values]:
            return None
        element.value = new if len(new) > 1 else new[0]
        return "UID replaced"

    def _dummy(self, dataset: Dataset, element: DataElement) -> str:
        if element.VR == "SQ":
            element.value = Sequence()
            return "emptied"
        if element.VR not in _DUMMIES:
            element.value = b"\x00\x00"
            return "replaced"
        element.value = _DUMMIES[element.VR]
        return "replaced"

    def _shift(self, dataset: Dataset, element: DataElement) -> str | None:
        """Move dates; keep times of day; take out what is of a life, or no date."""
        if element.is_empty:
            return None
        if element.VR == "TM" and not _OF_A_LIFE.search(element.keyword):
            return None
        values = element.value if isinstance(element.value, MultiValue) else [element.value]
        moved = [None if _OF_A_LIFE.search(element.keyword) else _moved(str(v), self.days) for v in values]
        if None in moved:
            element.value = ""
            return "emptied"
        element.value = moved if len(moved) > 1 else moved[0]
        return "date shifted"


def _moved(text: str, days: int) -> str | None:
    """A DA or DT value some days later, its time of day and zone kept; None where it is no full date."""
    match = re.fullmatch(r"(\d{4})[.-]?(\d{2})[.-]?(\d{2})(\d{0,6}(?:\.\d{1,6})?(?:[+-]\d{4})?)", text.strip())
    if match is None:
        return None
    try:
        day = datetime(*(int(n) for n in match.groups()[:3])) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return f"{day.year:04d}{day:%m%d}{match[4]}"
