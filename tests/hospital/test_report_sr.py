"""Structured reports: the content tree of TID 2000 and TID 1500, and what the document says of itself."""

from __future__ import annotations

import io

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from unimedvl.hospital.context import StudyContext
from unimedvl.hospital.error import HospitalError
from unimedvl.hospital.mask import segmentation
from unimedvl.hospital.report import Evaluation, report_sr, sections


@pytest.fixture(scope="module")
def context(documents) -> StudyContext:
    return StudyContext.of([documents.real("CT_small.dcm")])


def continuities(item: pydicom.Dataset) -> set[str]:
    """Of all containers: viewers leave out the names of what stands in a continuous one."""
    found = {item.ContinuityOfContent} if "ContinuityOfContent" in item else set()
    return found.union(*(continuities(inner) for inner in item.get("ContentSequence", [])))


def test_a_report_is_split_into_its_sections_and_nothing_is_lost() -> None:
    assert sections("Findings: Clear lungs. Impression: Normal.") == {
        "findings": "Clear lungs.", "impression": "Normal."}  # fmt: skip
    assert sections("FINDINGS:\nClear lungs.\n\nIMPRESSION:\nNormal.") == {
        "findings": "Clear lungs.", "impression": "Normal."}  # fmt: skip
    assert sections("No heading at all.") == {"findings": "No heading at all."}
    assert sections("Findings: The main finding: none. Recommendation: None.")["findings"] == "The main finding: none."
    assert sections("Impression: A. Findings: B. Impression: C.") == {"impression": "A.\nC.", "findings": "B."}


def test_an_enhanced_report_has_the_tree_of_tid_2000(documents, context) -> None:
    document = report_sr(documents.report(), context, at=documents.AT)
    uid = str(context.sources[0].SOPInstanceUID)
    lines = documents.tree(document)
    device, explained = lines[4], lines[10]
    assert device.startswith("  HAS OBS CONTEXT UIDREF Device Observer UID = 2.25.")
    assert "Not verified by a person" in explained and "Not for clinical use" in explained and "nano" in explained
    assert lines[:4] + lines[5:10] + lines[11:] == [
        "CONTAINER CT Report",
        "  HAS CONCEPT MOD CODE Acquisition Device Type = Computed Tomography",
        "  HAS CONCEPT MOD CODE Language of Content Item and Descendants = English",
        "  HAS OBS CONTEXT CODE Observer Type = Device",
        "  HAS OBS CONTEXT TEXT Device Observer Name = nano",
        "  HAS OBS CONTEXT TEXT Device Observer Manufacturer = UniMedVL",
        "  HAS OBS CONTEXT TEXT Device Observer Model Name = nano 0.1.0",
        f"  HAS OBS CONTEXT TEXT Device Observer Serial Number = {documents.WEIGHTS}",
        "  CONTAINS CONTAINER Current Procedure Descriptions",
        "  CONTAINS CONTAINER Findings",
        "    CONTAINS TEXT Finding = There is a moderate right pleural effusion.",
        f"      INFERRED FROM IMAGE Source of Measurement = {uid}",
        "  CONTAINS CONTAINER Impressions",
        "    CONTAINS TEXT Impression = Right pleural effusion.",
        "      INFERRED FROM NUM Certainty of Impression = 83.0 %",
        f"      INFERRED FROM IMAGE Source of Measurement = {uid}",
    ]
    template = document.ContentTemplateSequence[0]
    assert (template.MappingResource, template.TemplateIdentifier) == ("DCMR", "2000")


def test_a_draft_is_unverified_and_preliminary_and_as_complete_as_its_text(documents, context) -> None:
    whole = report_sr(documents.report(), context)
    assert (whole.CompletionFlag, whole.VerificationFlag, whole.PreliminaryFlag) == (
        "COMPLETE", "UNVERIFIED", "PRELIMINARY")  # fmt: skip
    cut = report_sr(documents.report(finish="length"), context)
    assert cut.CompletionFlag == "PARTIAL" and "cut short" in "".join(documents.tree(cut))


