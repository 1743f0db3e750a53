"""Seats for contexts that speak side by side: their keys and values lie in one tensor.

A token of many contexts is then attended to in one product a layer, where a chain of blocks (`model/cache.py`) takes
one or more for each context. A context is copied to its seat when it begins to speak, and what it said is copied back
behind the rest when it ends.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq

import torch
import torch.nn.functional as F
from torch import Tensor

from unimedvl.model.attention import CachedAttention, Span
from unimedvl.model.cache import Block, Cache
from unimedvl.model.config import DecoderConfig

# Tokens of a seat. In longer contexts the products outweigh what it takes to call them, and padding would cost more.
SEAT_TOKENS = 512
# The longest of the seats decides how many keys are looked at; a multiple keeps shapes alike from token to token.
_MULTIPLE = 32


class Seats:
    """Seats are taken from the first on, without gaps: `taken[i]` sits on seat i."""

    def __init__(
        self,
        config: DecoderConfig,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        capacity: int = SEAT_TOKENS,
    ) -> None:
        self.config, self.device, self.dtype, self.capacity = config, device, dtype, capacity
        self.taken: list[Cache] = []
        self._keys = self._values = self._room(0)  # [layers, seats, kv_heads, capacity, head_dim]

    def sit(self, cache: Cache) -> None:
        """Give a cache that has room for more the next seat. Nobody may branch it until it rises."""
        seats = self._keys.shape[1]
        if len(self.taken) == seats:
            larger = [self._room(max(4, 2 * seats)) for _ in range(2)]
            for new, old in zip(larger, (self._keys, self._values), strict=True):
                new[:, :seats].copy_(old)
            self._keys, self._values = larger
            for number, seated in enumerate(self.taken):
                seated.seat(self._seat(number))
        cache.sit(self._seat(len(self.taken)))
        self.taken.append(cache)

    def rise(self, cache: Cache) -> None:
        """The cache stands by itself again; the last one in the row takes its seat."""
        number = self.taken.index(cache)
        cache.rise()
        last = self.taken.pop()
        if last is not cache:
            seat, length = self._seat(number), last.length
            for new, old in ((seat.keys, self._keys), (seat.values, self._values)):
                new[:, :, :length].copy_(old[:, len(self.taken), :, :length])
            last.seat(seat)
            self.taken[number] = last

    def fits(self, cache: Cache) -> bool:
        """Whether a seat holds it and one token more."""
        return cache.length < self.capacity

    def attention(self, caches: Seq[Cache]) -> SeatedAttention:
        """How one more token of each cache sees its context: of all that are seated, in their order, then of others."""
        return SeatedAttention(self._keys, self._values, caches, len(self.taken))

    def _seat(self, number: int) -> Block:
        return Block(self._keys[:, number], self._values[:, number])

    def _room(self, seats: int) -> Tensor:
        # Zeros, because what lies behind a context is multiplied too, by nought.
        c = self.config
        shape = (c.num_layers, seats, c.num_kv_heads, self.capacity, c.head_dim)
        return torch.zeros(shape, device=self.device, dtype=self.dtype)


class SeatedAttention:
    """Attention of one new token of each of several caches, the first `seated` of which have seats."""

    def __init__(self, keys: Tensor, values: Tensor, caches: Seq[Cache], seated: int) -> None:
        self.keys, self.values, self.seated = keys, values, seated
        lengths = [cache.length for cache in caches[:seated]]
        self.seats = torch.arange(seated, device=keys.device)
        self.at = torch.tensor(lengths, device=keys.device)
        longest = max(lengths, default=0) + 1
        self.most = min(keys.shape[3], -(-longest // _MULTIPLE) * _MULTIPLE)
        later = torch.arange(self.most, device=keys.device) > self.at[:, None]
        self.mask = keys.new_zeros(seated, 1, 1, self.most).masked_fill_(later[:, None, None], -torch.inf)
        rest = caches[seated:]
        self.rest = CachedAttention([Span(cache, [(1, True)]) for cache in rest]) if rest else None

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [B, heads, dim], k and v [B, kv_heads, dim] to [B, heads * dim]."""
        n, kv_heads = self.seated, k.shape[1]
        for store, new in ((self.keys, k), (self.values, v)):
            store[layer][self.seats, :, self.at] = new[:n]
        keys, values = (store[layer][:n, :, : self.most] for store in (self.keys, self.values))
        # Query heads that share a key head are rows of it.
        folded = q[:n].unflatten(1, (kv_heads, -1))
        out = F.scaled_dot_product_attention(folded, keys, values, self.mask).reshape(n, -1)
        return out if self.rest is None else torch.cat((out, self.rest(layer, q[n:], k[n:], v[n:])))
