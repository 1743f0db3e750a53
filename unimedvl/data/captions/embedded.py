"""The writer that needs no model: sentences out of the record's own caption and labels.

It never looks at the image, so it adds nothing that the record does not say but what every image of the modality has.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from unimedvl.data.captions import lexicon
from unimedvl.data.captions.facts import Facts, Mention, read
from unimedvl.data.captions.original import original_of
from unimedvl.data.captions.rules import Original
from unimedvl.data.record import Record
from unimedvl.phantoms.study import Finding
from unimedvl.phantoms.vocabulary import MODALITIES, capitalised, grade, indefinite, listed, pick
from unimedvl.tasks import MODALITY_NAMES

_OPENINGS = (
    "Generate a realistic {kind}", "Create a realistic {kind}", "Draw a realistic {kind}", "Make a realistic {kind}",
)  # fmt: skip
_TYPE = ("This is {a_kind}.", "The image is {a_kind}.", "It is {a_kind}.")
_GROSS = ("It shows {sites}.", "In view: {sites}.", "The field of view has {sites}.")
_DETAIL = ("Detail lies in {sites}.", "Closer: {sites}.")
_SPECIAL = ("Special: {findings}.", "What stands out: {findings}.")
_ORDER = {"type": "First", "gross": "Then", "detail": "Then", "special": "Last"}
# How a caption may open that is a request already.
_REQUESTED = re.compile(r"^(?:(?:show|generate) (?:an? |the )?|a realistic )", re.IGNORECASE)
_UPPER = {"t1": "T1", "t2": "T2", "flair": "FLAIR", "pa": "PA", "ap": "AP", "frontal view": "frontal",
          "lateral view": "lateral"}  # fmt: skip


@dataclass(frozen=True)
class EmbeddedWriter:
    """Templates, worded by the record's id and the seed: the same record and seed give the same texts."""

    seed: int = 0

    @property
    def name(self) -> str:
        return f"embedded templates 1, seed {self.seed}"

    def description(self, image: bytes, record: Record) -> str:
        """Type, gross anatomy, detail and special findings, each where the record says something of it."""
        return " ".join(self._levels(record).values())

    def prompt(self, image: bytes, record: Record, description: str) -> str:
        """The caption after a request, and before what the description says of anatomy."""
        original = original_of(record)
        opening = pick(self._rng(record, "prompt"), _OPENINGS).format(kind=kind_of(record.modality))
        return f"{opening}: {_ended(_bare(original.text))} {_anatomy_in(description, original)}".strip()

    def plan(self, image: bytes, record: Record, prompt: str) -> str:
        """The levels in order, and what the image shows."""
        levels = self._levels(record)
        steps = [_lowered(f"{_ORDER[level]}, {text}") for level, text in levels.items()]
        shown = re.sub(r"[.!?]\s+", "; ", _bare(original_of(record).text)).rstrip(".!?; ")
        return f"<think> {' '.join(steps)} The image shows this: {shown}. </think>"

    def _rng(self, record: Record, text: str) -> np.random.Generator:
        key = f"{self.seed} {text} {record.dataset} {record.id}"
        return np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]))

    def _levels(self, record: Record) -> dict[str, str]:
        """The sentences by level; those of which nothing is known are left out."""
        original, rng = original_of(record), self._rng(record, "description")
        facts = original.allowed
        scene = _scene(original)
        words = {
            "type": pick(rng, _TYPE).format(a_kind=_article(_acquired(original))),
            "gross": _filled(pick(rng, _GROSS), sites=scene or listed_or_none(_gross(facts))),
            "detail": _filled(pick(rng, _DETAIL), sites=listed_or_none(_detail(facts))),
            "special": _filled(pick(rng, _SPECIAL), findings=listed_or_none(_special(facts))),
        }
        return {level: text for level, text in words.items() if text}


def listed_or_none(items: Sequence[str]) -> str:
    """ "a, b and c"; "" for none."""
    return listed(items) if items else ""


