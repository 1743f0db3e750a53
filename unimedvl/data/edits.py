"""What data sets of pairs share: what is asked of an image, and what is said with the drawn one."""

from __future__ import annotations

import hashlib

import numpy as np

from unimedvl.data.record import Message
from unimedvl.data.source import answer, question
from unimedvl.phantoms.edits import EditKind, edit_reply, edit_request


def edit_turns(kind: EditKind, key: str, **wishes: object) -> tuple[Message, Message]:
    """The request for an edit of one image, and the model's words for it, worded as the key has it.

    key: what tells the record from others. wishes: as `phantoms.edits.edit_request` takes them.
    """
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]))
    return question(edit_request(kind, rng, **wishes)), answer(edit_reply(kind, rng, **wishes))
