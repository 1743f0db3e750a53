"""How near the model comes to what this machine can do.

    python -m benchmarks.machine --json machine.json      (make bench)

In one run: the rate of matrix products at the model's shapes and the bandwidth of memory; then one denoising
step, prefill, decode and a training step of a mid-size geometry with random weights, in bf16 and float32, as
achieved over limit. The limit is the pass's own matrix products alone (see benchmarks/limits.py); attention's
products count at the rate of the linear layers; for decode it is the matrix-vector products of all weights,
and reading the keys and values. It is measured with PyTorch's own products, which the aims and the figures of the
published code are held against, and with packed weights, the most that is known to come out of this machine.
What falls short of its aim is profiled, and what takes the time is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.breakdown import Breakdown, breakdown
from benchmarks.limits import (
    Chain,
    Rate,
    Timing,
    Weights,
    compare,
    decode_limit,
    products_limit,
    rates,
    read_bandwidth,
)
from benchmarks.passes import QUICK, Pass, Passes, Sizes, random_model
from unimedvl.inference.results import versions
from unimedvl.model.config import PRESETS, ModelConfig

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
BRANCHES, BRANCHES_AT_MOST, ROWS_AT_LEAST = 3, 3.1, 4.0


@dataclass(frozen=True)
class Result:
    """One line. value: achieved over limit, or, where `kind` says so, a ratio of two passes.

    kind: "limit" (aim is the least), "branches" (times one branch: aim is the most), "rows" (tokens/s over
        those of one: aim is the least).
    packed: achieved over the limit of packed weights, where `kind` is "limit".
    """

    name: str
    dtype: str
    kind: str
    value: float
    lowest: float
    highest: float
    milliseconds: float
    limit_milliseconds: float
    gflops: float
    gbs: float
    tokens_per_second: float
    aim: float | None = None
    published: float | None = None
    packed: float | None = None
    why: Breakdown | None = None

    @property
    def met(self) -> bool | None:
        if self.aim is None:
            return None
        return self.value <= self.aim if self.kind == "branches" else self.value >= self.aim

    def to_dict(self) -> dict:
        return asdict(self) | {"met": self.met}


@dataclass
class Runner:
    """Measures passes of one type of number."""

    dtype: str
    repeats: int
    bandwidth: float
    device: str = "cpu"

    def __post_init__(self) -> None:
        self.weights = Weights(DTYPES[self.dtype], self.device)

    def limit(self, p: Pass) -> Result:
        """Achieved over limit; profiled where that falls short of the aim."""
        plain, packed = (Chain(p.work.products, self.weights, packed) for packed in (False, True))
        itemsize = self.weights.dtype.itemsize

        def scale(taken: float) -> float:
            if p.decode:
                return decode_limit(p.work, taken / p.repeats, itemsize, self.bandwidth) * p.repeats
            return p.factor * products_limit(p.work, taken / p.repeats) * p.repeats

        def repeated(chain: Chain) -> None:
            for _ in range(p.repeats):
                chain()

        limits = [partial(repeated, chain) for chain in (plain, packed)]
        timing, strict = compare(limits, p.run, self.repeats, scale)
        result = replace(self._result(p, timing, "limit", p.aim, p.published), packed=strict.ratio)
        return result if result.met is not False else replace(result, why=breakdown(p.run))

    def against(self, one: Pass, many: Pass, kind: str, aim: float) -> Result:
        """A pass against a smaller one: times its seconds, or times its tokens a second."""
        [timing] = compare([one.run], many.run, self.repeats)  # ratio: seconds of one over those of many
        work, tokens = (one.tokens, many.tokens) if kind == "rows" else (1, 1)

        def value(ratio: float) -> float:
            return ratio * tokens / work if kind == "rows" else 1 / ratio

        result = self._result(many, timing, kind, aim, None)
        ends = sorted((value(timing.lowest), value(timing.highest)))
        result = replace(result, value=value(timing.ratio), lowest=ends[0], highest=ends[1], limit_milliseconds=0.0)
        return result if result.met else replace(result, why=breakdown(many.run))

    def _result(self, p: Pass, t: Timing, kind: str, aim: float | None, published: float | None) -> Result:
        measured, limit = t.measured / p.repeats, t.limit / p.repeats
        nbytes = (p.work.weights + p.work.cached_elements) * self.weights.dtype.itemsize
        return Result(
            p.name, self.dtype, kind, t.ratio, t.lowest, t.highest, 1e3 * measured, 1e3 * limit,
            1e-9 * p.factor * p.work.flops / measured, 1e-9 * nbytes / measured, p.tokens / measured, aim, published,
        )  # fmt: skip


def results(
    config: ModelConfig, runner: Runner, sizes: Sizes, training: bool, told: Callable[[str], None]
) -> Iterator[Result]:
    """Every pass of the geometry in one type of number. told: is given the name of each before it runs."""
    told("random weights")
    passes = Passes(random_model(config, DTYPES[runner.dtype], device=runner.device), sizes)
    for side in sizes.latent_sides:
        one, many = passes.denoising(side), passes.denoising(side, BRANCHES)
        told(one.name)
        yield runner.limit(one)
        told(many.name)
        yield runner.against(one, many, "branches", BRANCHES_AT_MOST)
    for make in (passes.prefill_text, passes.prefill_image):
        p = make()
        told(p.name)
        yield runner.limit(p)
    one, many = passes.decoding(), passes.decoding(sizes.rows)
    for p in (one, many):
        told(p.name)
        yield runner.limit(p)
    yield runner.against(one, many, "rows", ROWS_AT_LEAST)
    for p in passes.training() if training else ():
        told(p.name)
        yield runner.limit(p)


def machine_rates(config: ModelConfig, dtype: str, repeats: int, device: str) -> list[Rate]:
    """Matrix products at the shapes of the decoder's layers, for many rows, eight, and one."""
    d = config.decoder
    kv = d.num_kv_heads * d.head_dim
    shapes = [
        (d.hidden_size, d.hidden_size), (kv, d.hidden_size), (d.intermediate_size, d.hidden_size),
        (d.hidden_size, d.intermediate_size), (d.vocab_size, d.hidden_size),
    ]  # fmt: skip
    weights = Weights(DTYPES[dtype], device)
    many = rates(shapes, (1024, 256), weights, 2, repeats)
    # one row reads every weight: enough of them that no cache holds them
    return many + rates(shapes, (8, 1), weights, d.num_layers, repeats)


