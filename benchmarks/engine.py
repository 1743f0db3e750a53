"""How much more an engine serves to many clients at once than to one after another.

    python -m benchmarks.engine --clients 16 --json engine.json

Each client asks one thing after another: questions that are answered after reasoning, a report on a simulated study of
its own, questions on that study, and a drawing. First one client after another does so, then all at once, each time on
an engine that is started anew; both get the same. Printed are tokens spoken (or images drawn) per second, the median
waits for the first event and for the result, and how many times as much is served per second and per second of
processor time. Run it on a machine that does nothing else; where that can't be, the times of processor time tell more.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from unimedvl import UniMedVL
from unimedvl.inference.engine import Engine, EngineLimits
from unimedvl.inference.requests import Request, request_for
from unimedvl.inference.sampling import Sampling
from unimedvl.phantoms import simulate

QUESTIONS = ("What modality is this?", "Is there an effusion?", "Which findings are present?")
CAPTION = "chest X-ray with cardiomegaly"


@dataclass(frozen=True)
class Measured:
    """One way of asking.

    seconds: on the clock; cpu: of processor time, of all threads together. first, whole: medians in seconds of the
        waits for the first event and for the result.
    """

    what: str
    clients: int
    requests: int
    tokens: int
    seconds: float
    cpu: float
    first: float
    whole: float

    @property
    def rate(self) -> float:
        """Tokens spoken per second, or images where none are."""
        return (self.tokens or self.requests) / self.seconds


def ask(engine: Engine, request: Request, sampling: Sampling, steps: int | None) -> tuple[float, float, int]:
    """Seconds to the first event and to the result, and the tokens spoken."""
    start = time.perf_counter()
    ticket = engine.submit(request, sampling=sampling, steps=steps)
    events = ticket.events()
    next(events)
    first = time.perf_counter() - start
    for _ in events:
        pass
    return first, time.perf_counter() - start, ticket.answer_tokens


def measure(
    model: UniMedVL, what: str, asked: list[list[Request]], at_once: int, limits: EngineLimits, steps: int | None
) -> Measured:
    """asked: what each client asks, in order. at_once: how many clients there are at a time."""
    sampling = Sampling(max_tokens=64)
    with Engine(model, limits=limits) as engine, ThreadPoolExecutor(at_once) as clients:
        start, cpu = time.perf_counter(), time.process_time()
        told = list(clients.map(lambda requests: [ask(engine, r, sampling, steps) for r in requests], asked))
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    waits = [wait for client in told for wait in client]
    first, whole, tokens = zip(*waits, strict=True)
    return Measured(
        what, at_once, len(waits), sum(tokens), seconds, cpu, statistics.median(first), statistics.median(whole)
    )


def view_of(client: int) -> np.ndarray:
    """A simulated chest X-ray of the client's own."""
    return next(iter(simulate("cxr", client).images.values()))


def asked_of(what: str, client: int) -> list[Request]:
    """What a client asks, in order."""
    if what == "words":  # answers of some length, and no image
        return [request_for("ask", (), f"Case {client}. {question}", think=True) for question in QUESTIONS]
    if what == "reports":  # an image each, which is most of the work where answers are short
        return [request_for("report", view_of(client))]
    if what == "questions":  # on one image, which is taken in once
        return [request_for("ask", view_of(client), question) for question in QUESTIONS]
    return [request_for("generate", (), CAPTION, seed=client)]


def run(clients: int, drawings: int, steps: int) -> list[Measured]:
    model = UniMedVL.load()
    limits = EngineLimits()
    measure(model, "warm-up", [asked_of("reports", 0)], 1, limits, None)
    lines = []
    for what, count in (("words", clients), ("reports", clients), ("questions", clients), ("images", drawings)):
        asked = [asked_of(what, client) for client in range(count)]
        lines += [measure(model, what, asked, at_once, limits, steps) for at_once in (1, count)]
    return lines


def show(console: Console, lines: list[Measured]) -> None:
    table = Table("asked", "clients", "requests", "tokens", "s", "CPU s", "per s", "first s", "whole s", "times", "CPU")
    for line in lines:
        alone = next(x for x in lines if x.what == line.what)
        figures = [line.seconds, line.cpu, line.rate, line.first, line.whole]
        figures += [line.rate / alone.rate, alone.cpu / line.cpu]
        counts = (line.clients, line.requests, line.tokens)
        table.add_row(line.what, *map(str, counts), *(f"{figure:.3g}" for figure in figures))
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--drawings", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    lines = run(given.clients, given.drawings, given.steps)
    console = Console(width=120)
    load = os.getloadavg()[0]
    console.print(f"{given.threads} threads on {os.cpu_count()} processors, load {load:.1f}")
    show(console, lines)
    if given.json:
        told = [asdict(line) | {"rate": line.rate} for line in lines]
        given.json.write_text(json.dumps({"threads": given.threads, "load": load, "lines": told}, indent=2) + "\n")


if __name__ == "__main__":
    main()
