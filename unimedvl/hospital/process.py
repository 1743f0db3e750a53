"""From a study and a rule to documents: images chosen and read, the task run, DICOM and FHIR written in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset

from unimedvl.hospital.context import StudyContext, check_one
from unimedvl.hospital.derived import derived_image
from unimedvl.hospital.dicomweb import encoded
from unimedvl.hospital.error import HospitalError
from unimedvl.hospital.fhir import Made, fhir_bundle
from unimedvl.hospital.identity import Result, uid_from
from unimedvl.hospital.mask import segmentation
from unimedvl.hospital.report import report_sr
from unimedvl.hospital.rules import Match, Output, Step
from unimedvl.hospital.study import Picture
from unimedvl.imaging import read_image
from unimedvl.inference.image import Cancelled
from unimedvl.inference.requests import Request
from unimedvl.inference.text import Sampling
from unimedvl.tasks import TASKS

if TYPE_CHECKING:
    from unimedvl.inference.unimedvl import UniMedVL

# Images of a step that are run as one batch.
_BATCH = 8
# Tasks that look at all images at once; the others are run on each.
_TOGETHER = ("ask", "report")
Run = Callable[[Sequence[Request], Step], Sequence[Result]]


@dataclass(frozen=True)
class Document:
    """What goes to a destination. uid: of the instance, or of the bundle. dataset: None for a FHIR bundle."""

    kind: Output
    uid: str
    data: bytes
    dataset: Dataset | None = None

    @property
    def name(self) -> str:
        """Of its file; what is made again gets the same."""
        return f"{self.uid}.{'json' if self.dataset is None else 'dcm'}"


@dataclass(frozen=True)
class _Done:
    """A result, the images that it is of, and the DICOM documents that hold it."""

    step: Step
    result: Result
    pictures: tuple[Picture, ...]
    datasets: tuple[Dataset, ...] = ()


def runner(model: UniMedVL, cancelled: Callable[[], bool] = lambda: False) -> Run:
    """What runs the requests of a step on a model.

    cancelled: asked between tokens and steps. Where it is true, `run` raises Cancelled: an answer that was cut off
        must not become a report.
    """

    def run(requests: Sequence[Request], step: Step) -> Sequence[Result]:
        sampling = Sampling(max_tokens=step.max_tokens)
        steps = step.steps if TASKS[step.task].draws else None
        results = model.run(requests, sampling=sampling, steps=steps, cancelled=cancelled)
        if any(r.finish == "cancelled" for r in results):
            raise Cancelled
        return results

    return run


def documents_of(match: Match, run: Run, at: datetime, dicomweb: str | None = None) -> list[Document]:
    """Run all steps of a rule on the series that it means, and write what they make.

    at: when, as the documents say. dicomweb: URL at which the results will lie, for links in FHIR.

    Raises:
        HospitalError, ImagingError, ValueError: images of several patients, an image that can't be read, a result that
            can't be a document.
    """
    check_one([instance.header for series in match.series for instance in series.instances])
    done: list[_Done] = []
    numbers: dict[Output, int] = {}
    documents: list[Document] = []
    for step in match.rule.do:
        pictures = step.chosen(match.series)
        if not pictures:
            raise HospitalError(f"rule {match.rule.name!r}: {step.task} found none of the images that it wants")
        for result, of in _results(step, pictures, run):
            kept = []
            for kind in (k for k in step.made if k != "fhir"):
                numbers[kind] = numbers.get(kind, 0) + 1
                kept.append(_dataset(kind, _Done(step, result, of), done, at, numbers[kind]))
                documents.append(Document(kind, str(kept[-1].SOPInstanceUID), encoded(kept[-1]), kept[-1]))
            done.append(_Done(step, result, of, tuple(kept)))
    if told := [d for d in done if "fhir" in d.step.made]:
        documents.append(_bundle(told, at, dicomweb))
    return documents


def _results(step: Step, pictures: tuple[Picture, ...], run: Run) -> Iterator[tuple[Result, tuple[Picture, ...]]]:
    """What the task gives, and of which images each."""
    groups = [pictures] if step.task in _TOGETHER else [(p,) for p in pictures]
    for first in range(0, len(groups), _BATCH):
        asked: list[tuple[Request, tuple[Picture, ...]]] = []
        for group in groups[first : first + _BATCH]:
            images = tuple(read_image(p.instance.path, step.reading(p.frame)) for p in group)
            asked += [(request, group) for request in step.requests(images)]
        results = run([request for request, _ in asked], step)
        yield from ((result, group) for result, (_, group) in zip(results, asked, strict=True))


def _dataset(kind: Output, what: _Done, before: Sequence[_Done], at: datetime, number: int) -> Dataset:
    context = _context([what])
    if kind == "seg":
        return segmentation(what.result, context, what.step.target, at=at, number=number)
    if kind == "sc":
        return derived_image(what.result, context, at=at, number=number)
    if kind == "sr":
        return report_sr(what.result, context, at=at, number=number)
    masks = [dataset for d in before for dataset in d.datasets if dataset.Modality == "SEG"]
    return report_sr(what.result, context, kind="comprehensive3d", masks=masks, at=at, number=number)


def _bundle(told: Sequence[_Done], at: datetime, dicomweb: str | None) -> Document:
    made = [Made(d.result, dataset) for d in told for dataset in d.datasets or (None,)]
    bundle = fhir_bundle(made, _context(told), dicomweb=dicomweb, at=at)
    data = bundle.model_dump_json().encode()
    names = [entry.fullUrl for entry in bundle.entry]
    return Document("fhir", uid_from("fhir bundle", *names), data)


def _context(of: Sequence[_Done]) -> StudyContext:
    """The study of all images that results are of, each image once."""
    pictures = {(p.instance.uid, p.frame): p for d in of for p in d.pictures}
    return StudyContext.of([p.instance.header for p in pictures.values()], [p.frame for p in pictures.values()])
