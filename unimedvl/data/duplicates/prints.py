"""What is kept of every record, in columns of some 250 bytes a record, to find duplicates and leakage by."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from unimedvl.data.duplicates.hashes import (
    BANDS,
    ImageHash,
    TextHash,
    decode,
    hash_image,
    hash_text,
    short_key,
)
from unimedvl.data.duplicates.likeness import thumbnail
from unimedvl.data.error import DataError
from unimedvl.data.record import Record, Split
from unimedvl.data.shards import embed
from unimedvl.data.source import Fault, Sample

SPLITS: tuple[Split | None, ...] = (None, "train", "validation", "test")
EVALUATION = ("validation", "test")


class RecordPrint(BaseModel):
    """One record's: who it is, whose, and the hashes of its images and its text. It is JSON for a page of a stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    id: str
    split: Split | None = None
    patient: str = ""
    study: str = ""
    inputs: int = Field(ge=0)
    images: tuple[ImageHash, ...] = ()
    text: TextHash


def print_of(record: Record, images: Sequence[ImageHash]) -> RecordPrint:
    """images: hashes in the order of `record.pictures`. Raises DataError where there are more or fewer."""
    if len(images) != len(record.pictures):
        raise DataError(f"{len(images)} hashes for {len(record.pictures)} pictures of the record")
    return RecordPrint(
        dataset=record.dataset, id=record.id, split=record.split, patient=record.patient, study=record.study,
        inputs=len(record.input_img), images=tuple(images), text=hash_text(record.text),
    )  # fmt: skip


def print_sample(sample: Sample) -> RecordPrint:
    """A sample's print; its images are loaded and decoded once.

    Raises:
        DataError: an image can't be loaded or decoded.
    """
    record, images = embed(sample)
    named = zip(images, record.pictures, strict=True)
    return print_of(record, [hash_image(data, picture.path) for data, picture in named])


