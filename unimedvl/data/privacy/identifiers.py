"""The words and numbers that say who a patient is, gathered from a data set so that they are found elsewhere in it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydicom.dataset import Dataset

# Attributes whose whole value points at a person or a place. Person names count word by word.
_WHOLE = (
    "PatientID", "OtherPatientIDs", "AccessionNumber", "InstitutionName", "InstitutionAddress",
    "InstitutionalDepartmentName", "StationName", "DeviceSerialNumber", "PatientAddress", "PatientTelephoneNumbers",
    "MilitaryRank", "MedicalRecordLocator", "AdmissionID", "IssuerOfPatientID", "ReferringPhysicianAddress",
    "ReferringPhysicianTelephoneNumbers", "ResponsibleOrganization", "FillerOrderNumberImagingServiceRequest",
    "PlacerOrderNumberImagingServiceRequest", "PerformedProcedureStepID", "ClinicalTrialSubjectID",
)  # fmt: skip
# Shorter ones are found in too much that is harmless.
_SHORTEST = 3


def identifiers(dataset: Dataset) -> re.Pattern[str] | None:
    """A pattern that finds the data set's identifying words, numbers and dates; None where it has none.

    Names count from 3 letters (2 in scripts other than Latin), other values from 3 characters, as whole words and in
    upper or lower case; dates as 8 digits with or without marks between.
    """
    found = {text for text in _gathered(dataset) if len(text) >= _shortest(text)}
    if not found:
        return None
    longest_first = sorted(found, key=lambda t: (-len(t), t))
    return re.compile("|".join(_as_word(text) for text in longest_first), re.IGNORECASE)


def _shortest(text: str) -> int:
    return _SHORTEST if text.isascii() else 2


def _as_word(text: str) -> str:
    """Scripts that put no space between words are found within them."""
    if not text.isascii():
        return re.escape(text)
    if re.fullmatch(r"\d{8}", text):
        text = rf"{text[:4]}[-./ ]?{text[4:6]}[-./ ]?{text[6:]}"
        return rf"(?<!\d){text}(?!\d)"
    return rf"(?<![^\W_]){re.escape(text)}(?![^\W_])"


def _gathered(dataset: Dataset) -> Iterator[str]:
    for tag in dataset.keys():  # noqa: SIM118 - iterating a data set would stop at the first unreadable element
        try:
            element = dataset[tag]
        except (ValueError, TypeError, KeyError, NotImplementedError, AttributeError, LookupError):
            continue
        if element.VR == "SQ":
            for item in element.value or ():
                yield from _gathered(item)
            continue
        values = element.value if element.VM > 1 else [element.value]
        for value in values:
            text = str(value or "").strip()
            if element.VR == "PN":
                yield from (word for word in re.split(r"[\^=\s,.;]+", text) if not word.isdigit())
            elif element.keyword in _WHOLE:
                yield text
            elif element.VR in ("DA", "DT") and re.match(r"\d{8}", text):
                yield text[:8]
