"""Images that the model made, as DICOM: Secondary Capture, or MR in the geometry of an MR image that they follow.

All are marked: Synthetic Data YES, derived and secondary, for research, with what they were derived from and how.
"""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime
from typing import Literal

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, SecondaryCaptureImageStorage

from unimedvl.hospital import coding
from unimedvl.hospital.context import StudyContext
from unimedvl.hospital.error import HospitalError
from unimedvl.hospital.identity import Maker, instance_uid, moment, plain, put_times, series_uid, uid_from
from unimedvl.inference.results import ImageResult
from unimedvl.tasks import TASKS

Kind = Literal["secondary", "mr"]
SERIES_NUMBER = 9003
# Distance of the channels from their mean, in grey levels of 255: up to which, over all pixels, an image is a grey one,
# and from which on a pixel is coloured. A grey image has less than one such pixel in a thousand.
GREY, COLOUR, COLOURED = 4.0, 48.0, 1e-3


def derived_image(
    result: ImageResult,
    context: StudyContext | None = None,
    *,
    kind: Kind = "secondary",
    at: datetime | None = None,
    number: int = 1,
) -> Dataset:
    """An image that the model made, with its file meta information: save it with `save_as`.

    context: of the images that it was made of. None for an image made of words alone: it becomes a study of its own,
        of a patient called "Synthetic^Not a patient".
    kind: "secondary" is Secondary Capture, which claims nothing of how it was acquired. "mr" is an MR image of
        scanning sequence RM (research mode), on the position and orientation of an MR source, so that viewers show
        both side by side; its grey levels are 8 bits without a unit. There is no such form for CT, whose Hounsfield
        units are lost, nor for the other classes.
    at: when it was made; now where None. number: InstanceNumber.

    Grey images are stored as MONOCHROME2, others as RGB (`GREY`). The pixels have the invisible watermark of all that
    is made (`ImageResult.marked`).

    Raises:
        HospitalError: kind "mr" for what is not grey, or not made of a single-frame MR image.
    """
    context = context or _of_nobody(result)
    if kind not in ("secondary", "mr"):
        raise HospitalError(f"kind is {kind!r}; it must be secondary or mr")
    maker, at = Maker.of(result), moment(at, context)
    image = Dataset()
    context.put_into(image)
    image.SOPClassUID = MRImageStorage if kind == "mr" else SecondaryCaptureImageStorage
    image.SOPInstanceUID = instance_uid(kind, context, result)
    image.SeriesInstanceUID, image.SeriesNumber = series_uid(kind, context, result), SERIES_NUMBER
    image.InstanceNumber = number
    image.SeriesDescription = f"AI {result.provenance.get('task', 'image')}, synthetic, not for clinical use"[:64]
    maker.put_into(image)
    put_times(image, at)
    _put_pixels(image, result.marked)
    _put_marks(image, result, context, maker, at)
    _put_place(image, context)
    if kind == "mr":
        _put_mr(image, context)
    else:
        image.Modality, image.ConversionType = "OT", "SYN"
        image.ImageType = ["DERIVED", "SECONDARY"]
        image.DateOfSecondaryCapture, image.TimeOfSecondaryCapture = image.ContentDate, image.ContentTime
    put_meta(image)
    return image


