"""Items to predictions: batched, kept as they are made, gone on with where it was interrupted.

An item that fails is asked alone once more; if that fails too, its prediction says why, and the rest goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from unimedvl.evaluation.item import Item, Prediction
from unimedvl.evaluation.models import Model, Settings, open_model
from unimedvl.evaluation.store import Store

logger = logging.getLogger(__name__)
# Told how many items of how many are done.
Told = Callable[[int, int], None]
# After so many failures in a row the other items of a benchmark are not asked, and count as failed.
PATIENCE = 64
_NOT_ASKED = f"not asked after {PATIENCE} failures in a row: "


@dataclass(frozen=True)
class Asked:
    """How a model is opened and asked, wherever that happens. batch: items that pass the model together."""

    name: str
    settings: Settings
    adapters: str | None = None
    batch: int = 16

    def open(self) -> Model:
        return open_model(self.name, self.settings, self.adapters)


def predict(
    items: Sequence[Item], model: Model, asked: Asked, store: Store, told: Told = lambda done, total: None,
    ray: bool = False,
) -> list[Prediction]:
    """The prediction of each item in order; those that are kept are not made again.

    ray: make them in the workers of Ray, each of which opens the model itself.

    Raises:
        EvaluationError: predictions can't be kept.
        CheckpointError: there is no such model.
    """
    of_model = {"model": model.identity, **asked.settings.to_dict()}  # here: no model is no item's own failure
    made: list[Prediction | None] = [None] * len(items)
    keys: list[str] = [""] * len(items)
    for place, item in enumerate(items):
        try:
            keys[place] = item.key(of_model)
            made[place] = store.get(keys[place])
        except Exception as error:  # noqa: BLE001  an image that can't be loaded is the item's own failure
            made[place] = failed(error)
    left = [place for place, prediction in enumerate(made) if prediction is None]
    done = len(items) - len(left)
    told(done, len(items))
    batches = list(_batches(items, left, asked.batch))
    results = _with_ray(batches, items, asked) if ray else (_answer(model, [items[p] for p in b]) for b in batches)
    in_a_row, last, answered = 0, Prediction(), iter(results)
    for places in batches:
        predictions = next(answered) if in_a_row < PATIENCE else [_not_asked(last)] * len(places)
        for prediction in predictions:
            in_a_row, last = (in_a_row + 1, prediction) if prediction.error else (0, prediction)
        store.keep({keys[p]: prediction for p, prediction in zip(places, predictions, strict=True)})
        for place, prediction in zip(places, predictions, strict=True):
            # from the store, which reads an image only when it is asked for
            made[place] = prediction if prediction.error else store.get(keys[place])
        done += len(places)
        told(done, len(items))
    return [prediction for prediction in made if prediction is not None]


def _not_asked(last: Prediction) -> Prediction:
    """What stands for an item after too many failures: a server that is gone would take minutes for each."""
    why = last.error.removeprefix(_NOT_ASKED)
    return Prediction(error=f"{_NOT_ASKED}{why}")


def failed(error: BaseException) -> Prediction:
    """What stands for an item that could not be asked or answered."""
    words = str(error).splitlines()
    return Prediction(error=f"{type(error).__name__}: {words[0] if words else ''}".rstrip(": "))


def _batches(items: Sequence[Item], places: Sequence[int], most: int) -> Iterator[list[int]]:
    """Places of items of one task each, and of as many images, so that they pass the model together."""
    alike = sorted(places, key=lambda p: (items[p].task, len(items[p].images)))
    for _, group in groupby(alike, key=lambda p: (items[p].task, len(items[p].images))):
        run = list(group)
        yield from (run[start : start + most] for start in range(0, len(run), most))


def _answer(model: Model, batch: Sequence[Item]) -> list[Prediction]:
    try:
        return model.answer(batch)
    except Exception as error:  # noqa: BLE001  one failing sample must not end the run
        if len(batch) == 1:
            logger.warning("%s: %s", batch[0].id, failed(error).error)
            return [failed(error)]
        return [prediction for item in batch for prediction in _answer(model, [item])]


def _with_ray(batches: list[list[int]], items: Sequence[Item], asked: Asked) -> Iterator[list[Prediction]]:
    """Batches in order, from as many workers as Ray has room for; each opens the model once."""
    import ray

    from unimedvl.data.build.ray_engine import start_ray

    if not ray.is_initialized():
        start_ray(_processors())
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    count = max(1, min(len(batches), gpus or int(resources.get("CPU", 1))))
    worker = ray.remote(num_cpus=1, num_gpus=1 if gpus else 0)(_Worker)
    pool = ray.util.ActorPool([worker.remote(asked) for _ in range(count)])
    yield from pool.map(lambda actor, places: actor.answer.remote([items[p] for p in places]), batches)


def _processors() -> int:
    import os

    return os.cpu_count() or 1


class _Worker:
    """A process of Ray with a model of its own."""

    def __init__(self, asked: Asked) -> None:
        self.model = asked.open()

    def answer(self, batch: list[Item]) -> list[Prediction]:
        return _answer(self.model, batch)
