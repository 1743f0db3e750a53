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


class Peer:
    """A storage SCP and SCU of pynetdicom, as a PACS is one: keeps what it gets, and sends."""

    def __init__(self, title: str = "PEER", answer: int = 0x0000) -> None:
        from pynetdicom import AE, AllStoragePresentationContexts, evt

        self.title, self.answer, self.got = title, answer, []
        self._ae = AE(title)
        self._ae.supported_contexts = AllStoragePresentationContexts
        self._ae.require_called_aet = True
        handlers = [(evt.EVT_C_STORE, self._keep)]
        self._server = self._ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def address(self) -> str:
        return f"{self.title}@127.0.0.1:{self.port}"

    def _keep(self, event) -> int:
        if self.answer == 0x0000:
            self.got.append(event.dataset)
        return self.answer

    def of(self, study: str) -> list[Dataset]:
        return [d for d in self.got if d.StudyInstanceUID == study]

    def close(self) -> None:
        self._server.shutdown()
        self._ae.shutdown()

    @staticmethod
    def send(datasets: list[Dataset], port: int, called: str = "UNIMEDVL", calling: str = "SENDER", **tls) -> list[int]:
        """The status of each that was answered; what comes after an association that ended has none."""
        from pynetdicom import AE

        ae = AE(calling)
        ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = 30
        for kind in {(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in datasets}:
            ae.add_requested_context(*kind)
        association = ae.associate("127.0.0.1", port, ae_title=called, **tls)
        answers = []
        for dataset in datasets:
            if not association.is_established:
                break
            status = association.send_c_store(dataset)
            if "Status" not in status:
                break
            answers.append(status.Status)
        if association.is_established:
            association.release()
        return answers


@pytest.fixture
def peer():
    running = Peer()
    yield running
    running.close()


@pytest.fixture(scope="session")
def chest():
    """A simulated chest radiograph of one or several views, as `chest(seed, ["PA", "LL"])`: data sets to be sent."""
    from unimedvl.phantoms import simulate
    from unimedvl.phantoms.dicom import dicom_of

    def make(seed: int, views=("PA",)) -> list[Dataset]:
        made = []
        for number, view in enumerate(views, 1):
            dataset = dicom_of(simulate("cxr", seed, 64), "frontal")
            dataset.SOPInstanceUID = f"{dataset.SOPInstanceUID[:50]}.{number}"
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            dataset.InstanceNumber, dataset.ViewPosition = number, view
            made.append(dataset)
        return made

    return make