class Prints:
    """The prints of many records. Records are numbered from 0 as they are added, and so are images.

    cohorts: by data set, whose names its patients bear, where that is not its own; of two data sets of one cohort,
    patients of one name are one.
    """

    def __init__(self, cohorts: Mapping[str, str] | None = None) -> None:
        self._cohort_of = dict(cohorts or {})
        self._names, self._ends = bytearray(), array("Q", [0])
        self._datasets: dict[str, int] = {}
        self._cohorts: dict[str, int] = {}
        self._numbers = {name: array("H") for name in ("dataset", "cohort", "inputs")}
        self._splits = array("B")
        self._keys = {name: array("Q") for name in ("person", "study", "text")}
        self._words = array("I")
        self._bands = array("Q")
        self._firsts = array("I", [0])  # of each record's images, and the end
        self._images = {name: array("Q") for name in ("pixels", "perceptual")}

    def __len__(self) -> int:
        return len(self._splits)

    def add(self, one: RecordPrint) -> int:
        """Add a record's print; returns its number."""
        cohort = self._cohort_of.get(one.dataset, one.dataset)
        self._names += one.id.encode()
        self._ends.append(len(self._names))
        self._numbers["dataset"].append(self._datasets.setdefault(one.dataset, len(self._datasets)))
        self._numbers["cohort"].append(self._cohorts.setdefault(cohort, len(self._cohorts)))
        self._numbers["inputs"].append(one.inputs)
        self._splits.append(SPLITS.index(one.split))
        self._keys["person"].append(_key(cohort, one.patient))
        self._keys["study"].append(0 if one.patient else _key(cohort, one.study))
        self._keys["text"].append(int(one.text.exact[:16], 16))
        self._words.append(one.text.words)
        self._bands.extend(one.text.bands or (0,) * BANDS)
        for image in one.images:
            self._images["pixels"].append(int(image.pixels[:16], 16))
            self._images["perceptual"].append(image.perceptual)
        self._firsts.append(len(self._images["pixels"]))
        return len(self) - 1

    def name(self, record: int) -> str:
        """Data set and id of a record, as reports call it."""
        return f"{self.dataset_names[self._numbers['dataset'][record]]} {self.id(record)}"

    def id(self, record: int) -> str:
        return self._names[self._ends[record] : self._ends[record + 1]].decode()

    def place(self, image: int) -> tuple[int, int]:
        """The record of an image, and which of the record's images it is."""
        record = bisect_right(self._firsts, image) - 1
        return record, image - self._firsts[record]

    def first(self, record: int) -> int:
        """The number of a record's first image."""
        return self._firsts[record]

    @property
    def dataset_names(self) -> list[str]:
        return list(self._datasets)

    @property
    def dataset(self) -> np.ndarray:
        """[records]: the number of the data set."""
        return np.array(self._numbers["dataset"])

    @property
    def cohort(self) -> np.ndarray:
        """[records]: the number of the cohort."""
        return np.array(self._numbers["cohort"])

    @property
    def person(self) -> np.ndarray:
        """[records] uint64: of cohort and patient, 0 where unknown."""
        return np.array(self._keys["person"])

    @property
    def study(self) -> np.ndarray:
        """[records] uint64: of cohort and study, 0 where unknown. It is 0 too where the patient is known: a study is
        the patient's, and some sources number the studies of each patient from 1.
        """
        return np.array(self._keys["study"])

    @property
    def text(self) -> np.ndarray:
        """[records] uint64: of the text's words."""
        return np.array(self._keys["text"])

    @property
    def words(self) -> np.ndarray:
        """[records]: how many words the text has."""
        return np.array(self._words)

    @property
    def bands(self) -> np.ndarray:
        """[records, bands] uint64: keys of MinHash; 0 of a text without words."""
        return np.array(self._bands).reshape(-1, BANDS)

    @property
    def inputs(self) -> np.ndarray:
        """[records]: how many of the images are inputs."""
        return np.array(self._numbers["inputs"])

    @property
    def firsts(self) -> np.ndarray:
        """[records + 1]: the number of each record's first image; the last is how many images there are."""
        return np.frombuffer(self._firsts.tobytes(), dtype=np.uint32).astype(np.int64)

    @property
    def split(self) -> np.ndarray:
        """[records]: the source's split, as its place in `SPLITS`."""
        return np.array(self._splits)

    @property
    def owner(self) -> np.ndarray:
        """[images]: the record of each image."""
        return np.repeat(np.arange(len(self)), np.diff(self.firsts))

    @property
    def pixels(self) -> np.ndarray:
        """[images] uint64: of the picture, however encoded."""
        return np.array(self._images["pixels"])

    @property
    def perceptual(self) -> np.ndarray:
        """[images] uint64: perceptual hashes."""
        return np.array(self._images["perceptual"])


def _key(cohort: str, name: str) -> int:
    if not name:
        return 0
    return short_key(hashlib.sha256(f"{cohort}\n{name}".encode()).digest())


def loaders(
    sample_of: Callable[[int], Sample], prints: Prints
) -> tuple[Callable[[int], np.ndarray], Callable[[int], str]]:
    """What `group_images` and `group_texts` ask for thumbnails and texts with.

    sample_of: the sample of a record, by its number in the prints.
    """

    def look(number: int) -> np.ndarray:
        record, place = prints.place(number)
        name = f"{prints.name(record)}: image {place}"
        return thumbnail(decode(sample_of(record).images[place](), name))

    return look, lambda record: sample_of(record).record.text


def take_prints(
    samples: Iterable[Sample], cohorts: Mapping[str, str] | None = None
) -> tuple[Prints, list[Fault]]:
    """The prints of samples in order, and those that can't be used: they have no number."""
    prints, faults = Prints(cohorts), []
    for sample in samples:
        try:
            prints.add(print_sample(sample))
        except DataError as error:
            faults.append(Fault(f"{sample.record.dataset} {sample.record.id}", str(error)))
    return prints, faults
