"""The basic profile, attribute by attribute: what its table lists is treated as it says, at any depth."""

from __future__ import annotations

import pytest
from pydicom.config import disable_value_validation
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from unimedvl.data.privacy.attributes import deidentify_attributes
from unimedvl.data.privacy.profile import Action, action_for, table

MARKS = {
    "AE": "SECRETAE", "AS": "077Y", "CS": "SECRETCS", "DA": "19870605", "DT": "19870605040302", "TM": "040302",
    "DS": "87.65", "IS": "8765", "LO": "secret lo", "LT": "secret lt", "PN": "Secret^Name", "SH": "secret sh",
    "ST": "secret st", "UC": "secret uc", "UI": "1.2.3.8765", "UR": "http://secret", "UT": "secret ut",
    "OB": b"secretob", "OW": b"secretow", "UN": b"secretun", "FD": 87.65, "FL": 87.5, "US": 8765, "UL": 8765,
    "SS": 8765, "SL": 8765, "OB or OW": b"secretow", "US or SS": 8765, "OF": b"secretof", "OD": b"secretod",
}  # fmt: skip
# The file meta group is written anew, and patients get their pseudonym.
SET_ANEW = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "PatientIdentityRemoved")


def listed() -> list[tuple[int, int]]:
    return [t for t in table() if len(t) == 2 and t[0] != 0x0002]


def full(tags: list[tuple[int, int]]) -> Dataset:
    """A data set with all of these attributes, each with a value that can be told again."""
    d = Dataset()
    for tag in tags:
        vr = dictionary_VR(tag) if dictionary_has_tag(tag) else "UN"
        if vr == "SQ":
            item = Dataset()
            item.PatientComments, item.TextValue, item.ReferencedSOPInstanceUID = "secret a", "secret b", "1.2.3.8765"
            d.add_new(tag, "SQ", [item])
        else:
            d.add_new(tag, vr, MARKS[vr])
    return d


def surviving(d: Dataset) -> list[str]:
    """Elements that still hold one of the marks."""
    found = []
    for element in d.iterall():
        if element.VR != "SQ" and element.value and any(element.value == m for m in MARKS.values()):
            found.append(f"{element.tag} {element.keyword}")
    return found


def test_the_table_is_the_whole_of_the_standards() -> None:
    assert len(listed()) > 600
    for keyword, action in (
        ("PatientName", Action.EMPTY), ("PatientAge", Action.REMOVE), ("SOPInstanceUID", Action.UID),
        ("InstitutionName", Action.DUMMY), ("SourceImageSequence", Action.REFERENCES),
    ):  # fmt: skip
        assert action_for(Tag(keyword)) is action
    assert action_for(Tag("PixelSpacing")) is None and action_for(Tag(0x0009, 0x1001)) is Action.REMOVE


@pytest.mark.parametrize("dates", ["remove", "shift"])
def test_no_value_of_any_listed_attribute_survives(key, dates) -> None:
    with disable_value_validation():
        d = full(listed())
        deidentify_attributes(d, key, dates)
    kept = surviving(d)
    if dates == "shift":  # times of day stay in that option
        kept = [k for k in kept if dictionary_VR(Tag(k.split(" ")[-1])) != "TM"]
    assert kept == []


def test_no_value_of_any_listed_attribute_survives_in_a_nested_item(key) -> None:
    with disable_value_validation():
        inner, outer = Dataset(), Dataset()
        inner.PurposeOfReferenceCodeSequence = [full(listed())]
        outer.RequestAttributesSequence, outer.ReferencedImageSequence = [full(listed())], [inner]
        outer.SharedFunctionalGroupsSequence = [inner]  # not listed: kept for what it holds
        deidentify_attributes(outer, key)
    assert surviving(outer) == []
    (item,) = outer.SharedFunctionalGroupsSequence[0].PurposeOfReferenceCodeSequence
    assert len(item) > 100


@pytest.mark.parametrize("tag", listed(), ids=lambda t: f"{t[0]:04X}{t[1]:04X}")
def test_each_attribute_is_removed_emptied_or_replaced_as_listed(key, tag) -> None:
    if keyword_for_tag(tag) in SET_ANEW:
        return
    with disable_value_validation():
        d = full([tag])
        deidentify_attributes(d, key)
    action, element = table()[tag], d.get(tag)
    if action is Action.REMOVE:
        assert element is None
    elif action is Action.EMPTY or (action is Action.DUMMY and element.VR == "SQ"):
        assert element.is_empty or element.VM == 0 or len(element.value) == 0
    elif action is Action.REFERENCES:
        assert element.value[0].ReferencedSOPInstanceUID == key.uid("1.2.3.8765") and len(element.value[0]) == 2
        assert element.value[0].TextValue == ""
    elif action is Action.UID:
        assert element.value == key.uid("1.2.3.8765")
    else:
        assert not element.is_empty and element.value not in MARKS.values()