def test_the_images_are_evidence(documents) -> None:
    two = [documents.ultrasound(), documents.ultrasound()]
    two[1].SOPInstanceUID = "2.25.99"
    document = report_sr(documents.report(), StudyContext.of(two, [0, 1]))
    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert [i.ReferencedSOPInstanceUID for i in series.ReferencedSOPSequence] == ["2.25.11", "2.25.99"]
    findings = document.ContentSequence[-2].ContentSequence[0].ContentSequence
    assert [i.ReferencedSOPSequence[0].ReferencedFrameNumber for i in findings] == [1, 2]


def test_an_answer_stands_after_its_question(documents, context) -> None:
    lines = documents.tree(report_sr(documents.answer("Is there an effusion?", "Yes."), context))
    asked = lines.index("    CONTAINS TEXT Request = Is there an effusion?")
    assert lines.index("    CONTAINS TEXT Finding = Yes.") > asked


@pytest.mark.parametrize(
    ("modality", "part", "title"),
    [("CT", "CHEST", "CT Chest Report"), ("MR", "BRAIN", "MRI Head Report"), ("DX", "CHEST", "X-Ray Report"),
     ("US", "", "Ultrasound Report"), ("ES", "", "Diagnostic Imaging Report")],
)  # fmt: skip
def test_the_title_follows_from_modality_and_part(documents, modality: str, part: str, title: str) -> None:
    source = documents.ultrasound()
    source.Modality, source.BodyPartExamined = modality, part
    document = report_sr(documents.report(), StudyContext.of([source], [0]))
    assert document.ConceptNameCodeSequence[0].CodeMeaning == title


def test_a_measurement_report_has_the_tree_of_tid_1500(documents, context) -> None:
    mask = np.zeros((128, 128), bool)
    mask[30:60, 20:40] = True
    document = report_sr(
        documents.report(),
        context,
        kind="comprehensive3d",
        evaluations=[Evaluation("pleural effusion", True), Evaluation("drusen", None)],
        masks=[segmentation(documents.mask_result(mask), context, "left lung", at=documents.AT)],
    )
    lines = [line for line in documents.tree(document) if "UID" not in line]
    spacing = context.sources[0].PixelSpacing
    for line in (
        "CONTAINER Imaging Measurement Report",
        "  HAS CONCEPT MOD CODE Procedure reported = CT unspecified body region",
        "      CONTAINS NUM Certainty of Finding = 83.0 %",
        "      CONTAINS CODE Pleural effusion = Present",
        "      CONTAINS CODE Finding = Lung",
        "        HAS CONCEPT MOD CODE Laterality = Left",
        f"      CONTAINS NUM Area = {round(600 * spacing[0] * spacing[1], 2)} mm2",
        "    CONTAINS TEXT Finding = There is a moderate right pleural effusion.",
        "    CONTAINS TEXT Impression = Right pleural effusion.",
        "    CONTAINS TEXT Finding = drusen: unknown",
    ):
        assert line in lines
    assert continuities(document) == {"SEPARATE"}
    stream = io.BytesIO()
    document.save_as(stream, enforce_file_format=True)
    read = hd.sr.srread(io.BytesIO(stream.getvalue()))
    (area,) = read.content.get_planar_roi_measurement_groups()
    assert area.finding_type == codes.SCT.Lung
    (whole,) = read.content.get_image_measurement_groups()
    assert whole.get_qualitative_evaluations()[0].name == codes.SCT.PleuralEffusion


def test_a_mask_of_an_image_without_spacing_has_no_area(documents) -> None:
    context = StudyContext.of([documents.ultrasound()], [0])
    mask = segmentation(documents.mask_result(np.ones((30, 40), bool)), context, "liver")
    lines = documents.tree(report_sr(documents.report(), context, kind="comprehensive3d", masks=[mask]))
    assert not any("Area" in line for line in lines)


