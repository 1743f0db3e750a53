"""What is hidden where: the watermark's public key, and its few bits with their error correction.

The key is fixed and stands here. Whoever reads this can find the watermark, and could also remove or forge it: it
guards against accidents and carelessness, not against an adversary.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from unimedvl.provenance.spectrum import SIDE

_KEY = b"UniMedVL watermark, version 1"
# Lower frequencies hold too much of the picture, and changes of them are seen as shading.
_LOWEST = 5
# The share of frequencies that only tell that the watermark is there.
_PRESENCE = 0.4
# A payload is 24 bits and 8 to check them, sent as symbols of 7 bits, each a biorthogonal code word of 64 chips.
PAYLOAD_BITS = 24
_SYMBOL_BITS, _WORD, _SYMBOLS = 7, 64, 5


@dataclass(frozen=True)
class Pattern:
    """The frequencies that carry the watermark, N of them, lower ones first.

    down, across: [N] their half waves. dither: [N] where in its interval a coefficient belongs, 0 to 1. sign: [N] of
    -1 and
    1: on or halfway between. presence: [N] bool, those that only tell that it is there; the others carry the payload.
    chip: [N - presence] which chip of the payload each of the others carries.
    """

    down: np.ndarray
    across: np.ndarray
    dither: np.ndarray
    sign: np.ndarray
    presence: np.ndarray
    chip: np.ndarray

    def signs(self, payload: int | None) -> np.ndarray:
        """[N] with the payload's chips worked in; 0 where there is none to carry."""
        signs = self.sign.copy()
        signs[~self.presence] *= 0 if payload is None else _chips(payload)[self.chip]
        return signs

    def payload(self, agreement: np.ndarray) -> int | None:
        """The payload that agrees best, or None where its check bits say that it was not read.

        agreement: [N], how much each coefficient speaks for its sign, positive or negative.
        """
        chips = np.bincount(self.chip, agreement[~self.presence], _SYMBOLS * _WORD).reshape(_SYMBOLS, _WORD)
        match = chips @ _words().T
        best = np.abs(match).argmax(axis=1)
        value = 0
        for number, word in enumerate(best):
            symbol = int(word) + (_WORD if match[number, word] < 0 else 0)
            value |= symbol << (_SYMBOL_BITS * number)
        payload = value >> 8
        return payload if payload < 2**PAYLOAD_BITS and value & 255 == _check(payload) else None


@lru_cache(maxsize=1)
def pattern() -> Pattern:
    down, across = (x.ravel() for x in np.mgrid[1:SIDE, 1:SIDE])
    radius = np.hypot(down, across)
    order = np.lexsort((across, down, radius))
    order = order[(radius[order] >= _LOWEST) & (radius[order] < SIDE)]
    count = len(order)
    presence = _random("presence", count) < _PRESENCE
    sign = np.where(_random("sign", count) < 0.5, -1.0, 1.0)
    chip = _in_rounds(_random("chip", count - int(presence.sum())), _SYMBOLS * _WORD)
    return Pattern(down[order], across[order], _random("dither", count), sign, presence, chip)


def _random(purpose: str, count: int) -> np.ndarray:
    """[count] numbers from 0 to 1 that follow from the key on every machine."""
    stream = hashlib.shake_256(_KEY + b": " + purpose.encode()).digest(4 * count)
    return np.frombuffer(stream, "<u4") / 2**32


def _in_rounds(random: np.ndarray, count: int) -> np.ndarray:
    """Numbers below `count`, each once in random order before any comes again."""
    rounds = [random[start : start + count] for start in range(0, len(random), count)]
    return np.concatenate([np.argsort(np.argsort(part)) for part in rounds])


@lru_cache(maxsize=1)
def _words() -> np.ndarray:
    """[64, 64]: code words as the rows of a Hadamard matrix (Sylvester); their negatives are code words too."""
    words = np.ones((1, 1))
    while len(words) < _WORD:
        words = np.block([[words, words], [words, -words]])
    return words


def _chips(payload: int) -> np.ndarray:
    """[320] of -1 and 1."""
    value = payload << 8 | _check(payload)
    symbols = [value >> (_SYMBOL_BITS * n) & (2 * _WORD - 1) for n in range(_SYMBOLS)]
    return np.concatenate([_words()[s % _WORD] * (1 if s < _WORD else -1) for s in symbols])


def _check(payload: int) -> int:
    return hashlib.sha256(_KEY + payload.to_bytes(PAYLOAD_BITS // 8, "big")).digest()[0]
