"""Two models on the same items: which differences hold.

Items that both have are compared pair by pair, so that an item that is hard for both takes nothing from the precision.
A difference holds where its p-value, corrected for all comparisons that were made, is under 0.05.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from unimedvl.evaluation.outcomes import as_asked, entries, is_binary, scores
from unimedvl.evaluation.results import Results
from unimedvl.evaluation.score import Score, Unit, bootstrap
from unimedvl.evaluation.tables import cell, markdown_table

if TYPE_CHECKING:
    from rich.table import Table

LEVEL = 0.05
RESAMPLES = 9_999
# Settings that say what a suite is called and how it ran, not how a benchmark was asked. Which items each of two suites
# took is told with each difference.
OF_THE_RUN = frozenset({"name", "benchmarks", "batch", "device", "dtype", "engine", "keep"})
# What makes two items of one id the same question.
_ASKED = ("kind", "question", "answers")
_HEADER = ("benchmark", "metric", "A", "B", "B - A (95 %)", "n", "left out", "p", "p, Holm", "verdict")


@dataclass(frozen=True)
class Counts:
    """McNemar's counts of an accuracy: items that both have right, one alone, and neither."""

    both: int
    only_a: int
    only_b: int
    neither: int


@dataclass(frozen=True)
class Difference:
    """One metric of one benchmark, over the items that both models have.

    a, b: means. value, low, high: b - a, with its 95 % interval. p: two-sided. p_holm: corrected for all comparisons.
    n: items in both. left_out: those that are not compared, by the reason. counts: of accuracies.
    """

    benchmark: str
    metric: str
    unit: Unit
    higher: bool
    a: float
    b: float
    value: float
    low: float
    high: float
    p: float
    n: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    counts: Counts | None = None
    test: str = ""
    p_holm: float = math.nan

    @property
    def holds(self) -> bool:
        """Whether the difference is more than chance, among all that were looked at."""
        return self.p_holm < LEVEL

    @property
    def verdict(self) -> str:
        """ "holds: B is better", or "does not hold"."""
        if not self.holds:
            return "does not hold"
        return f"holds: {'B' if (self.value > 0) == self.higher else 'A'} is better"


@dataclass(frozen=True)
class Comparison:
    """All differences of two suites' results. skipped: what is not compared, and why."""

    a: str
    b: str
    notice: str
    differences: tuple[Difference, ...]
    skipped: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict:
        """As JSON can hold it."""
        found = [asdict(d) | {"holds": d.holds, "verdict": d.verdict} for d in self.differences]
        skipped = [{"what": what, "reason": reason} for what, reason in self.skipped]
        return {
            "a": self.a, "b": self.b, "notice": self.notice, "level": LEVEL, "resamples": RESAMPLES,
            "differences": found, "skipped": skipped,
        }  # fmt: skip

    def markdown(self) -> str:
        """A table of the differences, McNemar's counts, what was not compared and how to read it."""
        parts = [f"# {self.a} (A) and {self.b} (B)", *([self.notice] if self.notice else [])]
        parts.append(markdown_table(_HEADER, [_row(d) for d in self.differences]) if self.differences else "")
        counted = [d for d in self.differences if d.counts]
        if counted:
            header = ("benchmark", "metric", "both right", "only A", "only B", "neither")
            rows = [(d.benchmark, d.metric, *vars(d.counts).values()) for d in counted]
            parts += ["Right answers, counted as McNemar does:", markdown_table(header, rows)]
        if self.skipped:
            parts += ["Not compared:", "\n".join(f"- {cell(what)} ({cell(reason)})" for what, reason in self.skipped)]
        return "\n\n".join(filter(None, [*parts, self.reading()])) + "\n"

    def table(self) -> Table:
        """The differences, to be printed by rich."""
        from rich.table import Table
        from rich.text import Text

        made = Table(title=f"A: {self.a}, B: {self.b}", caption=self.notice)
        for place, name in enumerate(_HEADER):
            made.add_column(name, justify="right" if 2 <= place <= 8 else "left")
        for difference in self.differences:
            made.add_row(*(Text(str(cell)) for cell in _row(difference)))
        return made

    def reading(self) -> str:
        """How the figures came about, in a paragraph."""
        return (
            f"Differences are B - A over the items that both have, with 95 % bootstrap intervals in which items are "
            f"resampled together. p is two-sided: McNemar's exact test where items are right or wrong, else a paired "
            f"permutation test of {RESAMPLES:,} sign flips. Holm's correction is over all {len(self.differences)} "
            f"comparisons of this table; a difference holds where the corrected p is under {LEVEL}. The intervals are "
            f"not corrected. Items count as independent: several questions on one image make them too narrow."
        )


