"""What this machine can do: matrix products at given shapes, and reading memory.

The limit of a pass is the time that its matrix products take alone: on the very shapes, with as many different
weights as the pass has, one after another and nothing in between. It is measured twice: with `F.linear`, which
is what PyTorch makes of this machine, and with weights laid out for it (`unimedvl.model.linear`).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.work import Product, Work
from unimedvl.model.linear import Linear

# Bytes read for the bandwidth: far more than any cache holds.
READ_BYTES = 2**29


def seconds(run: Callable[[], object]) -> float:
    _finish()
    start = time.perf_counter()
    run()
    _finish()
    return time.perf_counter() - start


def _finish() -> None:
    """Wait for what a GPU was given to do."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def read_bandwidth(repeats: int = 5, nbytes: int = READ_BYTES, device: str = "cpu") -> float:
    """Bytes per second at which the device reads its memory: the sum of a large float32 tensor; the median."""
    data = torch.ones(nbytes // 4, device=device)
    data.sum()
    return nbytes / statistics.median(seconds(data.sum) for _ in range(repeats))


class Weights:
    """Random weights by shape, shared by all chains of one type: the n-th copy is always the same tensor."""

    def __init__(self, dtype: torch.dtype, device: str = "cpu") -> None:
        self.dtype, self.device = dtype, device
        self._of: dict[tuple[int, int], list[Tensor]] = {}

    def take(self, n: int, k: int, copies: int) -> list[Tensor]:
        pool = self._of.setdefault((n, k), [])
        while len(pool) < copies:
            pool.append((torch.randn(n, k, device=self.device) * 0.02).to(self.dtype))
        return pool[:copies]


class Chain:
    """The products of a pass in about the order of its layers; packed: with weights laid out for this processor."""

    def __init__(self, products: tuple[Product, ...], weights: Weights, packed: bool = False) -> None:
        taken: dict[tuple[int, int], int] = {}
        calls: list[tuple[float, Tensor, Tensor]] = []
        inputs: dict[tuple[int, int], Tensor] = {}
        for p in products:
            start = taken.get((p.n, p.k), 0)  # two sets of weights have no copy in common
            taken[p.n, p.k] = start + p.copies
            if (p.m, p.k) not in inputs:
                inputs[p.m, p.k] = torch.randn(p.m, p.k, device=weights.device).to(weights.dtype)
            own = weights.take(p.n, p.k, start + p.copies)[start:]
            calls += [((i + 0.5) / p.copies, inputs[p.m, p.k], w) for i, w in enumerate(own)]
        calls.sort(key=lambda call: call[0])
        self.calls = [(x, _layer(w, packed)) for _, x, w in calls]

    @torch.inference_mode()
    def __call__(self) -> None:
        for x, layer in self.calls:
            layer(x)


def _layer(weight: Tensor, packed: bool) -> Linear:
    outputs, inputs = weight.shape
    layer = Linear(inputs, outputs, bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if packed:
        layer.pack()
    return layer


@dataclass(frozen=True)
class Timing:
    """Medians over repeats in seconds; ratio: the median of limit over measured, pair by pair.

    Limit and pass take turns, and each pass is compared with the mean of the limits before and after it, so
    that a machine that slows down does not favour either.
    """

    measured: float
    limit: float
    ratio: float
    lowest: float
    highest: float


def compare(
    limits: Sequence[Callable[[], object]],
    run: Callable[[], object],
    repeats: int,
    scale: Callable[[float], float] = lambda s: s,
) -> list[Timing]:
    """Time a pass against each of some limits, all in turn, after one warm-up of each.

    scale: from the seconds of one of `limits` to the limit's.
    """
    for call in (*limits, run):
        call()
    before, runs = [[scale(seconds(limit))] for limit in limits], []
    for _ in range(repeats):
        runs.append(seconds(run))
        for found, limit in zip(before, limits, strict=True):
            found.append(scale(seconds(limit)))
    return [_timing(found, runs) for found in before]


def _timing(limits: list[float], runs: list[float]) -> Timing:
    around = [(a + b) / 2 for a, b in zip(limits, limits[1:], strict=False)]
    ratios = [a / r for a, r in zip(around, runs, strict=True)]
    middle = statistics.median
    return Timing(middle(runs), middle(around), middle(ratios), min(ratios), max(ratios))


def products_limit(work: Work, chain_seconds: float) -> float:
    """Seconds for all the work at the rate of its linear layers: attention's products count at it too."""
    return chain_seconds * work.flops / work.linear_flops


def decode_limit(work: Work, chain_seconds: float, itemsize: int, bandwidth: float) -> float:
    """Seconds for the matrix-vector products, and for reading keys and values once at the bandwidth."""
    return chain_seconds + work.cached_elements * itemsize / bandwidth


@dataclass(frozen=True)
class Rate:
    """One shape's rates, with plain and with packed weights. gbs: of the weights read."""

    m: int
    n: int
    k: int
    gflops: float
    gbs: float
    packed_gflops: float
    packed_gbs: float


def rates(
    shapes: list[tuple[int, int]], rows: tuple[int, ...], weights: Weights, copies: int, repeats: int
) -> list[Rate]:
    """Products of [m, k] by each (n, k), cycling through `copies` weights; medians."""
    out = []
    for m in rows:
        for n, k in shapes:
            found = []
            for packed in (False, True):
                chain = Chain((Product(m, n, k, copies),), weights, packed)
                chain()
                taken = statistics.median(seconds(chain) for _ in range(repeats)) / copies
                found += [2e-9 * m * n * k / taken, 1e-9 * n * k * weights.dtype.itemsize / taken]
            out.append(Rate(m, n, k, *found))
    return out
