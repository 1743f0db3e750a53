"""What a written text may not do: change what the original says, add a diagnosis, be too long, or be no plain English.

The rules read words, not meaning (`facts`, `lexicon`); they are strict where they can't tell: a side that the original
does not bear out is refused, even though it may be right. Every fault is one line that says what was found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from unimedvl.data.captions import lexicon
from unimedvl.data.captions.facts import Facts, Mention, read
from unimedvl.inference.thought import CLOSE, OPEN, split_thought
from unimedvl.tasks import MODALITY_NAMES

VERSION = "1"  # of the rules: another one where the same text could be judged otherwise
BY = f"unimedvl.data.captions.rules {VERSION}"

Kind = Literal["description", "prompt", "plan"]

_ENGLISH = frozenset(
    ("a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "from", "has", "have", "in", "is", "it", "its",
     "no", "not", "of", "on", "or", "seen", "show", "shows", "that", "the", "there", "this", "to", "view", "with",
     "without", "after", "before", "create", "draw", "generate", "make", "realistic")
)  # fmt: skip
# Words after which a text can be told from another language by its small words.
_ENOUGH_WORDS = 12
_SMALL_WORDS = 0.08
_LATIN = 0.95
_LETTER = re.compile(r"[^\W\d_]")
# A model that talks of its task instead of doing it, and markup.
_TALK = re.compile(
    r"^(?:sure|certainly|of course|okay|ok|i (?:can|cannot|can't|am|will))\b|\bas an ai\b|\bi'm sorry\b"
    r"|\b(?:original|given|reworded|rewritten|revised) (?:caption|text|prompt|sentence|version)\b|\blanguage model\b"
    r"|\b(?:rewording|rephrased|paraphrased?)\b|^here(?:'s| is) (?:a|the|your) (?:caption|description|prompt|text)\b",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"```|^\s*(?:[-*#•]|\d+\.)\s|\*\*|</?[a-z]+>|<image>", re.MULTILINE)
# All is well, said of the whole image.
_NORMAL = re.compile(r"\b(?:normal|unremarkable|no (?:\w+ )?(?:abnormalit(?:y|ies)|findings?))\b", re.IGNORECASE)
_REQUEST = re.compile(
    r"^(?:please )?(?:generate|create|draw|make|produce|synthesi[sz]e|render|show|paint|give|a realistic)\b",
    re.IGNORECASE,
)
_BOTH = frozenset({"left", "right"})
# Kinds of words that are in no list, and are known for their side alone.
_UNKNOWN = ("other", "near")


class Lengths(BaseModel):
    """Characters that each text must have; `most` is that of stage 1 of quality control."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fewest: int = Field(default=20, ge=0)
    most: int = Field(default=1024, gt=0)


PUBLISHED = Lengths()


@dataclass(frozen=True)
class Original:
    """What a text is written about. text: the caption. modality: its code. known: what else is known, in words."""

    text: str
    modality: str
    known: str = ""

    @cached_property
    def facts(self) -> Facts:
        """Of the caption alone."""
        return read(self.text)

    @cached_property
    def allowed(self) -> Facts:
        """Of the caption and of what else is known."""
        return read(f"{self.text}\n{self.known}")


def faults(kind: Kind, text: str, original: Original, lengths: Lengths = PUBLISHED) -> list[str]:
    """What is wrong with a written text; empty where nothing is.

    A description has one paragraph and no diagnosis. A prompt asks for a realistic image of the modality and has all
    that the caption states. A plan stands in think tags and closes with what the image shows.
    """
    bare = split_thought(text)[0] if kind == "plan" else text
    found = [*_form(kind, text, original), *plain_faults(bare, lengths)]
    said, allowed = read(bare), original.allowed
    found += _anatomy(said, original)
    found += [fault for m in sorted(said.mentions, key=str) for fault in _mention(m, allowed)]
    found += _normality(said, original)
    found += _acquisition(said, original)
    found += [f"adds the number {n}" for n in dict.fromkeys(said.numbers) if n not in allowed.numbers]
    if kind == "description":
        found += [f"a diagnosis in the description: {name}" for name in sorted(said.of("diagnosis"))]
    if kind == "prompt":
        found += _lost(said, original.facts)
    return list(dict.fromkeys(found))


