"""Records that repeat another: the same images, in and out, and the same text. All but one are dropped.

The one that stays is one of an evaluation split where there is one, else the first. Records of evaluation splits are
never dropped, and neither is a record of another patient of the same cohort.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from unimedvl.data.duplicates.hashes import short_key
from unimedvl.data.duplicates.images import BY, ImageGroups
from unimedvl.data.duplicates.prints import EVALUATION, SPLITS, Prints
from unimedvl.data.duplicates.report import Dropped, Report, make_report
from unimedvl.data.duplicates.texts import TextGroups
from unimedvl.data.record import Decision

EXACT, NEAR = "exact-duplicate", "near-duplicate"


@dataclass(frozen=True)
class Repeats:
    """of: [records], the record that each one repeats, or -1. exact: [records], whether in every pixel and word.
    spared: repeats of other patients, which stay; protected: repeats among evaluation splits, which stay.
    """

    of: np.ndarray
    exact: np.ndarray
    spared: int
    protected: int

    def decision(self, record: int, prints: Prints) -> Decision:
        """What is written of a record, whether it is dropped or not."""
        other = int(self.of[record])
        if other < 0:
            return Decision(rule="duplicate", kept=True, by=BY)
        same = "pixels and words" if self.exact[record] else "picture and text"
        return Decision(
            rule=EXACT if self.exact[record] else NEAR,
            kept=False,
            by=BY,
            reason=f"the same {same} as {prints.name(other)}",
        )


def find_repeats(prints: Prints, images: ImageGroups, texts: TextGroups) -> Repeats:
    """Which records repeat which."""
    evaluation = np.isin(prints.split, [SPLITS.index(s) for s in EVALUATION])
    person, cohort, firsts = prints.person, prints.cohort, prints.firsts
    content = _contents(prints, images, texts)
    of, exact = np.full(len(prints), -1), np.zeros(len(prints), dtype=bool)
    kept: dict[int, _Stay] = {}
    spared = protected = 0
    _, numbered, times = np.unique(content, return_inverse=True, return_counts=True)
    shared = np.flatnonzero(times[numbered.reshape(-1)] > 1)
    # Evaluation splits first, so that what a training split repeats of them is what goes.
    for record in shared[np.argsort(~evaluation[shared], kind="stable")].tolist():
        whose = int(cohort[record]), int(person[record])
        stay = kept.setdefault(int(content[record]), _Stay())
        repeated = stay.repeated_by(*whose)
        spared += stay.first is not None and repeated is None
        if repeated is None or evaluation[record]:
            protected += repeated is not None
            stay.add(record, *whose)
            continue
        of[record] = repeated
        own, theirs = (images.same[firsts[r] : firsts[r + 1]] for r in (record, repeated))
        exact[record] = np.array_equal(own, theirs) and texts.same[record] == texts.same[repeated]
    return Repeats(of, exact, spared, protected)


def _contents(prints: Prints, images: ImageGroups, texts: TextGroups) -> np.ndarray:
    """[records] uint64: a key of each one's text and images, in and out, by their groups."""
    firsts, inputs, group = prints.firsts, prints.inputs, images.group.astype(np.int64)
    found = np.zeros(len(prints), dtype=np.uint64)
    for record in range(len(prints)):
        own = group[firsts[record] : firsts[record + 1]].tobytes()
        found[record] = short_key(b"%d %d " % (texts.group[record], inputs[record]) + own)
    return found


class _Stay:
    """The records of one content that stay: the first of all, and the first by cohort and person (0: unknown)."""

    def __init__(self) -> None:
        self.first: int | None = None
        self._of: dict[int, dict[int, int]] = {}

    def add(self, record: int, cohort: int, person: int) -> None:
        self.first = record if self.first is None else self.first
        self._of.setdefault(cohort, {}).setdefault(person, record)

    def repeated_by(self, cohort: int, person: int) -> int | None:
        """The record that one of this person repeats: not one of another person of the cohort."""
        own = self._of.get(cohort, {})
        if not person or not own:
            return self.first
        if person in own or 0 in own:
            return own.get(person, own.get(0))
        return next((next(iter(people.values())) for c, people in self._of.items() if c != cohort), None)


def repeats_report(prints: Prints, images: ImageGroups, texts: TextGroups, repeats: Repeats) -> Report:
    """What `find_repeats` drops, by source, and what the search for groups counted."""
    names = prints.dataset_names
    return make_report(
        "Duplicates",
        (names[d] for d in prints.dataset.tolist()),
        _dropped(prints, repeats),
        notes={
            "images": len(images.group),
            "images of unequal pixels joined as one picture": len(images.links),
            "pairs of images compared pixel by pixel": images.compared,
            "pairs of images kept apart, being of two patients": images.apart,
            "pairs of images passed over, the key being too common": images.unlooked,
            "images that could not be loaded again": len(images.faults),
            "pairs of texts compared": texts.compared,
            "pairs of texts passed over, the key being too common": texts.unlooked,
            "texts that could not be loaded again": len(texts.faults),
            "repeats kept, being of another patient": repeats.spared,
            "repeats kept, being in an evaluation split": repeats.protected,
        },
    )


def _dropped(prints: Prints, repeats: Repeats) -> Iterator[tuple[int, Dropped]]:
    for record in np.flatnonzero(repeats.of >= 0).tolist():
        decision = repeats.decision(record, prints)
        yield record, Dropped(record=prints.name(record), rule=decision.rule, reason=decision.reason)
