"""Items become predictions in order, whatever fails, and what was made once is not made again."""

from __future__ import annotations

import pytest
import ray

from unimedvl.checkpoint import CheckpointError
from unimedvl.evaluation.item import Item, Prediction
from unimedvl.evaluation.models import Settings
from unimedvl.evaluation.predict import PATIENCE, Asked, predict
from unimedvl.evaluation.store import Store

ASKED = Asked("baseline:yes", Settings(), batch=4)


class Counting:
    """Answers with the item's own words, and fails on some. asked: all that it was ever asked."""

    identity, card = "counting", {"name": "counting"}

    def __init__(self, bad: frozenset[str] = frozenset()) -> None:
        self.bad, self.asked, self.batches = bad, [], []

    def answer(self, items):
        self.batches.append([i.id for i in items])
        if any(i.id in self.bad for i in items):
            raise ValueError("can't\nbe")
        self.asked += [i.id for i in items]
        return [Prediction(i.text) for i in items]


def items(count: int) -> list[Item]:
    return [Item(f"{n}", "ask" if n % 3 else "report", "open", text=f"said {n}") for n in range(count)]


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "p.sqlite")
    yield made
    made.close()


def test_predictions_come_in_the_items_order_and_batches_hold_one_task(store):
    model, asked = Counting(), items(11)
    assert [p.text for p in predict(asked, model, ASKED, store)] == [i.text for i in asked]
    tasks = {i.id: i.task for i in asked}
    assert all(len({tasks[name] for name in batch}) == 1 and len(batch) <= 4 for batch in model.batches)


def test_one_that_fails_is_counted_and_the_rest_goes_on(store):
    model = Counting(frozenset({"5"}))
    made = predict(items(9), model, ASKED, store)
    assert made[5].error == "ValueError: can't" and sorted(model.asked) == sorted(set("012346789"[:8]) | {"8"})
    assert [p.text for n, p in enumerate(made) if n != 5] == [f"said {n}" for n in range(9) if n != 5]


def test_an_image_that_cannot_be_loaded_is_the_items_own_failure(store):
    def missing() -> bytes:
        raise FileNotFoundError("gone.png")

    made = predict([Item("a", "ask", "open", (missing,), "x"), *items(2)], Counting(), ASKED, store)
    assert made[0].error == "FileNotFoundError: gone.png" and made[1].text == "said 0"


def test_what_was_made_is_not_made_again_and_what_failed_is(store):
    predict(items(6), Counting(frozenset({"4"})), ASKED, store)
    model, told = Counting(), []
    made = predict(items(8), model, ASKED, store, lambda done, total: told.append((done, total)))
    assert sorted(model.asked) == ["4", "6", "7"] and [p.text for p in made] == [f"said {n}" for n in range(8)]
    assert told[0] == (5, 8) and told[-1] == (8, 8)


def test_a_model_that_is_not_there_is_one_clear_line_and_no_items_failure(store):
    asked = Asked("/nowhere/at/all", Settings())
    with pytest.raises(CheckpointError):
        predict(items(3), asked.open(), asked, store)


def test_after_many_failures_in_a_row_the_rest_is_not_asked(store):
    everything = items(3 * PATIENCE)
    model = Counting(frozenset(i.id for i in everything))
    made = predict(everything, model, ASKED, store)
    assert len(made) == len(everything) and all(p.error for p in made)
    assert sum(len(b) == 1 for b in model.batches) <= PATIENCE + ASKED.batch
    assert sum(p.error == f"not asked after {PATIENCE} failures in a row: ValueError: can't" for p in made) > PATIENCE


def test_an_interrupt_keeps_what_was_done(store):
    class Interrupted(Counting):
        def answer(self, items):
            if len(self.batches) == 2:
                raise KeyboardInterrupt
            return super().answer(items)

    first = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        predict(items(12), first, ASKED, store)
    second = Counting()
    predict(items(12), second, ASKED, store)
    assert sorted(first.asked + second.asked, key=int) == [str(n) for n in range(12)]


@pytest.fixture
def ray_ends():
    yield
    ray.shutdown()


def test_under_ray_the_predictions_are_the_same(store, tmp_path, ray_ends):
    asked = Asked("baseline:random", Settings(), batch=3)
    questions = [Item(f"q{n}", "ask", "closed", text=f"{n}?", answers=("yes",)) for n in range(10)]
    here = predict(questions, asked.open(), asked, store)
    other = Store(tmp_path / "other.sqlite")
    there = predict(questions, asked.open(), asked, other, ray=True)
    other.close()
    assert [p.text for p in there] == [p.text for p in here]
