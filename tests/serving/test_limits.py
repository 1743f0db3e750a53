"""What a key has left: requests at one time, and requests a minute."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from unimedvl.serving.limits import Allowance, Limits, TooMany


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_limits_are_checked_and_say_what_they_are_of():
    assert all(field.description for field in Limits.model_fields.values())
    for wrong in ({"n": 0}, {"rate": 0}, {"body_bytes": 1}, {"nothing": 1}):
        with pytest.raises(ValidationError):
            Limits(**wrong)


def test_a_burst_then_the_rate_and_when_to_come_again():
    clock = Clock()
    allowance = Allowance(Limits(rate=30, burst=3), clock)

    def ask() -> None:
        with allowance.of("me"):
            pass

    for _ in range(3):
        ask()
    with pytest.raises(TooMany, match="30 times a minute") as caught:
        ask()
    assert (caught.value.retry_after, caught.value.status) == (2, 429)
    with allowance.of("somebody else"):
        clock.now += 1.0
    with pytest.raises(TooMany) as caught:
        ask()
    assert caught.value.retry_after == 1
    clock.now += 1.0
    ask()
    clock.now += 3600
    for _ in range(3):
        ask()
    with pytest.raises(TooMany):
        ask()


def test_so_many_at_one_time_and_places_come_free_when_they_fail_too():
    allowance = Allowance(Limits(concurrent=2))
    with ExitStack() as held:
        held.enter_context(allowance.of("me"))
        held.enter_context(allowance.of("me"))
        with pytest.raises(TooMany, match="2 requests of this key are under way"), allowance.of("me"):
            pass
        held.enter_context(allowance.of("somebody else"))
    for _ in range(5):
        with pytest.raises(ZeroDivisionError), allowance.of("me"):
            raise ZeroDivisionError
    assert allowance._running == {}


@given(
    rate=st.integers(1, 600), burst=st.integers(1, 20), waits=st.lists(st.floats(0, 10), min_size=1, max_size=60)
)
def test_never_more_than_the_burst_and_the_rate_allow(rate, burst, waits):
    clock = Clock()
    allowance, taken = Allowance(Limits(rate=rate, burst=burst), clock), []
    for wait in waits:
        clock.now += wait
        try:
            with allowance.of("me"):
                taken.append(clock.now)
        except TooMany as error:
            assert error.retry_after >= 1
    for first, start in enumerate(taken):
        for count, end in enumerate(taken[first:], 1):
            assert count <= burst + (end - start) * rate / 60 + 1e-6


def test_names_without_end_take_no_memory_without_end(monkeypatch):
    monkeypatch.setattr("unimedvl.serving.limits._MOST_BUCKETS", 50)
    clock = Clock()
    allowance = Allowance(Limits(rate=60, burst=2), clock)
    for n in range(1000):
        clock.now += 1
        with allowance.of(f"k{n}"):
            pass
    assert len(allowance._buckets) <= 51
