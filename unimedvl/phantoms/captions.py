"""Requests for images: captions of simulated studies, and the planning text that may precede drawing."""

from __future__ import annotations

from unimedvl.phantoms.study import Study
from unimedvl.phantoms.terms import Rng, View, pick
from unimedvl.phantoms.vocabulary import (
    as_seen,
    attribute,
    capitalised,
    indefinite,
    listed,
    modality_of,
    ordered,
    phrase,
    view_of,
)
from unimedvl.tasks import THINK_FIRST

# The bare caption is the commonest request.
OPENINGS = ("{}", "{}", "{}", "show {}", "generate {}", "a realistic {}")


def caption(study: Study, view: str | None, rng: Rng) -> str:
    """A text-to-image request for one view: "Chest X-ray with a large right pleural effusion".

    Says everything that decides the image: view, plane, organ or eye, HER2 level, every finding.
    Raises VocabularyError.
    """
    study, seen = as_seen(study, view), view_of(study, view)
    head, what = f"{_head(study, seen)}{_level(study, seen)}", _what(study, rng)
    if what:
        request = f"{head} with {what}"
    else:
        request = f"{head}, normal" if rng.random() < 0.5 else f"normal {head}"
    opening = pick(rng, OPENINGS)
    asks = opening.startswith(("show", "generate"))
    return capitalised(opening.format(indefinite(request) if asks else request))


def plan(study: Study, view: str | None, rng: Rng) -> str:
    """What to draw, thought through: "<think> ... </think>", closing with what the image shows."""
    study, modality, seen = as_seen(study, view), modality_of(study), view_of(study, view)
    scene = pick(rng, ("First {0}.", "I draw {0}.", "The image needs {0}.")).format(modality.scene)
    what = _what(study, rng) or "no abnormality"
    return f"<think> {scene} The {_head(study, seen)}{_level(study, seen)} shows {what}. </think>"


def _head(study: Study, view: View) -> str:
    """The kind of image, with the attributes that its words ask for; unknown ones are left out."""
    values = {name: attribute(study, name) for name in ("organ", "plane", "eye")}
    if not values["eye"]:
        return view.head.replace(" of the {eye} eye", "").format(**values).strip()
    return view.head.format(**values).strip()


def _level(study: Study, view: View) -> str:
    level = attribute(study, "her2")
    return f", level {level}" if view.stain == "HER2" and level else ""


def _what(study: Study, rng: Rng) -> str:
    modality = modality_of(study)
    phrases = [phrase(modality.term(f.name), f, rng) for f in ordered(study)]
    return listed(list(dict.fromkeys(phrases))) if phrases else ""


def reasoned(study: Study, view: str, rng: Rng, question: str, answer: str) -> tuple[str, str]:
    """A question and its answer, thought through first: what is seen, between think tags, then the answer."""
    shown = plan(study, view, rng).rsplit(". ", 2)[-2]
    return f"{THINK_FIRST} {question}", f"<think> {shown}. </think> {answer}"
