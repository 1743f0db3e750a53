"""How good a model is: benchmarks with declared protocols, metrics from kept libraries, honest intervals.

Read `item.py` (one thing asked), `benchmark.py` (what a benchmark is), `run.py` (how a suite runs) and `score.py` (what
comes out). A benchmark is a file of `benchmarks/`, a metric one of `metrics/`.
"""
