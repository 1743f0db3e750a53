"""A suite, run: items, predictions, scores, and what is written of them. Read downward.

What was predicted is kept in the folder's cache, so a run that was interrupted goes on, and one that is repeated scores
anew without asking the model again.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from unimedvl.data.whole import written_whole
from unimedvl.evaluation.benchmark import Benchmark, Broken, Scored
from unimedvl.evaluation.benchmarks import BENCHMARKS
from unimedvl.evaluation.benchmarks.accuracy import judged, may_be_judged
from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.item import Item, Prediction
from unimedvl.evaluation.judge import judge_at
from unimedvl.evaluation.models import KEY, Model
from unimedvl.evaluation.pictures import picture
from unimedvl.evaluation.predict import Asked, predict
from unimedvl.evaluation.results import FILE, Results
from unimedvl.evaluation.store import Store
from unimedvl.evaluation.suite import Entry, Suite
from unimedvl.inference.results import NOT_CLINICAL, versions
from unimedvl.provenance import encoded

CACHE = "predictions.sqlite"
SIMULATED = "The images are simulated: figures say nothing about real ones."


@dataclass(frozen=True)
class Told:
    """How far a suite is: for whoever shows it."""

    benchmark: str
    done: int
    total: int


def run_suite(
    suite: Suite, asked: Asked, folder: Path, told: Callable[[Told], None] = lambda told: None, ray: bool = False,
    command: Sequence[str] = (),
) -> Results:
    """Run every benchmark of a suite and write what came out to a folder.

    Raises:
        EvaluationError: data that are not there, or a folder that can't be written.
    """
    folders = {entry.benchmark: entry.data for entry in suite.benchmarks}  # told before hours of work, not after
    missing = next((f"{n}: {f}: no such folder" for n, f in folders.items() if f is not None and not f.is_dir()), None)
    if missing:
        raise EvaluationError(missing)
    folder.mkdir(parents=True, exist_ok=True)
    store, model, start = Store(folder / CACHE), asked.open(), time.perf_counter()
    try:
        made = [_benchmark(entry, folders[entry.benchmark], suite, asked, model, store, folder, told, ray)
                for entry in suite.benchmarks]  # fmt: skip
    finally:
        store.close()
    simulated = [b["simulated"] for b in made]
    content = {
        "suite": suite.name,
        "notice": f"{SIMULATED} {NOT_CLINICAL}" if any(simulated) else NOT_CLINICAL,
        "simulated": all(simulated),
        "model": model.card,
        "settings": suite.model_dump(mode="json"),
        "versions": versions(),
        "command": " ".join(command),
        "seconds": round(time.perf_counter() - start, 1),
        "benchmarks": made,
    }
    with written_whole(folder / FILE) as part:
        part.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    return Results(folder, content)


def _benchmark(
    entry: Entry, data: Path | None, suite: Suite, asked: Asked, model: Model, store: Store, folder: Path,
    told: Callable[[Told], None], ray: bool,
) -> dict:  # fmt: skip
    benchmark, start = _with_judge(BENCHMARKS[entry.benchmark], suite, folder), time.perf_counter()
    items, broken = items_of(benchmark, data, entry)
    if not items:
        raise EvaluationError(f"{benchmark.name}: no items in {data}; {broken[0].reason if broken else 'is it empty?'}")
    predictions = predict(
        items, model, asked, store, lambda done, total: told(Told(benchmark.name, done, total)), ray
    )
    pairs = list(zip(items, predictions, strict=True))
    scored = benchmark.score(pairs)
    if benchmark.submit is not None:
        (folder / "submissions").mkdir(exist_ok=True)
        benchmark.submit(pairs, folder / "submissions" / f"{benchmark.name}.tsv")
    _write_items(folder, benchmark, items, predictions, scored, suite.keep, model.card)
    return {
        "name": benchmark.name,
        "title": benchmark.title,
        "area": benchmark.area,
        "published_as": benchmark.published_as or benchmark.name,
        "simulated": benchmark.simulated,
        "data": {
            "folder": str(data) if data else "",
            "items": len(items),
            "expected": benchmark.expected,
            "broken": [{"where": b.where, "reason": b.reason} for b in broken],
        },
        "protocol": benchmark.protocol.to_dict(),
        "notes": benchmark.notes,
        "seconds": round(time.perf_counter() - start, 1),
        "scores": [score.to_dict() for score in scored.scores],
    }


def _with_judge(benchmark: Benchmark, suite: Suite, folder: Path) -> Benchmark:
    """The benchmark with the suite's judge, where there is one and it has a say; replies are kept in the folder."""
    if suite.judge is None or not may_be_judged(benchmark):
        return benchmark
    key = os.environ.get(KEY, "")
    return judged(benchmark, judge_at(suite.judge.url, suite.judge.model, folder / "judge", key))


