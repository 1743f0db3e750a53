"""Every kind of document passes dciodvfy without an error but the one that it is known not to know."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from unimedvl.hospital.context import StudyContext
from unimedvl.hospital.derived import derived_image
from unimedvl.hospital.encapsulated import encapsulated_pdf
from unimedvl.hospital.mask import segmentation, stored_mask
from unimedvl.hospital.report import Evaluation, report_sr
from unimedvl.inference.results import ImageResult, TextResult
from unimedvl.phantoms import SIMULATORS, simulate
from unimedvl.phantoms.dicom import dicom_of
from unimedvl.phantoms.language import report

# Synthetic Data (0008,001C) is younger than the program that Debian has.
UNKNOWN = "Error - </(0008,001c)> - Attribute with an even group number is not a recognized standard attribute"
# What the program calls each class that it checks.
IODS = {
    pydicom.uid.EnhancedSRStorage: "EnhancedSR", pydicom.uid.Comprehensive3DSRStorage: "Comprehensive3DSR",
    pydicom.uid.SegmentationStorage: "Segmentation", pydicom.uid.SecondaryCaptureImageStorage: "SCImage",
    pydicom.uid.MRImageStorage: "MRImage", pydicom.uid.EncapsulatedPDFStorage: "EncapsulatedPDF",
}  # fmt: skip
# One image of every kind that pydicom ships: CT, MR, CR, nuclear medicine, single and multi-frame ultrasound, secondary
# capture of one and several frames, a segmentation, a dose, and headers with values that are none.
REAL = [
    "dicomdirtests/77654033/CR1/6154",
    "CT_small.dcm", "MR_small.dcm", "JPEG-lossy.dcm", "JPEG2000.dcm", "693_J2KI.dcm", "examples_palette.dcm",
    "examples_ybr_color.dcm", "examples_rgb_color.dcm", "examples_overlay.dcm", "SC_rgb_small_odd.dcm",
    "SC_rgb_rle_2frame.dcm", "liver_1frame.dcm", "rtdose.dcm", "image_dfl.dcm", "MR_small_bigendian.dcm",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    for name in ("dciodvfy", "dsrdump"):
        if shutil.which(name) is None:
            pytest.exit(f"tests/e2e needs {name}; run them as `make test-e2e`", returncode=1)


def provenance(task: str, request: str) -> dict:
    model = {"name": "nano", "weights_sha256": "0123456789abcdef" * 4, "trained_on": "simulated images"}
    return {"task": task, "request": request, "seed": 0, "settings": {}, "model": model}


def drawing(pixels: np.ndarray, task: str) -> ImageResult:
    return ImageResult(pixels, provenance=provenance(task, "Draw this."))


def documents(source: Dataset, text: str, mask: np.ndarray, target: str) -> dict[str, Dataset]:
    """Every kind of document of one image."""
    frames = int(source.get("NumberOfFrames") or 1)
    context = StudyContext.of([source], [frames // 2 if frames > 1 else None])
    told = TextResult(text, confidence=0.7, provenance=provenance("report", "Write a report."))
    asked = TextResult("Yes.", confidence=0.9, finish="length", provenance=provenance("ask", "Is there an effusion?"))
    drawn = np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2)
    colours = np.random.default_rng(0).integers(0, 255, (64, 48, 3), dtype=np.uint8)
    seg = segmentation(drawing(drawn, "segment"), context, target)
    evaluations = [Evaluation("pleural effusion", True), Evaluation("drusen", False)]
    made = {
        "enhanced": report_sr(told, context),
        "answer": report_sr(asked, context),
        "comprehensive": report_sr(told, context, kind="comprehensive3d", evaluations=evaluations, masks=[seg]),
        "seg": seg,
        "grey": derived_image(drawing(drawn, "translate"), context),
        "colour": derived_image(drawing(colours, "stain"), context),
        "pdf": encapsulated_pdf(b"%PDF-1.7\n", context, told),
    }
    if source.SOPClassUID == pydicom.uid.MRImageStorage and "PixelSpacing" in source:
        made["mr"] = derived_image(drawing(drawn, "translate"), context, kind="mr")
    return made


def checked(made: dict[str, Dataset], folder: Path) -> dict[str, list[str]]:
    """The errors of each document, by dciodvfy."""
    found = {}
    for name, document in made.items():
        file = folder / f"{name}.dcm"
        document.save_as(file, enforce_file_format=True)
        done = subprocess.run(["dciodvfy", "-new", str(file)], capture_output=True, text=True, timeout=60)
        said = (done.stdout + done.stderr).splitlines()
        assert IODS[document.SOPClassUID] in said, f"{name}: dciodvfy did not take it for what it is"
        found[name] = [line for line in said if line.startswith("Error")]
    return found


def expected(made: dict[str, Dataset]) -> dict[str, list[str]]:
    return {name: [UNKNOWN] if "SyntheticData" in document else [] for name, document in made.items()}


@pytest.mark.parametrize("modality", list(SIMULATORS))
def test_documents_of_simulated_studies_are_without_errors(modality: str, tmp_path: Path) -> None:
    study = simulate(modality, 3, 96)
    target, mask = next((n, m) for n, m in study.masks.items() if m.any())
    said = report(study, np.random.default_rng(0), next(iter(study.images)))
    for view in study.images:
        made = documents(dicom_of(study, view), said, mask, target)
        assert np.array_equal(stored_mask(made["seg"]), mask)
        assert checked(made, tmp_path) == expected(made)


@pytest.mark.parametrize("name", REAL)
def test_documents_of_real_files_are_without_errors(name: str, tmp_path: Path) -> None:
    source = pydicom.dcmread(get_testdata_file(name, download=False), stop_before_pixels=True)
    made = documents(source, "Findings: None. Impression: Normal.", np.eye(80, 64, dtype=bool), "lesion")
    assert checked(made, tmp_path) == expected(made)


def test_documents_of_a_frame_in_space_are_without_errors(tmp_path: Path) -> None:
    source = enhanced_mr()
    made = documents(source, "Findings: None. Impression: Normal.", np.eye(30, 40, dtype=bool), "lesion")
    (group,) = made["seg"].PerFrameFunctionalGroupsSequence
    assert group.PlanePositionSequence[0].ImagePositionPatient == [0, 0, 5]
    assert checked(made, tmp_path) == expected(made)


def enhanced_mr() -> Dataset:
    """The header of an enhanced MR image of three frames, 5 mm apart."""
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = pydicom.uid.EnhancedMRImageStorage, "2.25.21"
    data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = "2.25.12", "2.25.13", "2.25.22"
    data.PatientID, data.Modality = "P1", "MR"
    data.Rows, data.Columns, data.NumberOfFrames = 30, 40, 3
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.25], 5
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    data.SharedFunctionalGroupsSequence, data.PerFrameFunctionalGroupsSequence = [shared], []
    for number in range(3):
        group, place = Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, 5 * number]
        group.PlanePositionSequence = [place]
        data.PerFrameFunctionalGroupsSequence.append(group)
    return data


def test_an_image_of_words_is_without_errors(tmp_path: Path) -> None:
    made = {"words": derived_image(drawing(np.zeros((64, 64, 3), np.uint8), "generate"))}
    assert checked(made, tmp_path) == expected(made)


def test_an_error_is_found(tmp_path: Path) -> None:
    image = derived_image(drawing(np.zeros((64, 64, 3), np.uint8), "generate"))
    del image.ConversionType
    assert any("ConversionType" in error for error in checked({"wrong": image}, tmp_path)["wrong"])


def test_reports_are_read_by_another_library(tmp_path: Path) -> None:
    """dcmtk reads the tree, checks relations between value types, and prints it."""
    source = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False), stop_before_pixels=True)
    made = documents(source, "Findings: None. Impression: Normal.", np.eye(64, dtype=bool), "left lung")
    for name, lines in {
        "enhanced": [
            r'<CONTAINER:\(,,"CT Report"\)=CONTINUOUS>',
            r'<has obs context CODE:\(,,"Observer Type"\)=\(121007,DCM,"Device"\)>',
            r'<contains TEXT:\(,,"Impression"\)="Normal\.">',
            r'<inferred from NUM:\(,,"Certainty of Impression"\)="70\.0" \(%,UCUM,"Percent"\)>',
            r'<inferred from IMAGE:\(,,"Source of Measurement"\)=\(CT image,\)>',
        ],
        "comprehensive": [
            r'<contains CODE:\(,,"Pleural effusion"\)=\(52101004,SCT,"Present"\)>',
            r'<contains NUM:\(,,"Area"\)="[\d.]+" \(mm2,UCUM,"square millimeter"\)>',
            r'<contains TEXT:\(,,"Finding"\)="drusen: absent">',
        ],
    }.items():
        file = tmp_path / f"{name}.dcm"
        made[name].save_as(file, enforce_file_format=True)
        done = subprocess.run(["dsrdump", str(file)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "Preliminary Flag    : PRELIMINARY" in done.stdout and "Verification Flag   : UNVERIFIED" in done.stdout
        for line in lines:
            assert re.search(line, done.stdout), (line, done.stdout)
        stream = io.BytesIO()
        made[name].save_as(stream, enforce_file_format=True)
        assert pydicom.dcmread(io.BytesIO(stream.getvalue())).Modality == "SR"
