"""Stage 3: experts rate a sample of the set in seven dimensions, and the set is accepted or not.

The sample is stratified by modality. Ratings are scaled to 0..1; a record's score is the mean of its raters',
the set's is the mean of the records', and the set is accepted at 0.85 or more.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from unimedvl.data.error import DataError
from unimedvl.data.record import Record

SAMPLE_SIZE = 200
ACCEPTED_AT = 0.85
# Means are compared to this many digits, so that 0.85 is 0.85 whatever the order of adding.
_DIGITS = 9


@dataclass(frozen=True)
class Dimension:
    """What is rated. name: its column. title: in words. most: the best rating; the worst is 0."""

    name: str
    title: str
    most: float = 5.0


DIMENSIONS = (
    Dimension("modality_match", "Modality match", 1.0),
    Dimension("factual_accuracy", "Factual accuracy"),
    Dimension("completeness", "Completeness"),
    Dimension("position_and_quantity", "Position and quantity"),
    Dimension("professionalism", "Professionalism"),
    Dimension("planning_coherence", "Planning coherence"),
    Dimension("clinical_reasoning", "Clinical reasoning"),
)


@dataclass(frozen=True)
class Rating:
    """What one rater says of one record.

    scores: by dimension, on its own scale; a dimension that doesn't apply to the record is left out.
    `ratings.make_rating` makes it from what a rater typed, and checks it.
    """

    rater: str
    dataset: str
    record: str
    scores: Mapping[str, float]
    comment: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Which record: its data set and id."""
        return self.dataset, self.record

    @property
    def score(self) -> float:
        """The mean of the scaled dimensions, 0 to 1."""
        return _mean([self.scores[d.name] / d.most for d in DIMENSIONS if d.name in self.scores])


# Sample ------------------------------------------------------------------------------------------


def stratified_sample(records: Iterable[Record], size: int = SAMPLE_SIZE, seed: int = 0) -> list[Record]:
    """A random sample in which each modality has its share, and at least one record.

    Which records are drawn follows from the seed and their names alone, not from their order. They are read
    once, and at most `size` of a modality are held. Fewer are drawn where there are fewer. In the order of
    modality, data set and id.

    Raises:
        DataError: there are more modalities than `size`.
    """
    lots: dict[str, list[tuple[int, int, Record]]] = defaultdict(list)
    counts: dict[str, int] = defaultdict(int)
    for number, record in enumerate(records):
        counts[record.modality] += 1
        # A heap of the smallest lots, its largest first.
        drawn = (-_lot(record, seed), -number, record)
        heap = lots[record.modality]
        if len(heap) < size:
            heapq.heappush(heap, drawn)
        else:
            heapq.heappushpop(heap, drawn)
    shares = allocate(counts, size)
    sample = [d[2] for name, share in shares.items() for d in heapq.nlargest(share, lots[name])]
    return sorted(sample, key=lambda r: (r.modality, r.dataset, r.id))


def _lot(record: Record, seed: int) -> int:
    text = "\0".join((str(seed), record.dataset, record.id))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def allocate(counts: Mapping[str, int], size: int) -> dict[str, int]:
    """How many of each group go into a sample: by largest remainders, at least one, at most all.

    Raises:
        DataError: there are more groups than `size`.
    """
    total = sum(counts.values())
    size = min(size, total)
    if len(counts) > size:
        raise DataError(f"sample size is {size}; it must be at least {len(counts)}, one of each modality")
    shares = {name: max(1, size * count // total) for name, count in sorted(counts.items())}

    def missing(name: str) -> int:
        """By how much a group is under its exact share; in whole numbers, so that nothing is rounded."""
        return size * counts[name] - shares[name] * total

    while sum(shares.values()) < size:
        shares[max((n for n in shares if shares[n] < counts[n]), key=missing)] += 1
    while sum(shares.values()) > size:
        shares[min((n for n in shares if shares[n] > 1), key=missing)] -= 1
    return shares


# Verdict -----------------------------------------------------------------------------------------

Verdict = Literal["accepted", "rejected", "incomplete"]


@dataclass(frozen=True)
class Mean:
    """A mean of `count` values; None of none."""

    count: int
    mean: float | None


@dataclass(frozen=True)
class Outcome:
    """What the raters found. All means are of scaled ratings, 0 to 1.

    verdict: incomplete as long as a record of the sample has no rating at all.
    mean: of the rated records. sampled, rated: records. ratings: of all raters.
    by_rater: their ratings. by_modality: its rated records. by_dimension: its ratings.
    sampled_by_modality: records of the sample.
    """

    verdict: Verdict
    mean: float
    accepted_at: float
    sampled: int
    rated: int
    ratings: int
    by_rater: dict[str, Mean]
    by_modality: dict[str, Mean]
    by_dimension: dict[str, Mean]
    sampled_by_modality: dict[str, int]


def evaluate(
    sample: Iterable[Record], ratings: Sequence[Rating], accepted_at: float = ACCEPTED_AT
) -> Outcome:
    """Means and verdict.

    Raises:
        DataError: no ratings; one of a record that isn't in the sample; two of one rater on one record.
    """
    modality = {(r.dataset, r.id): r.modality for r in sample}
    _check(modality, ratings)
    of_record: dict[tuple[str, str], list[float]] = defaultdict(list)
    of_rater: dict[str, list[float]] = defaultdict(list)
    for rating in ratings:
        of_record[rating.key].append(rating.score)
        of_rater[rating.rater].append(rating.score)
    records = {key: _mean(scores) for key, scores in of_record.items()}
    names = sorted(set(modality.values()))
    in_modality = {n: [s for key, s in records.items() if modality[key] == n] for n in names}
    mean = _mean(list(records.values()))
    passed: Verdict = "accepted" if round(mean, _DIGITS) >= accepted_at else "rejected"
    return Outcome(
        verdict=passed if len(records) == len(modality) else "incomplete",
        mean=mean,
        accepted_at=accepted_at,
        sampled=len(modality),
        rated=len(records),
        ratings=len(ratings),
        by_rater={name: _summary(of_rater[name]) for name in sorted(of_rater)},
        by_modality={name: _summary(scores) for name, scores in in_modality.items()},
        by_dimension={d.name: _summary(_scaled(d, ratings)) for d in DIMENSIONS},
        sampled_by_modality={n: sum(m == n for m in modality.values()) for n in names},
    )


def _check(modality: Mapping[tuple[str, str], str], ratings: Sequence[Rating]) -> None:
    if not ratings:
        raise DataError("no ratings; expected at least one for each record of the sample")
    seen: set[tuple[str, tuple[str, str]]] = set()
    for rating in ratings:
        name = f"{rating.rater} on {rating.dataset}/{rating.record}"
        if rating.key not in modality:
            raise DataError(f"{name}: this record is not in the sample")
        if (rating.rater, rating.key) in seen:
            raise DataError(f"{name}: rated twice")
        seen.add((rating.rater, rating.key))


def _scaled(dimension: Dimension, ratings: Sequence[Rating]) -> list[float]:
    return [r.scores[dimension.name] / dimension.most for r in ratings if dimension.name in r.scores]


def _summary(values: list[float]) -> Mean:
    return Mean(len(values), _mean(values) if values else None)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
