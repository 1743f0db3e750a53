"""The benchmarks that there are, by name. A new one is a file here and a line in the table."""

from __future__ import annotations

from unimedvl.evaluation.benchmark import Benchmark

BENCHMARKS: dict[str, Benchmark] = {}
