"""Beginnings of conversations that are kept, so that others that begin so go on from there."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence as Seq

import numpy as np

from unimedvl.inference.context import Context
from unimedvl.model.cache import Block
from unimedvl.sequence import Latent, Segment, Text


def keys_of(segments: Seq[Segment], start: bytes = b"") -> list[bytes]:
    """A key for each beginning of a sequence that ends with one of its segments; `start` is the key before them.

    Two beginnings have the same key where they hold the same ids and the same pixels in the same order.
    """
    keys = []
    for segment in segments:
        digest = hashlib.blake2b(start, digest_size=32)
        if isinstance(segment, Text):
            digest.update(b"text" + np.asarray(segment.ids, dtype=np.int64).tobytes())
        else:
            pixels = segment.pixels.contiguous()
            kind = "latent" if isinstance(segment, Latent) else "seen"
            digest.update(f"{kind} {tuple(pixels.shape)} {pixels.dtype} ".encode())
            digest.update(pixels.numpy().tobytes())
        start = digest.digest()
        keys.append(start)
    return keys


class Prefixes:
    """The contexts of beginnings, those that were used last, as far as they fit in `most` bytes.

    Branches share memory (`model/cache.py`), which is counted once.
    """

    def __init__(self, most: int) -> None:
        self.most, self.nbytes = most, 0
        self._kept: OrderedDict[bytes, Context] = OrderedDict()
        self._holders: dict[int, int] = {}  # of each block by its identity: how many kept contexts hold it

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, keys: Seq[bytes]) -> tuple[int, Context] | None:
        """The longest beginning that is kept: how many segments it has, and a context that goes on from it."""
        for count in range(len(keys), 0, -1):
            context = self._kept.get(keys[count - 1])
            if context is not None:
                self._kept.move_to_end(keys[count - 1])
                return count, context.branch()
        return None

    def keep(self, key: bytes, context: Context) -> None:
        """Keep a context, which nobody else may go on with: a branch. One that is larger than all room is not kept."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return
        if sum(block.nbytes for block in context.cache.blocks) > self.most:
            return
        self._kept[key] = context
        for block in context.cache.blocks:
            self._hold(block)
        while self.nbytes > self.most:
            _, oldest = self._kept.popitem(last=False)
            for block in oldest.cache.blocks:
                self._let_go(block)

    def clear(self) -> None:
        self._kept.clear()
        self._holders.clear()
        self.nbytes = 0

    def _hold(self, block: Block) -> None:
        holders = self._holders[id(block)] = self._holders.get(id(block), 0) + 1
        self.nbytes += block.nbytes if holders == 1 else 0

    def _let_go(self, block: Block) -> None:
        self._holders[id(block)] -= 1
        if not self._holders[id(block)]:
            del self._holders[id(block)]
            self.nbytes -= block.nbytes
