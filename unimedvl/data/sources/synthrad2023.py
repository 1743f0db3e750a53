"""SynthRAD2023 (Thummerer et al., Medical Physics 2023): MRI of brain and pelvis with the registered CT.

Task 1 is read, both ways: MRI to CT and CT to MRI.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from unimedvl.data.edits import edit_turns
from unimedvl.data.error import DataError
from unimedvl.data.record import Record
from unimedvl.data.slices import PERCENTILES, SLICES, Volume, find_volume, grey_png, middle, slice_count
from unimedvl.data.source import Fault, Item, Sample, Source, need, pictures

_LICENCE = "CC-BY-NC-4.0"
_REGIONS = {"brain": "B", "pelvis": "P"}
# Pictures and a table of the whole, beside the patients.
_OVERVIEW = "overview"
# Task, region, centre and number.
_ID = re.compile(r"1([BP])([A-C])\d{3}")
_WORDS = {"mr": "MRI", "ct": "CT"}
# Hounsfield units shown as black and white: the soft-tissue window, centre 40 and width 400.
CT_WINDOW = (-160.0, 240.0)
_WINDOWED = f"CT: {CT_WINDOW[0]:g} to {CT_WINDOW[1]:g} HU; MRI: {PERCENTILES}; black outside the mask"


def read(root: Path) -> Iterator[Item]:
    """The middle slices of each patient of task 1, both ways."""
    task = root / "Task1" if (root / "Task1").is_dir() else root
    need(task, *_REGIONS)
    for region in _REGIONS:
        for folder in sorted(f for f in (task / region).glob("*") if f.is_dir() and f.name != _OVERVIEW):
            try:
                yield from _patient(folder, region)
            except DataError as error:
                yield Fault(str(folder), str(error))


def _patient(folder: Path, region: str) -> Iterator[Sample]:
    """The records of one patient.

    Raises:
        DataError: the folder is no patient's, or a volume is missing. The archives for validation and test came
            without CT.
    """
    found = _ID.fullmatch(folder.name)
    if not found or found.group(1) != _REGIONS[region]:
        raise DataError(f"expected an id like 1{_REGIONS[region]}A001")
    volumes = {name: find_volume(folder, name) for name in ("mr", "ct", "mask")}
    counts = {name: slice_count(volume) for name, volume in volumes.items()}
    if len(set(counts.values())) > 1:
        raise DataError(f"expected as many slices in each, found {counts}")
    for index in middle(counts["ct"]):
        for before, after in (("mr", "ct"), ("ct", "mr")):
            yield _record(folder.name, region, found.group(2), volumes, index, before, after)


def _record(
    patient: str, region: str, centre: str, volumes: dict[str, Volume], index: int, before: str, after: str
) -> Sample:
    key = f"{patient}-{index:03d}-{before}-{after}"
    wishes = {"source": _WORDS[before], "target": _WORDS[after]}
    given, drawn = (pictures([f"{region}/{patient}/{name}-{index:03d}.png"]) for name in (before, after))
    told = {"region": region, "centre": centre, "slice": str(index), "intensities": _WINDOWED}
    record = Record(
        main_task_type="interleaved",
        sub_task_type="translation",
        modality={"mr": "mri", "ct": "ct"}[after],
        dataset="synthrad2023",
        input_img=given,
        output_img=drawn,
        message=edit_turns("translate", f"synthrad2023 {key}", **wishes),
        id=key,
        licence=_LICENCE,
        patient=patient,
        study=patient,
        split="train",
        attributes=wishes | told,
    )
    windows = {"ct": CT_WINDOW, "mr": None}
    # What lies outside the mask, such as the table, is in one of the two only.
    loads = (partial(grey_png, volumes[n], index, windows[n], volumes["mask"]) for n in (before, after))
    return Sample(record, tuple(loads))


SOURCE = Source(
    name="synthrad2023",
    title="SynthRAD2023",
    home="https://doi.org/10.5281/zenodo.7260705",
    licence=_LICENCE,
    access="open",
    modalities=("mri", "ct"),
    # 180 patients of each region, slices, both ways.
    expected={"train": 2 * 180 * SLICES * 2},
    read=read,
    notes="The modality of a record is that of the image to be drawn. Task 2, cone-beam CT to CT, is not read. The "
    "archives for validation and test came without CT.",
    tasks=("translation",),
)
