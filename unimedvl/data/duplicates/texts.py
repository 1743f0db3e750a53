"""Groups of the same text: equal words, or alike by MinHash (`datasketch`) and confirmed by Jaccard over shingles.

Texts that differ in a side, a number or a negation are never the same, however long they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from unimedvl.data.duplicates.buckets import Unlooked, pairs_of_a_key
from unimedvl.data.duplicates.groups import connected, first_of
from unimedvl.data.duplicates.hashes import shingles, words_of
from unimedvl.data.duplicates.prints import Prints
from unimedvl.data.error import DataError
from unimedvl.data.source import Fault

# The text of a record, by its number in the prints.
LoadText = Callable[[int], str]
_HELD = 4096  # texts whose shingles are in memory
# Words that change what a text says where the rest stays.
_WORDS = """
left right bilateral unilateral both neither no not without none never absent normal abnormal negative positive
yes false true upper lower middle anterior posterior medial lateral superior inferior increased decreased
mild moderate severe small large one two three four five six seven eight nine ten first second third
左 右 双 无 没 不 否 是 有 上 下
"""
_TELLING = frozenset(_WORDS.split())


class TextSettings(BaseModel):
    """jaccard: least share of 3-word shingles that texts have in common to be the same; MinHash finds 99.1% of pairs at
    0.8, and fewer below. fewest_words: shorter texts are the same only where their words are.
    window: texts of one key that each is looked at with.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    jaccard: float = Field(default=0.8, ge=0.5, le=1)
    fewest_words: int = Field(default=8, ge=0)
    window: int = Field(default=1024, gt=0)


@dataclass
class TextGroups:
    """group: [records], the first record of each one's group. same: [records], the first with these very words.
    compared: pairs whose shingles were compared. unlooked: pairs passed over, as `window` says.
    faults: records whose text could not be loaded again.
    """

    group: np.ndarray
    same: np.ndarray
    compared: int
    unlooked: int
    faults: list[Fault]


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Of two sets, the part of their union that both have; 1 where both are empty."""
    union = len(one | other)
    return len(one & other) / union if union else 1.0


def group_texts(prints: Prints, load: LoadText, settings: TextSettings | None = None) -> TextGroups:
    """The groups of the same text. The order of records doesn't change who is with whom.

    load: asked for both texts of each pair that is to be confirmed; what it raises as DataError is a fault.
    """
    settings = settings or TextSettings()
    text = prints.text
    distinct, stands, numbered = np.unique(text, return_index=True, return_inverse=True)
    long = np.flatnonzero(prints.words[stands] >= max(settings.fewest_words, 1))
    bands, unlooked, compared = prints.bands[stands[long]], Unlooked(), 0
    said = _Said(prints, load)
    alike: list[tuple[int, int]] = []
    for i, j in _candidates(bands, settings.window, unlooked):
        for one, other in zip(long[i].tolist(), long[j].tolist(), strict=True):
            a, b = said.by(int(stands[one])), said.by(int(stands[other]))
            if a is None or b is None:
                continue
            compared += 1
            if a.telling == b.telling and jaccard(a.shingles, b.shingles) >= settings.jaccard:
                alike.append((one, other))
    pairs = np.array(alike, dtype=np.int64).reshape(-1, 2)
    # Each pair is a label that its two texts bear.
    labels = np.repeat(np.arange(len(pairs)), 2)
    found = connected(len(distinct), np.stack([pairs.reshape(-1), labels], axis=1))
    group = first_of(found[numbered.reshape(-1)])
    return TextGroups(group, first_of(text), compared, unlooked.pairs, said.faults)


def _candidates(bands: np.ndarray, window: int, unlooked: Unlooked):
    """Pairs of texts that share a band, each once. bands: [texts, bands]."""
    for band in range(bands.shape[1]):
        for i, j in pairs_of_a_key(bands[:, band], window, unlooked):
            fresh = (bands[i, :band] != bands[j, :band]).all(axis=1)
            if fresh.any():
                yield i[fresh], j[fresh]


@dataclass(frozen=True)
class _Text:
    shingles: frozenset[str]
    telling: tuple[str, ...]  # in their order


class _Said:
    """Shingles and telling words of a record's text, the latest ones kept."""

    def __init__(self, prints: Prints, load: LoadText) -> None:
        self.faults: list[Fault] = []
        self._prints, self._load = prints, load
        self.by = lru_cache(maxsize=_HELD)(self._by)

    def _by(self, record: int) -> _Text | None:
        try:
            words = words_of(self._load(record))
        except DataError as error:
            fault = Fault(self._prints.name(record), str(error))
            if fault not in self.faults:
                self.faults.append(fault)
            return None
        telling = tuple(w for w in words if w in _TELLING or any(c.isdigit() for c in w))
        return _Text(shingles(words), telling)
