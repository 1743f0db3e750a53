"""The same simulated patient with one finding changed: what a classifier sees, what must not change, and the words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from unimedvl.evaluation.benchmark import Benchmark, Pairs, Scored
from unimedvl.evaluation.benchmarks.phantoms import SIMULATED, SPLIT, encoded, given, groups_of, name_of
from unimedvl.evaluation.breakdown import means, shares
from unimedvl.evaluation.generation import distribution_scores
from unimedvl.evaluation.held_out import HeldOut, Look
from unimedvl.evaluation.item import Item
from unimedvl.evaluation.metrics.classification import auroc, f1
from unimedvl.evaluation.metrics.images import psnr
from unimedvl.evaluation.metrics.text import text_scores
from unimedvl.evaluation.phantom_classifier import Verdict, phantom_classifier
from unimedvl.evaluation.protocol import Protocol
from unimedvl.phantoms.counterfactuals import counterfactual
from unimedvl.phantoms.edits import edit_reply, edit_request
from unimedvl.phantoms.vocabulary import MODALITIES

RULE = (
    "A counterfactual is right where the classifier sees the asked change and, of all else, what it sees in the true "
    "image: a finding that is new is more likely present than not, one that is resolved is not, one that is better or "
    "worse covers an area nearer to the true one after than before; each other finding is seen or not as in the truth."
)
BOTH, CHANGE, REST = "asked change, all else unchanged", "asked change", "all else unchanged"


def _changes(root: Path | None) -> Iterator[Item]:
    """Of studies with findings, in their first view, modalities in turn."""
    held_out = HeldOut()
    for seed, code in held_out.turns():
        if not held_out.case(code, seed).findings:
            continue
        look = Look(held_out.study(code, seed), MODALITIES[code].views[0])
        rng = np.random.default_rng(seed)
        made = counterfactual(look.study, rng)
        wishes = {"modality": code, "finding": made.finding, "change": made.change}
        before, after = (study.images[look.view.name] for study in (made.before, made.after))
        yield Item(
            name_of(look), "counterfactual", "image", (encoded(before),), edit_request("counterfactual", rng, **wishes),
            seed=seed, answers=(edit_reply("counterfactual", rng, **wishes),), target=partial(given, after),
            groups=groups_of(look) | {"change": made.change},
            truth={"modality": code, "finding": made.finding.name, "change": made.change, "before": before},
        )  # fmt: skip


def _score(pairs: Pairs) -> Scored:
    there = [(i, p) for i, p in pairs if p.drawn is not None]
    items, failed = [i for i, _ in there], len(pairs) - len(there)
    drawn, true = [p.image for _, p in there], [i.target() for i in items]
    got, own = _seen(items, drawn), _seen(items, true)
    scores = []
    for metric in (BOTH, CHANGE, REST):
        beside = f"the classifier on the true images: {100 * np.mean([o[metric] for o in own]):.1f} %"
        by = ("modality", "change") if metric == BOTH else ()
        scores += shares(metric, items, [g[metric] for g in got], by, failed=failed, beside=beside)
    gains = [psnr(d, t) - psnr(i.truth["before"], t) for i, d, t in zip(items, drawn, true, strict=True)]
    scores += means("PSNR over copying", items, gains, "dB", ())
    scores += _presence(items, drawn)
    scores += distribution_scores([i.groups["modality"] for i in items], drawn, true)
    words, each = text_scores([p.text for _, p in there], [i.answers for i in items])
    values = {
        i.id: {k: float(v) for k, v in g.items()} | {"PSNR over copying": gain} | w
        for i, g, gain, w in zip(items, got, gains, each, strict=True)
    }
    return Scored([*scores, *words], [values.get(i.id, {}) for i, _ in pairs])


def _seen(items: Sequence[Item], images: Sequence[np.ndarray]) -> list[dict[str, bool]]:
    classify, codes = phantom_classifier(), [str(i.truth["modality"]) for i in items]
    before, after = classify([i.truth["before"] for i in items], codes), classify([i.target() for i in items], codes)
    out = []
    for item, got, b, a in zip(items, classify(images, codes), before, after, strict=True):
        changed, same = _changed(item, got, b, a), _unchanged(item, got, a)
        out.append({BOTH: changed and same, CHANGE: changed, REST: same})
    return out


def _changed(item: Item, got: Verdict, before: Verdict, after: Verdict) -> bool:
    name, change = item.truth["finding"], item.truth["change"]
    if change in ("new", "resolved"):
        return (got.findings[name] > 0.5) == (change == "new")
    return abs(got.areas[name] - after.areas[name]) < abs(got.areas[name] - before.areas[name])


def _unchanged(item: Item, got: Verdict, truth: Verdict) -> bool:
    """Whether the kind of image and every other finding are as the classifier sees them in the true image."""
    others = [name for name in got.findings if name != item.truth["finding"]]
    return got.view == truth.view and all((got.findings[n] > 0.5) == (truth.findings[n] > 0.5) for n in others)


def _presence(items: Sequence[Item], drawn: Sequence[np.ndarray]) -> list:
    """How well the classifier tells new from resolved findings in drawn images, as published ones are measured."""
    asked = [(i, d) for i, d in zip(items, drawn, strict=True) if i.truth["change"] in ("new", "resolved")]
    truths = [i.truth["change"] == "new" for i, _ in asked]
    if len(set(truths)) < 2:
        return []
    verdicts = phantom_classifier()([d for _, d in asked], [str(i.truth["modality"]) for i, _ in asked])
    sure = [v.findings[str(i.truth["finding"])] for (i, _), v in zip(asked, verdicts, strict=True)]
    told = "presence of new and resolved findings by the phantoms' classifier"
    return [auroc(sure, truths, beside=told), f1([s > 0.5 for s in sure], truths, beside=told)]


PHANTOM_COUNTERFACTUAL = Benchmark(
    "phantoms-counterfactual", "Counterfactuals with an explanation (simulated)", "paired",
    Protocol(SPLIT + "; cases with findings", "the change in the phantoms' own language", "the drawing, and its words",
             open=RULE),
    _changes, _score, published_as="counterfactual", **SIMULATED,
)  # fmt: skip
