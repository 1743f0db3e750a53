"""The embedded model at each of its tasks, on held-out studies. Each function measures one task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.held_out import HeldOut, Look
from benchmarks.judge import RULE, Judge, compare, own_accuracy
from benchmarks.scores import Measure, f1, mean, psnr, right_answer, share
from benchmarks.sheets import contact_sheet
from unimedvl import UniMedVL
from unimedvl.inference.results import ImageResult, TextResult
from unimedvl.inference.text import Sampling
from unimedvl.inference.unimedvl import Request
from unimedvl.phantoms import SIMULATORS
from unimedvl.phantoms.breast_stains import dab_share, level_from_dab
from unimedvl.phantoms.captions import caption
from unimedvl.phantoms.parser import parse_findings
from unimedvl.phantoms.pixels import degrade, to_pixels
from unimedvl.phantoms.questions import Question, questions
from unimedvl.phantoms.vocabulary import MODALITIES
from unimedvl.tasks import HER2_LEVELS, UPSCALE_FACTOR

WHAT_MODALITY = "What modality is this?"
# Can't be told at 128 px; the small model is not asked to guess.
TOO_FINE = ("count", "size")
SHORT, LONG = Sampling(max_tokens=32), Sampling(max_tokens=128)
# How many questions go through the model at once, and how many drawings.
BATCH = 24


@dataclass
class Bench:
    """What a task is measured with.

    sheets: a folder for contact sheets. steps: points of the drawings' time grid; the model's own where
    None. progress: told how many of how many requests of a task are done.
    """

    model: UniMedVL
    held_out: HeldOut = field(default_factory=HeldOut)
    sheets: Path | None = None
    steps: int | None = None
    batch: int = BATCH
    progress: Callable[[int, int], None] = lambda done, total: None

    @cached_property
    def judge(self) -> Judge:
        return Judge.load()

    def run(self, requests: Sequence[Request], sampling: Sampling = SHORT) -> list[TextResult | ImageResult]:
        """All requests of one task, greedily, in batches."""
        results: list[TextResult | ImageResult] = []
        for start in range(0, len(requests), self.batch):
            part = requests[start : start + self.batch]
            results += self.model.run(part, sampling=sampling, steps=self.steps)
            self.progress(len(results), len(requests))
        return results

    def sheet(self, name: str, columns: Sequence[str], rows: Sequence[tuple[Sequence[np.ndarray], str]]) -> None:
        if self.sheets is not None:
            contact_sheet(self.sheets / f"{name}.png", columns, rows)


def _grouped(keys: Sequence[str], values: Sequence) -> dict[str, list]:
    """Values by key, keys in the order in which they come."""
    groups: dict[str, list] = defaultdict(list)
    for key, value in zip(keys, values, strict=True):
        groups[key].append(value)
    return dict(groups)


# Reading ------------------------------------------------------------------------------------------


def modality(bench: Bench, count: int) -> list[Measure]:
    """The kind of image named in the very words of the vocabulary, for every view of every modality."""
    looks = bench.held_out.looks(count)
    answers = bench.run([Request("ask", (look.image,), WHAT_MODALITY) for look in looks])
    right = [right_answer("open", a.text, look.view.kind) for a, look in zip(answers, looks, strict=True)]
    groups = _grouped([f"{look.modality}, {look.view.name}" for look in looks], right)
    named = [share("modality", name, hits) for name, hits in groups.items()]
    return [share("modality", "modality named", right, 0.99), *named]


def closed(bench: Bench, count: int) -> list[Measure]:
    """Yes or no, as often the one as the other; then, from fewer looks, options and open questions."""
    looks = bench.held_out.looks(count)
    asked = [(look, q) for look in looks for q in _questions(bench, look) if q.kind == "closed"]
    right = _ask(bench, asked)
    yes = np.mean([q.answer == "yes" for _, q in asked])
    measures = [share("closed", "closed questions", right, 0.85, f"{100 * yes:.0f} % of the answers are yes")]
    for name, hits in _grouped([look.modality for look, _ in asked], right).items():
        measures.append(share("closed", f"closed, {name}", hits))
    for topic, hits in _grouped([q.topic for _, q in asked], right).items():
        measures.append(share("closed", f"closed, {topic}", hits))
    for kind in ("choice", "open"):
        some = looks[: -(-count // 3)]
        asked = [(look, q) for look in some for q in _questions(bench, look) if q.kind == kind]
        asked = [(look, q) for look, q in asked if q.topic not in TOO_FINE]
        name = {"choice": "multiple choice", "open": "open questions, exact"}[kind]
        measures.append(share("closed", name, _ask(bench, asked)))
    return measures


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
    measures = [f1("report", "findings in reports, F1", truths, found, 0.80)]
    for name, pairs in _grouped([look.modality for look in looks], list(zip(truths, found, strict=True))).items():
        measures.append(f1("report", f"reports, {name}", *zip(*pairs, strict=True)))
    exact = [t == f for t, f in zip(truths, found, strict=True)]
    return [*measures, share("report", "reports with all findings right, and no other", exact)]


# Drawing ------------------------------------------------------------------------------------------


def generate(bench: Bench, count: int) -> list[Measure]:
    """Captions of cases with one finding, drawn, and judged; the judge's own accuracy beside."""
    looks = bench.held_out.looks(count, findings=1)
    captions = [caption(x.study, x.view.name, np.random.default_rng(x.study.case.seed)) for x in looks]
    seeds = [x.study.case.seed for x in looks]
    drawn = bench.run([Request("generate", (), c, seed=s) for c, s in zip(captions, seeds, strict=True)])
    images = [d.array for d in drawn]
    verdicts = bench.judge(images, [x.modality for x in looks])
    got, own = compare(verdicts, looks), own_accuracy(bench.judge, looks)

    def judged(name: str, part: str, target: float | None = None) -> Measure:
        own_share = np.mean(getattr(own, part)) if getattr(own, part) else np.nan
        return share("generate", name, getattr(got, part), target, f"judge itself: {100 * own_share:.1f} %")

    measures = [
        judged("text to image: asked modality", "kind", 0.95),
        judged("text to image: asked finding", "finding", 0.75),
        judged("text to image: finding, and over 0.5", "sure"),
        judged("text to image: very view or sequence", "view"),
    ]
    shown = [x.modality for x in looks if not x.stained]
    for name, hits in _grouped(shown, got.finding).items():
        measures.append(share("generate", f"asked finding, {name}", hits))
    stained = [(d, x) for d, x in zip(images, looks, strict=True) if x.stained]
    levels = [level_from_dab(dab_share(d)) == x.study.attributes["her2"] for d, x in stained]
    if levels:
        measures.append(share("generate", "asked level of drawn immunostains", levels))
    rows = [
        ([image, x.image], f"{c} | judge: {v.view.kind}, {v.finding}")
        for image, x, c, v in zip(images, looks, captions, verdicts, strict=True)
    ]
    bench.sheet("generate", ("drawn", "a simulated one"), rows)
    return measures


