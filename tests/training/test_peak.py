"""The measured rate of products is one that products of this machine really have."""

from __future__ import annotations

import time

import pytest
import torch

from unimedvl.training.peak import peak_rate


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_rate_is_that_of_a_product_timed_by_hand(dtype):
    start = time.perf_counter()
    rate = peak_rate("cpu", dtype, seconds=0.2)
    assert time.perf_counter() - start < 5
    a, b = (torch.randn(1024, 1024).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(8):
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    # Others may use this machine at the same time.
    assert 0.2 < rate / (2 * 1024**3 / best) < 5


def test_no_time_is_refused():
    with pytest.raises(ValueError, match="seconds is 0"):
        peak_rate(seconds=0)
