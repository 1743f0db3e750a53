"""Reading findings back from text, with the same vocabulary that wrote it.

A small rule reader in the manner of NegEx (Chapman et al., 2001, J Biomed Inform 34:301): the longest
known name wins, a negation reaches forward to the end of its clause, and side, severity and place are
taken from the words around the name. It reads statements, not questions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

from unimedvl.phantoms.study import Severity, Side
from unimedvl.phantoms.terms import VocabularyError
from unimedvl.phantoms.vocabulary import MODALITIES

_BRITISH = (
    (r"tumor", "tumour"), (r"hemorrhag", "haemorrhag"), (r"hematoma", "haematoma"), (r"color", "colour"),
    (r"ischemi", "ischaemi"), (r"edema", "oedema"), (r"anesthe", "anaesthe"),
)  # fmt: skip

_SEVERITY: dict[str, Severity] = {
    **dict.fromkeys(("mild", "small", "slight", "minimal", "tiny", "few", "focal", "minor"), "mild"),
    **dict.fromkeys(("moderate", "medium", "several", "medium-sized"), "moderate"),
    **dict.fromkeys(("severe", "large", "marked", "massive", "many", "numerous", "extensive"), "severe"),
}

# What looks like a finding and is none, or is another's.
_NOT_A_FINDING = ("pericardial effusion", "joint effusion", "mass effect", "subcutaneous emphysema")

_SENTENCE_END = re.compile(r"[.;!?](?!\d)|\n")
# A word after which an earlier negation no longer holds.
_NEW_CLAUSE = re.compile(
    r"\b(?:but|however|although|though|yet|except(?: for)?|apart from|other than|there (?:is|are|was|were)"
    r"|and an?|now shows?|(?<!consistent )(?<!compatible )(?<!associated )with)\b"
)
_NO_NEGATION = re.compile(
    r"\b(?:no (?:significant |interval )*(?:change|increase|decrease|improvement)"
    r"|not only|not (?:be )?excluded|no longer normal)\b"
)
_NEGATES_NEXT = re.compile(
    r"\b(?:no|not|without|neither|nor|never|denies|absence of|absent|negative for|free of|free from|lacks?"
    r"|resolution of|resolved|rules? out|ruled out|instead of)\b"
)
_NEGATES_BEFORE = re.compile(
    r"(?:\b(?:(?:is|are|was|were|has|have|had)(?: been)?(?: now)?"
    r" (?:not|no longer|absent|gone|ruled out|resolved|excluded|cleared|disappeared)|absent|ruled out)\b"
    r"|: ?(?:no|none|absent|negative)\b)"
)
_SIDE = re.compile(r"\b(?:left and right|right and left|bilateral(?:ly)?|both(?: sides)?|left|right)\b")
_CONNECTIVE = re.compile(r",|\b(?:and|or|nor|plus|with|but)\b")


@dataclass(frozen=True)
class ParsedFinding:
    """One finding that a text states or denies; None or "" where the text does not say."""

    name: str
    side: Side | None = None
    severity: Severity | None = None
    negated: bool = False
    place: str = ""


@dataclass(frozen=True)
class _Lexicon:
    """Names of findings, and what each means."""

    pattern: re.Pattern[str]
    names: dict[str, str]
    sided: frozenset[str]
    places: re.Pattern[str]
    place_of: dict[str, str]


def parse(text: str, modality: str | None = None) -> list[ParsedFinding]:
    """The findings that a text speaks of, denied ones included, in order; repeated mentions are merged.

    modality: read with this modality's names alone; None reads with all. A name that two modalities
        share then means the first one's, unless it is the other's canonical name.
    Raises VocabularyError for an unknown modality.
    """
    lexicon = _lexicon(modality)
    mentions: list[ParsedFinding] = []
    for sentence in _SENTENCE_END.split(_british(text)):
        for mention in _sentence_mentions(sentence, lexicon):
            _merge(mentions, mention)
    return mentions


def parse_findings(text: str, modality: str | None = None) -> set[str]:
    """Canonical names of the findings that a text states (and nowhere denies for the same side)."""
    return {finding.name for finding in parse(text, modality) if not finding.negated}


@cache
def _lexicon(modality: str | None) -> _Lexicon:
    if modality is not None and modality not in MODALITIES:
        raise VocabularyError(f"no modality {modality!r}; known are {', '.join(MODALITIES)}")
    terms = [t for m in MODALITIES.values() if modality in (None, m.code) for t in m.terms]
    names: dict[str, str] = {_british(term.name): term.name for term in terms}
    for term in terms:
        for name in (*term.said, *term.heard):
            names.setdefault(_british(name), term.name)
    names.update(dict.fromkeys(_NOT_A_FINDING, ""))
    plurals = {name + "s": meaning for name, meaning in names.items() if not name.endswith("s")}
    names = plurals | names
    sided = frozenset(term.name for term in terms if term.sided)
    places = {place: place for term in terms for place in term.places}
    places |= {place.removesuffix(" lobe"): place for place in places}
    return _Lexicon(_any_of(names), names, sided, _any_of(places or {"\0"}), places)


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(words, key=lambda w: (-len(w), w))
    return re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, longest_first)) + r")(?!\w)")


def _british(text: str) -> str:
    text = " ".join(re.sub(r"\n", " \n ", text.lower()).split(" "))
    for american, british in _BRITISH:
        text = re.sub(rf"(?<![a-z]){american}", british, text)
    return text


def _sentence_mentions(sentence: str, lexicon: _Lexicon) -> list[ParsedFinding]:
    matches = list(lexicon.pattern.finditer(sentence))
    if not matches:
        return []
    cuts = _windows(sentence, matches)
    found: list[ParsedFinding] = []
    for match, start, end in zip(matches, cuts[:-1], cuts[1:], strict=True):
        name = lexicon.names[match.group()]
        if not name:
            continue
        before, after = sentence[start : match.start()], sentence[match.end() : end]
        finding = ParsedFinding(
            name,
            severity=_severity(before, after),
            negated=_negated(sentence, match),
            place=_place(lexicon, before, after),
        )
        sides = _sides(before, after) if name in lexicon.sided else (None,)
        found.extend(replace(finding, side=side) for side in sides)
    return found


def _windows(sentence: str, matches: list[re.Match[str]]) -> list[int]:
    """Where the words that belong to each match begin: between two names, at the last connective."""
    cuts = [0]
    for left, right in zip(matches, matches[1:], strict=False):
        between = sentence[left.end() : right.start()]
        connectives = [m for m in _CONNECTIVE.finditer(between) if not _joins_sides(between, m)]
        cuts.append(left.end() + (connectives[-1].start() if connectives else 0))
    return [*cuts, len(sentence)]


def _joins_sides(text: str, connective: re.Match[str]) -> bool:
    return any(m.start() < connective.start() < m.end() for m in _SIDE.finditer(text))


def _sides(before: str, after: str) -> tuple[Side | None, ...]:
    ahead, behind = _SIDE.findall(before), _SIDE.findall(after)
    word = ahead[-1] if ahead else behind[0] if behind else None
    if word is None:
        return (None,)
    return (word,) if word in ("left", "right") else ("right", "left")


def _severity(before: str, after: str) -> Severity | None:
    ahead = [_SEVERITY[w] for w in re.findall(r"[a-z-]+", before) if w in _SEVERITY]
    if ahead:
        return ahead[-1]
    said_of_it = re.match(r"[^,]*?\b(?:is|are|was|were) (?:an? )?([a-z-]+)", after)
    return _SEVERITY.get(said_of_it.group(1)) if said_of_it else None


def _place(lexicon: _Lexicon, before: str, after: str) -> str:
    ahead, behind = lexicon.places.findall(before), lexicon.places.findall(after)
    word = ahead[-1] if ahead else behind[0] if behind else ""
    return lexicon.place_of.get(word, "")


def _negated(sentence: str, match: re.Match[str]) -> bool:
    """Whether the clause around the match denies it, before it or after it."""
    before = _NO_NEGATION.sub(lambda m: "_" * len(m.group()), sentence[: match.start()])
    after = _NO_NEGATION.sub(lambda m: "_" * len(m.group()), sentence[match.end() :])
    scope = _NEW_CLAUSE.split(before)[-1]
    # "there is no effusion": the opening words are a new clause, and the denial follows them.
    if _NEGATES_NEXT.search(_after_full_clause(scope)):
        return True
    return bool(_NEGATES_BEFORE.search(_NEW_CLAUSE.split(after)[0].split(",")[0]))


def _after_full_clause(scope: str) -> str:
    """What follows the last clause that is already complete: in "no effusion is seen, a nodule" the
    denial ends at the comma."""
    parts = re.split(r", |\band\b", scope)
    for k in range(len(parts) - 1, 0, -1):
        if re.search(r"\b(?:is|are|was|were) \w+|^\s*there\b", parts[k - 1]):
            return ",".join(parts[k:])
    return scope


def _merge(mentions: list[ParsedFinding], new: ParsedFinding) -> None:
    """Add a mention, or fold it into an earlier one that it agrees with."""
    for k, old in enumerate(mentions):
        same = old.name == new.name and old.negated == new.negated
        if same and all(_agree(getattr(old, f), getattr(new, f)) for f in ("side", "severity", "place")):
            mentions[k] = replace(
                old,
                side=old.side or new.side,
                severity=old.severity or new.severity,
                place=old.place or new.place,
            )
            return
    mentions.append(new)


def _agree(old: str | None, new: str | None) -> bool:
    return not old or not new or old == new
