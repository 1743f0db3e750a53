"""The embedded model reads: what kind of image it is, questions, reports. Each function measures one task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.held_out import Look
from benchmarks.nano_bench import LONG, Bench, grouped
from benchmarks.scores import Measure, f1, right_answer, share
from unimedvl.inference.unimedvl import Request
from unimedvl.phantoms.parser import parse_findings
from unimedvl.phantoms.questions import Question, questions

WHAT_MODALITY = "What modality is this?"
# Can't be told at 128 px; the small model is not asked to guess, and was not taught to.
TOO_FINE = ("count", "size")


def modality(bench: Bench, count: int) -> list[Measure]:
    """The kind of image named in the very words of the vocabulary, for every view of every modality."""
    looks = bench.held_out.looks(count)
    answers = bench.run([Request("ask", (look.image,), WHAT_MODALITY) for look in looks])
    right = [right_answer("open", a.text, look.view.kind) for a, look in zip(answers, looks, strict=True)]
    groups = grouped([f"{look.modality}, {look.view.name}" for look in looks], right)
    named = [share("modality", name, hits) for name, hits in groups.items()]
    return [share("modality", "modality named", right, 0.99), *named]


def closed(bench: Bench, count: int) -> list[Measure]:
    """Yes or no, as often the one as the other, and one of up to four lettered options."""
    asked = _asked(bench, count, "closed", "choice")
    right = _ask(bench, asked)
    measures = [share("closed", "closed and multiple-choice questions", right, 0.92)]
    by_kind = grouped([q.kind for _, q in asked], right)
    yes = np.mean([q.answer == "yes" for _, q in asked if q.kind == "closed"])
    told = f"{100 * yes:.0f} % of answers are yes"
    measures.append(share("closed", "closed questions", by_kind["closed"], None, told))
    measures.append(share("closed", "multiple choice", by_kind["choice"]))
    for name, hits in grouped([look.modality for look, _ in asked], right).items():
        measures.append(share("closed", f"closed and choice, {name}", hits))
    for topic, hits in grouped([q.topic for _, q in asked], right).items():
        measures.append(share("closed", f"closed and choice, {topic}", hits))
    return measures


def opened(bench: Bench, count: int) -> list[Measure]:
    """Questions that are answered in a few words of one's own."""
    asked = _asked(bench, count, "open")
    right = _ask(bench, asked)
    measures = [share("open", "open questions, exact or parsed", right, 0.80)]
    for name, hits in grouped([look.modality for look, _ in asked], right).items():
        measures.append(share("open", f"open, {name}", hits))
    for topic, hits in grouped([q.topic for _, q in asked], right).items():
        measures.append(share("open", f"open, {topic}", hits))
    return measures


def _asked(bench: Bench, count: int, *kinds: str) -> list[tuple[Look, Question]]:
    asked = [(look, q) for look in bench.held_out.looks(count) for q in _questions(bench, look)]
    return [(look, q) for look, q in asked if q.kind in kinds and q.topic not in TOO_FINE]


def _questions(bench: Bench, look: Look) -> list[Question]:
    rng = np.random.default_rng(look.study.case.seed)
    return questions(look.study, rng, look.view.name, bench.held_out.modalities)


def _ask(bench: Bench, asked: Sequence[tuple[Look, Question]]) -> list[bool]:
    answers = bench.run([Request("ask", (look.image,), q.text) for look, q in asked])
    return [right_answer(q.kind, a.text, q.answer) for a, (_, q) in zip(answers, asked, strict=True)]


def report(bench: Bench, count: int) -> list[Measure]:
    """Findings that the report states, read back from its words, against those that the case has."""
    looks = bench.held_out.looks(count)
    texts = [r.text for r in bench.run([Request("report", (look.image,)) for look in looks], LONG)]
    truths = [look.findings for look in looks]
    found = [parse_findings(text, look.modality) for text, look in zip(texts, looks, strict=True)]
    measures = [f1("report", "findings in reports, F1", truths, found, 0.88)]
    for name, pairs in grouped([look.modality for look in looks], list(zip(truths, found, strict=True))).items():
        measures.append(f1("report", f"reports, {name}", *zip(*pairs, strict=True)))
    exact = [t == f for t, f in zip(truths, found, strict=True)]
    return [*measures, share("report", "reports with all findings right, and no other", exact)]
