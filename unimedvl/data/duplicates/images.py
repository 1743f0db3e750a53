"""Groups of the same image: equal pixels, or alike by perceptual hash and confirmed by a look at both, of which most
pairs of different pictures need no more than a quick one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from unimedvl.data.duplicates.buckets import Unlooked, near_codes
from unimedvl.data.duplicates.groups import Apart, first_of
from unimedvl.data.duplicates.hashes import VERSION
from unimedvl.data.duplicates.likeness import LikenessSettings, compare
from unimedvl.data.duplicates.prints import Prints
from unimedvl.data.duplicates.screen import looks_of, may_be_same
from unimedvl.data.error import DataError
from unimedvl.data.source import Fault

BY = f"unimedvl.data.duplicates {VERSION}"
# The thumbnail of an image, by its number in the prints.
LoadThumbnail = Callable[[int], np.ndarray]
_HELD = 2048  # thumbnails in memory: 8 MiB
_AHEAD = 256  # pairs of which a quick look is taken at once


class ImageSettings(BaseModel):
    """distance: bits of 64 in which perceptual hashes of the same image may differ. Re-encoding and resizing change up
    to 4, a crop of 2% of each side some 8; the search takes longer with each.
    window: images of one key that each is searched among. looks: pairs of each image that are compared pixel by pixel,
    at most, those of nearer hashes first; it bounds the time among images that all look alike. likeness: what
    confirms a pair.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    distance: int = Field(default=8, ge=0, le=16)
    window: int = Field(default=4096, gt=0)
    looks: int = Field(default=64, gt=0)
    likeness: LikenessSettings = LikenessSettings()


@dataclass(frozen=True)
class Link:
    """Two images that were confirmed to be one picture, by their numbers, and how alike they are."""

    one: int
    other: int
    correlation: float


@dataclass
class ImageGroups:
    """group: [images], the first image of each one's group; no group has two patients of one cohort.
    same: [images], the first image with these very pixels, whoever's it is.
    links: what joined images of unequal pixels. compared: pairs that were looked at, if only quickly.
    apart: pairs that would be one picture, of two patients. unlooked: pairs passed over, as `window` and `looks` say.
    faults: images that could not be loaded again.
    """

    group: np.ndarray
    same: np.ndarray
    links: list[Link] = field(default_factory=list)
    compared: int = 0
    apart: int = 0
    unlooked: int = 0
    faults: list[Fault] = field(default_factory=list)


def group_images(prints: Prints, load: LoadThumbnail, settings: ImageSettings | None = None) -> ImageGroups:
    """The groups of the same image among all that the prints have. The order of records doesn't change who is
    with whom.

    load: asked for both thumbnails of each pair that is to be confirmed; what it raises as DataError is a fault.
    """
    settings = settings or ImageSettings()
    owner, pixels = prints.owner, prints.pixels
    person, cohort = prints.person[owner], prints.cohort[owner]
    # One for each picture and patient stands for all of its kind, in an order that is theirs, not the records'.
    kinds = np.stack([pixels, cohort.astype(np.uint64), person], axis=1)
    found, stands, kind = np.unique(kinds, axis=0, return_index=True, return_inverse=True)
    together = Apart(found[:, 1], found[:, 2])
    groups = ImageGroups(group=kind, same=first_of(pixels))
    groups.apart += _join_equal(found[:, 0], together)
    _join_near(prints, groups, found, stands, together, load, settings)
    groups.group = first_of(together.all()[kind.reshape(-1)])
    return groups


def _join_equal(pixels: np.ndarray, together: Apart) -> int:
    """Join kinds of equal pixels; returns how many stayed apart. pixels: [kinds], in order."""
    equal = np.flatnonzero(pixels[1:] == pixels[:-1])
    first = np.searchsorted(pixels, pixels[equal + 1])
    pairs = zip(first.tolist(), (equal + 1).tolist(), strict=True)
    return sum(not together.join(one, other) for one, other in pairs)


