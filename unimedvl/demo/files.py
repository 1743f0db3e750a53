"""Every task that takes an image, on real files; what can be judged is only the kind of image."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from textwrap import shorten

from unimedvl.demo.entries import Bench, Entry, Group, Job, Line, at_size_of, made, shown
from unimedvl.demo.measure import overlay, psnr, same_answer
from unimedvl.demo.sources import REAL_FILES, RealFile
from unimedvl.imaging import Image, ImagingError, read_image
from unimedvl.inference.results import ImageResult
from unimedvl.inference.unimedvl import Request
from unimedvl.phantoms import SIMULATORS

SECTION = "real"
QUESTION = "What modality is this?"


def groups() -> Iterator[Group]:
    """One group per file; a file that is missing or can't be read here is a group without jobs."""
    yield from (_group(file) for file in REAL_FILES)


def _group(file: RealFile) -> Group:
    title, about = f"{file.kind}: {file.name}", f"{file.about} From {file.origin}."
    path = file.path
    if path is None:
        return Group(
            SECTION, title, about, problem=f"{file.distribution} is missing or doesn't ship this file."
        )
    try:
        image = read_image(path)
    except ImagingError as error:
        return Group(SECTION, title, about, problem=f"It could not be read: {error}")
    jobs = [
        Job("ask", file.name, partial(ask, file, image)),
        Job("report", file.name, partial(report, file, image)),
    ]
    jobs += [Job(task, file.name, partial(draw, file, image, task, wish)) for task, wish in file.edits]
    picture = shown(image.pixels, how_read(image), f"real {file.kind}, as read")
    return Group(SECTION, title, about, _expect(file), (picture,), tuple(jobs))


def _expect(file: RealFile) -> str:
    if file.modality in SIMULATORS:
        return file.expect
    return f"No modality of this kind was among the simulated ones. {file.expect}"


def how_read(image: Image) -> str:
    """Size, kind, window and place in the file, in words; nothing of the patient."""
    d = image.details
    parts = [f"{image.kind}, {image.width} x {image.height}"]
    if "window" in d:
        window = d["window"]
        parts.append(f"window {window}" if isinstance(window, str) else "window {:g}/{:g}".format(*window))
    if "frames" in d:
        parts.append(f"frame {d['frame'] + 1} of {d['frames']}")
    if "slices" in d:
        parts.append(f"{d['plane']} slice {d['slice'] + 1} of {d['slices']}")
    return ", ".join(parts)


def ask(file: RealFile, image: Image, bench: Bench) -> Entry:
    asked = [(QUESTION, file.answers), *((question, (truth,) * bool(truth)) for question, truth in file.asks)]
    start = time.perf_counter()
    results = bench.run([Request("ask", (image,), question) for question, _ in asked])
    seconds = time.perf_counter() - start
    lines = []
    for (question, truths), result in zip(asked, results, strict=True):
        right = any(same_answer(result.text, truth) for truth in truths) if truths else None
        truth = file.kind if question == QUESTION else "".join(truths)
        lines.append(Line(question, result.text, truth, right, result.confidence))
    verdict = f"{'right' if lines[0].right else 'wrong'}: {shorten(results[0].text, 40) or 'no answer'}"
    provenance = tuple(result.provenance for result in results)
    return Entry("ask", file.name, verdict, seconds, (), tuple(lines), provenance)


def report(file: RealFile, image: Image, bench: Bench) -> Entry:
    start = time.perf_counter()
    result = bench.run([Request("report", (image,))])[0]
    seconds = time.perf_counter() - start
    line = Line("Write a report.", result.text, confidence=result.confidence)
    return Entry("report", file.name, "not judged", seconds, (), (line,), (result.provenance,))


def draw(file: RealFile, image: Image, task: str, wish: dict[str, str] | str, bench: Bench) -> Entry:
    """wish: fills the braces of the task's words, or is the whole request."""
    words, wishes = (wish, ()) if isinstance(wish, str) else ("", tuple(wish.items()))
    start = time.perf_counter()
    result: ImageResult = bench.run([Request(task, (image,), words, wishes)])[0]
    seconds = time.perf_counter() - start
    given = at_size_of(image.pixels, result.array)
    request = result.provenance["request"]
    verdict, pictures = "not judged", [made(result, request, f"{task} of {file.name}: {request}")]
    if task == "reconstruct":
        verdict = f"PSNR {psnr(result.array, given):.1f} dB"
    if task == "segment":
        verdict = f"{result.mask.mean():.0%} marked, not judged"
        outlined = overlay(given, result.mask)
        pictures.insert(0, made(result, f"{wishes[0][1]}: outlines", f"{file.name} with outlines", outlined))
    line = Line(request, result.text or "no words", confidence=result.confidence)
    return Entry(task, file.name, verdict, seconds, tuple(pictures), (line,), (result.provenance,))
