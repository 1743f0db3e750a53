"""Stage 2: whether the text and the image of a record belong together, and the better half of a set.

Two passes. The first measures each record alone (`measure`) and leaves S and M as decisions that drop nothing:

    S = the largest cosine between the record's text and a caption of its image, under a sentence encoder
    M = how well an image-text matcher finds image and text to match

The second compares them over a set (`Cut`): S' and M' are S and M scaled to [0, 1] by the smallest and the
largest of the compared group, the score is 0.5 S' + M', and the upper half of the group is kept. The captions
serve for scoring alone. Another cut needs no new measuring.
"""

from __future__ import annotations

import heapq
import math
from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from unimedvl.data.error import DataError
from unimedvl.data.record import Decision, Record

VERSION = "1"  # of the rules: another one where the same record could be judged otherwise
BY = f"unimedvl.data.quality.alignment {VERSION}"
SIMILARITY, MATCH, ALIGNMENT = "alignment-similarity", "alignment-match", "alignment"
# A unit vector may be off by what half precision is.
_UNIT = 5e-3


class Captioner(Protocol):
    """Says what an image shows. name: what it is, with its version, as decisions carry it."""

    @property
    def name(self) -> str: ...

    def captions(self, image: bytes, record: Record, n: int) -> list[str]:
        """n captions of an encoded image. record: whose image it is; its text must not be given away."""


class SentenceEncoder(Protocol):
    """Turns texts into vectors whose cosine says how alike they are. name: as for `Captioner`."""

    @property
    def name(self) -> str: ...

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """[n, d] vectors of length 1."""


class ImageTextMatcher(Protocol):
    """Says how well images and texts match, pair by pair. name: as for `Captioner`."""

    @property
    def name(self) -> str: ...

    def match(self, images: Sequence[bytes], texts: Sequence[str]) -> np.ndarray:
        """[n] scores of n encoded images and their n texts, higher for a better match; any finite range."""


@dataclass(frozen=True)
class Instruments:
    """The three of them."""

    captioner: Captioner
    encoder: SentenceEncoder
    matcher: ImageTextMatcher


class AlignmentSettings(BaseModel):
    """How stage 2 measures and cuts; the defaults are the published ones.

    captions: of each image. similarity_weight: of S' in the score. share: what part of a group is kept, rounded
    up. over: what is compared, and scaled together: the records of one modality, or all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    captions: int = Field(default=5, gt=0)
    similarity_weight: float = Field(default=0.5, ge=0, allow_inf_nan=False)
    share: float = Field(default=0.5, gt=0, le=1)
    over: Literal["modality", "all"] = "modality"


PUBLISHED = AlignmentSettings()


# First pass --------------------------------------------------------------------------------------


def measure(
    record: Record,
    images: Sequence[bytes],
    instruments: Instruments,
    settings: AlignmentSettings = PUBLISHED,
) -> tuple[Decision, ...]:
    """S and M of a record as two decisions that keep it; none for a record without images.

    images: encoded, in the order of `record.pictures`. The images that the text describes are the inputs where
    a record is for understanding, and the outputs elsewhere; of several, the best one counts.

    Raises:
        DataError: no text, as many images as pictures aren't given, or an instrument can't do it.
    """
    if len(images) != len(record.pictures):
        raise DataError(f"{len(images)} images for {len(record.pictures)} pictures of the record")
    if not images:
        return ()
    text = record.text.strip()
    if not text:
        raise DataError("message: no text to compare with the image")
    seen = described_images(record, images)
    captions = [
        c for image in seen for c in _captions(instruments.captioner, image, record, settings.captions)
    ]
    similarity = _similarity(instruments.encoder, text, captions)
    match = _match(instruments.matcher, seen, text)
    says = f"{BY}: {instruments.captioner.name}, {instruments.encoder.name}"
    return (
        Decision(rule=SIMILARITY, kept=True, by=says, score=similarity),
        Decision(rule=MATCH, kept=True, by=f"{BY}: {instruments.matcher.name}", score=match),
    )


def described_images(record: Record, images: Sequence[bytes]) -> Sequence[bytes]:
    """Those of a record's images that its text is compared with. images: in the order of `record.pictures`."""
    inputs = len(record.input_img)
    return (images[:inputs] if record.main_task_type == "understanding" else images[inputs:]) or images


def _captions(captioner: Captioner, image: bytes, record: Record, n: int) -> list[str]:
    captions = captioner.captions(image, record, n)
    if len(captions) != n:
        raise DataError(f"{captioner.name}: expected {n} captions, found {len(captions)}")
    said = [c.strip() for c in captions if c.strip()]
    if not said:
        raise DataError(f"{captioner.name}: all {n} captions are empty")
    return said


def _similarity(encoder: SentenceEncoder, text: str, captions: list[str]) -> float:
    vectors = np.asarray(encoder.encode([text, *captions]), dtype=np.float64)
    if vectors.ndim != 2 or len(vectors) != 1 + len(captions):
        raise DataError(
            f"{encoder.name}: expected [{1 + len(captions)}, d] vectors, found {list(vectors.shape)}"
        )
    lengths = np.linalg.norm(vectors, axis=1)
    if not np.all(np.abs(lengths - 1) < _UNIT):  # false for NaN too
        raise DataError(
            f"{encoder.name}: expected vectors of length 1, found {lengths.min():g} to {lengths.max():g}"
        )
    return float(np.clip((vectors[1:] @ vectors[0]).max(), -1, 1))


