"""How questions on images are scored: accuracy of all, of closed and open ones, and by each group."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass, replace
from functools import partial

from unimedvl.evaluation.answers import read, right, spoken, token_recall
from unimedvl.evaluation.benchmark import Benchmark, Pairs, Scored
from unimedvl.evaluation.benchmarks.questions import ANSWER_TYPE
from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.item import Item, Prediction
from unimedvl.evaluation.judge import Judge
from unimedvl.evaluation.score import Score, grouped, mean, share

JUDGED = (
    "{} says whether an open answer that is not the same in words means the same, and which option, yes or no an "
    "answer means that the rules can't read; what it can't tell is wrong"
)


@dataclass(frozen=True)
class _Mark:
    """What the answer to an item is worth. exact: right without a judge. recall: of an open question."""

    item: Item
    right: bool
    exact: bool
    unparsed: bool
    failed: bool
    recall: float | None


def score(
    pairs: Pairs, judge: Judge | None = None, main: tuple[str, str] | None = None, unpublished: str = ""
) -> Scored:
    """Accuracy, then that of closed and open questions, token recall of open ones, and accuracy by each group.

    Items whose right answer isn't known don't count. judge: decides where the rules can't. main: the group that the
    headline is of, and its value; other groups but this one are broken down within it alone. unpublished: said where
    no answer is known.
    """
    marks = _marks(pairs, judge)
    known = [mark for mark in marks if mark]
    values = [_values(mark, main) if mark else {} for mark in marks]
    if not known:
        return Scored([Score("accuracy", math.nan, math.nan, math.nan, 0, "%", beside=unpublished)], values)
    within = [mark for mark in known if main is None or mark.item.groups.get(main[0]) == main[1]]
    scores = _headline(within, judge, main)
    for name in dict.fromkeys(name for mark in known for name in mark.item.groups):
        if name != ANSWER_TYPE:
            scores += _breakdown(known if main and name == main[0] else within, name)
    return Scored(scores, values)


def _marks(pairs: Pairs, judge: Judge | None) -> list[_Mark | None]:
    """What each answer is worth; None where what is right isn't known."""
    asked = [(item, said.text) for item, said in pairs if item.answers and _unsettled(item, said)] if judge else []
    verdicts = iter(judge.verdicts(asked) if judge else [])
    marks: list[_Mark | None] = []
    for item, said in pairs:
        if not item.answers:
            marks.append(None)
            continue
        failed = bool(said.error)
        exact = not failed and right(item, said.text)
        recall = token_recall(item, "" if failed else said.text) if _is_open(item) else None
        if judge and _unsettled(item, said):
            verdict = next(verdicts)
            marks.append(_Mark(item, verdict.right, exact, verdict.unread, bool(verdict.error), recall))
        else:
            unparsed = not failed and read(item, said.text) is None
            marks.append(_Mark(item, exact, exact, unparsed, failed, recall))
    return marks


def _is_open(item: Item) -> bool:
    return item.groups.get(ANSWER_TYPE) == "open"


def _unsettled(item: Item, said: Prediction) -> bool:
    """Whether a judge is to decide: something is said, and the rules don't read it, or, of few words, not as right."""
    if said.error or not spoken(said.text):
        return False
    return not right(item, said.text) if item.kind == "open" else read(item, said.text) is None


def _headline(marks: list[_Mark], judge: Judge | None, main: tuple[str, str] | None) -> list[Score]:
    told = [f"{main[0]} {main[1]} only"] if main else []
    beside = "; ".join(told + [f"judge {judge.name}"] if judge else told)
    scores = [_accuracy(marks, "", beside)]
    kinds = grouped([mark.item.groups.get(ANSWER_TYPE, "") for mark in marks], marks)
    scores += [_accuracy(kinds[kind], f"{ANSWER_TYPE}: {kind}", beside) for kind in sorted(kinds) if kind]
    if opened := kinds.get("open"):
        group = f"{ANSWER_TYPE}: open"
        scores.append(mean("token recall", [mark.recall for mark in opened], "%", group=group))
        if judge:
            scores.append(share("exact match", [mark.exact for mark in opened], group=group))
    return scores


def _breakdown(marks: list[_Mark], name: str) -> list[Score]:
    parts = grouped([mark.item.groups.get(name, "") for mark in marks], marks)
    return [_accuracy(parts[value], f"{name}: {value}") for value in sorted(parts) if value]


def _accuracy(marks: list[_Mark], group: str, beside: str = "") -> Score:
    counts = {"unparsed": sum(mark.unparsed for mark in marks), "failed": sum(mark.failed for mark in marks)}
    return share("accuracy", [mark.right for mark in marks], group=group, beside=beside, **counts)


def _values(mark: _Mark, main: tuple[str, str] | None) -> dict[str, float]:
    """Of one item; an item outside the headline has metrics of its own, so that comparisons stay within it."""
    value = mark.item.groups.get(main[0], "") if main else ""
    outside = f", {main[0]}: {value}" if main and value != main[1] else ""
    recall = {} if mark.recall is None else {f"token recall{outside}": mark.recall}
    return {f"accuracy{outside}": float(mark.right), **recall}


def may_be_judged(benchmark: Benchmark) -> bool:
    """Whether a judge has a say in a benchmark: whether its scoring takes one."""
    return "judge" in inspect.signature(benchmark.score).parameters


def judged(benchmark: Benchmark, judge: Judge) -> Benchmark:
    """The same benchmark, with a judge where the rules can't decide.

    Raises:
        EvaluationError: a judge has no say in this benchmark.
    """
    if not may_be_judged(benchmark):
        raise EvaluationError(f"{benchmark.name}: no judge has a say in it; leave the judge out")
    protocol = replace(benchmark.protocol, judge=JUDGED.format(judge.name))
    return replace(benchmark, protocol=protocol, score=partial(benchmark.score, judge=judge))
