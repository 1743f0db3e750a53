"""Templates with synonyms: what is asked of an image, and what is said with the drawn one.

A template is plain text with groups of synonyms, `(image|scan)`, of which one may be empty, and wishes in braces. What
comes out follows from the key and the seed alone.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from unimedvl.data.error import DataError
from unimedvl.phantoms.vocabulary import Rng, pick

_GROUP = re.compile(r"\(([^()]*\|[^()]*)\)")


@dataclass(frozen=True)
class Wording:
    """Templates of a task. requests: of the user. replies: of the model, beside the image."""

    requests: tuple[str, ...]
    replies: tuple[str, ...]

    def worded(self, key: str, seed: int, wishes: Mapping[str, str]) -> tuple[str, str]:
        """The request and the reply of a record. Raises DataError where a wish is missing."""
        rng = generator(key, seed)
        request, reply = pick(rng, self.requests), pick(rng, self.replies)
        return _filled(chosen(request, rng), wishes), _filled(chosen(reply, rng), wishes)


def generator(key: str, seed: int) -> np.random.Generator:
    """A generator that the key and the seed decide, on any machine."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(f"{seed} {key}".encode()).digest()[:8]))


def chosen(template: str, rng: Rng) -> str:
    """The template with one synonym of each group."""
    return _tidy(_GROUP.sub(lambda group: pick(rng, group.group(1).split("|")), template))


def every(template: str) -> Iterator[str]:
    """The template with every choice of synonyms."""
    parts = _GROUP.split(template)
    # Text and groups by turns.
    options = [[part] if n % 2 == 0 else part.split("|") for n, part in enumerate(parts)]
    yield from (_tidy("".join(choice)) for choice in itertools.product(*options))


def _tidy(text: str) -> str:
    text = " ".join(text.split())
    return text[:1].upper() + text[1:]


def _filled(text: str, wishes: Mapping[str, str]) -> str:
    try:
        filled = text.format(**wishes)
    except KeyError as error:
        raise DataError(f"no {error.args[0]}, which the words {text!r} need") from None
    return filled[:1].upper() + filled[1:]
