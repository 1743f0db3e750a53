"""A finished suite's figures and the outcome of each of its items, as its files tell them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Literal

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.results import FILE, Results
from unimedvl.evaluation.score import Score

# "not judged": of a metric that is no matter of right or wrong, such as PSNR.
Outcome = Literal["right", "wrong", "failed", "not judged"]
OUTCOMES: tuple[Outcome, ...] = ("right", "wrong", "failed", "not judged")
MODALITY = "modality: "
_NUMBERS = ("value", "low", "high")
_FIELDS = {field.name for field in fields(Score)}
_TOP = ("suite", "model", "benchmarks")
_NEEDED = ("name", "title", "protocol", "scores")


def entries(results: Results) -> dict[str, dict]:
    """The benchmarks of a suite by name, in order.

    Raises:
        EvaluationError: results.json lacks what every suite writes.
    """
    content, file = results.content, results.folder / FILE
    if not isinstance(content, dict) or any(key not in content for key in _TOP) or "name" not in content["model"]:
        raise EvaluationError(f"{file}: not the results of a suite; they have {', '.join(_TOP)} and a model's name")
    for place, entry in enumerate(content["benchmarks"], 1):
        missing = [key for key in _NEEDED if key not in entry]
        if missing:
            raise EvaluationError(f"{file}: benchmark {place} lacks {', '.join(missing)}")
    return {entry["name"]: entry for entry in content["benchmarks"]}


def scores(entry: Mapping) -> list[Score]:
    """The figures of a benchmark; null is NaN again.

    Raises:
        EvaluationError: a line that is no `Score`.
    """
    return [_score(line, entry["name"]) for line in entry["scores"]]


def _score(line: Mapping, benchmark: str) -> Score:
    told = {key: value for key, value in line.items() if key in _FIELDS}
    told |= {key: math.nan for key in _NUMBERS if told.get(key) is None}
    try:
        return Score(**told)
    except TypeError as error:
        raise EvaluationError(f"a score of {benchmark} lacks a field: {error}") from error


def headline(entry: Mapping) -> Score | None:
    """The first figure, which is the benchmark's own; None where it has none."""
    return next(iter(scores(entry)), None)


def modalities(entry: Mapping, metric: str) -> list[Score]:
    """A metric's figures by modality; none where it is not broken down."""
    return [s for s in scores(entry) if s.metric == metric and s.group.startswith(MODALITY)]


def right_metric(entry: Mapping, items: Sequence[Mapping]) -> str:
    """The metric by which an item is right or wrong; empty where there is none.

    It is the first of the benchmark's shares whose values are all 0 or 1.
    """
    return next((s.metric for s in scores(entry) if s.unit == "%" and is_binary(values(items, s.metric))), "")


def as_asked(items: Sequence[Mapping]) -> list[Mapping]:
    """The items without their variants, such as the question in other words or without its image."""
    from unimedvl.evaluation.trust import ORIGINAL, VARIANT

    return [item for item in items if item.get("groups", {}).get(VARIANT, ORIGINAL) == ORIGINAL]


def values(items: Iterable[Mapping], metric: str) -> list[float]:
    """What the items have of a metric, without those that have none."""
    found = (item["values"].get(metric) for item in items)
    return [float(value) for value in found if value is not None and math.isfinite(value)]


def is_binary(of: Sequence[float]) -> bool:
    """Whether all are 0 or 1, and there are any."""
    return bool(of) and set(of) <= {0.0, 1.0}


def outcome(item: Mapping, metric: str) -> Outcome:
    """What became of an item by a metric that is 0 or 1. A failed one is called failed, though it counts as wrong."""
    if item.get("error"):
        return "failed"
    value = item["values"].get(metric) if metric else None
    return "not judged" if value is None else "right" if value == 1 else "wrong"


def sure(items: Iterable[Mapping], metric: str) -> tuple[list[float], list[bool]]:
    """Confidence and whether it was right, of the items that have both."""
    both = [
        (item["confidence"], item["values"][metric] == 1)
        for item in items
        if item.get("confidence") is not None and item["values"].get(metric) is not None
    ]
    return [c for c, _ in both], [r for _, r in both]
