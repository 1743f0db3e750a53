"""Every task on simulated studies that no model was trained on, beside what is true of them.

The study of a modality is that of the first held-out seed with exactly one finding: a rule that was
fixed before any result was seen, so no picture here was picked for being good.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np

from unimedvl.demo.entries import Bench, Entry, Group, Job, Line, Picture, made, shown
from unimedvl.demo.measure import dice, match_findings, overlay, psnr, same_answer
from unimedvl.inference.results import ImageResult
from unimedvl.inference.unimedvl import Request
from unimedvl.phantoms import SIMULATORS, Study
from unimedvl.phantoms.captions import caption
from unimedvl.phantoms.edits import edit_reply, edit_request
from unimedvl.phantoms.pixels import degrade, to_pixels
from unimedvl.phantoms.questions import Question, questions
from unimedvl.phantoms.reports import report
from unimedvl.phantoms.study import FIRST_TRAINING_SEED
from unimedvl.phantoms.vocabulary import MODALITIES, view_of
from unimedvl.tasks import HER2_LEVELS, THINK_FIRST, UPSCALE_FACTOR

SECTION = "simulated"
SIZE = 128
# One question of each is asked.
TOPICS = ("modality", "normality", "presence", "finding", "side", "severity")
# Where a task is shown on some modalities alone.
SHOWN_ON = {"stain": ("his",), "upscale": ("mri",), "translate": ("mri",), "counterfactual": ("cxr",)}
WORDS = {"t1": "T1", "t2": "T2", "flair": "FLAIR"}


@dataclass(frozen=True)
class Exhibit:
    """A study on show, by its first view."""

    study: Study

    @property
    def view(self) -> str:
        return next(iter(self.study.images))

    @property
    def image(self) -> np.ndarray:
        """[H, W, 3] uint8."""
        return self.study.images[self.view]

    @property
    def kind(self) -> str:
        return view_of(self.study, self.view).kind

    @property
    def name(self) -> str:
        return f"simulated {self.kind}, seed {self.study.case.seed}"

    @property
    def finding(self) -> str:
        return self.study.findings[0].name

    def rng(self) -> np.random.Generator:
        """Chooses among wordings, the same way each time."""
        return np.random.default_rng(self.study.case.seed)

    def picture(self, words: str = "") -> Picture:
        return shown(self.image, f"{self.kind}: {words or self.finding}", f"{self.name}, with {self.finding}")


def exhibits(task: str, modalities: Sequence[str]) -> list[Exhibit]:
    """A study of each of the modalities that a task is shown on."""
    return [exhibit(name) for name in SHOWN_ON.get(task, tuple(SIMULATORS)) if name in modalities]


@cache
def exhibit(modality: str) -> Exhibit:
    """The first held-out study of a modality with exactly one finding."""
    simulator = SIMULATORS[modality]
    cases = (simulator.sample(seed) for seed in range(FIRST_TRAINING_SEED))
    return Exhibit(simulator.render(next(c for c in cases if len(c.findings) == 1), SIZE))


def groups(modalities: Sequence[str]) -> Iterator[Group]:
    """All tasks, in the order of the page."""
    drawn = exhibits("generate", modalities)
    yield _group(
        "Ask",
        "Questions with one right answer; the answer must match it word for word.",
        [Job("ask", x.name, partial(ask, x)) for x in exhibits("ask", modalities)]
        + [Job("ask, thinking first", exhibit("cxr").name, partial(think, exhibit("cxr")))],
    )
    yield _group(
        "Report",
        "The names of the findings that the report states are compared with those that are there.",
        [Job("report", x.name, partial(write_report, x)) for x in exhibits("report", modalities)],
    )
    yield _group(
        "Generate",
        "Drawn from a caption. Beside each is one simulated image that the caption describes; another that "
        "fits would be as right. As a rough check the model reports on what it drew: it marks its own work.",
        [Job("generate", "captions of all modalities", partial(generate, drawn, False))]
        + [Job("generate, planning first", "a caption", partial(generate, drawn[:1], True))],
    )
    yield _group(
        "Stain",
        "HER2 immunohistochemistry from H&E, at the level that is asked for. H&E doesn't show the level: it "
        "has to be given.",
        [Job("stain", x.name, partial(stain, x)) for x in exhibits("stain", modalities)],
    )
    yield _group(
        "Upscale",
        f"Four times the resolution: the truth was made {UPSCALE_FACTOR} times smaller, to be restored. "
        "The input is shown as bicubic interpolation enlarges it.",
        [Job("upscale", x.name, partial(upscale, x)) for x in exhibits("upscale", modalities)],
    )
    yield _group(
        "Translate",
        "The same slice in the other sequence.",
        [
            Job("translate", f"{WORDS[a]} to {WORDS[b]}, {x.name}", partial(translate, x, a, b))
            for x in exhibits("translate", modalities)
            for a, b in (("t2", "flair"), ("flair", "t2"))
        ],
    )
    yield _group(
        "Counterfactual",
        "The same patient without the finding, and with it, compared with the simulation of just that.",
        [
            Job("counterfactual", f"{change}, {x.name}", partial(counterfactual, x, change))
            for x in exhibits("counterfactual", modalities)
            for change in ("resolved", "new")
        ],
    )
    yield _group(
        "Segment",
        "The model draws the mask as a picture. Outlines: truth teal, model orange. Dice is 1 for the "
        "same mask and 0 for no overlap.",
        [
            Job("segment", f"{what} in all modalities", partial(segment, _with(what, modalities), what))
            for what in ("structures", "findings")
        ],
    )
    yield _group(
        "Edit",
        "An instruction in free words, sent without saying which task it is.",
        [Job("edit", x.name, partial(edit, x)) for x in _with("structures", modalities)[:1]],
    )
    yield _group(
        "Reconstruct",
        "The input drawn again: what the model keeps of it.",
        [Job("reconstruct", "all modalities", partial(reconstruct, exhibits("reconstruct", modalities)))],
    )
    yield _group(
        "Chat",
        "Two turns, each with a new image, in one conversation. Training had one image a conversation, so "
        "the second turn is harder than it looks.",
        [Job("chat", "two images in two turns", partial(chat, exhibits("ask", modalities)[:2]))],
    )


def _with(what: str, modalities: Sequence[str]) -> list[Exhibit]:
    """Those that have what is to be segmented; some modalities have findings alone."""
    of = exhibits("segment", modalities)
    return [x for x in of if what == "findings" or MODALITIES[x.study.modality].structures]


def _group(title: str, about: str, jobs: list[Job]) -> Group:
    return Group(SECTION, title, about, jobs=tuple(jobs))


# ---- text --------------------------------------------------------------------------------------------


def ask(x: Exhibit, bench: Bench) -> Entry:
    asked = _one_each(questions(x.study, x.rng(), x.view, bench.modalities))
    start = time.perf_counter()
    results = bench.run([Request("ask", (x.image,), q.text) for q in asked])
    seconds = time.perf_counter() - start
    lines = tuple(
        Line(q.text, r.text, q.answer, same_answer(r.text, q.answer), r.confidence)
        for q, r in zip(asked, results, strict=True)
    )
    verdict = f"{sum(line.right for line in lines)} of {len(lines)} right"
    return Entry("ask", x.name, verdict, seconds, (x.picture(),), lines, _provenance(results))


def _one_each(all_questions: list[Question]) -> list[Question]:
    """The first open question on each topic, or the first of any kind."""
    chosen = []
    for topic in TOPICS:
        of_topic = [q for q in all_questions if q.topic == topic]
        chosen += sorted(of_topic, key=lambda q: q.kind != "open")[:1]
    return chosen


def think(x: Exhibit, bench: Bench) -> Entry:
    question = next(q for q in questions(x.study, x.rng(), x.view, bench.modalities) if q.topic == "finding")
    start = time.perf_counter()
    result = bench.run([Request("ask", (x.image,), question.text, think=True)])[0]
    seconds = time.perf_counter() - start
    right = same_answer(result.text, question.answer)
    lines = (
        Line(f"{THINK_FIRST} {question.text}", result.text, question.answer, right, result.confidence),
        Line("what it thought", result.thought or "nothing"),
    )
    return Entry(
        "ask, thinking first", x.name, _right(right), seconds, (x.picture(),), lines, (result.provenance,)
    )


def write_report(x: Exhibit, bench: Bench) -> Entry:
    start = time.perf_counter()
    result = bench.run([Request("report", (x.image,))])[0]
    seconds = time.perf_counter() - start
    match = match_findings(result.text, x.study)
    truth = report(x.study, x.rng(), x.view)
    line = Line("Write a report.", result.text, truth, match.right, result.confidence)
    return Entry("report", x.name, str(match), seconds, (x.picture(),), (line,), (result.provenance,))


def chat(shown_in_turn: list[Exhibit], bench: Bench) -> Entry:
    conversation, lines, results = bench.model.chat(bench.sampling), [], []
    start = time.perf_counter()
    for x in shown_in_turn:
        question = next(q for q in questions(x.study, x.rng(), x.view, bench.modalities) if q.topic == "modality")
        result = conversation.send(question.text, x.image)
        right = same_answer(result.text, question.answer)
        lines.append(Line(question.text, result.text, question.answer, right, result.confidence))
        results.append(result)
    seconds = time.perf_counter() - start
    verdict = f"{sum(line.right for line in lines)} of {len(lines)} right"
    pictures = tuple(x.picture(f"turn {turn}") for turn, x in enumerate(shown_in_turn, 1))
    name = "two images in two turns"
    return Entry("chat", name, verdict, seconds, pictures, tuple(lines), _provenance(results))


# ---- images ------------------------------------------------------------------------------------------


def generate(of: list[Exhibit], plan: bool, bench: Bench) -> Entry:
    captions = [caption(x.study, x.view, x.rng()) for x in of]
    start = time.perf_counter()
    results = bench.run([Request("generate", (), words, think=plan, seed=7) for words in captions])
    seconds = time.perf_counter() - start
    reports = bench.run([Request("report", (r.array,)) for r in results])
    pictures, lines = [], []
    for x, words, result, read in zip(of, captions, results, reports, strict=True):
        pictures += [made(result, f"drawn: {words}", f"drawn from the caption {words}")]
        pictures += [shown(x.image, f"one that fits: {x.kind}", f"{x.name}, which fits the caption", "truth")]
        right = match_findings(read.text, x.study).right
        lines += [Line(words, f"its own report: {read.text}", x.finding, right, read.confidence)]
        lines += [Line("what it planned", result.thought or "nothing")] if plan else []
    agrees = [line.right for line in lines if line.right is not None]
    verdict = f"own report agrees in {sum(agrees)} of {len(agrees)}"
    task, subject = ("generate, planning first", captions[0]) if plan else ("generate", f"{len(of)} captions")
    return Entry(task, subject, verdict, seconds, tuple(pictures), tuple(lines), _provenance(results))


def stain(x: Exhibit, bench: Bench) -> Entry:
    requests = [Request("stain", (x.image,), wishes=(("her2", level),)) for level in HER2_LEVELS]
    start = time.perf_counter()
    results = bench.run(requests)
    seconds = time.perf_counter() - start
    simulator, pictures, values = SIMULATORS[x.study.modality], [x.picture("H&E")], []
    for number, (level, result) in enumerate(zip(HER2_LEVELS, results, strict=True)):
        case = replace(x.study.case, anatomy={**x.study.case.anatomy, "her2": float(number)})
        truth = simulator.render(case, SIZE).images["ihc"]
        values.append(psnr(result.array, truth))
        pictures += [made(result, f"{level}: {values[-1]:.1f} dB", f"HER2 stain at level {level}")]
        pictures += [
            shown(truth, f"{level}: as simulated", f"simulated HER2 stain at level {level}", "truth")
        ]
    verdict = f"PSNR {min(values):.1f} to {max(values):.1f} dB"
    lines = tuple(_said(result) for result in results[-1:])
    return Entry("stain", x.name, verdict, seconds, tuple(pictures), lines, _provenance(results))


def upscale(x: Exhibit, bench: Bench) -> Entry:
    low = degrade(to_pixels(x.image)).permute(1, 2, 0).numpy() / 2 + 0.5
    bicubic = (low * 255).round().astype(np.uint8)
    start = time.perf_counter()
    result = bench.run([Request("upscale", (low,), wishes=(("factor", str(UPSCALE_FACTOR)),))])[0]
    return _one_image("upscale", x.name, start, result, bicubic, x.image, "bicubic")


def translate(x: Exhibit, given: str, wanted: str, bench: Bench) -> Entry:
    wishes = (("source", WORDS[given]), ("target", WORDS[wanted]))
    images = x.study.images
    start = time.perf_counter()
    result = bench.run([Request("translate", (images[given],), wishes=wishes)])[0]
    subject = f"{WORDS[given]} to {WORDS[wanted]}, {x.name}"
    return _one_image("translate", subject, start, result, images[given], images[wanted], WORDS[given])


def counterfactual(x: Exhibit, change: str, bench: Bench) -> Entry:
    """The finding taken away, or put into the image without it."""
    other = SIMULATORS[x.study.modality].render(x.study.case.with_findings(()), SIZE).images[x.view]
    before, after = (x.image, other) if change == "resolved" else (other, x.image)
    wishes = {"modality": x.study.modality, "finding": x.study.findings[0], "change": change}
    request = edit_request("counterfactual", x.rng(), **wishes)
    start = time.perf_counter()
    result = bench.run([Request("counterfactual", (before,), request)])[0]
    entry = _one_image("counterfactual", f"{change}, {x.name}", start, result, before, after, "before")
    truth = edit_reply("counterfactual", x.rng(), **wishes)
    line = Line(request, result.text, truth, same_answer(result.text, truth), result.confidence)
    return replace(entry, lines=(line,))


def segment(of: list[Exhibit], what: str, bench: Bench) -> Entry:
    """what: "structures" takes the first structure of each modality, "findings" its finding."""
    names = [MODALITIES[x.study.modality].structures[0] if what == "structures" else x.finding for x in of]
    wishes = [(("target", name),) for name in names]
    requests = [Request("segment", (x.image,), wishes=w) for x, w in zip(of, wishes, strict=True)]
    start = time.perf_counter()
    results = bench.run(requests)
    seconds = time.perf_counter() - start
    pictures, values = [], []
    for x, name, result in zip(of, names, results, strict=True):
        pair = _outlined(x, name, result)
        values.append(dice(result.mask, x.study.masks[name]))
        pictures += [replace(pair[0], caption=f"{name}: Dice {values[-1]:.2f}"), *pair[1:]]
    verdict = f"Dice {min(values):.2f} to {max(values):.2f}"
    subject = ", ".join(names)
    return Entry("segment", subject, verdict, seconds, tuple(pictures), (), _provenance(results))


def edit(x: Exhibit, bench: Bench) -> Entry:
    name = MODALITIES[x.study.modality].structures[-1]
    request = f"Show the mask of the {name}."
    start = time.perf_counter()
    result = bench.run([Request("edit", (x.image,), request)])[0]
    seconds = time.perf_counter() - start
    verdict = f"Dice {dice(result.mask, x.study.masks[name]):.2f}"
    line = Line(request, result.text or "no words", confidence=result.confidence)
    pictures = (x.picture(), *_outlined(x, name, result))
    return Entry("edit", x.name, verdict, seconds, pictures, (line,), (result.provenance,))


def reconstruct(of: list[Exhibit], bench: Bench) -> Entry:
    start = time.perf_counter()
    results = bench.run([Request("reconstruct", (x.image,)) for x in of])
    seconds = time.perf_counter() - start
    pictures, values = [], []
    for x, result in zip(of, results, strict=True):
        values.append(psnr(result.array, x.image))
        pictures += [x.picture(), made(result, f"drawn again: {values[-1]:.1f} dB", f"{x.kind}, drawn again")]
    verdict = f"PSNR {min(values):.1f} to {max(values):.1f} dB"
    subject = f"{len(of)} modalities"
    return Entry("reconstruct", subject, verdict, seconds, tuple(pictures), (), _provenance(results))


def _outlined(x: Exhibit, name: str, result: ImageResult) -> list[Picture]:
    drawn = overlay(x.image, result.mask, x.study.masks[name])
    return [
        made(result, f"{name}: outlines", f"{x.kind} with the {name} outlined", drawn),
        made(result, f"{name}: mask as drawn", f"mask of the {name}"),
    ]


def _one_image(
    task: str,
    subject: str,
    start: float,
    result: ImageResult,
    given: np.ndarray,
    truth: np.ndarray,
    called: str,
) -> Entry:
    """An entry of one drawn image between its input and its truth, all [H, W, 3] uint8 of one size."""
    seconds = time.perf_counter() - start
    before, after = psnr(given, truth), psnr(result.array, truth)
    pictures = (
        shown(given, f"{called}: {before:.1f} dB", f"input, {called}"),
        made(result, f"drawn: {after:.1f} dB", f"{task}, {subject}"),
        shown(truth, "as simulated", f"simulated truth of {task}, {subject}", "truth"),
    )
    verdict = f"PSNR {after:.1f} dB; the input {before:.1f} dB"
    return Entry(task, subject, verdict, seconds, pictures, (_said(result),), (result.provenance,))


def _said(result: ImageResult) -> Line:
    return Line(result.provenance["request"], result.text or "no words", confidence=result.confidence)


def _right(right: bool) -> str:
    return "right" if right else "wrong"


def _provenance(results: list) -> tuple[dict, ...]:
    return tuple(result.provenance for result in results)