# Form and language ---------------------------------------------------------------------------------


def plain_faults(text: str, lengths: Lengths = PUBLISHED) -> Iterator[str]:
    """Length, language, markup, and talk of the task."""
    length = len(text.strip())
    if length < lengths.fewest:
        yield f"{length} characters, under {lengths.fewest}"
    if length > lengths.most:
        yield f"{length} characters, over {lengths.most}"
    letters = _LETTER.findall(text)
    if sum(c.isascii() for c in letters) < _LATIN * len(letters):
        yield "language: letters that are not Latin"
    words = re.findall(r"[a-z]+", text.lower())
    if len(words) >= _ENOUGH_WORDS and sum(w in _ENGLISH for w in words) < _SMALL_WORDS * len(words):
        yield "language: hardly any of the small words of English"
    if talk := _TALK.search(text.strip()):
        yield f"speaks of the task: {talk.group()!r}"
    if markup := _MARKUP.search(text):
        yield f"markup: {markup.group().strip()!r}"
    if "\n" in text.strip():
        yield "more than one paragraph"


def _form(kind: Kind, text: str, original: Original) -> Iterator[str]:
    if kind == "prompt":
        opening = re.split(r"[.:;]\s", text.strip(), maxsplit=1)[0]
        if not _REQUEST.match(opening) or "realistic" not in opening.lower():
            yield "does not open as a request for a realistic image"
        elif original.modality in MODALITY_NAMES and original.modality not in read(opening).modalities:
            yield f"does not open with the modality, {MODALITY_NAMES[original.modality]}"
    if kind == "plan":
        whole = text.strip()
        if whole.count(OPEN) != 1 or whole.count(CLOSE) != 1 or not whole.startswith(OPEN) or not whole.endswith(CLOSE):
            yield f"not one text between {OPEN} and {CLOSE}"
        elif not re.search(r"\bshows?\b", re.split(r"[.!?]\s+(?=[A-Z])", split_thought(whole)[0])[-1]):
            yield "does not close with what the image shows"


# Facts ---------------------------------------------------------------------------------------------


def _anatomy(said: Facts, original: Original) -> Iterator[str]:
    regions = original.allowed.regions | lexicon.IMPLIED.get(original.modality, frozenset())
    for region in sorted(said.regions - regions) if regions else ():
        sites = sorted(m.name for m in said.mentions if m.kind == "site" and lexicon.region(m.name) == region)
        yield f"adds anatomy: {', '.join(dict.fromkeys(sites))} ({region})"


def _mention(m: Mention, allowed: Facts) -> Iterator[str]:
    """What a term of the written text adds to the original, or changes in it."""
    if m.kind in _UNKNOWN:
        known = [o for o in allowed.named.get(m.name, ()) if o.kind in _UNKNOWN]
        if not _borne_out(m, known, allowed) and (known or m.kind == "other"):
            yield f"the original does not say {_sided(m)}"
        return
    known = [o for o in allowed.named.get(m.name, ()) if o.kind == m.kind]
    if m.kind in ("finding", "diagnosis"):
        if known and all(o.negated != m.negated for o in known):
            yield f"changes {m.name}, which the original {'states' if m.negated else 'denies'}"
            return
        if not known and m.kind == "diagnosis" and not m.negated:
            yield f"adds a diagnosis: {m.name}"
        known = [o for o in known if o.negated == m.negated]
    if m.sides and not _borne_out(m, known, allowed):
        # A side says nothing new where it is the only one that the original speaks of, or both, of a site.
        yield f"the original does not say {_sided(m)}"
    elif known and not any(_agree(m, o) for o in known):
        yield f"changes {_words(m)}; the original has {' or '.join(sorted({_words(o) for o in known}))}"


def _borne_out(m: Mention, known: list[Mention], allowed: Facts) -> bool:
    if m.kind == "site" and m.sides == _BOTH:
        return True
    # Both sides may be stated of one term, or of it twice.
    stated = [o.sides for o in known if o.sides]
    if stated:
        return m.sides <= frozenset().union(*stated)
    return not known and len(m.sides) == 1 and m.sides == allowed.all_sides


