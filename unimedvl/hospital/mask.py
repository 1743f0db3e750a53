"""A mask that the model drew, as DICOM Segmentation on the grid of the image that it was drawn from."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from unimedvl.hospital import coding
from unimedvl.hospital.context import StudyContext
from unimedvl.hospital.error import HospitalError
from unimedvl.hospital.identity import (
    MANUFACTURER,
    Maker,
    instance_uid,
    moment,
    put_times,
    series_uid,
    uid_from,
)
from unimedvl.imaging import resize
from unimedvl.inference.results import ImageResult

SERIES_NUMBER = 9002


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
    context: of the one image that was segmented, with its frame. Of a multi-frame image only that frame is stored;
        an empty mask is stored as a frame without a mark.
    at: when it was made; now where None. number: InstanceNumber.

    Raises:
        HospitalError: several images, no target, an image without its size, or one on which no mask can lie.
    """
    import highdicom as hd

    if len(context.sources) != 1:
        raise HospitalError(f"a mask is of one image; this context has {len(context.sources)}")
    if not target.strip():
        raise HospitalError("a mask needs the words for what it outlines, such as: left lung")
    (source,), (frame,) = context.sources, context.frames
    rows, columns = int(source.get("Rows") or 0), int(source.get("Columns") or 0)
    if min(rows, columns) < 1:
        raise HospitalError("the image says no Rows and Columns, so no mask can be laid on it")
    maker, at = Maker.of(result), moment(at, context)
    what = coding.named(target)
    algorithm = hd.AlgorithmIdentificationSequence(maker.name, codes.cid7162.ArtificialIntelligence, maker.version)
    segment = hd.seg.SegmentDescription(
        1,
        target.strip()[:64],
        what.category,
        what.kind,
        "AUTOMATIC",
        algorithm,
        tracking_uid=uid_from("tracking", instance_uid("seg", context, result, target)),
        tracking_id=target.strip()[:64],
    )
    if what.side is not None:
        segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
            hd.sr.CodedConcept.from_code(what.side)
        ]
    segment.SegmentDescription = f"{target.strip()[:200]}. {maker.notice}"[:1024]
    document = hd.seg.Segmentation(
        source_images=[source],
        pixel_array=_frames(on_source(result, rows, columns), source, frame),
        segmentation_type="BINARY",
        segment_descriptions=[segment],
        series_instance_uid=series_uid("seg", context, result),
        series_number=SERIES_NUMBER,
        sop_instance_uid=instance_uid("seg", context, result, target),
        instance_number=number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=maker.name,
        software_versions=maker.version,
        device_serial_number=maker.weights,
        content_label="AI_MASK",
        content_description=target.strip()[:64],
        content_qualification="RESEARCH",
        contributing_equipment=[maker.contribution("Outlined the segment.", at, synthesizing=False)],
    )
    context.put_into(document)
    maker.put_into(document)
    put_times(document, at)
    document.SeriesDescription = "AI masks, not verified, not for clinical use"
    return document


def _frames(mask: np.ndarray, source: Dataset, frame: int | None) -> np.ndarray:
    """The mask at its frame's place among all frames of a multi-frame image; the others are left out later."""
    count = int(source.get("NumberOfFrames") or 1)
    if count == 1:
        return mask if "NumberOfFrames" not in source else mask[None]
    if frame is None:
        raise HospitalError(f"the image has {count} frames; say which of them was segmented")
    stack = np.zeros((count, *mask.shape), bool)
    stack[frame - 1] = mask
    return stack