def compare(a: Results, b: Results) -> Comparison:
    """Compare two suites' results, benchmark by benchmark and metric by metric.

    Raises:
        EvaluationError: one of them is not the results of a suite.
    """
    first, second = entries(a), entries(b)
    found: list[Difference] = []
    skipped: list[tuple[str, str]] = []
    for name in dict.fromkeys([*first, *second]):
        reason = _unlike(name, a, b)
        if reason:
            skipped.append((name, reason))
            continue
        differences, left = _benchmark(name, a, b)
        found += differences
        skipped += left
    corrected = holm([d.p for d in found])
    done = tuple(Difference(**(vars(d) | {"p_holm": p})) for d, p in zip(found, corrected, strict=True))
    notices = dict.fromkeys(r.content.get("notice", "") for r in (a, b))
    return Comparison(a.name, b.name, " ".join(filter(None, notices)), done, tuple(skipped))


def holm(p: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979, Scand J Stat 6:65), in the order given."""
    corrected, reached = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda k: p[k])):
        reached = max(reached, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = reached
    return corrected


def _unlike(name: str, a: Results, b: Results) -> str:
    """Why a benchmark can't be compared; empty where it can."""
    first, second = (entries(r).get(name) for r in (a, b))
    if first is None or second is None:
        return f"only {'B' if first is None else 'A'} has it"
    if bool(first.get("simulated")) != bool(second.get("simulated")):
        return f"only {'A' if first.get('simulated') else 'B'} is of simulated images"
    if first["protocol"] != second["protocol"]:
        return f"protocols differ: {_differing(first['protocol'], second['protocol'])}"
    ours, theirs = (_settings(r, entry) for r, entry in ((a, first), (b, second)))
    return f"settings differ: {_differing(ours, theirs)}" if ours != theirs else ""


def _settings(results: Results, entry: Mapping) -> dict:
    """What a benchmark was run with that its answers depend on."""
    told = (results.content.get("settings") or {}) | (entry.get("settings") or {})
    return {key: value for key, value in told.items() if key not in OF_THE_RUN}


def _differing(a: object, b: object) -> str:
    if not (isinstance(a, Mapping) and isinstance(b, Mapping)):
        return f"{a!r} and {b!r}"
    names = [name for name in dict.fromkeys([*a, *b]) if a.get(name) != b.get(name)]
    return "; ".join(f"{name} is {a.get(name)!r} in A and {b.get(name)!r} in B" for name in names)


