"""How much a server serves to one client and to many, how long they wait, and what limits it.

    python -m benchmarks.serving --requests 10000 --clients 16 --json serving.json

It starts `unimedvl serve` as a process of its own (or asks one that runs, with --url) and asks it as OpenAI's clients
do: questions on simulated studies, questions without an image, reports, and as many drawings as --drawings says, all as
streams. First one client asks one thing after another, then all clients at once. Printed are requests and tokens per
second, the time to the first token and the whole latency as percentiles, errors, the share of processor time that the
server and this script took, and how full the engine's batch was. Any error is listed, and the exit status is then 1.
Figures are of this machine and of the model that is served: the embedded one is tiny.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from unimedvl.phantoms import simulate

QUESTIONS = ("What modality is this?", "Is there an effusion?", "Which findings are present?", "Is this study normal?")
WORDS = ("What is a chest X-ray?", "What does an effusion look like?", "What is the difference of CT and MRI?")
_REPORTS = 1 / 7  # of what is asked of an image
_LOOK = 0.5  # seconds between two looks at the engine
_SHARE = 0.85  # of the processors, from which on they are what limits


@dataclass
class Asked:
    """One request: seconds to the first token or step and to the end, tokens said, and what went wrong."""

    first: float = 0
    seconds: float = 0
    tokens: int = 0
    error: str = ""


@dataclass
class Measured:
    """One way of asking."""

    clients: int
    asked: list[Asked]
    seconds: float
    server_share: float = 0  # of all processors
    client_share: float = 0
    others_share: float = 0  # of all else that runs on this machine
    batch: float = 0  # requests that the engine worked on at once, on average
    waiting: float = 0
    errors: Counter = field(default_factory=Counter)

    def told(self) -> dict[str, float]:
        good = [a for a in self.asked if not a.error]
        told = {"clients": self.clients, "requests": len(self.asked), "errors": len(self.asked) - len(good),
                "seconds": self.seconds, "requests/s": len(good) / self.seconds,
                "tokens/s": sum(a.tokens for a in good) / self.seconds}  # fmt: skip
        for name in ("first", "seconds"):
            values = [getattr(a, name) for a in good] or [float("nan")]
            called = "to first token" if name == "first" else "latency"
            told |= {f"{called} p{part}": float(np.percentile(values, part)) for part in (50, 90, 99)}
        shares = {"server's share of the processors": self.server_share, "this script's share": self.client_share,
                  "others' share": self.others_share}  # fmt: skip
        return told | {"batch": self.batch, "waiting": self.waiting} | shares


class Mix:
    """What is asked: the same requests in the same order for one client and for many."""

    def __init__(self, drawings: float, words: float, seed: int = 0) -> None:
        self.drawings, self.words, self.seed = drawings, words, seed
        views = [(m, n) for m in ("cxr", "ct", "mri", "us") for n in range(4)]
        self.pictures = [_url(next(iter(simulate(m, n).images.values()))) for m, n in views]

    def request(self, number: int) -> dict:
        chance = random.Random(f"{self.seed} {number}")
        if chance.random() < self.drawings:
            return {"messages": [{"role": "user", "content": "Chest X-ray with cardiomegaly"}], "modalities": ["image"],
                    "size": "64x64", "num_inference_steps": 10, "seed": number}  # fmt: skip
        if chance.random() < self.words:
            return {"messages": [{"role": "user", "content": chance.choice(WORDS)}], "max_tokens": 64}
        words = "Write a report." if chance.random() < _REPORTS else chance.choice(QUESTIONS)
        picture = {"type": "image_url", "image_url": {"url": chance.choice(self.pictures)}}
        content = [picture, {"type": "text", "text": words}]
        return {"messages": [{"role": "user", "content": content}], "max_tokens": 128}


def _url(array: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


async def ask(client: httpx.AsyncClient, request: dict) -> Asked:
    """One stream, to its end."""
    out, whole, begun = Asked(), False, time.perf_counter()
    body = request | {"stream": True, "stream_options": {"include_usage": True}}
    try:
        async with client.stream("POST", "/v1/chat/completions", json=body) as reply:
            if reply.status_code != 200:
                await reply.aread()
                out.error = f"status {reply.status_code}"
            async for line in reply.aiter_lines() if not out.error else _nothing():
                if line.startswith("data: {"):
                    _take(out, json.loads(line[6:]), time.perf_counter() - begun)
                whole = whole or line == "data: [DONE]"
        if not out.error and not whole:
            out.error = "a stream without its end"
    except httpx.HTTPError as error:
        out.error = type(error).__name__
    out.seconds = time.perf_counter() - begun
    return out


async def _nothing() -> AsyncIterator[str]:
    return
    yield ""


def _take(out: Asked, chunk: dict, seconds: float) -> None:
    if "error" in chunk:
        out.error = chunk["error"]["code"] or "an error in the stream"
    elif chunk["usage"]:
        out.tokens = chunk["usage"]["completion_tokens"]
    elif not out.first and any(c["finish_reason"] is None and not c["delta"].get("role") for c in chunk["choices"]):
        out.first = seconds


async def run(url: str, key: str, mix: Mix, count: int, clients: int, pid: int | None, console: Console) -> Measured:
    """Ask `count` things of a server, by `clients` clients that each ask the next when they have their answer."""
    limits = httpx.Limits(max_connections=clients + 1)
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits, headers=headers) as client:
        numbers, asked = iter(range(count)), []
        before = _processor_seconds(pid), time.process_time(), _busy_seconds()
        begun = time.perf_counter()

        async def one() -> None:
            for number in numbers:
                asked.append(await ask(client, mix.request(number)))
                if len(asked) % 500 == 0:
                    console.print(f"{len(asked)} of {count}", style="dim")

        async with _looking(client) as seen:
            await asyncio.gather(*(one() for _ in range(clients)))
        seconds = time.perf_counter() - begun
    measured = Measured(clients, asked, seconds, errors=Counter(a.error for a in asked if a.error))
    room = seconds * len(os.sched_getaffinity(0))
    measured.server_share = (_processor_seconds(pid) - before[0]) / room
    measured.client_share = (time.process_time() - before[1]) / room
    busy = (_busy_seconds() - before[2]) / (seconds * (os.cpu_count() or 1))
    measured.others_share = max(0.0, busy - measured.client_share - measured.server_share)
    if seen:
        measured.batch, measured.waiting = (float(np.mean(values)) for values in zip(*seen, strict=True))
    return measured


@asynccontextmanager
async def _looking(client: httpx.AsyncClient) -> AsyncIterator[list[tuple[float, float]]]:
    """Requests in the engine's batches, and those that wait, every now and then."""
    seen: list[tuple[float, float]] = []

    async def look() -> None:
        while True:
            await asyncio.sleep(_LOOK)
            text = (await client.get("/metrics")).text
            found = {n: float(v) for n, v in re.findall(r"^unimedvl_engine_(\w+) (\S+)$", text, re.M)}
            if found:
                seen.append((found["reading"] + found["speaking"] + found["drawing"], found["waiting"]))

    task = asyncio.create_task(look())
    try:
        yield seen
    finally:
        task.cancel()


