"""The embedded model shows the same patient with one finding changed, and a classifier says what the image shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.held_out import HeldOut, Look
from benchmarks.judge import Judge, Verdict
from benchmarks.nano_bench import Bench, grouped
from benchmarks.scores import Measure, mean, psnr, share
from unimedvl.inference.unimedvl import Request
from unimedvl.phantoms.counterfactuals import Counterfactual, counterfactual
from unimedvl.phantoms.edits import edit_request
from unimedvl.phantoms.vocabulary import MODALITIES

RULE = (
    "A counterfactual is right where the judge sees the asked change and, of all else, what it sees in the true image: "
    "a finding that is new is more likely present than not, one that is resolved is not, one that is better or worse "
    "covers an area nearer to the true one after than before; each other finding is seen there or not as in the truth."
)


@dataclass(frozen=True)
class Asked:
    """A change that was asked for. before, after: the true images, [H, W, 3] uint8."""

    look: Look
    made: Counterfactual
    request: str

    @property
    def before(self) -> np.ndarray:
        return self.made.before.images[self.look.view.name]

    @property
    def after(self) -> np.ndarray:
        return self.made.after.images[self.look.view.name]


def counterfactuals(bench: Bench, count: int) -> list[Measure]:
    """Changes of one finding, modalities in turn: whether it is seen, and whether all else is as it should be."""
    asked = _asked(bench, count)
    drawn = bench.run([
        Request("counterfactual", (a.before,), a.request, seed=a.look.study.case.seed) for a in asked
    ])  # fmt: skip
    images = [d.array for d in drawn]
    got, own = _judged(bench.judge, asked, images), _judged(bench.judge, asked, [a.after for a in asked])
    measures = []
    for name, at, target in (
        ("counterfactual: asked change, all else unchanged", 0, 0.80),
        ("counterfactual: asked change", 1, None),
        ("counterfactual: all else unchanged", 2, None),
    ):
        beside = f"judge on the true images: {100 * np.mean([o[at] for o in own]):.1f} %"
        measures.append(share("counterfactual", name, [g[at] for g in got], target, beside))
    for keys in ([a.made.change for a in asked], [a.look.modality for a in asked]):
        for name, hits in grouped(keys, [g[0] for g in got]).items():
            measures.append(share("counterfactual", f"counterfactual, {name}", hits))
    gains = [psnr(i, a.after) - psnr(a.before, a.after) for i, a in zip(images, asked, strict=True)]
    measures.append(mean("counterfactual", "counterfactual, PSNR over the input's", gains, "dB"))
    rows = [
        ([a.before, image, a.after], f"{a.look.modality}: {a.request} | judge: {'right' if g[0] else 'wrong'}")
        for a, image, g in zip(asked, images, got, strict=True)
    ]
    bench.sheet("counterfactual", ("given", "drawn", "truth"), rows)
    return measures


def _asked(bench: Bench, count: int) -> list[Asked]:
    """Of studies with findings, in their first view."""
    codes = bench.held_out.modalities
    seeds = {code: _abnormal(bench.held_out, code) for code in codes}
    out = []
    for number in range(count):
        code = codes[number % len(codes)]
        look = Look(bench.held_out.study(code, next(seeds[code])), MODALITIES[code].views[0])
        rng = np.random.default_rng(look.study.case.seed)
        made = counterfactual(look.study, rng)
        request = edit_request("counterfactual", rng, modality=code, finding=made.finding, change=made.change)
        out.append(Asked(look, made, request))
    return out


def _abnormal(held_out: HeldOut, code: str) -> Iterator[int]:
    return (seed for seed in held_out.seeds(code) if held_out.case(code, seed).findings)


def _judged(judge: Judge, asked: Sequence[Asked], images: Sequence[np.ndarray]) -> list[tuple[bool, bool, bool]]:
    """Of each image: whether it is right, shows the change, and is unchanged else."""
    codes = [a.look.modality for a in asked]
    before, after = (judge([getattr(a, which) for a in asked], codes) for which in ("before", "after"))
    out = []
    for a, got, b, t in zip(asked, judge(images, codes), before, after, strict=True):
        changed, same = _changed(a.made, got, b, t), _unchanged(a.made, got, t)
        out.append((changed and same, changed, same))
    return out


def _changed(made: Counterfactual, got: Verdict, before: Verdict, after: Verdict) -> bool:
    name = made.finding.name
    if made.change in ("new", "resolved"):
        return (got.findings[name] > 0.5) == (made.change == "new")
    return abs(got.areas[name] - after.areas[name]) < abs(got.areas[name] - before.areas[name])


def _unchanged(made: Counterfactual, got: Verdict, truth: Verdict) -> bool:
    """Whether the kind of image and every other finding are as the judge sees them in the true image."""
    others = [name for name in got.findings if name != made.finding.name]
    return got.view == truth.view and all((got.findings[n] > 0.5) == (truth.findings[n] > 0.5) for n in others)
