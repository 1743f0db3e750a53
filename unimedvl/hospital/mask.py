"""A mask that the model drew, as DICOM Segmentation on the grid of the image that it was drawn from."""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import SecondaryCaptureImageStorage

from unimedvl.hospital import coding
from unimedvl.hospital.context import OF_ONE_FRAME, StudyContext
from unimedvl.hospital.error import HospitalError
from unimedvl.hospital.identity import (
    MANUFACTURER,
    Maker,
    instance_uid,
    moment,
    one_value,
    put_times,
    series_uid,
    uid_from,
)
from unimedvl.imaging import resize
from unimedvl.imaging.dicom_grey import functional_group
from unimedvl.inference.results import ImageResult

SERIES_NUMBER = 9002
# Where a multi-frame image keeps the place of a frame (PS3.3 C.7.6.16.2), and what of it says so.
_MACROS = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
}
_PLACED = ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")
_OF_FRAMES = ("NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
              "ImageOrientationSlide", "DimensionIndexSequence", "DimensionOrganizationType")  # fmt: skip


def on_source(result: ImageResult, rows: int, columns: int) -> np.ndarray:
    """The mask [rows, columns] bool on the grid of the image that was segmented.

    The model draws on a grid of its own: the image made square in its pixels, then brought to a multiple of the
    model's stride (`imaging.fit`). Both stretch the whole image and cut nothing off, so the drawing covers exactly
    what the source covers, and each side is scaled back by itself. The drawing's grey levels are resized
    (antialiased) and then cut at half, which is `ImageResult.mask` where the sizes are the same.
    """
    grey = result.array.mean(axis=2, dtype=np.float32) / np.float32(255)
    return resize(grey, (columns, rows)) > 0.5


def segmentation(
    result: ImageResult, context: StudyContext, target: str, *, at: datetime | None = None, number: int = 1
) -> Dataset:
    """A binary segmentation of one segment, with its file meta information: save it with `save_as`.

    target: what was outlined, in words. Known ones become codes (`coding.named`); the words are the label.
    context: of the one image that was segmented, with its frame. An empty mask is stored as a frame without a mark.
    at: when it was made; now where None. number: InstanceNumber.

    Raises:
        HospitalError: several images, no target, an image without its size, or one on which no mask can lie.
    """
    import highdicom as hd

    if len(context.sources) != 1:
        raise HospitalError(f"a mask is of one image; this context has {len(context.sources)}")
    target = one_value(target)
    if not target:
        raise HospitalError("a mask needs the words for what it outlines, such as: left lung")
    (source,), (frame,) = context.sources, context.frames
    rows, columns = int(source.get("Rows") or 0), int(source.get("Columns") or 0)
    if min(rows, columns) < 1:
        raise HospitalError("the image says no Rows and Columns, so no mask can be laid on it")
    maker, at = Maker.of(result), moment(at, context)
    document = hd.seg.Segmentation(
        source_images=[_plane(context.nameless[0], frame)],
        pixel_array=on_source(result, rows, columns),
        segmentation_type="BINARY",
        segment_descriptions=[_segment(target, maker, instance_uid("seg", context, result, target))],
        series_instance_uid=series_uid("seg", context, result),
        series_number=SERIES_NUMBER,
        sop_instance_uid=instance_uid("seg", context, result, target),
        instance_number=number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=maker.name,
        software_versions=maker.version,
        device_serial_number=maker.weights,
        content_label="AI_MASK",
        content_description=target[:64],
        content_qualification="RESEARCH",
        omit_empty_frames=False,
        contributing_equipment=[maker.contribution("Outlined the segment.", at, synthesizing=False)],
    )
    _refer(document, source, frame)
    context.put_into(document)
    maker.put_into(document)
    put_times(document, at)
    document.SeriesDescription = "AI masks, not verified, not for clinical use"
    return document


def stored_mask(document: Dataset) -> np.ndarray:
    """The mask [rows, columns] bool of a document that `segmentation` wrote."""
    bits = np.unpackbits(np.frombuffer(document.PixelData, np.uint8), bitorder="little")
    return bits[: document.Rows * document.Columns].reshape(document.Rows, document.Columns).astype(bool)


def _segment(target: str, maker: Maker, uid: str) -> Dataset:
    """What is outlined, by which algorithm (PS3.3 C.8.20.4)."""
    import highdicom as hd

    what = coding.named(target)
    algorithm = hd.AlgorithmIdentificationSequence(maker.name, codes.cid7162.ArtificialIntelligence, maker.version)
    segment = hd.seg.SegmentDescription(
        1,
        target[:64],
        what.category,
        what.kind,
        "AUTOMATIC",
        algorithm,
        tracking_uid=uid_from("tracking", uid),
        tracking_id=target[:64],
    )
    if what.side is not None:
        side = hd.sr.CodedConcept.from_code(what.side)
        segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
    segment.SegmentDescription = f"{target[:200]}. {maker.notice}"[:1024]
    return segment


def _plane(source: Dataset, frame: int | None) -> Dataset:
    """The image as highdicom lays a mask on it: one plane, in space only where all of its place is known.

    highdicom takes all frames of a multi-frame image or none, and none that lie nowhere, such as those of ultrasound.
    So a frame is given as an image of one frame, and `_refer` names the real one afterwards.
    """
    count = int(source.get("NumberOfFrames") or 1)
    if count > 1 and frame is None and source.SOPClassUID not in OF_ONE_FRAME:
        raise HospitalError(f"the image has {count} frames; say which of them was segmented")
    plane = Dataset()
    plane.update({e.tag: deepcopy(e) for e in source if e.keyword not in _OF_FRAMES})
    for macro, keywords in _MACROS.items():
        group = functional_group(source, (frame or 1) - 1, macro)
        for keyword in keywords if group is not source else ():
            if group.get(keyword) is not None:
                plane[keyword] = deepcopy(group[keyword])
    if source.SOPClassUID not in OF_ONE_FRAME:
        plane.SOPClassUID = SecondaryCaptureImageStorage
    if not all(plane.get(k) for k in _PLACED):
        plane.pop("FrameOfReferenceUID", None)
        plane.SOPClassUID = SecondaryCaptureImageStorage  # which needs no frame of reference
    return plane


def _refer(document: Dataset, source: Dataset, frame: int | None) -> None:
    """Name the image and frame that were segmented; leave out what an image without a place in space lacks."""
    for item in document.ReferencedSeriesSequence[0].ReferencedInstanceSequence:
        item.ReferencedSOPClassUID = source.SOPClassUID
    for group in document.PerFrameFunctionalGroupsSequence:
        for derivation in group.get("DerivationImageSequence", []):
            for item in derivation.SourceImageSequence:
                item.ReferencedSOPClassUID = source.SOPClassUID
                if frame is not None:
                    item.ReferencedFrameNumber = frame
    organization = uid_from("dimensions", document.SOPInstanceUID)  # highdicom's is a random one
    for item in (*document.DimensionOrganizationSequence, *document.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
    if "FrameOfReferenceUID" not in document:
        document.PatientOrientation = source.get("PatientOrientation") or ""
        for shared in document.get("SharedFunctionalGroupsSequence", []):
            measures = shared.get("PixelMeasuresSequence")
            if measures and not measures[0].get("SliceThickness"):
                del shared.PixelMeasuresSequence