def _join_near(prints, groups, found, stands, together, load, settings) -> None:
    """Confirm pairs of kinds whose perceptual hashes are near, the nearer half first, and join them."""
    looker = _Looker(prints, groups, load)
    looks = np.zeros(len(stands), dtype=np.int32)
    near = _near(prints.perceptual[stands], found, settings, groups)

    def joined(pair: tuple[int, int]) -> bool:
        return together.first(pair[0]) == together.first(pair[1])

    while ahead := list(islice(near, _AHEAD)):
        # What is joined by now, or has had its looks, is none of those that are looked at below either.
        asked = [pair for pair in ahead if not joined(pair) and (looks[list(pair)] < settings.looks).all()]
        numbers = [(int(stands[one]), int(stands[other])) for one, other in asked]
        likely = dict(zip(asked, looker.likely(numbers, settings.likeness), strict=True))
        for one, other in ahead:
            if joined((one, other)):
                continue
            if looks[one] >= settings.looks or looks[other] >= settings.looks:
                groups.unlooked += 1
                continue
            looks[[one, other]] += 1
            _confirm(one, other, likely[one, other], groups, stands, together, looker, settings)


def _near(codes: np.ndarray, found: np.ndarray, settings, groups) -> Iterator[tuple[int, int]]:
    """Pairs of kinds to look at, each once, those of nearer hashes first; pairs that were passed over are counted."""
    half = settings.distance // 2
    for least, most in ((0, half), (half + 1, settings.distance)):
        unlooked = Unlooked()
        for i, j in near_codes(codes, most, settings.window, unlooked):
            wanted = _comparable(found, i, j) & (np.bitwise_count(codes[i] ^ codes[j]) >= least)
            yield from zip(i[wanted].tolist(), j[wanted].tolist(), strict=True)
    # The second search has the first one's pairs again.
    groups.unlooked += unlooked.pairs


def _comparable(found: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """[pairs]: whether the pixels differ, and not because two patients of a cohort are known."""
    known = (found[i, 2] != 0) & (found[j, 2] != 0)
    strangers = known & (found[i, 1] == found[j, 1]) & (found[i, 2] != found[j, 2])
    return (found[i, 0] != found[j, 0]) & ~strangers


def _confirm(one, other, likely, groups, stands, together, looker, settings) -> None:
    """likely: whether the quick look leaves it possible, or None where an image can't be loaded."""
    if likely is None:
        return
    groups.compared += 1
    if not likely:
        return
    numbers = int(stands[one]), int(stands[other])
    likeness = compare(*(looker.at(number) for number in numbers), settings.likeness)
    if likeness.same and together.join(one, other):
        groups.links.append(Link(min(numbers), max(numbers), likeness.correlation))
    elif likeness.same:
        groups.apart += 1


class _Looker:
    """Thumbnails by the image's number, the latest ones kept."""

    def __init__(self, prints: Prints, groups: ImageGroups, load: LoadThumbnail) -> None:
        self._prints, self._groups, self._load = prints, groups, load
        self.at = lru_cache(maxsize=_HELD)(self._at)
        self._failed: set[int] = set()

    def _at(self, number: int) -> np.ndarray | None:
        try:
            return self._load(number)
        except DataError as error:
            if number not in self._failed:
                self._failed.add(number)
                record, place = self._prints.place(number)
                self._groups.faults.append(Fault(f"{self._prints.name(record)}: image {place}", str(error)))
            return None

    def likely(self, pairs: list[tuple[int, int]], settings: LikenessSettings) -> list[bool | None]:
        """Which pairs a quick look leaves possible; None where an image can't be loaded."""
        numbers = sorted({number for pair in pairs for number in pair if self.at(number) is not None})
        if not numbers:
            return [None] * len(pairs)
        looks = looks_of(np.stack([self.at(number) for number in numbers]))
        place = {number: at for at, number in enumerate(numbers)}
        there = [at for at, pair in enumerate(pairs) if all(number in place for number in pair)]
        ones, others = ([place[pairs[at][side]] for at in there] for side in (0, 1))
        found: list[bool | None] = [None] * len(pairs)
        for at, likely in zip(there, may_be_same(looks, ones, others, settings).tolist(), strict=True):
            found[at] = likely
        return found
