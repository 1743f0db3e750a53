"""The same patient with a finding changed, and what has changed in the image, said after it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from unimedvl.data.interleaved.task import InterleavedTask
from unimedvl.data.interleaved.wording import Wording
from unimedvl.data.record import IMAGE_MARK, Record

# A change that is worded as a request already.
_REQUEST = re.compile(r"(?:show|add|draw|make|remove)\b", re.IGNORECASE)


def _told(record: Record) -> Mapping[str, str]:
    """Change and explanation: attributes where the source gives them or they were constructed before, else the data
    set's own messages.
    """
    texts = {m.speaker: " ".join(m.value.replace(IMAGE_MARK, " ").split()) for m in record.message}
    own = {"change_in_words": texts.get("human", ""), "explanation": texts.get("gpt", "")}
    return own | {name: text for name, text in record.attributes.items() if text}


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
)
