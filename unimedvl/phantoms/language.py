"""The language of simulated studies in one place: what is written of them and read back.

The words themselves are the table in `unimedvl.phantoms.vocabulary`.
"""

from __future__ import annotations

from unimedvl.phantoms.captions import caption, plan
from unimedvl.phantoms.edits import REPLY_FIRST, EditKind, edit_reply, edit_request
from unimedvl.phantoms.parser import ParsedFinding, parse, parse_findings
from unimedvl.phantoms.questions import Question, questions
from unimedvl.phantoms.reports import report
from unimedvl.phantoms.terms import Rng, VocabularyError
from unimedvl.phantoms.vocabulary import MODALITIES

__all__ = [
    "MODALITIES",
    "REPLY_FIRST",
    "EditKind",
    "ParsedFinding",
    "Question",
    "Rng",
    "VocabularyError",
    "caption",
    "edit_reply",
    "edit_request",
    "parse",
    "parse_findings",
    "plan",
    "questions",
    "report",
]
