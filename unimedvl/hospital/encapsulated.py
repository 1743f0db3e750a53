"""A report that is a PDF, as DICOM Encapsulated PDF."""

from __future__ import annotations

import hashlib
from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from unimedvl.hospital import coding
from unimedvl.hospital.context import StudyContext
from unimedvl.hospital.derived import put_meta
from unimedvl.hospital.error import HospitalError
from unimedvl.hospital.identity import Maker, Result, instance_uid, moment, put_times, series_uid

SERIES_NUMBER = 9004


def encapsulated_pdf(
    pdf: bytes,
    context: StudyContext,
    result: Result,
    *,
    title: str = "AI draft report, not verified",
    at: datetime | None = None,
    number: int = 1,
) -> Dataset:
    """A PDF as a document of the study, with its file meta information: save it with `save_as`.

    result: what the PDF tells of; it says which model made it. title: at most 1024 characters.
    at: when it was made; now where None. number: InstanceNumber.

    Raises:
        HospitalError: the bytes are no PDF, or the context has no images.
    """
    from highdicom.sr import CodedConcept

    if not pdf.startswith(b"%PDF-"):
        raise HospitalError("these bytes are no PDF; a PDF begins with %PDF-")
    if not context.sources:
        raise HospitalError("a document needs the images that it is about; this context has none")
    maker, at = Maker.of(result), moment(at, context)
    document = Dataset()
    context.put_into(document)
    document.SOPClassUID = EncapsulatedPDFStorage
    document.SOPInstanceUID = instance_uid("pdf", context, result, hashlib.sha256(pdf).hexdigest())
    document.SeriesInstanceUID, document.SeriesNumber = series_uid("pdf", context, result), SERIES_NUMBER
    document.InstanceNumber, document.Modality, document.ConversionType = number, "DOC", "WSD"
    document.SeriesDescription = "AI draft, not verified, not for clinical use"
    maker.put_into(document)
    put_times(document, at)
    document.AcquisitionDateTime = ""
    document.BurnedInAnnotation = "YES"  # a page names its patient
    document.DocumentTitle, document.MIMETypeOfEncapsulatedDocument = title[:1024], "application/pdf"
    part = coding.part_of(context.modality, context.body_part)
    document.ConceptNameCodeSequence = [CodedConcept.from_code(coding.report_title(context.modality, part))]
    document.ContributingEquipmentSequence = [maker.contribution("Wrote this document.", at, synthesizing=False)]
    document.SourceInstanceSequence = []
    for reference in context.references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = reference.sop_class, reference.sop_instance
        document.SourceInstanceSequence.append(item)
    document.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    document.EncapsulatedDocumentLength = len(pdf)
    put_meta(document)
    return document
