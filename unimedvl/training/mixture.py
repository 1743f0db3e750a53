"""A stage's mixture over the records of finished data builds: weights of kinds, tasks and modalities as those of parts.

A part is the records of one task and modality. A name of the mixture gives its weight to its parts in the shares that
the stage's `modalities` give them; a kind takes in all its tasks but those that the mixture names beside it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unimedvl.data.examples import TASK_OF
from unimedvl.data.loader import Mixture, Part
from unimedvl.data.shards import read_columns
from unimedvl.training.error import TrainingError
from unimedvl.training.recipe import Stage

_COLUMNS = ("main_task_type", "sub_task_type", "modality")
# Kind of a record, by what its first column says; understanding without an image is text.
_KINDS = {"understanding": "image_to_text", "generation": "text_to_image", "interleaved": "interleaved"}


@dataclass(frozen=True)
class Bucket:
    """Records of one kind, task and modality."""

    kind: str
    task: str
    modality: str


@dataclass
class Records:
    """Where the records of a split lie, by bucket: file -> rows of each of its row groups.

    unknown: how many records have a task that the model has none for, by the task's name.
    """

    rows: dict[Bucket, dict[Path, list[list[int]]]] = field(default_factory=dict)
    unknown: Counter = field(default_factory=Counter)

    def count(self, bucket: Bucket) -> int:
        return sum(len(rows) for groups in self.rows[bucket].values() for rows in groups)


def records_of(folders: Iterable[Path], split: str) -> Records:
    """The records of a split of data builds. Shards are read in the order of their names.

    Raises:
        TrainingError: a folder has no shards of the split.
        DataError: a file there is no shard.
    """
    found = Records()
    for folder in folders:
        files = sorted((folder / "shards").glob(f"{split}-*.parquet"))
        if not files:
            raise TrainingError(
                f"{folder}: no shards/{split}-*.parquet; a finished data build has them (unimedvl data build)"
            )
        for file in files:
            _add(found, file)
    return found


def _add(found: Records, file: Path) -> None:
    groups = read_columns(file, *_COLUMNS)
    for number, rows in enumerate(groups):
        for row, (main, sub, modality) in enumerate(rows):
            if sub not in TASK_OF:
                found.unknown[sub] += 1
                continue
            kind = "text" if modality == "text" else _KINDS[main]
            places = found.rows.setdefault(Bucket(kind, TASK_OF[sub], modality), {})
            places.setdefault(file, [[] for _ in groups])[number].append(row)


def mixture_of(records: Records, stage: Stage, seed: int, window: int) -> Mixture:
    """The stream of a stage.

    Raises:
        TrainingError: the mixture names what no record is of.
    """
    weights = bucket_weights(records.rows, stage.mixture, stage.modalities)
    parts = []
    for bucket, weight in weights.items():
        rows = records.rows[bucket]
        name = f"{bucket.kind} {bucket.task} {bucket.modality}"
        parts.append(Part(name, tuple(rows), weight, rows))
    return Mixture(parts, seed, window)


def bucket_weights(
    buckets: Iterable[Bucket], mixture: Mapping[str, float], modalities: Mapping[str, float]
) -> dict[Bucket, float]:
    """How often each bucket is drawn; what is never drawn is left out.

    Raises:
        TrainingError: the mixture names what no record is of.
    """
    having: dict[str, list[Bucket]] = defaultdict(list)
    for bucket in buckets:
        name = bucket.task if bucket.task in mixture else bucket.kind
        if name in mixture:
            having[name].append(bucket)
    out: dict[Bucket, float] = {}
    for name, weight in mixture.items():
        if weight == 0:
            continue
        if not having[name]:
            raise TrainingError(f"mixture: no record is of {name}; there are {', '.join(_names(buckets))}")
        shares = [modalities.get(b.modality, 1.0) for b in having[name]]
        for bucket, share in zip(having[name], shares, strict=True):
            out[bucket] = weight * share / sum(shares)
    return out


def _names(buckets: Iterable[Bucket]) -> Sequence[str]:
    return sorted({name for b in buckets for name in (b.kind, b.task)}) or ["none"]
