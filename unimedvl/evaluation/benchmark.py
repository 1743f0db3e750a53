"""What a benchmark is: items in order, a declared protocol, and how predictions become scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from unimedvl.evaluation.item import Item, Prediction
from unimedvl.evaluation.protocol import Protocol
from unimedvl.evaluation.score import Score

# Which of the published tables a benchmark belongs to.
Area = Literal["understanding", "generation", "paired", "reports", "trust"]
Pairs = Sequence[tuple[Item, Prediction]]


@dataclass(frozen=True)
class Broken:
    """An item of the data that can't be asked. where: file and line, key or name. reason: in one line."""

    where: str
    reason: str


@dataclass(frozen=True)
class Scored:
    """What came out. scores: the first is the benchmark's headline. values: of each item in order, by the names of the
    metrics that a single item has, such as {"accuracy": 1.0} or {"PSNR": 27.3, "SSIM": 0.91}; {} where it has none.
    beside: by an item's id, a further image [H, W, 3] uint8 to look at: the training image nearest to what was drawn.
    """

    scores: list[Score]
    values: list[dict[str, float]]
    beside: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    name: as in suites, such as "vqa-rad". title: as its authors call it. home: where it is from. licence: SPDX or their
    words. needs_data: whether `read` needs a folder; simulated ones don't. simulated: whether its images are.
    read: items in order, from the folder of the published form, and what can't be used. Items load their images when
    asked. published_as: the published table that its figures stand beside; its own name where empty. score:
    of all items and their predictions, in order, those that failed too. expected: how many items the
    published form has. submit: writes a table of the predictions, of a benchmark whose answers its authors keep.
    """

    name: str
    title: str
    area: Area
    protocol: Protocol
    read: Callable[[Path | None], Iterator[Item | Broken]]
    score: Callable[[Pairs], Scored]
    home: str = ""
    licence: str = ""
    published_as: str = ""
    needs_data: bool = True
    simulated: bool = False
    expected: int | None = None
    submit: Callable[[Pairs, Path], object] | None = None
    notes: str = ""
