"""What a training set shares with evaluation sets: images, exact or near, and texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from unimedvl.data.duplicates.groups import connected
from unimedvl.data.duplicates.images import ImageGroups
from unimedvl.data.duplicates.prints import EVALUATION, SPLITS, Prints
from unimedvl.data.duplicates.report import Dropped, Report, make_report
from unimedvl.data.duplicates.texts import TextGroups
from unimedvl.data.error import DataError

Kind = Literal["image", "near image", "text", "near text"]
KINDS: tuple[Kind, ...] = ("image", "near image", "text", "near text")
TRAIN = ""  # the part of training records


class ContaminationSettings(BaseModel):
    """fewest_words: shared texts of fewer words are no finding, since short questions are asked everywhere.
    texts: whether texts are checked at all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    fewest_words: int = Field(default=12, ge=1)
    texts: bool = True


@dataclass(frozen=True)
class Finding:
    """One picture or text that training shares with an evaluation set. It is near where no two of them are equal.

    evaluation: the set. train, records: numbers of the records of training and of the set that have it.
    """

    kind: Kind
    evaluation: str
    train: tuple[int, ...]
    records: tuple[int, ...]


@dataclass(frozen=True)
class Contamination:
    """findings: by evaluation set and kind. leaking: [records], whether a training record is in any of them."""

    findings: tuple[Finding, ...]
    leaking: np.ndarray
    report: Report


def parts_by_split(prints: Prints) -> list[str]:
    """For each record the evaluation set that it is of, as `vqa-rad test` by its source's own split, else training."""
    names, split = prints.dataset_names, prints.split.tolist()
    return [
        f"{names[d]} {SPLITS[s]}" if SPLITS[s] in EVALUATION else TRAIN
        for d, s in zip(prints.dataset.tolist(), split, strict=True)
    ]


def check(
    prints: Prints,
    parts: Sequence[str],
    images: ImageGroups,
    texts: TextGroups,
    settings: ContaminationSettings | None = None,
) -> Contamination:
    """Check training against each evaluation set.

    parts: for each record the name of its evaluation set, or `TRAIN`.

    Raises:
        DataError: more or fewer parts than records.
    """
    if len(parts) != len(prints):
        raise DataError(f"{len(parts)} parts for {len(prints)} records")
    settings = settings or ContaminationSettings()
    names = [TRAIN, *dict.fromkeys(p for p in parts if p != TRAIN)]
    part = np.array([names.index(p) for p in parts], dtype=np.int64)
    found = list(_shared_images(prints, part, images, names))
    if settings.texts:
        found += _shared_texts(prints, part, texts, names, settings.fewest_words)
    found.sort(key=lambda f: (names.index(f.evaluation), KINDS.index(f.kind), f.train))
    leaking = np.zeros(len(prints), dtype=bool)
    leaking[[r for f in found for r in f.train]] = True
    return Contamination(tuple(found), leaking, _report(prints, parts, names, found))


def _shared_images(prints, part, images, names) -> Iterator[Finding]:
    owner, count = prints.owner, len(images.group)
    # Equal pixels are shared whoever's they are; near ones only as the groups have them.
    numbers = np.arange(count)
    columns = (np.stack([numbers, found], axis=1) for found in (images.group, images.same))
    yield from _shared(connected(count, *columns), images.same, owner, part, names, ("image", "near image"))


def _shared_texts(prints, part, texts, names, fewest) -> Iterator[Finding]:
    long = np.flatnonzero(prints.words >= fewest)
    yield from _shared(texts.group[long], texts.same[long], long, part, names, ("text", "near text"))


def _shared(group, same, owner, part, names, kinds) -> Iterator[Finding]:
    """Findings among things. group, same: [things]; owner: [things], the record of each."""
    of = part[owner]
    both = np.intersect1d(group[of == 0], group[of != 0])
    members: dict[int, list[int]] = {}
    for thing in np.flatnonzero(np.isin(group, both)).tolist():
        members.setdefault(int(group[thing]), []).append(thing)
    for things in members.values():
        by_part: dict[int, list[int]] = {}
        for thing in things:
            by_part.setdefault(int(of[thing]), []).append(thing)
        train = by_part.pop(0)
        equal = {int(same[t]) for t in train}
        for number, theirs in by_part.items():
            kind = kinds[0] if equal & {int(same[t]) for t in theirs} else kinds[1]
            yield Finding(kind, names[number], _records(owner, train), _records(owner, theirs))


def _records(owner: np.ndarray, things: list[int]) -> tuple[int, ...]:
    return tuple(sorted({int(owner[t]) for t in things}))


def _report(prints: Prints, parts: Sequence[str], names: list[str], found: list[Finding]) -> Report:
    table = {}
    for name in names[1:]:
        of = [f for f in found if f.evaluation == name]
        table[name] = {f"shared: {kind}": sum(f.kind == kind for f in of) for kind in KINDS} | {
            "its records": sum(p == name for p in parts),
            "of them shared": len({r for f in of for r in f.records}),
            "training records that share": len({r for f in of for r in f.train}),
        }
    train = [r for r, p in enumerate(parts) if p == TRAIN]
    place = {record: number for number, record in enumerate(train)}
    datasets, names_of = prints.dataset.tolist(), prints.dataset_names
    return make_report(
        "Contamination of training by evaluation sets",
        [names_of[datasets[r]] for r in train],
        [(place[r], entry) for r, entry in _dropped(prints, found)],
        tables={"Evaluation sets": table},
    )


def _dropped(prints: Prints, found: list[Finding]) -> Iterator[tuple[int, Dropped]]:
    """Training records of a finding, each once, by the finding of the surest kind."""
    seen: set[int] = set()
    for finding in sorted(found, key=lambda f: KINDS.index(f.kind)):
        reason = f"the same {finding.kind.split()[-1]} as {prints.name(finding.records[0])}, of {finding.evaluation}"
        for record in finding.train:
            if record not in seen:
                seen.add(record)
                rule = f"contaminated: {finding.kind}"
                yield record, Dropped(record=prints.name(record), rule=rule, reason=reason)
