"""What a text states, as far as a word list can read it: terms with their sides, positions and denials.

A side belongs to the term that it stands before in its clause, or else after. A side that belongs to no known term
is kept with every word of its clause, or of the sentence: so no side in a text goes unread. The unknown words beside
a term are kept with its side too, so that they can't change sides unseen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

from unimedvl.data.captions import lexicon
from unimedvl.phantoms.parser import parse

_SENTENCE = re.compile(r"[.;:!?](?=\s|$)|\n")
# Where a clause ends, but "left and right" is one side.
_CLAUSE = re.compile(
    r",|(?<!left )(?<!right )\b(?:and|or|nor|but|with|while|whereas)\b|\b(?:and|or)\b(?! (?:left|right)\b)"
)
_DENIES = re.compile(
    r"\b(?:no|not|without|neither|nor|never|absence of|absent|negative for|free of|free from|lacks?|clear of"
    r"|resolution of|rather than|instead of)\b"
)
_DENIED = re.compile(
    r"\b(?:is|are|was|were|has|have|had)(?: been)?(?: now)? (?:not|no longer|absent|gone|resolved|excluded|cleared"
    r"|disappeared|ruled out)\b"
)
# What ends a denial before it.
_STATES_ANEW = re.compile(r"\b(?:but|however|although|though|except|there (?:is|are|was|were)|with)\b")
_NUMBER = re.compile(r"(?<![\w.])\d+(?:[.,]\d+)*(?:\s?%|\+|x\b)?(?!\w)")
_WORD = re.compile(r"[a-z][a-z-]+")
_FILLING = frozenset(
    ("a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "has", "have", "in", "is", "it", "its", "of", "on",
     "or", "seen", "shown", "shows", "side", "sided", "the", "there", "this", "that", "to", "was", "were", "which",
     "with", "visible", "noted", "present", "hand", "aspect")
)  # fmt: skip


@dataclass(frozen=True)
class Mention:
    """A term as a text has it.

    kind: of `lexicon.Kind`; "other" is a word that is known for its side alone, "near" one that stands beside a term
    with a side. severity: mild, moderate or severe,
    of what simulated studies show. positions: of `lexicon.AXES`.
    """

    kind: str
    name: str
    sides: frozenset[str] = frozenset()
    positions: frozenset[str] = frozenset()
    severity: str = ""
    negated: bool = False


@dataclass(frozen=True)
class Facts:
    """What a text states.

    mentions: its terms. sides: in the order of the text, each as `lexicon.SIDES` has it. numbers: as written.
    modalities: codes, in order. acquisition: words of `lexicon.ACQUISITION`, in order.
    """

    mentions: frozenset[Mention] = frozenset()
    sides: tuple[frozenset[str], ...] = ()
    positions: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    acquisition: tuple[str, ...] = ()
    named: dict[str, list[Mention]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def all_sides(self) -> frozenset[str]:
        return frozenset().union(*self.sides)

    def of(self, kind: str) -> set[str]:
        """Names of a kind that are not denied."""
        return {m.name for m in self.mentions if m.kind == kind and not m.negated}

    @property
    def regions(self) -> set[str]:
        """Where its sites lie, without "any"."""
        return {lexicon.region(m.name) for m in self.mentions if m.kind == "site"} - {"any"}


def read(text: str) -> Facts:
    """The facts of a text."""
    text = lexicon.canonical(text)
    mentions = frozenset([*_known(text), *_of_phantoms(text)])
    named: dict[str, list[Mention]] = {}
    for mention in mentions:
        named.setdefault(mention.name, []).append(mention)
    names = lexicon.modality_names()
    return Facts(
        mentions=mentions,
        sides=tuple(lexicon.SIDES[m.group()] for m in _side().finditer(text)),
        positions=tuple(_position().findall(text)),
        numbers=tuple("".join(n.split()) for n in _NUMBER.findall(text)),
        modalities=tuple(names[n] for n in _modality().findall(text)),
        acquisition=tuple(n.removesuffix("-weighted") for n in _acquisition().findall(text)),
        named=named,
    )


def _known(text: str) -> Iterator[Mention]:
    for sentence in _SENTENCE.split(text):
        start = 0
        for end in [*(m.start() for m in _CLAUSE.finditer(sentence)), len(sentence)]:
            if end > start:
                yield from _in_clause(sentence, start, end)
                start = end


def _in_clause(sentence: str, start: int, end: int) -> Iterator[Mention]:
    """The terms of a clause, and its sides that belong to none."""
    clause = sentence[start:end]
    sides, unused = list(_side().finditer(clause)), set()
    unused.update(m.start() for m in sides)
    for found in lexicon.pattern().finditer(clause):
        kind, name = lexicon.meaning(found.group())
        side = _nearest(sides, found)
        if side is not None:
            unused.discard(side.start())
        if kind is None:
            # Read by the parser, which passes over the side of what it takes for unsided.
            if side is not None and name:
                yield Mention("other", name, lexicon.SIDES[side.group()])
            continue
        position = _nearest(list(_position().finditer(clause)), found)
        yield Mention(
            kind,
            name,
            lexicon.SIDES[side.group()] if side else frozenset(),
            frozenset([position.group()]) if position else frozenset(),
            negated=kind != "site" and _denied(sentence[: start + found.start()], sentence[start + found.end() :]),
        )
    for word in {w for w in _words(clause) if w not in lexicon.terms()}:
        if used := frozenset().union(*(lexicon.SIDES[s.group()] for s in sides if s.start() not in unused)):
            yield Mention("near", word, used)
    for side in sides:
        if side.start() in unused:
            words = _words(clause) or _words(sentence[:start]) or _words(sentence[end:]) or [""]
            yield from (Mention("other", word, lexicon.SIDES[side.group()]) for word in words)


def _nearest(words: Sequence[re.Match[str]], term: re.Match[str]) -> re.Match[str] | None:
    """The last word before the term, or else the first after it."""
    before = [w for w in words if w.end() <= term.start()]
    after = [w for w in words if w.start() >= term.end()]
    return before[-1] if before else after[0] if after else None


def _words(text: str) -> list[str]:
    """The words of a text that say something, without its sides."""
    return [w for w in _WORD.findall(_side().sub(" ", text)) if w not in _FILLING]


def _denied(before: str, after: str) -> bool:
    if _DENIES.search(_STATES_ANEW.split(before)[-1]):
        return True
    return bool(_DENIED.search(re.split(r",|\bbut\b|\bthere (?:is|are)\b", after)[0]))


def _of_phantoms(text: str) -> Iterator[Mention]:
    """What the parser of simulated studies reads; it knows their severity too."""
    for found in parse(text):
        kind = "diagnosis" if found.name in lexicon.DIAGNOSES_OF_PHANTOMS else "finding"
        words = frozenset(_position().findall(found.place))
        sides = frozenset([found.side] if found.side else [])
        yield Mention(kind, found.name, sides, words, found.severity or "", found.negated)


@cache
def _side() -> re.Pattern[str]:
    return lexicon.any_of(lexicon.SIDES)


@cache
def _position() -> re.Pattern[str]:
    return lexicon.any_of(w for axis in lexicon.AXES for w in axis)


@cache
def _modality() -> re.Pattern[str]:
    return lexicon.any_of(lexicon.modality_names())


@cache
def _acquisition() -> re.Pattern[str]:
    words = [w for axis in lexicon.ACQUISITION for w in axis]
    return lexicon.any_of([*words, *(f"{w}-weighted" for w in ("t1", "t2"))])
