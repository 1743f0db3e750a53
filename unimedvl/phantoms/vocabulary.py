"""The words for what simulated studies show: one table, one entry per modality.

Reports, questions, captions and edit requests are written from it, and findings are read back from
texts by it, so what one writes the other understands. A new modality is one file in
`unimedvl.phantoms.words` and one entry here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from unimedvl.phantoms.study import Finding, Study
from unimedvl.phantoms.terms import DEGREE, Modality, Rng, Term, View, VocabularyError, pick
from unimedvl.phantoms.words import cfp, ct, cxr, dermoscopy, endoscopy, his, mri, oct, us

MODALITIES: dict[str, Modality] = {
    m.WORDS.code: m.WORDS for m in (cxr, mri, his, cfp, ct, oct, us, endoscopy, dermoscopy)
}


def modality_of(study: Study) -> Modality:
    """The table's entry for a study. Raises VocabularyError."""
    if study.modality not in MODALITIES:
        raise VocabularyError(f"no modality {study.modality!r}; known are {', '.join(MODALITIES)}")
    return MODALITIES[study.modality]


def view_of(study: Study, view: str | None = None) -> View:
    """The view meant: the named one, else the study's first, else the modality's first.

    A modality with one view takes any name for it.
    """
    modality = modality_of(study)
    if len(modality.views) == 1:
        return modality.views[0]
    name = view or next(iter(study.images), modality.views[0].name)
    return modality.view(name)


def as_seen(study: Study, view: str | None = None) -> Study:
    """The study with the findings that a view of it shows; its first view if None. Raises VocabularyError."""
    modality, name = modality_of(study), view_of(study, view).name
    shown = tuple(f for f in study.findings if name not in modality.term(f.name).unseen)
    return study if len(shown) == len(study.findings) else replace(study, case=study.case.with_findings(shown))


def attribute(study: Study, name: str) -> str:
    """A fact of the study in words, from the study or else as the modality always has it; "" if none."""
    if name in study.attributes:
        return study.attributes[name]
    if name == "organ":
        return modality_of(study).organ
    values = dict(modality_of(study).attributes).get(name, ())
    return values[0] if len(values) == 1 else ""


def ordered(study: Study) -> list[Finding]:
    """The findings in the table's order, right before left: texts of equal studies are then alike."""
    modality = modality_of(study)
    rank = {term.name: k for k, term in enumerate(modality.terms)}
    for finding in study.findings:
        modality.term(finding.name)
    return sorted(study.findings, key=lambda f: (rank[f.name], f.side != "right", f.place))


def grade(term: Term, finding: Finding) -> str:
    """The severity in the finding's own words: a large effusion, severe cardiomegaly, many drusen."""
    return term.grades[DEGREE.index(finding.severity)]


def place(term: Term, finding: Finding) -> str:
    """Where it lies in the table's words ("frontal" is the frontal lobe); "" where that is not said."""
    for known in (finding.place, f"{finding.place} lobe"):
        if known in term.places:
            return known
    return ""


def phrase(
    term: Term, finding: Finding, rng: Rng | None = None, full: bool = True, article: bool = True
) -> str:
    """A noun phrase: "a large left frontal lobe tumour"; in short "left tumour".

    rng: chooses among the names; None takes the canonical one.
    full: with severity, place and size, not side and name alone.
    """
    words = [grade(term, finding)] if full else []
    if finding.side:
        words.append(finding.side)
    if full and place(term, finding):
        words.append(place(term, finding))
    name = pick(rng, term.names) if rng and full else term.name
    return with_article(term, " ".join([*words, name]) + _measure(term, finding, full), article)


def with_article(term: Term, words: str, article: bool = True) -> str:
    """The words with "a", "an" or nothing before them, as the term asks."""
    if not article or term.number == "mass":
        return words
    if term.number == "many":
        return f"a {words}" if words.startswith("few ") else words
    return indefinite(words)


def indefinite(words: str) -> str:
    """ "a tumour", "an infarct", "an H&E image", "a HER2 image"."""
    return f"{'an' if words[0].lower() in 'aeiou' or words.startswith('H&E') else 'a'} {words}"


def listed(items: Sequence[str], last: str = "and") -> str:
    """ "a", "a and b", "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}"


def capitalised(text: str) -> str:
    """The first letter large, the rest as it is."""
    return text[:1].upper() + text[1:]


def _measure(term: Term, finding: Finding, full: bool) -> str:
    return f" of {round(finding.size)} mm" if full and term.measured and finding.size >= 1 else ""
