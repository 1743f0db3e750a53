"""BraTS 2023 (Baid et al., arXiv 2107.02314, and the challenges that followed): MRI of brain tumours, with their parts.

Three kinds of records are made of a case: T2 to FLAIR, FLAIR to T2, and the mask of each part of the tumour.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from unimedvl.data.edits import edit_turns
from unimedvl.data.error import DataError
from unimedvl.data.record import Message, Record
from unimedvl.data.slices import (
    PERCENTILES,
    Volume,
    find_volume,
    grey_png,
    label_count,
    labels,
    mask_png,
    middle,
    slice_count,
)
from unimedvl.data.source import Fault, Item, Load, Sample, Source, pictures

_LICENCE = "as agreed to at registration with Synapse"
_SETS = {"Training": "train", "Validation": "validation"}
# Patient and time point.
_CASE = re.compile(r"(BraTS-(GLI|MEN|MET|PED|SSA)-\d{5})-\d{3}")
_SEQUENCES = {"t2w": "T2", "t2f": "FLAIR", "t1c": "contrast-enhanced T1"}
# Label: its name, and the sequence on which it is seen best. Releases before 2023 call 4 what is 3 here.
_PARTS = {
    1: ("necrotic or non-enhancing tumour core", "t1c"),
    2: ("oedema around the tumour", "t2f"),
    3: ("enhancing tumour", "t1c"),
}
# Slices of a case for each part: those that show most of it.
_PART_SLICES = 2
# A path and what loads it.
_Image = tuple[str, Load]


def read(root: Path) -> Iterator[Item]:
    """The cases of every challenge below the folder: those of its training data, then those for validation."""
    cases = {f: split for word, split in _SETS.items() for f in _cases(root, word)}
    if not cases:
        raise DataError(f"{root}: expected ASNR-MICCAI-BraTS2023-GLI-Challenge-TrainingData/ or its like, found none")
    for folder, split in cases.items():
        found = _CASE.fullmatch(folder.name)
        if not found:
            yield Fault(str(folder), "expected a case like BraTS-GLI-00012-000")
            continue
        for make in (_translations, *([_parts] if split == "train" else [])):
            try:
                yield from make(folder, _about(found, split))
            except DataError as error:
                yield Fault(str(folder), str(error))


def _cases(root: Path, word: str) -> list[Path]:
    """The cases' folders of the training or validation data; `root` may be that folder itself."""
    pattern = f"ASNR-MICCAI-BraTS2023-*-Challenge-{word}Data*"
    places = [root] if root.match(pattern) else sorted(root.glob(pattern))
    return [f for place in places for f in sorted(place.iterdir()) if f.is_dir()]


def _about(found: re.Match[str], split: str) -> dict:
    """What the records of a case have in common."""
    patient, challenge = found.groups()
    about = {"main_task_type": "interleaved", "modality": "mri", "dataset": "brats2023", "licence": _LICENCE}
    told = {"challenge": challenge, "intensities": PERCENTILES}
    return about | {"patient": patient, "study": found.group(), "split": split, "attributes": told}


def _translations(folder: Path, about: dict) -> Iterator[Sample]:
    """T2 to FLAIR and back, of the middle slices."""
    volumes = {name: find_volume(folder, f"{folder.name}-{name}") for name in ("t2w", "t2f")}
    for index in middle(min(map(slice_count, volumes.values()))):
        images = {n: (_path(folder, n, index), partial(grey_png, v, index)) for n, v in volumes.items()}
        for before, after in (("t2w", "t2f"), ("t2f", "t2w")):
            key = f"{folder.name}-{index:03d}-{before}-{after}"
            wishes = {"source": _SEQUENCES[before], "target": _SEQUENCES[after]}
            turns = edit_turns("translate", f"brats2023 {key}", **wishes)
            told = wishes | {"slice": str(index)}
            yield _sample(about, "translation", key, turns, told, images[before], images[after])


def _parts(folder: Path, about: dict) -> Iterator[Sample]:
    """The mask of each part that the case has, in the slices that show most of it.

    Raises:
        DataError: a volume is missing, or a label is none of 1 to 3.
    """
    segmentation = find_volume(folder, f"{folder.name}-seg")
    found = labels(segmentation)
    if unknown := [str(label) for label in found if label not in _PARTS]:
        raise DataError(f"{segmentation}: expected the labels 1, 2 and 3, found {', '.join(unknown)}")
    for label in found:
        name, sequence = _PARTS[label]
        volume = find_volume(folder, f"{folder.name}-{sequence}")
        for index in _fullest(segmentation, label):
            key = f"{folder.name}-{index:03d}-{sequence}-label{label}"
            turns = edit_turns("segment", f"brats2023 {key}", target=name)
            told = {"label": str(label), "target": name, "source": _SEQUENCES[sequence], "slice": str(index)}
            given = (_path(folder, sequence, index), partial(grey_png, volume, index))
            drawn = (f"{folder.name}/{key}.png", partial(mask_png, segmentation, index, label))
            yield _sample(about, "segmentation", key, turns, told, given, drawn)


def _fullest(segmentation: Volume, label: int) -> list[int]:
    """The slices with most voxels of a label, from the feet up."""
    counts = label_count(segmentation, label)
    order = sorted(range(len(counts)), key=lambda i: (-counts[i], i))[:_PART_SLICES]
    return sorted(i for i in order if counts[i])


def _path(folder: Path, sequence: str, index: int) -> str:
    return f"{folder.name}/{folder.name}-{sequence}-{index:03d}.png"


def _sample(
    about: dict, task: str, key: str, turns: tuple[Message, Message], told: dict[str, str], given: _Image, drawn: _Image
) -> Sample:
    record = Record(
        **about | {"attributes": about["attributes"] | told},
        sub_task_type=task,
        id=key,
        input_img=pictures([given[0]]),
        output_img=pictures([drawn[0]]),
        message=turns,
    )
    return Sample(record, (given[1], drawn[1]))


SOURCE = Source(
    name="brats2023",
    title="BraTS 2023",
    home="https://www.synapse.org/brats2023",
    licence=_LICENCE,
    access="registration",
    modalities=("mri",),
    expected={"train": None, "validation": None},
    read=read,
    notes="Several studies may be of one patient: split by patient. The validation data has no segmentation. Training "
    "cases: GLI 1,251, MEN 1,000, MET 238, PED 99, SSA 60.",
    tasks=("translation", "segmentation"),
)
