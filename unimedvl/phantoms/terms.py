"""What the words for a modality are made of: terms for findings, views, and the modality as a whole.

Each modality's own words are a file of `unimedvl.phantoms.words`; `unimedvl.phantoms.vocabulary` is the table of
them. British spelling is canonical; the parser takes American spelling too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

T = TypeVar("T")

# The words for mild, moderate and severe, by what is graded.
DEGREE = ("mild", "moderate", "severe")
EXTENT = ("small", "moderate", "large")
SPREAD = ("focal", "moderate", "extensive")
AMOUNT = ("few", "several", "many")


class VocabularyError(ValueError):
    """A modality, view or finding that the table does not have."""


class Rng(Protocol):
    """What the templates ask of a generator: `random.Random` and `numpy.random.Generator` both do."""

    def random(self) -> float: ...


def pick(rng: Rng, items: Sequence[T]) -> T:
    """One of the items, uniformly."""
    return items[int(rng.random() * len(items))]


def pick_many(rng: Rng, items: Sequence[T], n: int) -> list[T]:
    """At most n different items, in random order."""
    return sorted(items, key=lambda _: rng.random())[:n]


@dataclass(frozen=True)
class Term:
    """The words for one finding.

    name: the canonical name, as in `Finding.name`.
    said: other names that the templates use as well.
    heard: further names that only the parser knows.
    short: the name once its kind is clear ("the effusion"); empty for the name itself.
    number: "one" takes an article, "mass" none, "many" is plural.
    grades: the words for mild, moderate and severe.
    sided: whether it lies on the patient's left or right.
    measured: whether its size in millimetres is stated.
    counted: whether its count is asked for.
    unseen: views that do not show it, by their names, so that no text on them speaks of it.
    """

    name: str
    said: tuple[str, ...] = ()
    heard: tuple[str, ...] = ()
    short: str = ""
    number: Literal["one", "mass", "many"] = "one"
    grades: tuple[str, str, str] = DEGREE
    sided: bool = False
    measured: bool = False
    counted: bool = False
    places: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.said)

    @property
    def be(self) -> str:
        return "are" if self.number == "many" else "is"

    def called(self) -> str:
        return self.short or self.name


@dataclass(frozen=True)
class View:
    """One kind of image of a modality.

    name: the key in `Study.images`.
    kind: what to answer when asked what the image is.
    head: how a caption begins, with the study's attributes in braces.
    sequence, stain: the answer to which sequence or stain it is, empty where that is no question.
    code, an: as of `Modality`, where the image is of a modality of its own (`tasks.MODALITY_NAMES`); empty for that
        of the study.
    """

    name: str
    kind: str
    head: str
    sequence: str = ""
    stain: str = ""
    code: str = ""
    an: str = ""


@dataclass(frozen=True)
class Modality:
    """Everything that is said of one modality.

    code: as in `Case.modality`; module: its simulator in `unimedvl.phantoms`.
    said: the name in words; aliases: further names; an: with its article, as in "Is this a ...?".
    organ: what it shows; scene: what any image of it has in it.
    attributes: the values that `Study.attributes` may take, for drawing studies without images.
    structures: what can be segmented, besides findings.
    """

    code: str
    module: str
    said: str
    aliases: tuple[str, ...]
    an: str
    organ: str
    scene: str
    views: tuple[View, ...]
    terms: tuple[Term, ...]
    structures: tuple[str, ...] = ()
    attributes: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def term(self, name: str) -> Term:
        for term in self.terms:
            if term.name == name:
                return term
        known = ", ".join(term.name for term in self.terms)
        raise VocabularyError(f"no finding {name!r} in {self.said}; known are {known}")

    def view(self, name: str) -> View:
        for view in self.views:
            if view.name == name:
                return view
        known = ", ".join(view.name for view in self.views)
        raise VocabularyError(f"no view {name!r} in {self.said}; known are {known}")