def items_of(benchmark: Benchmark, data: Path | None, entry: Entry) -> tuple[list[Item], list[Broken]]:
    """What is asked, and what of the data can't be. Where there is a count, so many, the first or evenly spread."""
    stream = benchmark.read(data)
    if entry.count is not None and (not benchmark.needs_data or not entry.spread):
        stream = islice(stream, entry.count)  # of simulated ones there is no end
    items, broken = [], []
    for found in stream:
        (broken if isinstance(found, Broken) else items).append(found)
    if entry.count is not None and len(items) > entry.count:
        items = [items[i] for i in np.linspace(0, len(items) - 1, entry.count).round().astype(int)]
    return items, broken


# ------------------------------------------------------------------------------------------ writing


def _write_items(
    folder: Path, benchmark: Benchmark, items: Sequence[Item], predictions: Sequence[Prediction],
    scored: Scored, keep: int, card: dict,
) -> None:  # fmt: skip
    images = folder / "images" / benchmark.name
    shutil.rmtree(images, ignore_errors=True)
    (folder / "items").mkdir(exist_ok=True)
    with written_whole(folder / "items" / f"{benchmark.name}.jsonl") as part, part.open("w") as out:
        for number, (item, prediction, value) in enumerate(zip(items, predictions, scored.values, strict=True)):
            line = {
                "id": item.id, "task": item.task, "kind": item.kind, "groups": dict(item.groups),
                "question": item.question or item.text, "answers": list(item.answers), "options": list(item.options),
                "prediction": prediction.text, "confidence": prediction.confidence,
                "values": {k: v for k, v in value.items() if np.isfinite(v)}, "error": prediction.error,
            }  # fmt: skip
            if number < keep:
                line |= _write_images(images, f"{number:04d}", item, prediction, scored.beside.get(item.id), card)
            out.write(json.dumps(line, ensure_ascii=False) + "\n")


def _write_images(
    folder: Path, name: str, item: Item, prediction: Prediction, beside: np.ndarray | None, card: dict
) -> dict:
    """PNGs of what an item shows, for the gallery; paths are relative to the results' folder.

    What the model drew is marked (`provenance.encoded`); what was scored is not. card: of the model.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def write(kind: str, array: np.ndarray) -> str:
        if array.dtype == bool:
            array = np.where(array, np.uint8(255), np.uint8(0))
        file = folder / f"{name}-{kind}.png"
        if kind == "drawn" and "weights_sha256" in card:  # a baseline gives back what no model made
            came = {"task": item.task, "request": item.text, "wishes": dict(item.wishes), "seed": item.seed}
            file.write_bytes(encoded(array, came | {"model": card}))
        else:
            Image.fromarray(array).save(file)
        return f"images/{folder.name}/{file.name}"

    out: dict = {"images": []}
    for number, load in enumerate(item.images):
        try:
            out["images"].append(write(f"input-{number}", picture(load())))
        except (ValueError, OSError):
            continue  # the prediction says already that it can't be read
    if item.target is not None:
        out["target"] = write("target", item.target())
    if prediction.drawn is not None:
        out["drawn"] = write("drawn", prediction.image)
    if beside is not None:
        out["nearest"] = write("nearest", beside)
    return out
