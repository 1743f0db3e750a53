"""H&E to HER2 immunohistochemistry of a level."""

from __future__ import annotations

from collections.abc import Mapping

from unimedvl.data.error import DataError
from unimedvl.data.interleaved.task import InterleavedTask
from unimedvl.data.interleaved.wording import Wording
from unimedvl.data.record import Record
from unimedvl.tasks import HER2_LEVELS

# What the levels mean for the membranes of tumour cells (ASCO/CAP guideline, 2018), without its percentages.
_MEANING = {
    "0": "no membrane staining, or hardly any",
    "1+": "faint and incomplete membrane staining",
    "2+": "weak to moderate membrane staining that is complete",
    "3+": "intense membrane staining that is complete",
}


def _told(record: Record) -> Mapping[str, str]:
    level = record.attributes.get("her2", "")
    if level and level not in _MEANING:
        raise DataError(f"{record.dataset} {record.id}: her2: expected {', '.join(HER2_LEVELS)}, found {level!r}")
    return record.attributes | {"meaning": _MEANING.get(level, "")}


STAINING = InterleavedTask(
    name="staining",
    sub_task_type="staining",
    wishes=("her2", "meaning"),
    wording=Wording(
        requests=(
            "(Please |)stain this H&E (image|section) for HER2 at level {her2}.",
            "(Make|Show|Draw) the HER2 (stain|immunohistochemistry) of this H&E (image|section), level {her2}.",
            "Turn this H&E (image|section) into HER2 immunohistochemistry of level {her2}.",
            "How would this H&E (image|section) look, stained for HER2 at level {her2}?",
        ),
        replies=(
            "Here is the HER2 (stain|image) at level {her2}: {meaning}.",
            "This is the (section|same field) in HER2 immunohistochemistry, level {her2}, with {meaning}.",
            "HER2 level {her2} means {meaning}; here is the (stain|image).",
        ),
    ),
    kept=("her2",),
    aligned=True,
    complete=_told,
)
