"""Predictions are kept whole, by key, and images come back as they were."""

from __future__ import annotations

import numpy as np
import pytest

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.item import Item, Prediction
from unimedvl.evaluation.store import Store

IMAGE = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)


def test_what_was_kept_comes_back_in_another_process_life(tmp_path):
    store = Store(tmp_path / "deep" / "p.sqlite")
    store.keep({"a": Prediction("yes", None, 0.75, 0.5), "b": Prediction("", lambda: IMAGE, None, 1.0)})
    store.close()
    again = Store(tmp_path / "deep" / "p.sqlite")
    assert again.get("a") == Prediction("yes", None, 0.75, 0.5)
    assert np.array_equal(again.get("b").image, IMAGE) and again.get("b").confidence is None
    assert again.get("c") is None


def test_what_failed_is_not_kept_and_so_tried_again(tmp_path):
    store = Store(tmp_path / "p.sqlite")
    store.keep({"a": Prediction(error="ValueError: no")})
    assert store.get("a") is None


def test_a_file_of_another_kind_is_one_clear_line(tmp_path):
    file = tmp_path / "p.sqlite"
    file.write_bytes(b"not a data base, and long enough to be read as one" * 40)
    with pytest.raises(EvaluationError, match=r"p\.sqlite: predictions can't be kept there"):
        Store(file)


def test_a_key_depends_on_all_that_an_answer_depends_on():
    item = Item("x", "ask", "open", (lambda: b"1",), "What?", answers=("a",))
    keys = {
        item.key({"m": 1}),
        item.key({"m": 2}),
        Item("x", "ask", "open", (lambda: b"2",), "What?").key({"m": 1}),
        Item("x", "ask", "open", (lambda: b"1",), "Why?").key({"m": 1}),
        Item("x", "ask", "open", (lambda: b"1",), "What?", seed=1).key({"m": 1}),
    }
    assert len(keys) == 5
    # neither its name nor what is right changes what a model says
    assert Item("y", "ask", "open", (lambda: b"1",), "What?", answers=("b",)).key({"m": 1}) == item.key({"m": 1})
