"""Texts of every template, for training a tokenizer: what the small model will read and write.

The studies carry no images, so a corpus of thousands of texts takes seconds: findings come from the
modality's simulator where there is one, otherwise they are drawn from the vocabulary.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import ModuleType

from unimedvl.phantoms.captions import caption, plan
from unimedvl.phantoms.edits import edit_reply, edit_request
from unimedvl.phantoms.questions import questions
from unimedvl.phantoms.reports import report
from unimedvl.phantoms.study import FIRST_TRAINING_SEED, Case, Finding, Study
from unimedvl.phantoms.terms import DEGREE, Modality, Rng, pick, pick_many
from unimedvl.phantoms.vocabulary import MODALITIES, modality_of

# What a finding may have become: it cannot be better and severe, nor worse and mild.
CHANGES = {
    "mild": ("resolved", "new", "better"),
    "moderate": ("resolved", "new", "better", "worse"),
    "severe": ("resolved", "new", "worse"),
}


def corpus(n: int, seed: int, among: Sequence[str] | None = None) -> Iterator[str]:
    """n texts, modalities in turn and templates mixed. Equal arguments give equal texts.

    among: codes of the modalities; all if None.

    Raises whatever a simulator raises that is there but broken; one that is missing is done without.
    """
    rng = random.Random(seed)
    simulators = {code: _simulator(modality) for code, modality in MODALITIES.items() if code in (among or MODALITIES)}
    given = 0
    while given < n:
        for code, simulator in simulators.items():
            study = imagine(MODALITIES[code], rng, simulator)
            for text in texts(study, rng, among):
                if given == n:
                    return
                yield text
                given += 1


def texts(study: Study, rng: Rng, among: Sequence[str] | None = None) -> Iterator[str]:
    """One study in every template. among: as for `questions`."""
    modality = modality_of(study)
    view = pick(rng, modality.views).name
    yield report(study, rng, view)
    yield caption(study, view, rng)
    yield plan(study, view, rng)
    for question in pick_many(rng, questions(study, rng, view, among), 4):
        yield question.text
        yield question.answer
    for kind, wishes in edits(study, rng):
        yield edit_request(kind, rng, **wishes)
        yield edit_reply(kind, rng, **wishes)


def edits(study: Study, rng: Rng) -> Iterator[tuple[str, dict[str, object]]]:
    """The edits that make sense for a study, with their wishes."""
    modality = modality_of(study)
    for finding in study.findings[:1]:
        change = pick(rng, CHANGES[finding.severity])
        yield "counterfactual", {"modality": modality.code, "finding": finding, "change": change}
    if modality.structures:
        yield "segment", {"target": pick(rng, modality.structures)}
    if modality.code == "his":
        yield "stain", {"her2": study.attributes["her2"]}
    if modality.code == "mri":
        source, target = pick_many(rng, ("T1", "T2", "FLAIR"), 2)
        yield "translate", {"source": source, "target": target}
    yield pick(rng, (("upscale", {"factor": 4}), ("reconstruct", {})))


def imagine(modality: Modality, rng: Rng, simulator: ModuleType | None = None) -> Study:
    """A study without images: a quarter normal, else one to three findings.

    simulator: draws the findings instead, as it would for an image.
    """
    seed = FIRST_TRAINING_SEED + int(rng.random() * 10**9)
    if simulator is not None:
        case = simulator.sample(seed)
    else:
        terms = [] if rng.random() < 0.25 else pick_many(rng, modality.terms, 1 + int(rng.random() * 3))
        case = Case(modality.code, seed, tuple(_finding(modality, term.name, rng) for term in terms))
    attributes = {name: pick(rng, values) for name, values in modality.attributes}
    return Study(case, {}, {}, {"organ": modality.organ, **attributes})


def _finding(modality: Modality, name: str, rng: Rng) -> Finding:
    term = modality.term(name)
    finding = Finding(name, severity=pick(rng, DEGREE), place=pick(rng, term.places or ("",)))
    if term.sided:
        finding = replace(finding, side=pick(rng, ("left", "right")))
    if term.measured:
        finding = replace(finding, size=float(4 + int(rng.random() * 27)))
    if term.counted:
        finding = replace(finding, count=1 + int(rng.random() * 12))
    return finding


def _simulator(modality: Modality) -> ModuleType | None:
    name = f"unimedvl.phantoms.{modality.module}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None