def put_meta(dataset: Dataset) -> None:
    """File meta information for Explicit VR Little Endian."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def derivation(result: ImageResult, maker: Maker) -> str:
    """How an image came about, in at most 1024 characters."""
    came = result.provenance
    task = TASKS.get(str(came.get("task")))
    summary = task.summary if task else "an image"
    request = plain(str(came.get("request") or ""))[:400]
    return f"SYNTHETIC, {summary}. Request: {request!r}, seed {came.get('seed', 0)}. {maker.notice}"[:1024]


def _of_nobody(result: ImageResult) -> StudyContext:
    """The context of an image of words: a study that follows from the words, seed, settings and weights."""
    study = uid_from("study of words", instance_uid("words", StudyContext.synthetic("", "", ""), result))
    return StudyContext.synthetic(study, f"SYNTHETIC-{study[-12:]}", "Synthetic; not a patient")


def _put_pixels(image: Dataset, array: np.ndarray) -> None:
    """Image Pixel module (PS3.3 C.7.6.3), 8 bits."""
    spread = np.abs(array.astype(np.int16) - array.mean(axis=2, keepdims=True))
    grey = spread.mean() <= GREY and (spread.max(axis=2) >= COLOUR).mean() < COLOURED
    stored = np.rint(array.mean(axis=2)).astype(np.uint8) if grey else array
    image.Rows, image.Columns = array.shape[:2]
    image.SamplesPerPixel, image.PhotometricInterpretation = (1, "MONOCHROME2") if grey else (3, "RGB")
    if not grey:
        image.PlanarConfiguration = 0
    # MR Image Storage asks for 16 allocated bits (PS3.3 C.8.3.1).
    image.BitsAllocated = 16 if image.SOPClassUID == MRImageStorage else 8
    image.BitsStored, image.HighBit, image.PixelRepresentation = 8, 7, 0
    if grey:
        image.WindowCenter, image.WindowWidth = "128", "256"
    data = np.ascontiguousarray(stored, "<u2" if image.BitsAllocated == 16 else np.uint8).tobytes()
    image.add_new("PixelData", "OW" if image.BitsAllocated == 16 else "OB", data + b"\0" * (len(data) % 2))


def _put_marks(image: Dataset, result: ImageResult, context: StudyContext, maker: Maker, at: datetime) -> None:
    """That it is synthetic, for research, of which images and how it was made."""
    from highdicom.sr import CodedConcept

    image.SyntheticData, image.ContentQualification = "YES", "RESEARCH"
    image.DerivationDescription = derivation(result, maker)
    if result.text:
        image.ImageComments = plain(result.text)[:10240]
    image.ContributingEquipmentSequence = [maker.contribution("Made this image.", at, synthesizing=True)]
    burned = {str(s.get("BurnedInAnnotation") or "") for s in context.sources}  # what is drawn after it may repeat it
    if "YES" in burned or burned <= {"NO"}:
        image.BurnedInAnnotation = "YES" if "YES" in burned else "NO"
    items = []
    for reference in context.references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = reference.sop_class, reference.sop_instance
        if reference.frame is not None:
            item.ReferencedFrameNumber = reference.frame
        item.PurposeOfReferenceCodeSequence = [
            CodedConcept.from_code(Code("121322", "DCM", "Source image for image processing operation"))
        ]
        items.append(item)
    if items:
        image.SourceImageSequence = items
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        values = [s[keyword].value for s in context.sources if s.get("LossyImageCompression") == "01" and keyword in s]
        if values:
            setattr(image, keyword, values[0])


def _put_place(image: Dataset, context: StudyContext) -> None:
    """What it shows: part of the body, side, orientation and spacing, as the source has them.

    A part that exists twice asks for a side (General Series, Laterality, type 2C); where none is known it is empty.
    """
    part = context.body_part
    if part:
        image.BodyPartExamined = part
    if context.laterality:
        image.Laterality = context.laterality
    elif part not in coding.UNPAIRED:
        image.Laterality = ""
    image.PatientOrientation = ""
    if len(context.sources) != 1:
        return
    (source,) = context.sources
    if source.get("PatientOrientation"):
        image.PatientOrientation = source.PatientOrientation
    spacing, rows, columns = source.get("PixelSpacing"), source.get("Rows"), source.get("Columns")
    if spacing and rows and columns and len(spacing) == 2:
        scaled = (float(spacing[0]) * rows / image.Rows, float(spacing[1]) * columns / image.Columns)
        image.PixelSpacing = [f"{value:.8g}" for value in scaled]


def _put_mr(image: Dataset, context: StudyContext) -> None:
    """MR Image Storage: the geometry of the source, and that it was not acquired."""
    sources = context.sources
    if len(sources) != 1 or sources[0].SOPClassUID != MRImageStorage:
        raise HospitalError("an image is stored as mr only when it was made of one single-frame MR image")
    if image.SamplesPerPixel != 1:
        raise HospitalError("an image in colour can't be stored as mr; store it as secondary")
    (source,) = sources
    image.Modality, image.ImageType = "MR", ["DERIVED", "SECONDARY", "OTHER"]
    image.ScanningSequence, image.SequenceVariant, image.ScanOptions = "RM", "NONE", ""
    image.MRAcquisitionType, image.EchoTime, image.EchoTrainLength, image.RepetitionTime = "", "", "", ""
    for keyword in ("FrameOfReferenceUID", "PositionReferenceIndicator", "PatientPosition", "ImageOrientationPatient",
                    "SliceThickness", "SpacingBetweenSlices", "MagneticFieldStrength"):  # fmt: skip
        if keyword in source:
            image[keyword] = deepcopy(source[keyword])
    if not all(source.get(k) for k in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")):
        raise HospitalError("the MR image says no position, orientation or spacing; store the result as secondary")
    for keyword in ("PositionReferenceIndicator", "PatientPosition", "SliceThickness"):
        if keyword not in image:
            setattr(image, keyword, "")
    if "FrameOfReferenceUID" not in image:
        image.FrameOfReferenceUID = uid_from("frame of reference", source.SeriesInstanceUID)
    image.ImagePositionPatient = _moved(source, image)
    image.PatientOrientation = source.get("PatientOrientation") or ""


def _moved(source: Dataset, image: Dataset) -> list[str]:
    """The centre of the first pixel, where pixels of another size cover the same extent (PS3.3 C.7.6.2.1.1)."""
    position = np.array(source.ImagePositionPatient, float)
    along, down = np.array(source.ImageOrientationPatient, float).reshape(2, 3)
    before, after = np.array(source.PixelSpacing, float), np.array(image.PixelSpacing, float)
    moved = position + along * (after[1] - before[1]) / 2 + down * (after[0] - before[0]) / 2
    return [f"{value:.10g}" for value in moved]
