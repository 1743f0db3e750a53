"""Simulated studies, read: what kind of image it is, closed and open questions, reports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from unimedvl.evaluation.benchmark import Benchmark, Pairs, Scored
from unimedvl.evaluation.benchmarks.phantoms import (
    SIMULATED,
    SPLIT,
    encoded,
    groups_of,
    looks,
    name_of,
)
from unimedvl.evaluation.breakdown import failures, shares
from unimedvl.evaluation.item import Item
from unimedvl.evaluation.metrics.findings import FINDING_F1, finding_scores
from unimedvl.evaluation.metrics.text import text_scores
from unimedvl.evaluation.protocol import Protocol
from unimedvl.evaluation.score import Score, grouped, share
from unimedvl.phantoms.questions import questions
from unimedvl.phantoms.reports import report

WHAT_MODALITY = "What modality is this?"
# Can't be told at 128 px: nothing is asked of it, and nano was not taught it.
TOO_FINE = ("count", "size")


def _kinds(root: Path | None) -> Iterator[Item]:
    for look in looks():
        yield Item(
            name_of(look), "ask", "open", (encoded(look.image),), WHAT_MODALITY, question=WHAT_MODALITY,
            answers=(look.view.kind,), groups=groups_of(look),
        )  # fmt: skip


def _asked(*kinds: str) -> Iterator[Item]:
    """All questions of these kinds that the language has for each look, those apart that are too fine to see."""
    for look in looks():
        asked = questions(look.study, np.random.default_rng(look.study.case.seed), look.view.name)
        for number, q in enumerate(asked):
            if q.kind in kinds and q.topic not in TOO_FINE:
                yield Item(
                    f"{name_of(look)}-{number}", "ask", q.kind, (encoded(look.image),), q.text, question=q.text,
                    options=q.options, answers=(q.answer,),
                    groups=groups_of(look) | {"kind": q.kind, "topic": q.topic},
                )  # fmt: skip


def _reports(root: Path | None) -> Iterator[Item]:
    for look in looks():
        told = report(look.study, np.random.default_rng(look.study.case.seed), look.view.name)
        yield Item(
            name_of(look), "report", "report", (encoded(look.image),), answers=(told,), groups=groups_of(look),
            truth={"modality": look.modality, "findings": sorted(look.findings)},
        )  # fmt: skip


def right(item: Item, text: str) -> bool | None:
    """Whether an answer is the right one; None where it can't be read.

    Yes or no, or a letter, with which the answer begins; else the canonical words, and of several findings, which
    commas part, the same ones in any order. Case, outer space and a final stop don't count.
    """
    said, true = text.strip(), item.answers[0]
    if item.kind == "open":
        return _named(said) == _named(true) if said else None
    read = said.lower() if item.kind == "closed" else said
    known = ("yes", "no") if item.kind == "closed" else tuple("ABCDEFGHIJ"[: len(item.options)])
    word = next((w for w in known if read.startswith(w) and not read[len(w) : len(w) + 1].isalnum()), None)
    return None if word is None else word == true


def _named(answer: str) -> list[str]:
    return sorted(part.strip() for part in answer.rstrip(".").lower().split(","))


def _score(pairs: Pairs) -> Scored:
    items, predictions = zip(*pairs, strict=True)
    read = [None if p.error else right(i, p.text) for i, p in pairs]
    hits = [bool(r) for r in read]
    unread = sum(r is None and not p.error for r, p in zip(read, predictions, strict=True))
    told = {"unparsed": unread, "failed": failures(predictions)}
    return Scored(
        shares("accuracy", items, hits, ("modality", "kind", "topic"), **told), [{"accuracy": float(h)} for h in hits]
    )


def _score_reports(pairs: Pairs) -> Scored:
    items, predictions = zip(*pairs, strict=True)
    parts = grouped([i.groups["modality"] for i in items], pairs)
    scores, found = _findings(pairs, failed=failures(predictions))
    for name, part in parts.items():
        scores += _findings(part, group=f"modality: {name}")[0]
    exact = [value[FINDING_F1] == 1 for value in found]
    scores.append(share("all findings right, and no other", exact))
    words, each = text_scores([p.text for p in predictions], [i.answers for i in items])
    values = [
        {"all findings right, and no other": float(e)} | f | w for e, f, w in zip(exact, found, each, strict=True)
    ]
    return Scored([*scores, *words], values)


def _findings(pairs: Pairs, **told) -> tuple[list[Score], list[dict[str, float]]]:
    truths, modalities = ([i.truth[key] for i, _ in pairs] for key in ("findings", "modality"))
    return finding_scores([p.text for _, p in pairs], truths, modalities, **told)


_READ = "greedy; the answer's first word for yes or no and for letters, the whole answer else"
_CLOSED = "the word or letter that is right"
_OPEN = "the canonical words; several findings in any order; case, outer space and a final stop don't count"

PHANTOM_MODALITY = Benchmark(
    "phantoms-modality", "Kind of image named (simulated)", "understanding",
    Protocol(SPLIT, f'"{WHAT_MODALITY}"', _READ, open=_OPEN), _kinds, _score, **SIMULATED,
)  # fmt: skip
PHANTOM_CLOSED = Benchmark(
    "phantoms-closed", "Closed and multiple-choice questions (simulated)", "understanding",
    Protocol(SPLIT, "the question, with its options in a line; as many yes as no", _READ, closed=_CLOSED),
    lambda root: _asked("closed", "choice"), _score, **SIMULATED,
)  # fmt: skip
PHANTOM_OPEN = Benchmark(
    "phantoms-open", "Open questions (simulated)", "understanding",
    Protocol(SPLIT, "the question", _READ, open=_OPEN), lambda root: _asked("open"), _score, **SIMULATED,
)  # fmt: skip
PHANTOM_REPORTS = Benchmark(
    "phantoms-reports", "Reports (simulated)", "reports",
    Protocol(
        SPLIT, 'the task\'s own words ("Write a report.")', "findings are read back by the rules of phantoms/parser.py",
        open="micro F1 of the findings' names; words against the report that the language has for the study",
    ),
    _reports, _score_reports, **SIMULATED,
)  # fmt: skip