def rates_table(found: dict[str, list[Rate]], bandwidth: float) -> Table:
    title = f"This machine: reads memory at {bandwidth / 1e9:.1f} GB/s. Products, of plain and of packed weights"
    table = Table(title=title, title_justify="left")
    table.add_column("rows x inputs -> outputs")
    for dtype in found:
        table.add_column(f"{dtype} GFLOP/s", justify="right")
        table.add_column(f"{dtype} GB/s of weights", justify="right")
    for line in zip(*found.values(), strict=True):
        cells = []
        for r in line:
            cells.append(f"{r.gflops:.0f}, {r.packed_gflops:.0f}")
            cells.append(f"{r.gbs:.1f}, {r.packed_gbs:.1f}" if r.m <= 8 else "")
        table.add_row(f"{line[0].m} x {line[0].k} -> {line[0].n}", *cells)
    return table


def results_table(found: Sequence[Result]) -> Table:
    table = Table(title="Achieved over limit (range), one request at a time unless said", title_justify="left")
    for name in ("pass", "type"):
        table.add_column(name)
    for name in ("ms", "limit ms", "GFLOP/s", "GB/s", "tokens/s", "achieved", "aim", "published code",
                 "over packed"):  # fmt: skip
        table.add_column(name, justify="right")
    for r in found:
        spread = f"{r.value:.2f} ({r.lowest:.2f} to {r.highest:.2f})"
        suffix = {"limit": "", "branches": ": times one branch", "rows": ": times the tokens/s of one"}[r.kind]
        aim = "" if r.aim is None else f"{'at most ' if r.kind == 'branches' else ''}{r.aim:g}"
        colour = {None: "", True: "green", False: "red"}[r.met]
        limit = f"{r.limit_milliseconds:.1f}" if r.kind == "limit" else ""
        published, packed = ("" if x is None else f"{x:.2f}" for x in (r.published, r.packed))
        table.add_row(
            r.name + suffix, r.dtype, f"{r.milliseconds:.1f}", limit, f"{r.gflops:.0f}", f"{r.gbs:.1f}",
            f"{r.tokens_per_second:.0f}", f"[{colour}]{spread}[/]" if colour else spread, aim, published, packed,
        )  # fmt: skip
    return table


def shortfalls(found: Sequence[Result]) -> list[str]:
    """One line for each aim that is missed: by how much, and where the time goes."""
    lines = []
    for r in found:
        if r.met is False:
            at = "at most " if r.kind == "branches" else ""
            lines.append(f"{r.name}, {r.dtype}: {r.value:.2f}, aim {at}{r.aim:g}. Time: {r.why.text()}.")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    args = _arguments(arguments)
    if args.threads:
        torch.set_num_threads(args.threads)
    progress, out = Console(stderr=True), Console(width=None if sys.stdout.isatty() else 180)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's own log would run into the progress
    load, threads = os.getloadavg()[0], torch.get_num_threads()
    if load > 0.5:
        progress.print(f"[yellow]the load average is {load:.1f}: other work makes these figures too low[/]")
    repeats = args.repeats or (2 if args.quick else 5)
    sizes = QUICK if args.quick else Sizes()
    config = PRESETS[args.preset]
    found: list[Result] = []
    with progress.status("the machine") as status:
        bandwidth = read_bandwidth(repeats, device=args.device)
        speeds = {dtype: machine_rates(config, dtype, repeats, args.device) for dtype in args.dtypes}
        for dtype in args.dtypes:
            told = lambda name, d=dtype: status.update(f"{d}: {name}")  # noqa: E731
            runner = Runner(dtype, repeats, bandwidth, args.device)
            found += results(config, runner, sizes, not args.inference, told)
    out.print(rates_table(speeds, bandwidth))
    out.print(results_table(found))
    for line in shortfalls(found) or ["Every aim is met."]:
        out.print(line, markup=False)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "machine": {"processor": processor(args.device), "threads": threads, "load_average": load},
            "versions": versions(),
            "preset": args.preset,
            "quick": args.quick,
            "read_bandwidth_gbs": bandwidth / 1e9,
            "rates": {dtype: [asdict(r) for r in lines] for dtype, lines in speeds.items()},
            "results": [r.to_dict() for r in found],
            "shortfalls": shortfalls(found),
        }
        args.json.write_text(json.dumps(content, indent=1) + "\n")
    return int(args.check and any(r.met is False for r in found))


def processor(device: str) -> str:
    """The processor's name, where Linux tells it, or the GPU's."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.processor())


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="shorter inputs, two repeats")
    parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument("--preset", choices=list(PRESETS), default="mid", help="the geometry")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ...; the aims are a CPU's")
    parser.add_argument("--inference", action="store_true", help="leave the training step out")
    parser.add_argument("--repeats", type=int, help="of each limit and pass; 5, or 2 with --quick")
    parser.add_argument("--threads", type=int, help="of PyTorch")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    parser.add_argument("--check", action="store_true", help="exit with 1 where an aim is missed")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
