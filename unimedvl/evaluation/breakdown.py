"""A figure of all items, and the same of each group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from unimedvl.evaluation.item import Item, Prediction
from unimedvl.evaluation.score import Score, Unit, mean, share


def shares(
    metric: str, items: Sequence[Item], right: Sequence[bool], by: Sequence[str] = ("modality",), **told
) -> list[Score]:
    """A share of all items, then of those of each group."""
    return [share(metric, right, **told), *_by_group(items, right, by, lambda hits, g: share(metric, hits, group=g))]


def means(
    metric: str, items: Sequence[Item], values: Sequence[float], unit: Unit = "", by: Sequence[str] = ("modality",),
    **told,
) -> list[Score]:  # fmt: skip
    """A mean over all items, then over those of each group."""
    whole = mean(metric, values, unit, **told)
    return [whole, *_by_group(items, values, by, lambda part, g: mean(metric, part, unit, group=g))]


def _by_group(
    items: Sequence[Item], values: Sequence, by: Sequence[str], score: Callable[[list, str], Score]
) -> Iterator[Score]:
    for name in by:
        parts: dict[str, list] = {}
        for item, value in zip(items, values, strict=True):
            if name in item.groups:
                parts.setdefault(item.groups[name], []).append(value)
        if len(parts) > 1:
            yield from (score(part, f"{name}: {value}") for value, part in parts.items())


def failures(predictions: Sequence[Prediction]) -> int:
    return sum(bool(p.error) for p in predictions)
