"""Reports of chest X-rays: Open-i (Indiana) and MIMIC-CXR, as the data engine reads them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from unimedvl.data.error import DataError
from unimedvl.data.source import Fault
from unimedvl.data.sources import source
from unimedvl.evaluation.benchmark import Benchmark, Broken, Pairs, Scored
from unimedvl.evaluation.benchmarks.paired_sets import TENTH, held_out
from unimedvl.evaluation.breakdown import failures
from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.item import Item
from unimedvl.evaluation.metrics.findings import labeller_scores
from unimedvl.evaluation.metrics.text import text_scores
from unimedvl.evaluation.protocol import Protocol


def _read(name: str, split: str, root: Path | None) -> Iterator[Item | Broken]:
    """One report of each study; split: the source's own, empty for the tenth of patients."""
    if root is None:
        raise EvaluationError(f"{name}: no data; give the folder of its published form")
    try:
        for found in source(name).read(root):
            if isinstance(found, Fault):
                yield Broken(found.where, found.reason)
                continue
            r = found.record
            ours = r.split == split if split else held_out(r.dataset, r.patient or r.study or r.id)
            if r.sub_task_type == "report" and ours:
                yield Item(
                    r.id, "report", "report", found.images, answers=(r.message[-1].value.strip(),),
                    groups={"modality": r.modality},
                )  # fmt: skip
    except DataError as error:
        raise EvaluationError(str(error)) from error


def _score(pairs: Pairs) -> Scored:
    """Words against the report, then findings by RadGraph and CheXbert where they are there."""
    said, true = [p.text for _, p in pairs], [i.answers for i, _ in pairs]
    words, values = text_scores(said, true, failed=failures([p for _, p in pairs]))
    return Scored([*words, *labeller_scores(said, [several[0] for several in true])], values)


def _benchmark(name: str, title: str, split: str, told: str) -> Benchmark:
    about = source(name)
    protocol = Protocol(
        told, 'all images of the study, then the task\'s own words ("Write a report.")', "the answer as it is",
        open="BLEU, METEOR, ROUGE-L, CIDEr-D against the report as the data engine has it; findings by RadGraph and "
        "CheXbert where they are there",
    )  # fmt: skip
    return Benchmark(
        f"{name}-reports", title, "reports", protocol, partial(_read, name, split), _score, home=about.home,
        licence=about.licence,
    )  # fmt: skip


OPENI_REPORTS = _benchmark("openi", "Reports of chest X-rays (Open-i)", "", TENTH)
MIMIC_REPORTS = _benchmark("mimic-cxr", "Reports of chest X-rays (MIMIC-CXR)", "test", "the official test split")
