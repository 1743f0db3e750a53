"""The key-value cache: appended to, never copied; branches share what they have in common.

A cache is a chain of blocks. The last block is its own and is written; those before it are
shared, read up to a fixed length. A branch is a new chain over the same blocks, so it costs no
memory until it is written to. Keys are stored after rotation, so their order does not matter to
those who see all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unimedvl.model.config import DecoderConfig

# Room beyond what is asked for, so that a question and a long answer after a prompt still fit its block:
# attention over two blocks costs more than over one. Memory that is never written costs nothing on a CPU.
_HEADROOM = 1280


@dataclass(eq=False)
class Block:
    """keys, values: [layers, kv_heads, capacity, head_dim]."""

    keys: Tensor
    values: Tensor

    @property
    def capacity(self) -> int:
        return self.keys.shape[2]

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes


class Cache:
    """The keys and values of one context.

    length: committed tokens. position: the next token's rotary position.
    """

    def __init__(
        self, config: DecoderConfig, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        self.config, self.device, self.dtype = config, device, dtype
        self.position = 0
        self._shared: list[tuple[Block, int]] = []
        self._own: Block | None = None
        self._own_length = 0
        self._stood: tuple | None = None  # the chain, while the cache has a seat

    @property
    def length(self) -> int:
        return sum(n for _, n in self._shared) + self._own_length

    def branch(self, length: int | None = None, position: int | None = None) -> Cache:
        """A cache that begins with what this one holds, and shares its memory.

        length: only so many tokens of it, after which the next one's position is `position`; all of it where None.
        """
        other = Cache(self.config, self.device, self.dtype)
        other.position = self.position if position is None else position
        left = self.length if length is None else length
        for block, tokens in self._chain():
            if left and tokens:
                other._shared.append((block, min(left, tokens)))
                left -= min(left, tokens)
        return other

    def reserve(self, tokens: int, headroom: int = _HEADROOM) -> None:
        """Make room for `tokens` more in one block, so that nothing is allocated while decoding.

        headroom: room beyond that in a new block.
        """
        if self._own is not None and self._own_length + tokens <= self._own.capacity:
            return
        if self._own is not None and self._own_length:
            self._shared.append((self._own, self._own_length))
        capacity = tokens + (max(headroom, self.length // 2) if headroom else 0)
        shape = (self.config.num_layers, self.config.num_kv_heads, capacity, self.config.head_dim)
        self._own = Block(*(torch.empty(shape, device=self.device, dtype=self.dtype) for _ in range(2)))
        self._own_length = 0

    @property
    def blocks(self) -> list[Block]:
        """The memory that it holds on to, shared with its branches."""
        return [block for block, _ in self._chain()]

    def sit(self, seat: Block) -> None:
        """Copy what is held into a block of a row of seats (`model/seats.py`), and go on there until `rise`."""
        done = 0
        for block, tokens in self._chain():
            for new, old in ((seat.keys, block.keys), (seat.values, block.values)):
                new[:, :, done : done + tokens].copy_(old[:, :, :tokens])
            done += tokens
        self._stood = (self._shared, self._own, self._own_length)
        self._shared, self._own, self._own_length = [], seat, done

    def seat(self, seat: Block) -> None:
        """The seat was moved, and what it holds with it."""
        self._own = seat

    def rise(self) -> None:
        """Back to the blocks from before `sit`, with what has come since behind them."""
        seat, length = self._own, self._own_length
        (self._shared, self._own, self._own_length), self._stood = self._stood, None
        before = self.length
        self.reserve(length - before, headroom=0)
        for store, new in ((self._own.keys, seat.keys), (self._own.values, seat.values)):
            store.narrow(2, self._own_length, length - before).copy_(new[:, :, before:length])
        self._own_length += length - before

    def _chain(self) -> list[tuple[Block, int]]:
        return [*self._shared] + ([] if self._own is None else [(self._own, self._own_length)])

    def write(self, layer: int, keys: Tensor, values: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Put keys and values [n, kv_heads, head_dim] of new tokens behind the committed ones.

        They are forgotten again unless `commit` follows. Returns the (keys, values) of each
        block, [kv_heads, tokens, head_dim], the new tokens in the last. `reserve` comes first.
        """
        end = self._own_length + keys.shape[0]
        own = self._own
        for store, new in ((own.keys, keys), (own.values, values)):
            store[layer].narrow(1, self._own_length, len(new)).copy_(new.transpose(0, 1))
        return [
            (b.keys[layer].narrow(1, 0, n), b.values[layer].narrow(1, 0, n)) for b, n in [*self._shared, (own, end)]
        ]

    def commit(self, tokens: int, positions: int) -> None:
        """Keep the `tokens` last written, and move the position on."""
        self._own_length += tokens
        self.position += positions

    def keys(self) -> Tensor:
        """All committed keys, copied: [layers, length, kv_heads, head_dim]. For tests."""
        return torch.cat([b.keys[:, :, :n] for b, n in self._chain()], dim=2).transpose(1, 2)
