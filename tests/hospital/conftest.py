"""Source images and results that tests of documents share: real headers and invented answers."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from unimedvl.inference.results import ImageResult, TextResult


class Documents:
    AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    WEIGHTS = "0123456789abcdef" * 4
    REPORT = "Findings: There is a moderate right pleural effusion. Impression: Right pleural effusion."

    @staticmethod
    def real(name: str) -> Dataset:
        """A file that pydicom ships, without its pixels."""
        return pydicom.dcmread(get_testdata_file(name, download=False), stop_before_pixels=True)

    @staticmethod
    def provenance(task: str, request: str, **more) -> dict:
        return {
            "task": task,
            "request": request,
            "seed": 0,
            "settings": {"think": False},
            "model": {"name": "nano", "weights_sha256": Documents.WEIGHTS, "trained_on": "simulated images"},
            "versions": {"unimedvl": "0.1.0"},
        } | more

    @staticmethod
    def report(text: str = REPORT, **more) -> TextResult:
        return TextResult(text, confidence=0.83, finish=more.pop("finish", "stop"), provenance=Documents.provenance(
            "report", "Write a report.", **more))  # fmt: skip

    @staticmethod
    def answer(question: str, text: str) -> TextResult:
        return TextResult(text, confidence=0.9, provenance=Documents.provenance("ask", question))

    @staticmethod
    def mask_result(mask: np.ndarray, target: str = "left lung") -> ImageResult:
        """What the model would draw of a mask [H, W] bool."""
        drawn = np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2)
        return ImageResult(drawn, provenance=Documents.provenance("segment", f"Segment the {target}."))

    @staticmethod
    def drawn(side: tuple[int, int] = (128, 128), grey: bool = True, task: str = "translate") -> ImageResult:
        """A drawing of noise [H, W, 3]."""
        pixels = np.random.default_rng(0).integers(0, 255, (*side, 1 if grey else 3), dtype=np.uint8)
        pixels = np.repeat(pixels, 3, axis=2) if grey else pixels
        return ImageResult(pixels, provenance=Documents.provenance(task, "Translate this T2 image to FLAIR."))

    @staticmethod
    def ultrasound(frames: int = 3) -> Dataset:
        """The header of an ultrasound clip, which lies nowhere in space."""
        data = Dataset()
        data.SOPClassUID, data.SOPInstanceUID = pydicom.uid.UltrasoundMultiFrameImageStorage, "2.25.11"
        data.StudyInstanceUID, data.SeriesInstanceUID = "2.25.12", "2.25.13"
        data.PatientID, data.Modality = "P1", "US"
        data.Rows, data.Columns, data.NumberOfFrames = 30, 40, frames
        return data

    @staticmethod
    def enhanced_mr(frames: int = 3) -> Dataset:
        """The header of an enhanced MR image, whose frames lie 5 mm apart."""
        data = Documents.ultrasound(frames)
        data.SOPClassUID, data.Modality, data.SOPInstanceUID = pydicom.uid.EnhancedMRImageStorage, "MR", "2.25.21"
        data.FrameOfReferenceUID = "2.25.22"
        shared, orientation, measures = Dataset(), Dataset(), Dataset()
        orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        measures.PixelSpacing, measures.SliceThickness = [0.5, 0.25], 5
        shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
        data.SharedFunctionalGroupsSequence, data.PerFrameFunctionalGroupsSequence = [shared], []
        for number in range(frames):
            group, place = Dataset(), Dataset()
            place.ImagePositionPatient = [0, 0, 5 * number]
            group.PlanePositionSequence = [place]
            data.PerFrameFunctionalGroupsSequence.append(group)
        return data

    @staticmethod
    def tree(item: Dataset, depth: int = 0) -> list[str]:
        """The content of a report, a line an item: relationship, type, name and value, indented."""
        name = item.ConceptNameCodeSequence[0] if "ConceptNameCodeSequence" in item else None
        said = [str(item.get("RelationshipType", "")), item.ValueType, name.CodeMeaning if name else ""]
        value = item.get("TextValue") or item.get("UID")
        if item.ValueType == "CODE":
            value = item.ConceptCodeSequence[0].CodeMeaning
        elif item.ValueType == "NUM":
            measured = item.MeasuredValueSequence[0]
            value = f"{measured.NumericValue} {measured.MeasurementUnitsCodeSequence[0].CodeValue}"
        elif item.ValueType == "IMAGE":
            value = f"{item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID}"
        lines = ["  " * depth + " ".join(filter(None, (*said, f"= {value}" if value else "")))]
        for inner in item.get("ContentSequence", []):
            lines += Documents.tree(inner, depth + 1)
        return lines


@pytest.fixture(scope="session")
def documents() -> type[Documents]:
    return Documents
