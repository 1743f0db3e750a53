"""Groups of the same image: equal pixels, or alike by perceptual hash and confirmed by a look at both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from unimedvl.data.duplicates.buckets import Unlooked, near_codes
from unimedvl.data.duplicates.groups import Apart, first_of
from unimedvl.data.duplicates.hashes import VERSION, decode
from unimedvl.data.duplicates.likeness import LikenessSettings, compare, thumbnail
from unimedvl.data.duplicates.prints import Prints
from unimedvl.data.error import DataError
from unimedvl.data.source import Fault

BY = f"unimedvl.data.duplicates {VERSION}"
# The encoded bytes of an image, by its number in the prints.
LoadImage = Callable[[int], bytes]
_HELD = 2048  # thumbnails in memory: 8 MiB


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
    links: what joined images of unequal pixels. compared: pairs that were looked at.
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


def group_images(prints: Prints, load: LoadImage, settings: ImageSettings | None = None) -> ImageGroups:
    """The groups of the same image among all that the prints have. The order of records doesn't change who is
    with whom.

    load: asked for both images of each pair that is to be confirmed; what it raises as DataError is a fault.
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
    codes, look = prints.perceptual[stands], _Looker(prints, groups, load)
    looks = np.zeros(len(codes), dtype=np.int32)
    half = settings.distance // 2
    for least, most in ((0, half), (half + 1, settings.distance)):
        unlooked = Unlooked()
        for i, j in near_codes(codes, most, settings.window, unlooked):
            wanted = _comparable(found, i, j) & (np.bitwise_count(codes[i] ^ codes[j]) >= least)
            for one, other in zip(i[wanted].tolist(), j[wanted].tolist(), strict=True):
                if together.first(one) == together.first(other):
                    continue
                if looks[one] >= settings.looks or looks[other] >= settings.looks:
                    groups.unlooked += 1
                    continue
                looks[[one, other]] += 1
                _confirm(one, other, groups, stands, together, look, settings)
        # The second search has the first one's pairs again.
        last = unlooked.pairs
    groups.unlooked += last


def _comparable(found: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """[pairs]: whether the pixels differ, and not because two patients of a cohort are known."""
    known = (found[i, 2] != 0) & (found[j, 2] != 0)
    strangers = known & (found[i, 1] == found[j, 1]) & (found[i, 2] != found[j, 2])
    return (found[i, 0] != found[j, 0]) & ~strangers


def _confirm(one, other, groups, stands, together, look, settings) -> None:
    numbers = int(stands[one]), int(stands[other])
    seen = look.at(numbers[0]), look.at(numbers[1])
    if seen[0] is None or seen[1] is None:
        return
    groups.compared += 1
    likeness = compare(*seen, settings.likeness)
    if likeness.same and together.join(one, other):
        groups.links.append(Link(min(numbers), max(numbers), likeness.correlation))
    elif likeness.same:
        groups.apart += 1


class _Looker:
    """Thumbnails by the image's number, the latest ones kept."""

    def __init__(self, prints: Prints, groups: ImageGroups, load: LoadImage) -> None:
        self._prints, self._groups, self._load = prints, groups, load
        self.at = lru_cache(maxsize=_HELD)(self._at)
        self._failed: set[int] = set()

    def _at(self, number: int) -> np.ndarray | None:
        record, place = self._prints.place(number)
        name = f"{self._prints.name(record)}: image {place}"
        try:
            return thumbnail(decode(self._load(number), name))
        except DataError as error:
            if number not in self._failed:
                self._failed.add(number)
                self._groups.faults.append(Fault(name, str(error)))
            return None
