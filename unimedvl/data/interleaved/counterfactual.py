"""The same patient with a finding changed, and what has changed in the image, said after it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from unimedvl.data.interleaved.task import InterleavedTask, Pair, as_png
from unimedvl.data.interleaved.wording import Wording, generator
from unimedvl.data.record import IMAGE_MARK, Record
from unimedvl.phantoms import SIMULATORS
from unimedvl.phantoms.edits import edit_reply
from unimedvl.phantoms.study import Finding, Study
from unimedvl.phantoms.vocabulary import MODALITIES, capitalised, phrase

_MODALITY = "cxr"
# A change that is worded as a request already.
_REQUEST = re.compile(r"(?:show|add|draw|make|remove)\b", re.IGNORECASE)
# What the simulator draws of a finding: once it is gone, and when it is there.
_SIGNS = {
    "cardiomegaly": ("the heart fills less than half of the width", "the heart fills more than half of the width"),
    "pleural effusion": ("the base of that lung is dark again", "fluid with a meniscus whitens the base of that lung"),
    "pneumothorax": ("that lung reaches the chest wall again", "air lies between that lung and the chest wall"),
    "consolidation": ("the cloudy white area in that lung has cleared", "a cloudy white area lies in that lung"),
    "nodule": ("the round density in that lung has gone", "a round density lies in that lung"),
}
# A verb for a finding by how it changes, for one and for many.
_VERBS = {"resolved": ("resolves", "resolve"), "new": ("develops", "develop")}


def _told(record: Record) -> Mapping[str, str]:
    """Change and explanation: attributes where they were constructed before, else the data set's own messages."""
    texts = {m.speaker: " ".join(m.value.replace(IMAGE_MARK, " ").split()) for m in record.message}
    own = {"change_in_words": texts.get("human", ""), "explanation": texts.get("gpt", "")}
    return own | {name: text for name, text in record.attributes.items() if text}


def _pairs(study: Study) -> Iterator[Pair]:
    """Each finding resolved; and, the other way round, new."""
    if study.modality != _MODALITY:
        return
    view = next(iter(study.images))
    image = study.images[view]
    for number, finding in enumerate(study.findings):
        rest = tuple(f for f in study.findings if f is not finding)
        other = SIMULATORS[_MODALITY].render(study.case.with_findings(rest), image.shape[0]).images[view]
        for change, before, after in (("resolved", image, other), ("new", other, image)):
            told = {"finding": finding.name, "side": finding.side or "", "view": view, **_said(finding, change)}
            told = {name: text for name, text in told.items() if text}
            yield Pair(f"{view}-{number}-{change}", _MODALITY, as_png(before), as_png(after), told)


def _said(finding: Finding, change: str) -> dict[str, str]:
    term = MODALITIES[_MODALITY].term(finding.name)
    named = phrase(term, finding, full=False, article=False)
    who = f"the {named}" if change == "resolved" else phrase(term, finding, full=True, article=True)
    verb = _VERBS[change][term.number == "many"]
    # There is one wording of the explanation, so that the generator decides nothing.
    rng = generator("", 0)
    explanation = edit_reply("counterfactual", rng, modality=_MODALITY, finding=finding, change=change)
    sign = _SIGNS[finding.name][change == "new"]
    return {"change_in_words": f"{capitalised(who)} {verb}.", "explanation": f"{explanation} {capitalised(sign)}."}


_REPLIES = (
    "{explanation}",
    "What has changed: {explanation}",
    "(The difference|The change): {explanation}",
)
_WORDING = Wording(
    requests=(
        "{change_in_words} (Show|Draw) the image (after|with) this change.",
        "(Please |)show this (patient|image) after this change: {change_in_words}",
        "(Imagine|Suppose) this: {change_in_words} How would this image look?",
        "{change_in_words}",
    ),
    replies=_REPLIES,
)
_AS_IT_IS = Wording(("{change_in_words}",), _REPLIES)


def _wording(wishes: Mapping[str, str]) -> Wording:
    return _AS_IT_IS if _REQUEST.match(wishes["change_in_words"]) else _WORDING


COUNTERFACTUAL = InterleavedTask(
    name="counterfactual",
    sub_task_type="counterfactual",
    wishes=("change_in_words", "explanation"),
    wording=_WORDING,
    kept=("change_in_words", "explanation"),
    complete=_told,
    worded_by=_wording,
    pairs=_pairs,
)