def _processor_seconds(pid: int | None) -> float:
    """Of a process and those that came from it, on Linux; not a number of a server elsewhere."""
    if pid is None or not Path("/proc").is_dir():
        return float("nan")
    total, tick = 0.0, os.sysconf("SC_CLK_TCK")
    family = {pid}
    for folder in sorted(Path("/proc").glob("[0-9]*"), key=lambda f: int(f.name)):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(folder.name) == pid or int(fields[1]) in family:
            family.add(int(folder.name))
            total += (int(fields[11]) + int(fields[12])) / tick
    return total


def _busy_seconds() -> float:
    """That all processors of this machine worked for anybody, on Linux."""
    file = Path("/proc/stat")
    if not file.is_file():
        return float("nan")
    user, nice, system, _, _, *rest = map(int, file.read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def limit(one: Measured, many: Measured) -> str:
    """What keeps the server from serving more, as far as the figures tell."""
    if many.others_share > 0.2:
        return f"other programs, which took {many.others_share:.0%} of this machine: measure where nothing else runs"
    if many.server_share + many.client_share > _SHARE:
        gain = many.told()["requests/s"] / one.told()["requests/s"]
        shares = f"server and this script took {many.server_share:.0%} and {many.client_share:.0%} of them"
        return f"the processors: {shares}; a batch of {many.batch:.1f} serves {gain:.1f} times as much as one at a time"
    if many.batch < 0.5 * many.clients and many.waiting < 1:
        return f"what lies around the model: of {many.clients} clients {many.batch:.1f} were in its batch; few waited"
    share = f"the server took {many.server_share:.0%} of the processors"
    return f"the model's own steps, in which {many.batch:.1f} requests shared a batch, while {share}"


@contextmanager
def server(model: str | None, replicas: int) -> Iterator[tuple[str, int]]:
    """`unimedvl serve`, ready: its address and its process."""
    words = [sys.executable, "-m", "unimedvl", "serve", *([model] if model else []), "--port", "0", "--quiet"]
    process = subprocess.Popen([*words, "--replicas", str(replicas), "page=false"], stdout=subprocess.PIPE, text=True)
    try:
        begun = time.perf_counter()
        first, second = process.stdout.readline(), process.stdout.readline()
        if not second.startswith("ready"):
            raise SystemExit(f"the server did not start: {first}{second}")
        Console(stderr=True).print(f"ready after {time.perf_counter() - begun:.1f} s", style="dim")
        yield re.search(r"http://\S+:\d+", first)[0], process.pid
    finally:
        process.terminate()
        process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=400, help="of the many clients together")
    parser.add_argument("--alone", type=int, help="requests of the one client; a tenth of --requests where left out")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--drawings", type=float, default=0, help="share of requests that draw, such as 0.02")
    parser.add_argument("--words", type=float, default=0.3, help="share of the others that have no image")
    parser.add_argument("--model", help="folder or hub id; the embedded nano where left out")
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--url", help="of a server that runs, such as http://127.0.0.1:8000")
    parser.add_argument("--key", default=os.environ.get("UNIMEDVL_KEY", "none"), help="API key; $UNIMEDVL_KEY")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.url:
        return measure(options, options.url, None)
    with server(options.model, options.replicas) as (url, pid):
        return measure(options, url, pid)


def measure(options: argparse.Namespace, url: str, pid: int | None) -> int:
    console, mix = Console(stderr=True), Mix(options.drawings, options.words)
    alone = options.alone or max(1, options.requests // 10)

    def ran(count: int, clients: int) -> Measured:
        return asyncio.run(run(url, options.key, mix, count, clients, pid, console))

    ran(min(8, alone), 4)  # so that nothing is measured for the first time
    one, many = ran(alone, 1), ran(options.requests, options.clients)
    table = Table("", "one client", f"{options.clients} clients", title=f"serving at {url}")
    first, second = one.told(), many.told()
    for name, value in first.items():
        table.add_row(name, *(f"{v:,.3f}" if isinstance(v, float) else f"{v:,}" for v in (value, second[name])))
    Console(width=100).print(table)
    print(f"limited by {limit(one, many)}")
    errors = one.errors + many.errors
    for error, count in errors.most_common():
        print(f"{count} times: {error}")
    if options.json:
        told = {"one": first, "many": second, "errors": dict(errors), "options": vars(options) | {"key": ""},
                "asked": [asdict(a) for a in many.asked]}  # fmt: skip
        options.json.write_text(json.dumps(told, default=str, indent=1) + "\n")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
