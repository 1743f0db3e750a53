"""MedMNIST+ (Yang et al., Scientific Data 2023): small images of twelve kinds, each to be told its class.

Images are read out of the archive as the walk goes: those of a split one after the other are quick to load, and others
cost the reading of all before them.
"""

from __future__ import annotations

import os
import re
import threading
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from unimedvl.data.error import DataError
from unimedvl.data.files import Rows
from unimedvl.data.record import Record
from unimedvl.data.reports import split_named
from unimedvl.data.slices import png
from unimedvl.data.source import Fault, Item, Sample, Source, answer, pictures, question, samples

_SPLITS = ("train", "val", "test")
_NAME = re.compile(r"(\w+?mnist)(3d)?(?:_(?:64|128|224))?")
# What a broken archive raises, and an array that isn't what its name says.
_BROKEN = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class _Set:
    """A set: its modality, what is asked, and its classes in order. several: an image may have any number of them."""

    modality: str
    asked: str
    classes: tuple[str, ...]
    licence: str = "CC-BY-4.0"
    several: bool = False


_ORGANS = ("bladder", "left femur", "right femur", "heart", "left kidney", "right kidney", "liver", "left lung",
           "right lung", "pancreas", "spleen")  # fmt: skip
_ORGAN = "Which organ is in the middle of this {} CT slice?"
# By the flag of the set. Classes are in the order of the labels, as in medmnist/info.py.
SETS = {
    "pathmnist": _Set("his", "Which tissue is shown?", (
        "adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa",
        "cancer-associated stroma", "colorectal adenocarcinoma epithelium",
    )),
    "chestmnist": _Set("cxr", "Which of the 14 findings are shown?", (
        "atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax",
        "consolidation", "edema", "emphysema", "fibrosis", "pleural thickening", "hernia",
    ), several=True),
    "dermamnist": _Set("dermoscopy", "Which skin lesion is shown?", (
        "actinic keratosis or intraepithelial carcinoma", "basal cell carcinoma", "benign keratosis-like lesion",
        "dermatofibroma", "melanoma", "melanocytic nevus", "vascular lesion",
    ), licence="CC-BY-NC-4.0"),
    "octmnist": _Set("oct", "What does this retina show?", (
        "choroidal neovascularization", "diabetic macular edema", "drusen", "normal",
    )),
    "pneumoniamnist": _Set("cxr", "Is this chest normal, or does it show pneumonia?", ("normal", "pneumonia")),
    "retinamnist": _Set("cfp", "Which grade of diabetic retinopathy is shown, from 0 to 4?", (
        "grade 0", "grade 1", "grade 2", "grade 3", "grade 4",
    )),
    # Unlike in the other sets, the disease is class 0.
    "breastmnist": _Set("us", "Is this breast lesion malignant?", ("malignant", "normal or benign")),
    "bloodmnist": _Set("mixed", "Which blood cell is shown?", (
        "basophil", "eosinophil", "erythroblast", "immature granulocyte", "lymphocyte", "monocyte", "neutrophil",
        "platelet",
    )),
    "tissuemnist": _Set("mixed", "Which kind of kidney cell is shown?", (
        "collecting duct or connecting tubule", "distal convoluted tubule", "glomerular endothelial cell",
        "interstitial endothelial cell", "leukocyte", "podocyte", "proximal tubule segment", "thick ascending limb",
    )),
    "organamnist": _Set("ct", _ORGAN.format("axial"), _ORGANS),
    "organcmnist": _Set("ct", _ORGAN.format("coronal"), _ORGANS),
    "organsmnist": _Set("ct", _ORGAN.format("sagittal"), _ORGANS),
}  # fmt: skip


def read(root: Path) -> Iterator[Item]:
    """Every image of every two-dimensional set of the folder, in each of the sizes that are there."""
    files = sorted(root.glob("*.npz"))
    if not files:
        raise DataError(f"{root}: expected files such as pathmnist_224.npz in it, found none")
    for file in files:
        found = _NAME.fullmatch(file.stem)
        if not found or found.group(2) or found.group(1) not in SETS:
            wrong = "a set of volumes, which is not read" if found and found.group(2) else "no set of MedMNIST"
            yield Fault(str(file), f"{wrong}; expected one of {', '.join(SETS)}")
            continue
        for split in _SPLITS:
            try:
                stack = Stack(file, f"{split}_images")
                rows = _labels(file, split, stack)
            except DataError as error:
                yield Fault(str(file), str(error))
                continue
            yield from samples(rows, partial(_record, stack=stack, flag=found.group(1), split=split))


