"""What data sets of reports share: how a report becomes turns, the 14 labels of CheXpert, and words for splits."""

from __future__ import annotations

import re
from collections.abc import Mapping

from unimedvl.data.error import DataError
from unimedvl.data.record import Message
from unimedvl.data.source import answer, question, words

# What stands for a removed word: XXXX in Open-i, underscores in MIMIC-CXR.
_REMOVED = re.compile(r"_{2,}|\bX{2,}\b")
# The sections that make a report.
WANTED = ("Findings", "Impression")
_HEADING = re.compile(r"^[ \t]*([A-Z][A-Z ()/,&-]*):(?=\s|$)", re.MULTILINE)
# A full line of underscores closes an addendum; three of them are a removed word.
RULE = re.compile(r"^[ \t]*_{10,}[ \t]*$", re.MULTILINE)
_BLANK_LINE = re.compile(r"\n[ \t\r]*\n")
LABELS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture",
          "Lung Lesion", "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia",
          "Pneumothorax", "Support Devices")  # fmt: skip
_KINDS = {"1": "positive", "0": "negative", "-1": "uncertain"}
# Not stated: an empty cell, null, or -100 in ICG-CXR.
_UNSTATED = ("", "-100")
_SPLITS = {"train": "train", "test": "test"} | dict.fromkeys(("val", "valid", "validate", "validation"), "validation")


def plain(text: str) -> str:
    """A text on one line; empty where nothing but removed words, digits and signs is left of it."""
    line = " ".join(text.split())
    return line if re.search(r"[^\W\d_]", _REMOVED.sub("", line)) else ""


def report_turns(sections: Mapping[str, str], images: int) -> tuple[Message, Message]:
    """The request for a report, and the report as `Findings: ... Impression: ...`, of the sections that have text.

    sections: by name as they are to stand; a section without a name stands by itself.
    images: how many the study has.

    Raises:
        DataError: no section has text.
    """
    said = {name: text for name, text in ((n, plain(t)) for n, t in sections.items()) if text}
    if not said:
        wanted = " or ".join(name.lower() or "text" for name in sections)
        raise DataError(f"no usable report: expected {wanted}, found neither or only removed words")
    named = " and ".join(name.lower() for name in said if name) or "report"
    whole = " ".join(f"{name}: {text}" if name else text for name, text in said.items())
    return question(f"Write the {named} of this study.", images), answer(whole)


def report_sections(text: str) -> dict[str, str]:
    """What a report says: its last Findings and Impression that have text.

    Without either, it is what follows the first blank line of the last section, as `Last paragraph`; without that,
    the last `Comparison`, where some reports have what was seen. Empty where there is nothing. The order is that of
    the data set's own `create_section_files.py`. Left out here: addenda, which stand above the report, and findings
    and impressions of which only removed words are there.
    """
    body = next((part for part in reversed(RULE.split(text)) if plain(part)), "")
    # Text before the first heading, then headings and texts by turns.
    before, *pieces = _HEADING.split(body)
    found: dict[str, str] = {}
    last = before
    for heading, said in zip(pieces[::2], pieces[1::2], strict=True):
        name = _section(heading)
        # An empty one of these is passed over, as if it weren't there.
        if plain(said) or name not in WANTED:
            last = said
            found[name] = plain(said) or found.get(name, "")
    if any(name in found for name in WANTED):
        return {name: found[name] for name in WANTED if name in found}
    if rest := plain("".join(_BLANK_LINE.split(last, maxsplit=1)[1:])):
        return {"Last paragraph": rest}
    return {"Comparison": found["Comparison"]} if found.get("Comparison") else {}


def _section(heading: str) -> str:
    """The section that a heading opens; empty for those that aren't used. Both in one are findings."""
    for mark, name in (("FINDING", "Findings"), ("IMPRESSION", "Impression"), ("CONCLUSION", "Impression")):
        if mark in heading:
            return name
    return "Comparison" if heading.startswith("COMPARISON") else ""


def labels(row: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """The labels that are stated, as attributes `positive`, `negative` and `uncertain`: names joined by commas.

    row: 1, 0, -1 or nothing under each of the 14 names; names that it doesn't have are not stated.

    Raises:
        DataError: a value is none of these.
    """
    stated: dict[str, list[str]] = {kind: [] for kind in _KINDS.values()}
    for name in LABELS:
        found = words(row, name) if name in row else ""
        number = re.sub(r"\.0+$", "", found)
        if number in _UNSTATED:
            continue
        if number not in _KINDS:
            raise DataError(f"{name}: expected 1, 0, -1 or nothing, found {found!r}")
        stated[_KINDS[number]].append(name)
    return {prefix + kind: ", ".join(names) for kind, names in stated.items() if names}


def split_named(word: str) -> str:
    """The split that a data set calls by this word.

    Raises:
        DataError: it is none.
    """
    if word not in _SPLITS:
        raise DataError(f"split: expected {', '.join(_SPLITS)}, found {word!r}")
    return _SPLITS[word]
