"""The table's tasks in order. What each measures is told by its function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import judge
from benchmarks.nano_bench import Bench
from benchmarks.nano_counterfactual import RULE, counterfactuals
from benchmarks.nano_drawing import generate, vae
from benchmarks.nano_edits import segment, stain, translate, upscale
from benchmarks.nano_reading import closed, modality, opened, report
from benchmarks.scores import Measure
from unimedvl.phantoms.vocabulary import MODALITIES


@dataclass(frozen=True)
class Task:
    """measure: a function of the files beside. count: looks by default, chosen so that all tasks take some minutes."""

    measure: Callable[[Bench, int], list[Measure]]
    count: int


TASKS: dict[str, Task] = {
    "modality": Task(modality, 390),
    "closed": Task(closed, 130),
    "open": Task(opened, 195),
    "report": Task(report, 260),
    "generate": Task(generate, 260),
    "vae": Task(vae, 195),
    "upscale": Task(upscale, 36),
    "translate": Task(translate, 24),
    "stain": Task(stain, 24),
    "counterfactual": Task(counterfactuals, 180),
    "segment": Task(segment, 180),
}


def notes(modalities: Sequence[str]) -> tuple[str, ...]:
    """What is to be known with the table."""
    named = ", ".join(MODALITIES[code].said for code in modalities)
    return judge.RULE, RULE, f"Findings are of {named}; in immunostains the level counts instead."
