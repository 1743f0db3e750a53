"""What the model says, as a DICOM structured report: Enhanced SR (TID 2000) or Comprehensive 3D SR (TID 1500).

A draft: complete or partial as the answer is, never verified, preliminary (PS3.3 C.17.2), its observer a device.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from unimedvl.hospital import coding
from unimedvl.hospital.context import StudyContext
from unimedvl.hospital.error import HospitalError
from unimedvl.hospital.identity import MANUFACTURER, Maker, instance_uid, moment, plain, put_times, series_uid
from unimedvl.inference.results import TextResult

if TYPE_CHECKING:
    from highdicom.sr import ContainerContentItem, ContentItem

Kind = Literal["enhanced", "comprehensive3d"]
SERIES_NUMBER = 9001

# Sections of a report: how they begin in text, their title (CID 7001) and the name of what they hold (CID 7002).
_FINDINGS = (Code("59776-5", "LN", "Findings"), Code("121071", "DCM", "Finding"))
_SECTIONS = {
    "findings": _FINDINGS,
    "impression": (Code("19005-8", "LN", "Impressions"), Code("121073", "DCM", "Impression")),
    "conclusion": (Code("55110-1", "LN", "Conclusions"), Code("121077", "DCM", "Conclusion")),
    "recommendation": (Code("18783-1", "LN", "Recommendations"), Code("121075", "DCM", "Recommendation")),
}
_REQUEST = (Code("55115-0", "LN", "Request"), Code("55115-0", "LN", "Request"))
_PROCEDURE = (
    Code("55111-9", "LN", "Current Procedure Descriptions"),
    Code("121065", "DCM", "Procedure Description"),
)
_HEADING = re.compile(r"(?:^|(?<=[.!?\n])\s*)(findings?|impressions?|conclusions?|recommendations?)\s*:\s*", re.I)
_LANGUAGES = {"en": "English", "de": "German", "es": "Spanish", "fr": "French", "zh": "Chinese"}
# The certainty that a device places upon what it reports; here the mean probability of its words.
_CERTAINTY_OF_FINDING = Code("111012", "DCM", "Certainty of Finding")
_CERTAINTY_OF_IMPRESSION = Code("111013", "DCM", "Certainty of Impression")
_PERCENT = Code("%", "UCUM", "Percent")
_SOURCE = Code("121112", "DCM", "Source of Measurement")


@dataclass(frozen=True)
class Evaluation:
    """A finding that somebody asked for, and whether the model says that it is there.

    finding: in words, such as "pleural effusion". present: None where the model's answer is neither yes nor no.
    """

    finding: str
    present: bool | None


def sections(text: str) -> dict[str, str]:
    """A report's text by section: "findings", "impression", "conclusion", "recommendation", in its own order.

    What stands before the first heading, or in a text without one, are findings. Nothing is left out.
    """
    parts = _HEADING.split(text)
    found = {"findings": parts[0].strip()} if parts[0].strip() else {}
    for heading, said in zip(parts[1::2], parts[2::2], strict=True):
        name = heading.lower().rstrip("s")
        name = "findings" if name == "finding" else name
        if said.strip():
            found[name] = f"{found[name]}\n{said.strip()}" if name in found else said.strip()
    return found


def report_sr(
    result: TextResult,
    context: StudyContext,
    *,
    kind: Kind = "enhanced",
    evaluations: Sequence[Evaluation] = (),
    masks: Sequence[Dataset] = (),
    language: str = "en",
    at: datetime | None = None,
    number: int = 1,
) -> Dataset:
    """A structured report of a text result, with its file meta information: save it with `save_as`.

    A report is split into its sections; the answer to a question stands as finding after the question as request.
    Reasoning (`result.thought`) is left out. Every section names the images that it is about, and the model as
    device with its weights; the certainty is the mean probability of the words, in percent.

    kind: "enhanced" is a Basic Diagnostic Imaging Report (TID 2000) as Enhanced SR; "comprehensive3d" a Measurement
        Report (TID 1500) as Comprehensive 3D SR, the one for `evaluations` and `masks`.
    evaluations: findings that were asked for, as codes where there is one. They are never read out of the text:
        a denial that a word list misses would become a coded finding.
    masks: segmentations of the same study (`mask.segmentation`), whose areas are measured.
    at: when it was made; now where None. number: InstanceNumber.

    Raises:
        HospitalError: no text, a context without images, evaluations or masks in an Enhanced SR, a language that
            is not known, a mask of another study.
    """
    import highdicom as hd

    _check(result, context, kind, evaluations, masks, language)
    maker, at = Maker.of(result), moment(at, context)
    if kind == "enhanced":
        content, storage = _basic_report(result, context, maker, language), hd.sr.EnhancedSR
    else:
        from unimedvl.hospital.measurements import measurement_report

        content = measurement_report(result, context, maker, language, evaluations, masks)
        storage = hd.sr.Comprehensive3DSR
    document = storage(
        evidence=[*context.nameless, *masks],
        content=content,
        series_instance_uid=series_uid(f"sr {kind}", context, result),
        series_number=SERIES_NUMBER,
        sop_instance_uid=instance_uid(f"sr {kind}", context, result, _extras(evaluations, masks, language)),
        instance_number=number,
        manufacturer=MANUFACTURER,
        is_complete=result.finish == "stop",
        is_final=False,
        is_verified=False,
        contributing_equipment=[maker.contribution("Wrote this report.", at, synthesizing=False)],
    )
    context.put_into(document)
    maker.put_into(document)
    put_times(document, at)
    document.SeriesDescription = "AI draft, not verified, not for clinical use"
    return document


def observer(maker: Maker) -> Iterator[ContentItem]:
    """Who observed: the model as a device (TID 1001, 1002 and 1004)."""
    from highdicom import sr

    device = sr.DeviceObserverIdentifyingAttributes(
        uid=maker.uid,
        name=maker.name,
        manufacturer_name=MANUFACTURER,
        model_name=f"{maker.name} {maker.version}",
        serial_number=maker.weights,
    )
    yield from sr.ObserverContext(codes.DCM.Device, device)


def spoken_in(language: str) -> Code:
    """The code of a language (RFC 5646). Raises HospitalError."""
    if language not in _LANGUAGES:
        raise HospitalError(f"language {language!r} is not known; give one of {', '.join(_LANGUAGES)}")
    return Code(language, "RFC5646", _LANGUAGES[language])


def told(result: TextResult) -> Iterator[tuple[Code, Code, str]]:
    """Title, name and text of each section, in order."""
    asked = plain(str(result.provenance.get("request") or "")).strip()
    if asked and result.provenance.get("task") != "report":
        yield (*_REQUEST, asked)
    for name, text in sections(plain(result.text)).items():
        yield (*_SECTIONS[name], text)


def images_of(context: StudyContext, name: Code, relationship: str) -> Iterator[ContentItem]:
    """The images and frames that something is about."""
    from highdicom import sr

    for reference in context.references:
        frames = None if reference.frame is None else [reference.frame]
        yield sr.ImageContentItem(name, reference.sop_class, reference.sop_instance, frames, None, relationship)


def certainty(result: TextResult, of: Code, relationship: str) -> ContentItem:
    """The confidence of a result in percent, as the certainty that the device places upon a finding or impression."""
    from highdicom import sr

    concept = _CERTAINTY_OF_IMPRESSION if of == _SECTIONS["impression"][1] else _CERTAINTY_OF_FINDING
    return sr.NumContentItem(concept, round(100 * result.confidence, 1), _PERCENT, None, relationship)


def explained(result: TextResult, maker: Maker, context: StudyContext) -> str:
    """How the report came about, in words, for the reader of the document."""
    count = len(context.sources)
    read = f"Read from {count} image{'s' * (count != 1)}."
    cut = "" if result.finish == "stop" else " The text was cut short."
    mean = "Its certainty is the geometric mean of the probabilities of its words, which is no measure of truth."
    return f"{maker.notice} {read}{cut} {mean}"


def _basic_report(result: TextResult, context: StudyContext, maker: Maker, language: str) -> ContainerContentItem:
    """TID 2000: modifiers, language, observer, then a section each with its text (TID 2002)."""
    from highdicom import sr

    part = coding.part_of(context.modality, context.body_part)
    root = sr.ContainerContentItem(coding.report_title(context.modality, part), template_id="2000")
    items: list[ContentItem] = list(_modifiers(context, part))
    items += sr.LanguageOfContentItemAndDescendants(spoken_in(language))
    items += observer(maker)
    said = [(*_PROCEDURE, explained(result, maker, context)), *told(result)]
    for number, (title, name, text) in enumerate(said, 1):
        item = sr.TextContentItem(name, text, "CONTAINS")
        if title not in (_PROCEDURE[0], _REQUEST[0]):
            inferred = list(images_of(context, _SOURCE, "INFERRED FROM"))
            if number == len(said):
                inferred.insert(0, certainty(result, name, "INFERRED FROM"))
            item.ContentSequence = sr.ContentSequence(inferred)
        section = sr.ContainerContentItem(title, False, relationship_type="CONTAINS")
        section.ContentSequence = sr.ContentSequence([item])
        items.append(section)
    root.ContentSequence = sr.ContentSequence(items)
    return root


def _modifiers(context: StudyContext, part: str) -> Iterator[ContentItem]:
    from highdicom import sr

    device, place = coding.acquisition(context.modality), coding.region(part)
    for name, value in ((codes.DCM.AcquisitionDeviceType, device), (codes.DCM.TargetRegion, place)):
        if value is not None:
            yield sr.CodeContentItem(name, value, "HAS CONCEPT MOD")


def _check(
    result: TextResult,
    context: StudyContext,
    kind: str,
    evaluations: Sequence[Evaluation],
    masks: Sequence[Dataset],
    language: str,
) -> None:
    if kind not in ("enhanced", "comprehensive3d"):
        raise HospitalError(f"kind is {kind!r}; it must be enhanced or comprehensive3d")
    if not context.sources:
        raise HospitalError("a report needs the images that it is about; this context has none")
    if not sections(plain(result.text)):
        raise HospitalError("the model said nothing, so there is no report to write")
    if kind == "enhanced" and (evaluations or masks):
        raise HospitalError("evaluations and masks are measured in a report of kind comprehensive3d")
    if any(str(mask.StudyInstanceUID) != context.study_uid for mask in masks):
        raise HospitalError("a mask is of another study than the report; give those of its own study")
    spoken_in(language)


def _extras(evaluations: Sequence[Evaluation], masks: Sequence[Dataset], language: str) -> list:
    return [[(e.finding, e.present) for e in evaluations], [str(m.SOPInstanceUID) for m in masks], language]
