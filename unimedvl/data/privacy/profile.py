"""What the basic profile of PS3.15 (Table E.1-1) asks for, attribute by attribute.

The table is that of dicom-anonymizer (edition 2026c of the standard). Where it offers a choice by the attribute's type
(X/Z, X/D, X/Z/D, Z/D), the choice here keeps every object of a conformant one conformant: empty or a dummy.
"""

from __future__ import annotations

from enum import Enum
from functools import cache

from pydicom.tag import BaseTag

EDITION = "2026c"


class Action(Enum):
    """The profile's letters."""

    DUMMY = "D"
    EMPTY = "Z"
    REMOVE = "X"
    UID = "U"
    REFERENCES = "X/Z/U*"


_CHOSEN = {
    "D_TAGS": Action.DUMMY,
    "Z_TAGS": Action.EMPTY,
    "X_TAGS": Action.REMOVE,
    "U_TAGS": Action.UID,
    "Z_D_TAGS": Action.DUMMY,
    "X_Z_TAGS": Action.EMPTY,
    "X_D_TAGS": Action.DUMMY,
    "X_Z_D_TAGS": Action.DUMMY,
    "X_Z_U_STAR_TAGS": Action.REFERENCES,
}


@cache
def table() -> dict[tuple[int, ...], Action]:
    """The action for each (group, element), or (group, element, group mask, element mask) of repeating groups."""
    from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector

    listed = dicom_anonymization_database_selector(f"dicomfields_{EDITION}")
    return {tuple(tag): action for name, action in _CHOSEN.items() for tag in listed[name]}


def action_for(tag: BaseTag) -> Action | None:
    """What the profile asks for, or None where it doesn't list the attribute.

    Private attributes, overlays (60xx) and curves (50xx) are removed as wholes: without their data, which the table
    removes, the rest of such a group says nothing.
    """
    if tag.is_private or 0x5000 <= tag.group <= 0x50FF or 0x6000 <= tag.group <= 0x60FF:
        return Action.REMOVE
    return table().get((tag.group, tag.element))
