"""The same simulated patient before and after one finding has changed: prior and follow-up.

A finding resolves or is new, or where its simulator grades it (`study.Grading`), becomes better or worse by a grade, at
the same place and side. Both are rendered from one case, so all else is the same down to the noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from unimedvl.phantoms import SIMULATORS
from unimedvl.phantoms.edits import Change
from unimedvl.phantoms.study import Case, Finding, Grading, Study

# Of the findings that can be milder, the share that becomes better or worse instead of resolved or new.
GRADED = 0.5


@dataclass(frozen=True)
class Counterfactual:
    """A pair of studies of one case. finding: as it becomes; what resolves, as it was. where: [H, W] bool, what the
    finding covers in the study in which it is larger; None where the study has no mask of it.
    """

    change: Change
    finding: Finding
    before: Study
    after: Study
    where: np.ndarray | None


def counterfactual(study: Study, rng: np.random.Generator, graded: float = GRADED) -> Counterfactual | None:
    """A change of one of the study's findings, drawn; None of a study without any.

    graded: the share of better and worse, of findings that can be milder. What it decides follows from the case
    alone, so `rng` goes on alike whatever it is.
    """
    if not study.findings:
        return None
    finding = study.findings[rng.integers(len(study.findings))]
    backwards = rng.random() < 0.5
    own = np.random.default_rng((study.case.seed, 0x6A))
    if own.random() < graded:
        made = easing(study, finding, own)
        if made is not None:
            return _reversed(made, finding, "worse") if backwards else made
    made = resolution(study, finding)
    return _reversed(made, finding, "new") if backwards else made


def resolution(study: Study, finding: Finding) -> Counterfactual:
    """The study, and the same without one of its findings."""
    rest = tuple(f for f in study.findings if f is not finding)
    after = _rendered(study.case.with_findings(rest), study)
    return Counterfactual("resolved", finding, study, after, study.masks.get(finding.name))


def easing(study: Study, finding: Finding, rng: np.random.Generator) -> Counterfactual | None:
    """The study, and the same with one of its findings a grade milder; None where it can't be."""
    grading = gradings(study.modality).get(finding.name)
    case = grading.milder(study.case, finding, rng) if grading else None
    if case is None:
        return None
    milder = case.findings[study.findings.index(finding)]
    return Counterfactual("better", milder, study, _rendered(case, study), study.masks.get(finding.name))


def gradings(modality: str) -> Mapping[str, Grading]:
    """By what a modality's findings are graded; those that are not named can't be milder."""
    return getattr(SIMULATORS[modality], "GRADING", {})


def _reversed(made: Counterfactual, finding: Finding, change: Change) -> Counterfactual:
    return Counterfactual(change, finding, made.after, made.before, made.where)


def _rendered(case: Case, like: Study) -> Study:
    return SIMULATORS[case.modality].render(case, next(iter(like.images.values())).shape[0])
