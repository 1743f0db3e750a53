"""Train, validation and test by patient: who shares a patient, a study or an image is in one split.

Evaluation splits of the sources stay as they are. What would bring one of their patients or images into training is
left out. Everything else goes by a hash of the seed and the group's patients, so that the order of records, and
records that are added of others, change nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from unimedvl.data.duplicates.groups import connected
from unimedvl.data.duplicates.images import BY, ImageGroups
from unimedvl.data.duplicates.prints import EVALUATION, SPLITS, Prints
from unimedvl.data.duplicates.report import Dropped, Report, make_report
from unimedvl.data.record import Decision, Split

LEAK = "shared-with-evaluation"


class SplitSettings(BaseModel):
    """validation, test: the part of groups that goes there. seed: another one draws others.
    keep_train: whether groups with records that their source puts into training go there as a whole.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    validation: float = Field(default=0.05, ge=0, le=1)
    test: float = Field(default=0.05, ge=0, le=1)
    seed: int = 0
    keep_train: bool = True

    @model_validator(mode="after")
    def _fits(self) -> SplitSettings:
        if self.validation + self.test > 1:
            raise ValueError(f"validation and test are {self.validation} and {self.test}; together at most 1")
        return self


@dataclass(frozen=True)
class Splits:
    """split: [records], the place in `prints.SPLITS`, 0 where the record is left out. group: [records], the first
    record of its group. because: [records], the evaluation record that it shares with where it is left out, else -1.
    torn: groups whose evaluation records lie in both validation and test, which is how their sources have them.
    """

    split: np.ndarray
    group: np.ndarray
    because: np.ndarray
    torn: int

    def name(self, record: int) -> Split | None:
        """None where the record is left out."""
        return SPLITS[self.split[record]]

    def decision(self, record: int, prints: Prints) -> Decision:
        """What is written of a record, whether it is left out or not."""
        other = int(self.because[record])
        if other < 0:
            return Decision(rule="split", kept=True, by=BY)
        reason = f"shares a patient, study or image with {prints.name(other)}, of an evaluation split"
        return Decision(rule=LEAK, kept=False, by=BY, reason=reason)


def split_records(prints: Prints, images: ImageGroups, settings: SplitSettings | None = None) -> Splits:
    """A split for every record."""
    settings = settings or SplitSettings()
    group = _groups(prints, images)
    own = prints.split
    split, because = own.copy(), np.full(len(prints), -1)
    evaluation = np.isin(own, [SPLITS.index(s) for s in EVALUATION])
    # By group: the first evaluation record, whether there is a training record, and the group's key.
    held = _first_where(evaluation, group)
    trained = np.isin(group, group[own == SPLITS.index("train")]) & settings.keep_train
    free = ~evaluation
    leaking = free & (held >= 0)
    split[leaking], because[leaking] = 0, held[leaking]
    split[free & ~leaking & trained] = SPLITS.index("train")
    drawn = np.flatnonzero(free & ~leaking & ~trained)
    key = _keys(prints, images, group)
    made: dict[int, int] = {}
    for record in drawn.tolist():
        first = int(group[record])
        if first not in made:
            made[first] = SPLITS.index(draw(int(key[first]), settings))
        split[record] = made[first]
    both = [np.unique(group[own == SPLITS.index(s)]) for s in EVALUATION]
    return Splits(split, group, because, torn=len(np.intersect1d(*both)))


def draw(key: int, settings: SplitSettings) -> Split:
    """The split of a group: its place in [0, 1) is the SHA-256 of seed and key."""
    hashed = hashlib.sha256(f"{settings.seed}:{key}".encode()).digest()
    place = int.from_bytes(hashed[:8], "big") / 2**64
    if place < settings.test:
        return "test"
    return "validation" if place < settings.test + settings.validation else "train"


def _groups(prints: Prints, images: ImageGroups) -> np.ndarray:
    """Records linked over any steps by a patient, by a study where the patient is unknown, or by an image; equal pixels
    link whoever's they are.
    """
    columns = [_known(prints.person), _known(prints.study)]
    columns += [np.stack([prints.owner, found], axis=1) for found in (images.group, images.same)]
    return connected(len(prints), *columns)


def _known(keys: np.ndarray) -> np.ndarray:
    """[M, 2] of (record, key), of the keys that are not 0."""
    there = np.flatnonzero(keys)
    return np.stack([there.astype(np.uint64), keys[there]], axis=1)


def _first_where(chosen: np.ndarray, group: np.ndarray) -> np.ndarray:
    """[records]: the first chosen record of each one's group, or -1."""
    found = np.full(len(group), -1)
    numbers = np.flatnonzero(chosen)[::-1]
    found[group[numbers]] = numbers
    return found[group]


def _keys(prints: Prints, images: ImageGroups, group: np.ndarray) -> np.ndarray:
    """[records] uint64, where a group's key stands at its first record: the least of its patients' keys; without
    patients of its studies', without those of its images', else of its texts'.
    """
    most = np.uint64(2**64 - 1)
    found = np.full(len(prints), most)
    pixels = np.full(len(prints), 0, dtype=np.uint64)
    if len(prints.owner):
        least = np.full(len(prints), most)
        np.minimum.at(least, prints.owner, prints.pixels)
        pixels = np.where(least == most, 0, least)
    for keys in (prints.person, prints.study, pixels, prints.text):
        best = np.full(len(prints), most)
        there = keys != 0
        np.minimum.at(best, group[there], keys[there])
        found = np.where(found == most, best, found)
    return found


def splits_report(prints: Prints, splits: Splits) -> Report:
    """Records by source and split, and what was left out."""
    names = prints.dataset_names
    of = [names[d] for d in prints.dataset.tolist()]
    table = {name: dict.fromkeys((s for s in SPLITS if s), 0) for name in names}
    for name, split in zip(of, splits.split.tolist(), strict=True):
        if split:
            table[name][SPLITS[split]] += 1
    notes = {
        "groups": len(np.unique(splits.group)),
        "groups in validation and test of their sources": splits.torn,
    }
    return make_report(
        "Splits", of, _left_out(prints, splits), notes=notes, tables={"Records by split": table}
    )


def _left_out(prints: Prints, splits: Splits) -> Iterator[tuple[int, Dropped]]:
    for record in np.flatnonzero(splits.because >= 0).tolist():
        reason = splits.decision(record, prints).reason
        yield record, Dropped(record=prints.name(record), rule=LEAK, reason=reason)
