"""Pairs that share a key, and pairs of codes within a Hamming distance, without comparing every pair."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

BITS = 64
# Codes of a bucket, about, above which the keys take one block more.
_FEW = 16


@dataclass
class Unlooked:
    """How many pairs of one key were not looked at, because too many things had that key."""

    pairs: int = 0


def pairs_of_a_key(
    keys: np.ndarray, window: int, unlooked: Unlooked
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs (i, j), i before j, of equal keys, some at a time.

    keys: [N]. window: each thing is paired with so many after it of its key, in their order; the pairs beyond
    are counted in `unlooked`.
    """
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    ends = np.searchsorted(ordered, ordered, side="right")
    left = ends - np.arange(len(keys)) - 1  # things of the key after this one
    unlooked.pairs += int(np.maximum(left - window, 0).sum())
    first = np.flatnonzero(left)
    step = 1
    while len(first) and step <= window:
        yield order[first], order[first + step]
        step += 1
        first = first[left[first] >= step]


def near_codes(
    codes: np.ndarray, distance: int, window: int, unlooked: Unlooked
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs (i, j) of codes that differ in at most `distance` of 64 bits, each once, some at a time.

    codes: [N] uint64. Codes are cut into distance + t blocks, of which t are equal in every such pair; there is
    a table for each choice of t (Manku, Jain, Das Sarma, WWW 2007). A pair is given by the first table that has it.

    Raises:
        ValueError: a distance below 0 or over 31.
    """
    if not 0 <= distance <= 31:
        raise ValueError(f"distance: expected 0 to 31 bits, found {distance}")
    equal = _equal_blocks(len(codes), distance)
    masks = _blocks(distance + equal)
    for chosen in combinations(range(len(masks)), equal):
        mask = np.bitwise_or.reduce(masks[list(chosen)])
        earlier = [masks[b] for b in range(chosen[-1]) if b not in chosen]
        for i, j in pairs_of_a_key(codes & mask, window, unlooked):
            differing = codes[i] ^ codes[j]
            near = np.bitwise_count(differing) <= distance
            for other in earlier:
                near &= (differing & other) != 0
            if near.any():
                i, j = i[near], j[near]
                yield np.minimum(i, j), np.maximum(i, j)


def _equal_blocks(count: int, distance: int) -> int:
    """The fewest equal blocks whose keys part `count` codes into buckets of a few."""
    for equal in range(1, 4):
        if 2 ** (BITS * equal / (distance + equal)) * _FEW >= count:
            return equal
    return 4


def _blocks(count: int) -> np.ndarray:
    """Masks of 64 bits cut into `count` blocks, as even as they can be."""
    edges = [round(BITS * b / count) for b in range(count + 1)]
    return np.array([(1 << high) - (1 << low) for low, high in pairwise(edges)], dtype=np.uint64)