def _match(matcher: ImageTextMatcher, images: Sequence[bytes], text: str) -> float:
    scores = np.asarray(matcher.match(images, [text] * len(images)), dtype=np.float64)
    if scores.shape != (len(images),) or not np.isfinite(scores).all():
        raise DataError(f"{matcher.name}: expected [{len(images)}] finite scores, found {scores.tolist()}")
    return float(scores.max())


# Second pass -------------------------------------------------------------------------------------


class Measurement(NamedTuple):
    """What the cut needs of a record. similarity, match: S and M as measured, not scaled."""

    dataset: str
    id: str
    modality: str
    similarity: float
    match: float


def measurement(record: Record) -> Measurement | None:
    """What `measure` left in a record's decisions; None where there is nothing, as for text alone."""
    scores = {d.rule: d.score for d in record.decisions}
    similarity, match = scores.get(SIMILARITY), scores.get(MATCH)
    if similarity is None or match is None:
        return None
    return Measurement(record.dataset, record.id, record.modality, similarity, match)


@dataclass(frozen=True)
class _Group:
    """A compared group: ranges of S and M, and where it is cut.

    lowest: the score of the last that is kept. tied: of those that have this score, the kept ones, as (id,
    dataset); None where all of them are kept.
    """

    count: int
    weight: float
    similarity: tuple[float, float]
    match: tuple[float, float]
    lowest: float = 0.0
    tied: frozenset[tuple[str, str]] | None = None

    def score(self, similarity, match):
        """weight * S' + M', of numbers or of arrays, with equal results for both."""
        return self.weight * _scaled(similarity, *self.similarity) + _scaled(match, *self.match)


def _scaled(value, low: float, high: float):
    """value to [0, 1]. Where all are alike, nothing can be told of them, and each is in the middle."""
    return (value - low) / (high - low) if high > low else value * 0.0 + 0.5


class Cut:
    """The comparison of a set, and what it says of each record."""

    def __init__(self, groups: dict[str, _Group], settings: AlignmentSettings) -> None:
        self._groups, self.settings = groups, settings

    @classmethod
    def over(cls, measured: Iterable[Measurement], settings: AlignmentSettings = PUBLISHED) -> Cut:
        """Compare a set.

        measured: iterated twice, so a list or what reads anew each time. Held are 16 bytes a record, and the
        names of records that tie at the cut; of these the first by id, then by data set, are kept.

        Raises:
            TypeError: measured can be iterated only once.
        """
        if iter(measured) is measured:
            raise TypeError("measured is an iterator, and is read twice; pass a list or what reads anew")
        columns: dict[str, tuple[array, array]] = defaultdict(lambda: (array("d"), array("d")))
        for m in measured:
            similarities, matches = columns[_group_of(m, settings)]
            similarities.append(m.similarity)
            matches.append(m.match)
        groups, short = {}, {}
        for name, (similarities, matches) in columns.items():
            groups[name], room, tied = _cut(np.asarray(similarities), np.asarray(matches), settings)
            if room < tied:
                short[name] = room
        return cls(groups | _with_ties(groups, short, measured, settings), settings)

    def decide(self, measured: Measurement) -> Decision:
        """Whether a record is in the upper part of its group. The score is 0.5 S' + M', 0 to 1.5.

        Raises:
            DataError: its group was not among the compared.
        """
        name = _group_of(measured, self.settings)
        if name not in self._groups:
            raise DataError(f"{measured.dataset}/{measured.id}: no {name!r} records were compared")
        group = self._groups[name]
        score = group.score(measured.similarity, measured.match)
        kept = score > group.lowest or (
            score == group.lowest and (group.tied is None or (measured.id, measured.dataset) in group.tied)
        )
        reason = "" if kept else _reason(score, group, name, self.settings.share)
        return Decision(rule=ALIGNMENT, kept=kept, by=BY, score=score, reason=reason)


def _group_of(measured: Measurement, settings: AlignmentSettings) -> str:
    return measured.modality if settings.over == "modality" else "all"


def _cut(
    similarities: np.ndarray, matches: np.ndarray, settings: AlignmentSettings
) -> tuple[_Group, int, int]:
    """A group, how many of those at its lowest kept score may stay, and how many there are."""
    ranges = [(float(v.min()), float(v.max())) for v in (similarities, matches)]
    count = len(similarities)
    group = _Group(count, settings.similarity_weight, *ranges)
    scores = group.score(similarities, matches)
    # The small number is for shares without an exact binary form: 0.7 of 10 are 7.
    kept = max(1, math.ceil(settings.share * count - 1e-9))
    lowest = float(np.partition(scores, count - kept)[count - kept])
    room = kept - int((scores > lowest).sum())
    return replace(group, lowest=lowest), room, int((scores == lowest).sum())


def _with_ties(
    groups: dict[str, _Group],
    short: dict[str, int],
    measured: Iterable[Measurement],
    settings: AlignmentSettings,
) -> dict[str, _Group]:
    """The groups where room is short for those at the lowest kept score, with who of them stays."""
    names: dict[str, list[tuple[str, str]]] = {name: [] for name in short}
    for m in measured if short else ():
        name = _group_of(m, settings)
        if name in names and groups[name].score(m.similarity, m.match) == groups[name].lowest:
            names[name].append((m.id, m.dataset))
    return {
        name: replace(groups[name], tied=frozenset(heapq.nsmallest(room, names[name])))
        for name, room in short.items()
    }


def _reason(score: float, group: _Group, name: str, share: float) -> str:
    which = "records" if name == "all" else f"{name} records"
    tie = ", which others by id come before" if score == group.lowest else ""
    return f"score {score:.4f}{tie}; of {group.count} {which} the upper {share:.0%} go down to {group.lowest:.4f}"
