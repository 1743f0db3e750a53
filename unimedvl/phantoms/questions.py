"""Questions on simulated studies with exact answers: yes or no, one of several options, or a few words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from unimedvl.phantoms.study import Finding, Study
from unimedvl.phantoms.terms import DEGREE, Modality, Rng, Term, View, pick, pick_many
from unimedvl.phantoms.vocabulary import (
    MODALITIES,
    as_seen,
    attribute,
    grade,
    indefinite,
    modality_of,
    ordered,
    place,
    view_of,
)
from unimedvl.tasks import HER2_LEVELS

Kind = Literal["closed", "choice", "open"]
LETTERS = "ABCD"
PLANES = ("axial", "coronal", "sagittal")
NO_ABNORMALITY = "no abnormality"
# Sizes are asked for in steps that can be told apart at low resolution.
SIZE_STEP_MM = 5


@dataclass(frozen=True)
class Question:
    """A question and its only right answer.

    answer: "yes" or "no" (closed), a letter (choice), a few words (open).
    topic: what is asked about: presence, normality, finding, side, severity, place, size, count,
        modality, organ, plane, sequence, stain, her2, eye.
    options: what the letters stand for, in order; empty unless a choice.
    """

    text: str
    answer: str
    kind: Kind
    topic: str
    options: tuple[str, ...] = ()


def questions(
    study: Study, rng: Rng, view: str | None = None, among: Sequence[str] | None = None
) -> list[Question]:
    """All questions on one image of a study; among the closed ones, as many yes as no.

    view: which image is asked about, the study's first if None. among: codes of the modalities that wrong
    answers come from; all if None. Raises VocabularyError.
    """
    study, modality, seen = as_seen(study, view), modality_of(study), view_of(study, view)
    others = [m for code, m in MODALITIES.items() if code != modality.code and code in (among or MODALITIES)]
    return [
        *_presence(study, modality, rng),
        *_normality(study, rng),
        *_which_finding(study, modality, rng),
        *_details(study, modality, rng),
        *_modality(modality, seen, others, rng),
        *_organ(study, others, rng),
        *_acquisition(study, modality, seen, rng),
    ]


def choice(text: str, right: str, wrong: Sequence[str], rng: Rng, topic: str) -> Question:
    """A question with up to four lettered options in random order."""
    others = pick_many(rng, [w for w in wrong if w != right], len(LETTERS) - 1)
    options = tuple(pick_many(rng, [right, *others], len(LETTERS)))
    lettered = " ".join(f"{letter}) {option}" for letter, option in zip(LETTERS, options, strict=False))
    return Question(f"{text} {lettered}", LETTERS[options.index(right)], "choice", topic, options)


def _yes_and_no(template: str, right: str, wrong: str, topic: str) -> Iterator[Question]:
    yield Question(template.format(right), "yes", "closed", topic)
    yield Question(template.format(wrong), "no", "closed", topic)


def _names(study: Study) -> list[str]:
    return list(dict.fromkeys(finding.name for finding in ordered(study)))


def _absent(study: Study, modality: Modality) -> list[Term]:
    present = _names(study)
    return [term for term in modality.terms if term.name not in present]


def _presence(study: Study, modality: Modality, rng: Rng) -> Iterator[Question]:
    """Each present finding beside one absent finding; on a normal study one absent alone."""
    present = [modality.term(name) for name in _names(study)]
    absent = pick_many(rng, _absent(study, modality), max(1, len(present)))
    if present:
        present = pick_many(rng, present, len(absent))
    for term, answer in [(t, "yes") for t in present] + [(t, "no") for t in absent]:
        yield Question(_is_there(term, rng), answer, "closed", "presence")


def _is_there(term: Term, rng: Rng) -> str:
    named = term.name if term.number != "one" else indefinite(term.name)
    verb = "Are" if term.number == "many" else "Is"
    return pick(rng, (f"{verb} there {named}?", f"Does this image show {named}?"))


def _normality(study: Study, rng: Rng) -> Iterator[Question]:
    """Two with opposite answers on an abnormal study; on a normal one a yes, which balances the "no" of
    the absent finding asked for there."""
    if study.findings:
        yield Question("Is this image normal?", "no", "closed", "normality")
        yield Question("Is there any abnormality?", "yes", "closed", "normality")
    else:
        yield Question("Is this image normal?", "yes", "closed", "normality")
    answer = "abnormal" if study.findings else "normal"
    yield Question("Is this image normal or abnormal?", answer, "open", "normality")


def _which_finding(study: Study, modality: Modality, rng: Rng) -> Iterator[Question]:
    names = _names(study) or [NO_ABNORMALITY]
    text = "Which finding is present?" if len(names) == 1 else "Which findings are present?"
    yield Question(text, ", ".join(names), "open", "finding")
    wrong = [term.name for term in _absent(study, modality)]
    if wrong:
        if study.findings:
            wrong.append(NO_ABNORMALITY)
        yield choice("Which finding is present?", pick(rng, names), wrong, rng, "finding")


def _details(study: Study, modality: Modality, rng: Rng) -> Iterator[Question]:
    """Side, severity, place, size and count of the findings that occur once, so "the" is exact."""
    for name in _names(study):
        term = modality.term(name)
        same = [finding for finding in study.findings if finding.name == name]
        if term.sided:
            yield from _side(term, same)
        if len(same) == 1:
            yield from _severity(term, same[0], rng)
            yield from _place_and_size(term, same[0], rng)


def _side(term: Term, same: list[Finding]) -> Iterator[Question]:
    sides = {finding.side for finding in same if finding.side}
    if not sides:
        return
    answer = "both" if len(sides) == 2 else next(iter(sides))
    yield Question(f"Which side is the {term.called()} on?", answer, "open", "side")
    if len(sides) == 1:
        wrong = "left" if answer == "right" else "right"
        yield from _yes_and_no(f"Is the {term.called()} on the {{}}?", answer, wrong, "side")


def _severity(term: Term, finding: Finding, rng: Rng) -> Iterator[Question]:
    if term.number == "many":
        text = f"How many {term.called()} are there?"
    elif term.grades == DEGREE:
        text = f"How severe is the {term.called()}?"
    else:
        text = f"How {'large' if term.number == 'one' else 'extensive'} is the {term.called()}?"
    answer = grade(term, finding)
    yield Question(text, answer, "open", "severity")
    yield choice(text, answer, term.grades, rng, "severity")


def _place_and_size(term: Term, finding: Finding, rng: Rng) -> Iterator[Question]:
    known = place(term, finding)
    if known:
        where = " ".join(filter(None, (finding.side, known)))
        yield Question(f"Where is the {term.called()}?", where, "open", "place")
        yield choice(f"Where is the {term.called()}?", known, term.places, rng, "place")
    if term.measured and finding.size >= 1:
        size = max(SIZE_STEP_MM, SIZE_STEP_MM * round(finding.size / SIZE_STEP_MM))
        yield Question(f"About what size is the {term.called()}?", f"{size} mm", "open", "size")
    if term.counted:
        text = f"Count the {term.called()}."
        yield Question(text, str(finding.count), "open", "count")


def _modality(modality: Modality, seen: View, others: list[Modality], rng: Rng) -> Iterator[Question]:
    """What kind of image it is. A view of a modality of its own is told apart from the others of its study too."""
    apart = [v for v in modality.views if v.code != seen.code]
    kinds = list(dict.fromkeys(view.kind for view in (*apart, *(view for m in others for view in m.views))))
    named = list(dict.fromkeys(view.an or m.an for m in others for view in m.views))
    named = [view.an or modality.an for view in apart] + named
    text = pick(rng, ("What modality is this?", "What kind of image is this?"))
    yield Question(text, seen.kind, "open", "modality")
    yield choice(text, seen.kind, kinds, rng, "modality")
    if named:
        yield from _yes_and_no("Is this {}?", seen.an or modality.an, pick(rng, named), "modality")


def _organ(study: Study, others: list[Modality], rng: Rng) -> Iterator[Question]:
    right = attribute(study, "organ")
    wrong = sorted({m.organ for m in others} - {right})
    yield Question("Which body part is shown?", right, "open", "organ")
    if not wrong:
        return
    yield choice("Which body part is shown?", right, wrong, rng, "organ")
    yield from _yes_and_no("Does this image show the {}?", right, pick(rng, wrong), "organ")


def _acquisition(study: Study, modality: Modality, seen: View, rng: Rng) -> Iterator[Question]:
    """How the image was made: plane, sequence, stain, HER2 level, which eye."""
    plane, eye, her2 = (attribute(study, name) for name in ("plane", "eye", "her2"))
    if plane in PLANES:
        yield Question("Which plane is this?", plane, "open", "plane")
        yield choice("Which plane is this?", plane, PLANES, rng, "plane")
        wrong = pick(rng, [p for p in PLANES if p != plane])
        yield from _yes_and_no("Is this plane {}?", plane, wrong, "plane")
    if seen.sequence:
        sequences = [view.sequence for view in modality.views]
        yield Question("Which MRI sequence is this?", seen.sequence, "open", "sequence")
        yield choice("Which MRI sequence is this?", seen.sequence, sequences, rng, "sequence")
    if seen.stain:
        yield Question("Which stain is this?", seen.stain, "open", "stain")
    if seen.stain == "HER2" and her2:
        yield Question("What is the HER2 level?", her2, "open", "her2")
        yield choice("What is the HER2 level?", her2, HER2_LEVELS, rng, "her2")
    if eye:
        yield Question("Which eye is this?", eye, "open", "eye")
        other = "left" if eye == "right" else "right"
        yield from _yes_and_no("Is this the {} eye?", eye, other, "eye")