def test_a_projection_whose_spacing_is_that_at_the_detector_has_no_area(documents) -> None:
    source = documents.ultrasound(1)
    source.PixelSpacing = source.ImagerPixelSpacing = [0.2, 0.2]
    context = StudyContext.of([source])
    mask = segmentation(documents.mask_result(np.ones((30, 40), bool)), context, "heart")
    lines = documents.tree(report_sr(documents.report(), context, kind="comprehensive3d", masks=[mask]))
    assert not any("Area" in line for line in lines)
    source.PixelSpacing = [0.15, 0.15]  # calibrated
    calibrated = StudyContext.of([source])
    lines = documents.tree(report_sr(documents.report(), calibrated, kind="comprehensive3d", masks=[mask]))
    assert any("Area = 27" in line for line in lines)


@pytest.mark.parametrize(("part", "site"), [("CHEST", "Chest"), ("", None)])
def test_an_abnormality_is_no_site(documents, part: str, site: str | None) -> None:
    source = documents.ultrasound(1)
    source.PixelSpacing, source.BodyPartExamined = [0.2, 0.2], part
    context = StudyContext.of([source])
    mask = segmentation(documents.mask_result(np.ones((30, 40), bool)), context, "left pleural effusion")
    lines = documents.tree(report_sr(documents.report(), context, kind="comprehensive3d", masks=[mask]))
    assert "      CONTAINS CODE Finding = Pleural effusion" in lines
    sites = [line.rpartition(" = ")[2] for line in lines if "CODE Finding Site" in line]
    assert sites == ([site] if site else [])


def test_characters_that_documents_can_not_hold_are_left_out(documents, context) -> None:
    text = "Findings: Clear\x00 \x1b[1mlungs\ud800.\nImpression: Normal \\ 5 µm."
    result = documents.report(text, model={"name": "C:\\models\\mine", "weights_sha256": "0" * 64})
    stream = io.BytesIO()
    report_sr(result, context).save_as(stream, enforce_file_format=True)
    document = pydicom.dcmread(io.BytesIO(stream.getvalue()))
    lines = documents.tree(document)
    assert "    CONTAINS TEXT Finding = Clear [1mlungs?." in lines
    assert "    CONTAINS TEXT Impression = Normal \\ 5 µm." in lines
    assert document.ManufacturerModelName == "C:/models/mine"


def test_the_same_result_at_the_same_time_gives_the_same_bytes(documents, context) -> None:
    written = []
    for _ in range(2):
        stream = io.BytesIO()
        report_sr(documents.report(), context, at=documents.AT).save_as(stream, enforce_file_format=True)
        written.append(stream.getvalue())
    assert written[0] == written[1]


def test_the_time_is_told_in_the_zone_of_the_study(documents, context) -> None:
    assert context.common.TimezoneOffsetFromUTC == "-0500"
    document = report_sr(documents.report(), context, at=documents.AT)
    assert (document.ContentDate, document.ContentTime) == ("20260304", "000607")


def test_what_makes_no_report_is_refused_in_one_line(documents, context) -> None:
    for wrong, said in (
        (dict(kind="basic"), "must be enhanced or comprehensive3d"),
        (dict(language="xx"), "is not known"),
        (dict(evaluations=[Evaluation("effusion", True)]), "comprehensive3d"),
    ):
        with pytest.raises(HospitalError, match=said):
            report_sr(documents.report(), context, **wrong)
    for nothing in (" ", "Findings:", "Findings:\n\nImpression: ", "\x00"):
        with pytest.raises(HospitalError, match="said nothing"):
            report_sr(documents.report(nothing), context)
    with pytest.raises(HospitalError, match="has none"):
        report_sr(documents.report(), StudyContext.synthetic("2.25.1", "S", "none"))
    other = pydicom.Dataset()
    other.StudyInstanceUID = "2.25.77"
    with pytest.raises(HospitalError, match="another study"):
        report_sr(documents.report(), context, kind="comprehensive3d", masks=[other])
