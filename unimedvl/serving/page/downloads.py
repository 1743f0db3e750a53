"""What a result can be downloaded as: PNG with the mark, DICOM of its study, a report as PDF."""

from __future__ import annotations

import io
from collections.abc import Callable
from importlib.util import find_spec

from unimedvl.inference.results import ImageResult
from unimedvl.serving.page.pdf import pdf_of
from unimedvl.serving.page.session import Made

TYPES = {"png": "image/png", "dcm": "application/dicom", "pdf": "application/pdf"}
LABELS = {"png": "PNG", "dcm": "DICOM", "pdf": "PDF report"}


def kinds(made: Made) -> tuple[str, ...]:
    """The forms that a result can take: DICOM for drawings, and for texts on DICOM images; a study that is none is made
    up for drawings of other images."""
    if made.result is None:
        return ()
    drawn = isinstance(made.result, ImageResult)
    dicom = find_spec("highdicom") is not None and (drawn or (made.context is not None and made.result.text))
    return (*(("png",) if drawn else ()), *(("dcm",) if dicom else ()), "pdf")


def file_of(made: Made, kind: str) -> bytes:
    """The file of a result. Raises KeyError for a kind that it has not; HospitalError."""
    if kind not in kinds(made):
        raise KeyError(kind)
    makers: dict[str, Callable[[Made], bytes]] = {"png": lambda m: m.png, "dcm": _dicom, "pdf": pdf_of}
    return makers[kind](made)


def name_of(made: Made, kind: str) -> str:
    """What the file is called; nothing of the patient, nor of what was asked."""
    return f"unimedvl-{made.task}-{made.at:%Y%m%d-%H%M%S}.{kind}"


def _dicom(made: Made) -> bytes:
    """A structured report, a mask or a derived image in the study of the DICOM images; a drawing of other images
    becomes a study of its own, of a patient that is none."""
    if not isinstance(made.result, ImageResult):
        from unimedvl.hospital.report import report_sr

        document = report_sr(made.result, made.context, at=made.at)
    elif made.target is not None and made.context is not None and len(made.context.sources) == 1:
        from unimedvl.hospital.mask import segmentation

        document = segmentation(made.result, made.context, made.target, at=made.at)
    else:
        from unimedvl.hospital.derived import derived_image

        document = derived_image(made.result, made.context, at=made.at)
    out = io.BytesIO()
    document.save_as(out, enforce_file_format=True)
    return out.getvalue()
