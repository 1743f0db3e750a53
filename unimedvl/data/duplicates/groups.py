"""Things that belong together: joined freely, or so that no group has two patients of one cohort."""

from __future__ import annotations

import numpy as np


def connected(count: int, *labels: np.ndarray) -> np.ndarray:
    """Groups of `count` things that are linked by a label that they share, in any of the columns, over any steps.

    labels: each [M, 2] of (thing, label); labels of one column have nothing to do with those of another.
    Returns [count]: for each thing, the first thing of its group.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows, columns, size = [], [], count
    for column in labels:
        known, numbered = np.unique(column[:, 1], return_inverse=True)
        rows.append(column[:, 0].astype(np.int64))
        columns.append(numbered.reshape(-1) + size)
        size += len(known)
    ends = (np.concatenate(rows), np.concatenate(columns)) if rows else ([], [])
    links = coo_array((np.ones(len(ends[0]), dtype=np.int8), ends), shape=(size, size))
    return first_of(connected_components(links, directed=False)[1][:count])


def first_of(labels: np.ndarray) -> np.ndarray:
    """For each thing, the first that has its label. labels: [N]."""
    _, first, numbered = np.unique(labels, return_index=True, return_inverse=True)
    return first[numbered.reshape(-1)]


class Apart:
    """Groups that never join two persons of one cohort (union-find).

    cohorts: [N], a number for whose names they are. persons: [N] uint64, 0 where unknown. Persons of different
    cohorts can't be compared: one may be known to two sources by two names.
    """

    def __init__(self, cohorts: np.ndarray, persons: np.ndarray) -> None:
        self._above = np.arange(len(persons))
        self._cohorts, self._persons = cohorts, persons
        # Of groups of more than one, by their first: the person by cohort.
        self._people: dict[int, dict[int, int]] = {}

    def first(self, thing: int) -> int:
        """The first of the thing's group."""
        above = self._above
        while above[thing] != thing:
            above[thing] = above[above[thing]]
            thing = above[thing]
        return int(thing)

    def join(self, one: int, other: int) -> bool:
        """Join two groups; False where they would then have two persons of one cohort."""
        low, high = sorted((self.first(one), self.first(other)))
        if low == high:
            return True
        mine, theirs = self._known(low), self._known(high)
        if any(mine.get(cohort, person) != person for cohort, person in theirs.items()):
            return False
        self._above[high] = low
        self._people.pop(high, None)
        self._people[low] = mine | theirs
        return True

    def all(self) -> np.ndarray:
        """[N]: the first of each thing's group."""
        above = self._above
        while (above != above[above]).any():
            above = above[above]
        return above

    def _known(self, first: int) -> dict[int, int]:
        alone = {int(self._cohorts[first]): int(self._persons[first])} if self._persons[first] else {}
        return self._people.get(first, alone)