def _agree(m: Mention, o: Mention) -> bool:
    if m.sides and o.sides and not m.sides <= o.sides and not o.sides <= m.sides:
        return False
    if m.severity and o.severity and m.severity != o.severity:
        return False
    ours, theirs = m.positions, o.positions
    return not any(ours & axis and theirs & axis and not ours & theirs & axis for axis in lexicon.AXES)


def _normality(said: Facts, original: Original) -> Iterator[str]:
    allowed = original.allowed
    if allowed.of("finding") or allowed.of("diagnosis") or not _NORMAL.search(original.text):
        return
    for name in sorted(said.of("finding")):
        yield f"adds {name} to what the original calls normal"


def _acquisition(said: Facts, original: Original) -> Iterator[str]:
    known = set(original.allowed.modalities) | ({original.modality} - {"mixed", "text"})
    if known and (other := sorted(set(said.modalities) - known)):
        yield f"names another modality: {', '.join(other)}"
    for axis in lexicon.ACQUISITION:
        ours, theirs = axis & set(said.acquisition), axis & set(original.allowed.acquisition)
        if theirs and ours - theirs:
            yield f"changes {' or '.join(sorted(theirs))} to {' and '.join(sorted(ours - theirs))}"


def _lost(said: Facts, stated: Facts) -> Iterator[str]:
    """What the caption states and the prompt does not."""
    yield from (f"leaves out the {side} side" for side in sorted(stated.all_sides - said.all_sides))
    for m in sorted((m for m in stated.mentions if m.kind not in _UNKNOWN), key=str):
        ours = [s for s in said.named.get(m.name, ()) if s.kind == m.kind and s.negated == m.negated]
        if not ours:
            yield f"leaves out {_words(m)}"
        elif m.sides and not m.sides <= frozenset().union(*(s.sides for s in ours)):
            yield f"leaves out that it is {_sided(m)}"
    yield from (f"leaves out the number {n}" for n in dict.fromkeys(stated.numbers) if n not in said.numbers)


def _sided(m: Mention) -> str:
    return f"{' and '.join(sorted(m.sides))} of {m.name or 'anything'}"


def _words(m: Mention) -> str:
    sides = " and ".join(sorted(m.sides))
    return " ".join(filter(None, ("no" if m.negated else "", m.severity, sides, *sorted(m.positions), m.name)))


# Rewordings ----------------------------------------------------------------------------------------


def reworded_faults(text: str, original: str, kept: Sequence[str] = ()) -> list[str]:
    """What is wrong with other words for a short text. kept: names that must stand in it as they are.

    Sides, positions, numbers and levels, modalities and sequences, and the kept names must be the same in the same
    order; terms, with what is said of them, must be the same. An order that is only turned round is refused as well.
    """
    found = list(plain_faults(text, Lengths(fewest=min(10, len(original)), most=max(120, 3 * len(original)))))
    ours, theirs = read(text), read(original)
    for what in ("sides", "positions", "numbers", "modalities", "acquisition"):
        if getattr(ours, what) != getattr(theirs, what):
            found.append(f"changes {what}: {_listed(getattr(theirs, what))} to {_listed(getattr(ours, what))}")
    for m in sorted((m for m in ours.mentions ^ theirs.mentions if m.kind not in _UNKNOWN), key=str):
        found.append(f"{'adds' if m in ours.mentions else 'leaves out or changes'} {_words(m)}")
    for name in sorted(set(ours.named) & set(theirs.named)):
        if _sides_of(ours, name) != _sides_of(theirs, name):
            found.append(f"changes the side of {name}")
    if kept and _order(text, kept) != _order(original, kept):
        found.append(f"changes names: {_listed(_order(original, kept))} to {_listed(_order(text, kept))}")
    if bool(_NORMAL.search(text)) != bool(_NORMAL.search(original)):
        found.append("changes whether it is normal")
    return found


def _sides_of(facts: Facts, name: str) -> set[frozenset[str]]:
    return {m.sides for m in facts.named[name] if m.kind in _UNKNOWN}


def _order(text: str, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(lexicon.any_of({n.lower() for n in names}).findall(text.lower()))


def _listed(values: Sequence) -> str:
    return ", ".join(v if isinstance(v, str) else "+".join(sorted(v)) for v in values) or "none"
