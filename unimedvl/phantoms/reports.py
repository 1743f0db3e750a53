"""Reports on simulated studies: one short sentence a finding, then the impression."""

from __future__ import annotations

from unimedvl.phantoms.study import Finding, Study
from unimedvl.phantoms.terms import Modality, Rng, pick
from unimedvl.phantoms.vocabulary import (
    as_seen,
    attribute,
    capitalised,
    listed,
    modality_of,
    ordered,
    phrase,
    view_of,
)

NORMAL = ("No abnormality is seen.", "There is no abnormality.")
# Beyond this many findings the impression counts them instead of naming them, to stay short.
NAMED_IN_IMPRESSION = 3


def report(study: Study, rng: Rng, view: str | None = None) -> str:
    """ "Findings: ... Impression: ..." with severity, side and place of every finding, under 50 words for
    up to five findings.

    view: which image is read, the study's first if None; immunohistochemistry also states its level.
    Raises VocabularyError for findings or views that the table lacks.
    """
    study, modality, seen = as_seen(study, view), modality_of(study), view_of(study, view)
    sentences = list(dict.fromkeys(_sentence(modality, finding, rng) for finding in ordered(study)))
    if not sentences:
        sentences = [pick(rng, NORMAL)]
    if seen.stain == "HER2" and attribute(study, "her2"):
        sentences.append(f"HER2 is {attribute(study, 'her2')}.")
    return f"Findings: {' '.join(sentences)} Impression: {_impression(study, seen.kind)}"


def _sentence(modality: Modality, finding: Finding, rng: Rng) -> str:
    term = modality.term(finding.name)
    what = phrase(term, finding, rng)
    if rng.random() < 0.5:
        return f"There {term.be} {what}."
    return f"{capitalised(what)} {term.be} {pick(rng, ('seen', 'present'))}."


def _impression(study: Study, kind: str) -> str:
    modality = modality_of(study)
    short = [phrase(modality.term(f.name), f, full=False, article=False) for f in ordered(study)]
    short = list(dict.fromkeys(short))
    if not short:
        return f"Normal {kind}."
    if len(short) > NAMED_IN_IMPRESSION:
        return "Several findings."
    return capitalised(listed(short)) + "."