def _filled(template: str, **values: str) -> str:
    return template.format(**values) if all(values.values()) else ""


def kind_of(modality: str) -> str:
    """What an image of a modality is called."""
    name = MODALITY_NAMES.get(modality, "medical")
    return name if name.endswith(("X-ray", "photograph")) else f"{name} image"


def _article(kind: str) -> str:
    # Said letter by letter.
    return f"an {kind}" if kind.startswith(("MRI", "OCT")) else indefinite(kind)


def _acquired(original: Original) -> str:
    """The kind of image, with plane, weighting or view where the record says it, and says one."""
    stated = original.allowed.acquisition
    found = [word for axis in lexicon.ACQUISITION for word in _one(axis, stated)]
    return " ".join([*(_UPPER.get(word, word) for word in found), kind_of(original.modality)])


def _one(axis: frozenset[str], stated: Sequence[str]) -> list[str]:
    words = sorted(axis & set(stated))
    return words if len(words) == 1 else []


def _scene(original: Original) -> str:
    """What every image of the modality has in it, where that is sure; nothing that lies on one side."""
    modality = MODALITIES.get(original.modality)
    if modality is None:
        return ""
    shown = read(modality.scene)
    sure = original.modality in lexicon.IMPLIED or (shown.regions and shown.regions <= original.facts.regions)
    one_sided = any(len(m.sides) == 1 for m in shown.mentions)
    return modality.scene if sure and not one_sided else ""


def _gross(facts: Facts) -> list[str]:
    """The sites that are named, without sides: plain names of large structures."""
    return [f"the {name}" for name in sorted(facts.of("site"))]


def _detail(facts: Facts) -> list[str]:
    """Sites of which a side or position is said."""
    told = [m for m in facts.mentions if m.kind == "site" and (m.sides or m.positions)]
    return list(dict.fromkeys(f"the {_phrase(m)}" for m in sorted(told, key=_rank)))


def _special(facts: Facts) -> list[str]:
    """What is found, then what is not; never a diagnosis."""
    told = sorted((m for m in facts.mentions if m.kind == "finding"), key=_rank)
    states = [_phrase(m) for m in told if not m.negated]
    return list(dict.fromkeys([*states, *(f"no {m.name}" for m in told if m.negated)]))


def _rank(m: Mention) -> tuple:
    return m.name, sorted(m.sides), sorted(m.positions), m.severity


def _phrase(m: Mention) -> str:
    return " ".join(filter(None, (_grade(m), " and ".join(sorted(m.sides)), *sorted(m.positions), m.name)))


def _grade(m: Mention) -> str:
    """The severity in the finding's own words: a large effusion, many drusen."""
    terms = (t for modality in MODALITIES.values() for t in modality.terms if t.name == m.name)
    term = next(terms, None)
    return grade(term, Finding(m.name, severity=m.severity)) if term and m.severity else ""


def _bare(caption: str) -> str:
    """A caption without the request that it may open with."""
    return capitalised(_REQUESTED.sub("", caption))


def _anatomy_in(description: str, original: Original) -> str:
    """The sentences of a description that name sites and no more findings than the caption."""
    return " ".join(_new_sentences(description, original))


def _new_sentences(description: str, original: Original) -> Iterator[str]:
    known = {m.name for m in original.facts.mentions}
    for sentence in re.split(r"(?<=[.!?])\s+", description.strip()):
        facts = read(sentence)
        sites, others = facts.of("site"), {m.name for m in facts.mentions if m.kind != "site"}
        if sites - known and others <= known and not facts.modalities:
            yield sentence


def _ended(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{capitalised(text)}."


def _lowered(step: str) -> str:
    """ "First, this is ...": a small letter after the comma, but for words that are all capitals."""
    return re.sub(r", ([A-Z])(?=[a-z ])", lambda m: f", {m.group(1).lower()}", step, count=1)
