"""What the embedded model can do, on held-out simulated studies: a table, and JSON with everything.

    python -m benchmarks.nano --json nano.json --sheets sheets

Held out are all studies whose seed lies below `unimedvl.phantoms.study.FIRST_TRAINING_SEED`; no part of
the model was trained on one. Intervals are Wilson's for shares and bootstrapped for the rest, 95 %.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.held_out import HeldOut
from benchmarks.nano_bench import BATCH, Bench
from benchmarks.nano_tasks import TASKS, notes
from benchmarks.scores import Measure
from unimedvl import UniMedVL
from unimedvl.inference.results import NOT_CLINICAL, versions
from unimedvl.phantoms import known_to

NOTICE = f"Simulated studies only. {NOT_CLINICAL}"


def measure(bench: Bench, names: Sequence[str], count: int | None, progress: Console) -> tuple[list[Measure], dict]:
    """Every named task: the measures, and how many seconds each task took."""
    measures: list[Measure] = []
    seconds: dict[str, float] = {}
    for name in names:
        task, start = TASKS[name], time.perf_counter()
        with progress.status(name) as status:
            bench.progress = lambda done, total, s=status, n=name: s.update(f"{n}: {done} of {total}")
            measures += task.measure(bench, count or task.count)
        seconds[name] = round(time.perf_counter() - start, 1)
        progress.print(f"{name}: {seconds[name]} s")
    return measures, seconds


def table(measures: Sequence[Measure], details: bool = True) -> Table:
    """Targets in full, and below each, dim, what it is made of."""
    out = Table(title="nano on held-out simulated studies", caption=NOTICE)
    out.add_column("task", min_width=28)
    for name in ("measured (95 %)", "n", "at least", "met", "beside"):
        out.add_column(name, justify="right" if name == "n" else "left")
    for m in measures:
        if m.target is None and not details:
            continue
        met = {None: "", True: "[green]yes[/]", False: "[red]no[/]"}[m.met]
        style = None if m.target is not None else "dim"
        name = m.name if m.target is not None else f"  {m.name}"
        out.add_row(name, m.text(), str(m.n), m.target_text(), met, m.beside, style=style)
    return out


def record(model: UniMedVL, held_out: HeldOut, measures: Sequence[Measure], seconds: dict, threads: int) -> dict:
    """Everything, as JSON can hold it."""
    return {
        "notice": NOTICE,
        "model": {"name": model.card.get("name", ""), "weights_sha256": model.weights},
        "seeds": {"first": held_out.first, "last": held_out.last},
        "notes": list(notes(held_out.modalities)),
        "measures": [m.to_dict() for m in measures],
        "seconds": seconds,
        "threads": threads,
        "versions": versions(),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    args = _arguments(arguments)
    if args.threads:
        torch.set_num_threads(args.threads)
    progress = Console(stderr=True)
    model = UniMedVL.load(args.model)
    held_out = HeldOut(args.first_seed, modalities=known_to(model.card))
    bench = Bench(model, held_out, args.sheets, args.steps, args.batch)
    measures, seconds = measure(bench, args.tasks, args.count, progress)
    wide = Console(width=None if sys.stdout.isatty() else 150)
    wide.print(table(measures, not args.brief))
    for note in notes(held_out.modalities):
        wide.print(note, style="dim")
    if args.json:
        content = record(model, held_out, measures, seconds, torch.get_num_threads())
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(content, indent=1) + "\n")
    return int(args.check and any(m.met is False for m in measures))


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder or hub id in the published layout; the embedded nano where left out")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS), metavar="TASK",
                        help=f"which of {', '.join(TASKS)}")
    parser.add_argument("--count", type=int, help="looks of each task, in place of each task's own number")
    parser.add_argument("--first-seed", type=int, default=0, help="the lowest held-out seed that is used")
    parser.add_argument("--steps", type=int, help="points of the time grid of drawings; the model's own by default")
    parser.add_argument("--batch", type=int, default=BATCH, help="requests that pass the model together")
    parser.add_argument("--threads", type=int, help="of PyTorch")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    parser.add_argument("--sheets", type=Path, help="write contact sheets of the images to this folder")
    parser.add_argument("--brief", action="store_true", help="only the lines that have a target")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