def _benchmark(name: str, a: Results, b: Results) -> tuple[list[Difference], list[tuple[str, str]]]:
    """The differences of a benchmark, and its metrics that have none."""
    ours, theirs = ({item["id"]: item for item in as_asked(r.items(name))} for r in (a, b))
    shared = [key for key in ours if key in theirs]
    same = [key for key in shared if all(ours[key].get(w) == theirs[key].get(w) for w in _ASKED)]
    left = {
        "only in A": len(ours) - len(shared), "only in B": len(theirs) - len(shared),
        "asked otherwise": len(shared) - len(same),
    }  # fmt: skip
    found: list[Difference] = []
    skipped: dict[str, list[str]] = {}
    for score in _metrics(entries(a)[name], entries(b)[name]):
        pairs = [(_value(ours[key], score.metric), _value(theirs[key], score.metric)) for key in same]
        kept = np.array([p for p in pairs if None not in p], dtype=float).reshape(-1, 2)
        if len(kept):
            left_out = left | {"without a value": len(pairs) - len(kept)}
            found.append(_difference(name, score, kept, {k: n for k, n in left_out.items() if n}))
        else:
            known = any(score.metric in item["values"] for item in (*ours.values(), *theirs.values()))
            why = "no item that both have has a value" if known else "of all items together, not of each"
            skipped.setdefault(why, []).append(score.metric)
    return found, [(f"{name}: {', '.join(metrics)}", why) for why, metrics in skipped.items()]


def _metrics(a: Mapping, b: Mapping) -> list[Score]:
    """A score for each metric that either has, in order."""
    found: dict[str, Score] = {}
    for score in scores(a) + scores(b):
        found.setdefault(score.metric, score)
    return list(found.values())


def _value(item: Mapping, metric: str) -> float | None:
    value = item["values"].get(metric)
    return value if value is not None and math.isfinite(value) else None


def _difference(name: str, score: Score, pairs: np.ndarray, left_out: dict[str, int]) -> Difference:
    change = pairs[:, 1] - pairs[:, 0]
    counts = _counts(pairs) if score.unit == "%" and is_binary(pairs.ravel().tolist()) else None
    p = _mcnemar(counts) if counts else _permutation(change)
    return Difference(
        name, score.metric, score.unit, score.higher, *pairs.mean(0).tolist(), float(change.mean()), *bootstrap(change),
        p, len(pairs), left_out, counts, "McNemar, exact" if counts else "paired permutation",
    )  # fmt: skip


def _counts(pairs: np.ndarray) -> Counts:
    a, b = pairs.astype(bool).T
    return Counts(*(int(n.sum()) for n in (a & b, a & ~b, ~a & b, ~a & ~b)))


def _mcnemar(counts: Counts) -> float:
    """Exact, two-sided (McNemar 1947, Psychometrika 12:153): the sign flips of 0 and 1, counted rather than drawn."""
    from scipy.stats import binomtest

    apart = counts.only_a + counts.only_b
    return float(binomtest(counts.only_a, apart).pvalue) if apart else 1.0


def _permutation(change: np.ndarray) -> float:
    """The p-value of sign flips (Fisher 1935), exact for few items; if drawn, never 0 (Phipson and Smyth 2010)."""
    from scipy.stats import permutation_test

    apart = change[change != 0]  # the sign of nothing says nothing
    if len(apart) < 2:
        return 1.0
    done = permutation_test(
        (apart,), np.sum, permutation_type="samples", vectorized=True, n_resamples=RESAMPLES,
        batch=max(1, 2_000_000 // len(apart)), rng=np.random.default_rng(0),
    )  # fmt: skip
    return float(done.pvalue)


def _row(d: Difference) -> tuple:
    low, high = (_shown(x, d.unit, "+.1f", "+.3f") for x in (d.low, d.high))
    left = ", ".join(f"{n} {why}" for why, n in d.left_out.items()) or "0"
    a, b = (_shown(x, d.unit, ".1f", ".3f") for x in (d.a, d.b))
    unit = " points" if d.unit == "%" else f" {d.unit}" if d.unit else ""
    told = f"{_shown(d.value, d.unit, '+.1f', '+.3f')}{unit} ({low} to {high})"
    mark = " %" if d.unit == "%" else ""
    return (d.benchmark, d.metric, a + mark, b + mark, told, d.n, left, _p(d.p), _p(d.p_holm), d.verdict)


def _shown(value: float, unit: Unit, percent: str, plain: str) -> str:
    return format(100 * value, percent) if unit == "%" else format(value, plain)


def _p(p: float) -> str:
    return f"{p:.4f}" if p >= 0.0001 else "< 0.0001"
