"""The rate at which a device multiplies matrices, measured: what a training's own rate is held against."""

from __future__ import annotations

import time

import torch
from torch import Tensor

# Sides of the square matrices: the first, and the largest, of 128 MB in bf16.
_FIRST, _LARGEST = 256, 8192
# A product that takes this long is large enough to be timed well.
_ENOUGH = 0.01


def peak_rate(
    device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, seconds: float = 0.4
) -> float:
    """FLOP/s of square matrix products, the best of those that fit into the seconds.

    The side grows until a product takes ten milliseconds, so that nothing but the product is timed. It is what
    PyTorch makes of this device with plain weights, by the settings of now (threads, TF32); a maker's figure is
    higher. Not more than half a second more than `seconds`, but for a device that is first used.

    Raises:
        ValueError: no time to measure in.
    """
    if seconds <= 0:
        raise ValueError(f"seconds is {seconds}; a rate is measured in more than 0")
    device, side = torch.device(device), _FIRST
    a, b = _matrices(side, device, dtype)
    _seconds(a, b)  # what is done once
    taken = _seconds(a, b)
    while taken < _ENOUGH and side < _LARGEST:
        side *= 2
        a, b = _matrices(side, device, dtype)
        _seconds(a, b)
        taken = _seconds(a, b)
    best, end = taken, time.perf_counter() + seconds
    while time.perf_counter() < end:
        best = min(best, _seconds(a, b))
    return 2 * side**3 / best


def _matrices(side: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    # Random: a device that runs into its power limit is faster on zeros.
    return tuple(torch.randn(side, side, device=device).to(dtype) for _ in range(2))


@torch.inference_mode()
def _seconds(a: Tensor, b: Tensor) -> float:
    finish = torch.cuda.synchronize if a.is_cuda else lambda: None
    finish()
    start = time.perf_counter()
    torch.mm(a, b)
    finish()
    return time.perf_counter() - start