def _labels(file: Path, split: str, stack: Stack) -> Rows:
    """The labels of each image of a split.

    Raises:
        DataError: they can't be read, or are more or fewer than the images.
    """
    name = f"{split}_labels"
    try:
        with np.load(file, allow_pickle=False) as archive:
            labels = archive[name]
    except _BROKEN as error:
        raise DataError(f"{name}: can't be read: {error}") from error
    if labels.ndim not in (1, 2) or len(labels) != len(stack) or labels.dtype.kind not in "iu":
        raise DataError(f"{name}: expected {len(stack)} rows of whole numbers, found {labels.dtype} {labels.shape}")
    rows = labels.reshape(len(labels), -1)
    return ((f"{file}: {split} {i}", {"index": i, "labels": [int(x) for x in row]}) for i, row in enumerate(rows))


def _record(row: dict, stack: Stack, flag: str, split: str) -> Sample:
    kind = SETS[flag]
    key = f"{stack.file.stem}-{split}-{row['index']}"
    record = Record(
        main_task_type="understanding",
        sub_task_type="classification",
        modality=kind.modality,
        dataset="medmnist",
        input_img=pictures([f"{key}.png"]),
        message=(question(kind.asked), answer(_named(row["labels"], kind))),
        id=key,
        licence=kind.licence,
        split=split_named(split),
        attributes={"set": flag, "label": " ".join(map(str, row["labels"]))},
    )
    return Sample(record, (partial(stack.png, row["index"]),))


def _named(labels: list[int], kind: _Set) -> str:
    """The labels in words.

    Raises:
        DataError: a label is none of the set's.
    """
    if kind.several:
        if len(labels) != len(kind.classes) or not set(labels) <= {0, 1}:
            raise DataError(f"label: expected {len(kind.classes)} of 0 and 1, found {labels}")
        shown = [name for name, label in zip(kind.classes, labels, strict=True) if label]
        return (", ".join(shown) or "none of them").capitalize() + "."
    if len(labels) != 1 or not 0 <= labels[0] < len(kind.classes):
        raise DataError(f"label: expected one of 0 to {len(kind.classes) - 1}, found {labels}")
    return kind.classes[labels[0]].capitalize() + "."


class Stack:
    """The images of one array of an archive, [N, H, W] or [N, H, W, 3] uint8, of which one at a time is in memory."""

    def __init__(self, file: Path, name: str) -> None:
        """Raises DataError where the archive can't be read, or the array is another."""
        self.file, self.name = file, name
        self._lock = threading.Lock()
        self._member: zipfile.ZipExtFile | None = None
        self._process = os.getpid()
        try:
            with self._open() as member:
                version = np.lib.format.read_magic(member)
                header = getattr(np.lib.format, f"read_array_header_{version[0]}_{version[1]}")(member)
                self._start = member.tell()
        except (*_BROKEN, AttributeError) as error:
            raise DataError(f"{name}: can't be read: {error}") from error
        self._shape, fortran, kind = header
        flat = len(self._shape) == 3 or (len(self._shape) == 4 and self._shape[3] == 3)
        if fortran or kind != np.uint8 or not flat:
            raise DataError(f"{name}: expected uint8 of N x H x W or N x H x W x 3, found {kind} {self._shape}")

    def __len__(self) -> int:
        return self._shape[0]

    def png(self, index: int) -> bytes:
        """One image as PNG. Raises DataError where it can't be read."""
        size = int(np.prod(self._shape[1:]))
        try:
            with self._lock:
                # Kept open, so that the next image is found without reading those before it again. A process that
                # was forked would share the place in the file with its parent.
                if self._member is None or self._process != os.getpid():
                    self._member, self._process = self._open(), os.getpid()
                self._member.seek(self._start + index * size)
                data = self._member.read(size)
        except _BROKEN as error:
            self._member = None
            raise DataError(f"{self.file}: {self.name} {index}: {getattr(error, 'strerror', None) or error}") from error
        if len(data) < size:
            raise DataError(f"{self.file}: {self.name} {index}: {len(data)} of {size} bytes are there")
        return png(np.frombuffer(data, np.uint8).reshape(self._shape[1:]))

    def _open(self) -> zipfile.ZipExtFile:
        return zipfile.ZipFile(self.file).open(f"{self.name}.npy")


SOURCE = Source(
    name="medmnist",
    title="MedMNIST+",
    home="https://medmnist.com",
    licence="CC-BY-4.0; of DermaMNIST CC-BY-NC-4.0",
    access="open",
    modalities=("his", "cxr", "dermoscopy", "oct", "cfp", "us", "ct", "mixed"),
    # All twelve sets, in one size.
    expected={"train": 518175, "validation": 70467, "test": 119320},
    read=read,
    notes="The two-dimensional sets, in whichever sizes are there: 28, 64, 128 or 224 pixels. Each size has the same "
    "images, so take one. The modality of blood cells and of kidney cells, which are micrographs, is mixed.",
    tasks=("classification",),
)
