"""The content of a Measurement Report (TID 1500): what was read, what was asked for, what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from unimedvl.hospital import coding
from unimedvl.hospital.context import StudyContext
from unimedvl.hospital.identity import MANUFACTURER, Maker, instance_uid, uid_from
from unimedvl.hospital.mask import stored_mask
from unimedvl.hospital.report import Evaluation, certainty, explained, observer, spoken_in, told
from unimedvl.imaging.dicom_grey import functional_group
from unimedvl.inference.results import TextResult

if TYPE_CHECKING:
    from highdicom import sr as sr_module

QUALITATIVE = Code("C0034375", "UMLS", "Qualitative Evaluations")
_COMMENT = Code("121106", "DCM", "Comment")
_FINDING = Code("121071", "DCM", "Finding")
_SQUARE_MM = Code("mm2", "UCUM", "square millimeter")
_PRESENT = {
    True: Code("52101004", "SCT", "Present"),
    False: Code("272519000", "SCT", "Absent"),
    None: Code("261665006", "SCT", "Unknown"),
}


def measurement_report(
    result: TextResult,
    context: StudyContext,
    maker: Maker,
    language: str,
    evaluations: Sequence[Evaluation],
    masks: Sequence[Dataset],
) -> Dataset:
    """The root container, for `report.report_sr`.

    One measurement group holds the model, its certainty and the evaluations that have codes; one more for each
    mask its area. The words, and evaluations without a code, are qualitative evaluations as text.
    """
    from highdicom import sr

    title = codes.cid7021.ImagingMeasurementReport
    root = sr.ContainerContentItem(title, template_id="1500")
    items = list(sr.LanguageOfContentItemAndDescendants(spoken_in(language)))
    items += observer(maker)
    procedure = coding.procedure(context.modality)
    items.append(sr.CodeContentItem(codes.DCM.ProcedureReported, procedure, "HAS CONCEPT MOD"))
    measured = sr.ContainerContentItem(codes.DCM.ImagingMeasurements, relationship_type="CONTAINS")
    groups = list(_whole(result, context, maker, evaluations))
    for mask in masks:
        groups += _area(mask, context, maker)
    measured.ContentSequence = sr.ContentSequence(groups)
    items.append(measured)
    words = sr.ContainerContentItem(QUALITATIVE, relationship_type="CONTAINS")
    texts = [(_COMMENT, explained(result, maker, context)), *((name, text) for _, name, text in told(result))]
    texts += [(_FINDING, f"{e.finding}: {_PRESENT[e.present].meaning.lower()}") for e in evaluations if not _code(e)]
    words.ContentSequence = sr.ContentSequence([sr.TextContentItem(n, t, "CONTAINS") for n, t in texts])
    items.append(words)
    root.ContentSequence = sr.ContentSequence(items)
    _part(root)
    return root


def _part(item: Dataset) -> None:
    """Make every container one of separate items: viewers leave the names of continuous ones out, as in prose."""
    if item.ValueType == "CONTAINER":
        item.ContinuityOfContent = "SEPARATE"
    for inner in item.get("ContentSequence", []):
        _part(inner)


def _whole(
    result: TextResult, context: StudyContext, maker: Maker, evaluations: Sequence[Evaluation]
) -> sr_module.MeasurementsAndQualitativeEvaluations:
    """The group of what holds for all images (TID 1501)."""
    from highdicom import sr

    number = certainty(result, _FINDING, "CONTAINS")
    unit = Code("%", "UCUM", "Percent")
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid_from("tracking", instance_uid("sr", context, result)), "What the images show"
        ),
        algorithm_id=sr.AlgorithmIdentification(maker.name, maker.version, manufacturer=MANUFACTURER),
        measurements=[sr.Measurement(Code("111012", "DCM", "Certainty of Finding"), float(number.value), unit)],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(code, _PRESENT[e.present]) for e in evaluations if (code := _code(e))
        ],
        source_images=[
            sr.SourceImageForMeasurementGroup(r.sop_class, r.sop_instance, None if r.frame is None else [r.frame])
            for r in context.references
        ],
    )


def _code(evaluation: Evaluation) -> Code | None:
    what = coding.named(evaluation.finding)
    known = what.kind if what.kind != coding.TISSUE else None
    return None if what.side is not None else known


def _area(mask: Dataset, context: StudyContext, maker: Maker) -> Sequence[Dataset]:
    """The area of a mask (TID 1410), in square millimetres where its image says the size of its pixels.

    Only spacing in the patient counts, not that at the detector of a projection: Imager Pixel Spacing, nor a Pixel
    Spacing that repeats it (PS3.3 10.7.1.3). The side of an abnormality is told of the part of the body.
    """
    from highdicom import sr

    source = mask.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]
    uid, segment = source.ReferencedSOPInstanceUID, mask.SegmentSequence[0]
    frame = mask.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    spacing = _spacing(context, uid, frame.get("ReferencedFrameNumber"))
    if spacing is None:
        return ()
    numbers = None if "ReferencedFrameNumber" not in frame else [int(frame.ReferencedFrameNumber)]
    area = round(int(stored_mask(mask).sum()) * spacing[0] * spacing[1], 2)
    kind = _first(segment.SegmentedPropertyTypeCodeSequence)
    category = _first(segment.SegmentedPropertyCategoryCodeSequence)
    part = coding.region(coding.part_of(context.modality, context.body_part))
    site = kind if category == coding.ANATOMY else part
    sides = segment.SegmentedPropertyTypeCodeSequence[0].get("SegmentedPropertyTypeModifierCodeSequence")
    group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(segment.TrackingUID, segment.TrackingID),
        referenced_segment=sr.ReferencedSegmentationFrame(
            mask.SOPClassUID,
            mask.SOPInstanceUID,
            1,
            1,
            sr.SourceImageForSegmentation(source.ReferencedSOPClassUID, uid, numbers),
        ),
        finding_type=kind,
        finding_sites=[sr.FindingSite(site, laterality=_first(sides))] if sides and site else None,
        finding_category=category,
        algorithm_id=sr.AlgorithmIdentification(maker.name, maker.version, manufacturer=MANUFACTURER),
        measurements=[sr.Measurement(codes.SCT.Area, area, _SQUARE_MM)],
    )
    for item in group[0].ContentSequence:
        if item.ValueType == "IMAGE" and "ReferencedSegmentNumber" in item.ReferencedSOPSequence[0]:
            del item.ReferencedSOPSequence[0].ReferencedSegmentNumber  # beside a frame it may not stand (C.18.4)
    return group


def _first(sequence: Sequence[Dataset]) -> Code:
    return Code(sequence[0].CodeValue, sequence[0].CodingSchemeDesignator, sequence[0].CodeMeaning)


def _spacing(context: StudyContext, uid: str, frame: int | None) -> tuple[float, float] | None:
    """Row and column spacing in millimetres of the image that a mask is of."""
    for source in context.sources:
        if source.SOPInstanceUID == uid:
            place = functional_group(source, (frame or 1) - 1, "PixelMeasuresSequence")
            spacing = place.get("PixelSpacing") or ()
            if len(spacing) == 2 and spacing != source.get("ImagerPixelSpacing"):
                return float(spacing[0]), float(spacing[1])
    return None