def vae(bench: Bench, count: int) -> list[Measure]:
    """Images through the autoencoder and back."""
    looks = bench.held_out.looks(count)
    images = [look.image for look in looks]
    again = [_reconstructed(bench.model, image) for image in images]
    values = [psnr(a, b) for a, b in zip(again, images, strict=True)]
    groups = _grouped([f"{look.modality}, {look.view.name}" for look in looks], values)
    rows = [([i, a], f"{x.modality} {v:.1f} dB") for i, a, x, v in zip(images, again, looks, values, strict=True)]
    bench.sheet("vae", ("simulated", "reconstructed"), rows)
    return [
        mean("vae", "VAE reconstruction", values, "dB", 30.0),
        *(mean("vae", f"VAE, {name}", v, "dB") for name, v in groups.items()),
    ]


@torch.inference_mode()
def _reconstructed(model: UniMedVL, image: np.ndarray) -> np.ndarray:
    net = model.model
    pixels = model.prepare.latent(to_pixels(image)).pixels.to(net.device, net.dtype)
    return _eight_bit(net.vae.decode(net.vae.encode(pixels[None]))[0].float())


def _eight_bit(pixels: Tensor) -> np.ndarray:
    """[3, H, W] in about [-1, 1] to [H, W, 3] uint8, truncated as drawings are."""
    return ((pixels * 0.5 + 0.5).clamp(0, 1) * 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def upscale(bench: Bench, count: int) -> list[Measure]:
    """MRI at a quarter of its resolution, enlarged bicubically, made sharp again."""
    looks = bench.held_out.looks(count, "mri")
    truths = [look.image for look in looks]
    blurred = [_rounded(degrade(to_pixels(truth), UPSCALE_FACTOR)) for truth in truths]
    wish = (("factor", str(UPSCALE_FACTOR)),)
    drawn = bench.run([
        Request("upscale", (b,), wishes=wish, seed=x.study.case.seed) for b, x in zip(blurred, looks, strict=True)
    ])
    return _gains(
        bench, "upscale", "super-resolution 4x, over bicubic", 2.0, blurred, [d.array for d in drawn], truths,
        [look.view.name for look in looks], "bicubic",
    )  # fmt: skip


def _rounded(pixels: Tensor) -> np.ndarray:
    """[3, H, W] in [-1, 1] to [H, W, 3] uint8, to the nearest."""
    return ((pixels + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()


def translate(bench: Bench, count: int) -> list[Measure]:
    """T2 to FLAIR and FLAIR to T2 of each study; each way has to reach the target."""
    looks = bench.held_out.looks(count, "mri")
    measures = []
    for source, target in (("t2", "flair"), ("flair", "t2")):
        wishes = (("source", source.upper()), ("target", target.upper()))
        given, truths = ([look.study.images[view] for look in looks] for view in (source, target))
        drawn = bench.run([
            Request("translate", (image,), wishes=wishes, seed=look.study.case.seed)
            for image, look in zip(given, looks, strict=True)
        ])
        name = f"{source.upper()} to {target.upper()}, over copying the input"
        images = [d.array for d in drawn]
        measures += _gains(bench, f"translate-{source}-{target}", name, 4.0, given, images, truths, (), "the input")
    return [replace(m, task="translate") for m in measures]


def _gains(
    bench: Bench,
    task: str,
    name: str,
    target: float,
    given: Sequence[np.ndarray],
    drawn: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    groups: Sequence[str],
    baseline: str,
) -> list[Measure]:
    """How many dB nearer to the truth the drawing is than what was given, image by image."""
    before = [psnr(g, t) for g, t in zip(given, truths, strict=True)]
    after = [psnr(d, t) for d, t in zip(drawn, truths, strict=True)]
    gains = [a - b for a, b in zip(after, before, strict=True)]
    rows = list(zip(given, drawn, truths, strict=True))
    words = [f"{b:.1f} dB, drawn {a:.1f} dB" for b, a in zip(before, after, strict=True)]
    bench.sheet(task, ("given", "drawn", "truth"), list(zip(rows, words, strict=True)))
    beside = f"drawn {np.mean(after):.2f} dB, {baseline} {np.mean(before):.2f} dB"
    measures = [mean(task, name, gains, "dB", target, beside)]
    for group, values in _grouped(groups, gains).items() if groups else ():
        measures.append(mean(task, f"{task}, {group}", values, "dB"))
    return measures


def stain(bench: Bench, count: int) -> list[Measure]:
    """Every level asked of each H&E image; the level drawn is told by the share of DAB-stained area."""
    simulator, asked, truths, given = SIMULATORS["his"], [], [], []
    for look in bench.held_out.looks(count, "his"):
        for number, level in enumerate(HER2_LEVELS):
            case = look.study.case
            case = replace(case, anatomy={**case.anatomy, "her2": float(number)})
            truths.append(simulator.render(case, bench.held_out.size).images["ihc"])
            given.append(look.study.images["he"])
            asked.append((level, case.seed))
    drawn = bench.run([
        Request("stain", (image,), wishes=(("her2", level),), seed=seed)
        for image, (level, seed) in zip(given, asked, strict=True)
    ])
    found, own = ([level_from_dab(dab_share(i)) for i in x] for x in ([d.array for d in drawn], truths))
    right, own_right = ([f == level for f, (level, _) in zip(x, asked, strict=True)] for x in (found, own))
    rows = [
        ([g, d.array, t], f"asked {level}, stained area says {f}")
        for g, d, t, (level, _), f in zip(given, drawn, truths, asked, found, strict=True)
    ]
    bench.sheet("stain", ("H&E", "drawn", "truth"), rows)
    beside = f"the measure on simulated stains: {100 * np.mean(own_right):.1f} %"
    measures = [share("stain", "H&E to IHC: asked level", right, 0.85, beside)]
    for level, hits in _grouped([level for level, _ in asked], right).items():
        measures.append(share("stain", f"stain, level {level}", hits))
    gains = [psnr(d.array, t) for d, t in zip(drawn, truths, strict=True)]
    return [*measures, mean("stain", "stain, PSNR", gains, "dB")]


@dataclass(frozen=True)
class Task:
    """measure: a function above. count: looks by default, chosen so that all tasks take some minutes."""

    measure: Callable[[Bench, int], list[Measure]]
    count: int


TASKS: dict[str, Task] = {
    "modality": Task(modality, 280),
    "closed": Task(closed, 140),
    "report": Task(report, 210),
    "generate": Task(generate, 126),
    "vae": Task(vae, 140),
    "upscale": Task(upscale, 36),
    "translate": Task(translate, 24),
    "stain": Task(stain, 16),
}


def notes(modalities: Sequence[str]) -> tuple[str, str]:
    """What is to be known with the table."""
    named = ", ".join(MODALITIES[code].said for code in modalities)
    return RULE, f"Findings are of {named}; in immunostains the level counts instead."
