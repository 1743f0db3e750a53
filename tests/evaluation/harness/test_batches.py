"""Calls from several threads are answered together, each with its own answer."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from unimedvl.evaluation.harness.batches import Batches


def test_calls_that_wait_are_one_batch():
    sizes = []

    def doubled(numbers):
        sizes.append(len(numbers))
        return [2 * n for n in numbers]

    together = Batches(doubled, most=4, patience=30)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(together, range(8))) == [2 * n for n in range(8)]
    assert sizes == [4, 4]


def test_a_batch_that_is_not_full_does_not_wait_for_ever():
    together = Batches(lambda numbers: [n + 1 for n in numbers], most=4, patience=0.01)
    assert [together(n) for n in range(3)] == [1, 2, 3]


def test_one_batch_runs_at_a_time():
    running, most_at_once, lock = 0, 0, threading.Lock()

    def watched(numbers):
        nonlocal running, most_at_once
        with lock:
            running += 1
            most_at_once = max(most_at_once, running)
        threading.Event().wait(0.005)
        with lock:
            running -= 1
        return numbers

    together = Batches(watched, most=1)
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(together, range(12))) == list(range(12))
    assert most_at_once == 1


def test_an_error_reaches_those_of_its_batch_and_no_others():
    def inverted(numbers):
        return [1 / n for n in numbers]

    together = Batches(inverted, most=1)
    with ThreadPoolExecutor(3) as pool:
        given = [pool.submit(together, n) for n in (1, 0, 2)]
    assert given[0].result() == 1 and given[2].result() == 0.5
    with pytest.raises(ZeroDivisionError):
        given[1].result()


def test_too_few_answers_are_an_error_and_no_deadlock():
    together = Batches(lambda numbers: [], most=1)
    with pytest.raises(ValueError):
        together(1)
