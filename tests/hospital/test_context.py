"""What results take over from their images: patient, study, references, in UTF-8."""

from __future__ import annotations

import io
from copy import deepcopy

import numpy as np
import pydicom
import pytest

from unimedvl.hospital.context import StudyContext
from unimedvl.hospital.error import HospitalError
from unimedvl.hospital.fhir import Made, fhir_bundle
from unimedvl.hospital.identity import instance_uid, series_uid
from unimedvl.hospital.mask import segmentation
from unimedvl.hospital.report import report_sr


def written(dataset: pydicom.Dataset) -> pydicom.Dataset:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return pydicom.dcmread(io.BytesIO(stream.getvalue()))


def test_patient_and_study_are_those_of_the_source(documents) -> None:
    source = documents.real("CT_small.dcm")
    common = StudyContext.of([source]).common
    for keyword in ("PatientName", "PatientID", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyID"):
        assert str(common[keyword].value) == str(source[keyword].value)


def test_missing_type_2_attributes_are_there_and_empty(documents) -> None:
    common = StudyContext.of([documents.ultrasound()]).common
    for keyword in ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
                    "AccessionNumber", "ReferringPhysicianName"):  # fmt: skip
        assert keyword in common and not common[keyword].value


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("PatientBirthDate", "in 1950"), ("PatientSex", "female"), ("StudyTime", "noon"), ("StudyTime", "246060"),
     ("StudyDate", "00000000"), ("StudyDate", "20260231")],
)  # fmt: skip
def test_a_value_that_is_none_is_left_empty(documents, keyword: str, value: str) -> None:
    source = documents.ultrasound()
    with pydicom.config.disable_value_validation():
        setattr(source, keyword, value)
        common = StudyContext.of([source]).common
    assert not common[keyword].value


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("StudyDate", "00000000"), ("StudyTime", "999999"), ("TimezoneOffsetFromUTC", "+9999"), ("SeriesNumber", -1)],
)
def test_a_study_with_odd_values_has_its_report_and_its_resources(documents, keyword: str, value) -> None:
    source = documents.ultrasound()
    setattr(source, keyword, value)
    context = StudyContext.of([source], [0])
    assert report_sr(documents.report(), context, at=documents.AT).get(keyword) != value
    assert fhir_bundle([Made(documents.report())], context, at=documents.AT).entry


@pytest.mark.parametrize(
    ("keyword", "values", "said"),
    [
        ("Modality", ("CT", "PT"), ""),
        ("Modality", ("CT", "CT"), "CT"),
        ("BodyPartExamined", ("CHEST", "ABDOMEN"), ""),
        ("BodyPartExamined", ("", "CHEST"), "CHEST"),
        ("ImageLaterality", ("L", "R"), ""),
        ("ImageLaterality", ("L", ""), ""),
        ("ImageLaterality", ("R", "R"), "R"),
        ("Laterality", ("L", "L"), "L"),
    ],
)
def test_of_images_that_disagree_none_speaks_for_all(documents, keyword: str, values: tuple, said: str) -> None:
    sources = [documents.ultrasound(), documents.ultrasound()]
    for source, value in zip(sources, values, strict=True):
        setattr(source, keyword, value)
    told = {"Modality": "modality", "BodyPartExamined": "body_part"}.get(keyword, "laterality")
    assert getattr(StudyContext.of(sources, [0, 1]), told) == said


def test_the_side_of_an_image_goes_before_that_of_its_series(documents) -> None:
    source = documents.ultrasound()
    source.Laterality, source.ImageLaterality = "L", "B"
    assert StudyContext.of([source], [0]).laterality == ""


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 100", "Äneas^Rüdiger"),
        ("ISO_IR 144", "Люкceмбypг"),  # noqa: RUF001
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
    ],
)
def test_names_in_any_character_set_go_out_as_utf8(documents, character_set, name: str) -> None:
    source = documents.real("CT_small.dcm")
    source.SpecificCharacterSet, source.PatientName = character_set, name
    source = written(source)
    document = written(report_sr(documents.report(), StudyContext.of([source]), at=documents.AT))
    assert document.SpecificCharacterSet == "ISO_IR 192"
    assert str(document.PatientName) == name


def test_no_name_is_told_in_warnings_and_logs(documents, caplog, recwarn) -> None:
    source = documents.real("CT_small.dcm")
    source.PatientName = "Single"
    context = StudyContext.of([source])
    for made in (
        report_sr(documents.report(), context),
        segmentation(documents.mask_result(np.ones((8, 8), bool)), context, "lung"),
    ):
        assert made.PatientName == "Single"
    assert "Single" not in caplog.text + "".join(str(w.message) for w in recwarn)


def test_several_patients_or_studies_are_refused_without_naming_them(documents) -> None:
    one, other = documents.real("CT_small.dcm"), documents.real("MR_small.dcm")
    with pytest.raises(HospitalError, match="2 patients") as refused:
        StudyContext.of([one, other])
    assert "1CT1" not in str(refused.value) and "\n" not in str(refused.value)
    same_patient = deepcopy(one)
    same_patient.StudyInstanceUID = "2.25.5"
    with pytest.raises(HospitalError, match="2 studies"):
        StudyContext.of([one, same_patient])


def test_patients_without_a_number_are_told_apart_by_name_and_birth_date(documents) -> None:
    one, other = documents.ultrasound(), documents.ultrasound()
    one.PatientID = other.PatientID = ""
    one.PatientName, other.PatientName = "Doe^Jane^^", "DOE^JANE"
    assert len(StudyContext.of([one, other]).sources) == 2
    other.PatientBirthDate = "19500101"
    with pytest.raises(HospitalError, match="2 patients"):
        StudyContext.of([one, other])


def test_the_same_number_of_two_issuers_is_two_patients(documents) -> None:
    one, other = documents.ultrasound(), documents.ultrasound()
    one.IssuerOfPatientID = "North"
    assert len(StudyContext.of([one, other]).sources) == 2
    other.IssuerOfPatientID = "South"
    with pytest.raises(HospitalError, match="2 patients"):
        StudyContext.of([one, other])


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
def test_an_image_without_a_uid_is_refused(documents, keyword: str) -> None:
    source = documents.real("CT_small.dcm")
    del source[keyword]
    with pytest.raises(HospitalError, match=f"image 1 has no {keyword}"):
        StudyContext.of([source])


def test_no_images_are_refused() -> None:
    with pytest.raises(HospitalError, match="no DICOM image"):
        StudyContext.of([])


def test_frames_are_counted_from_one_and_only_where_there_are_several(documents) -> None:
    assert StudyContext.of([documents.ultrasound()], [1]).references[0].frame == 2
    assert StudyContext.of([documents.ultrasound(1)], [0]).references[0].frame is None
    assert StudyContext.of([documents.real("CT_small.dcm")], [None]).references[0].frame is None
    with pytest.raises(HospitalError, match="has 3 frames"):
        StudyContext.of([documents.ultrasound()], [3])


def test_results_of_synthetic_images_are_marked_so(documents) -> None:
    source = documents.real("CT_small.dcm")
    assert "SyntheticData" not in report_sr(documents.report(), StudyContext.of([source]))
    source.SyntheticData = "YES"
    assert report_sr(documents.report(), StudyContext.of([source])).SyntheticData == "YES"


def test_private_elements_stay_behind(documents) -> None:
    source = documents.real("CT_small.dcm")
    source.private_block(0x0009, "ACME", create=True).add_new(1, "LO", "secret")
    context = StudyContext.of([source])
    assert not any(e.tag.is_private for e in (*context.common, *context.sources[0]))


def test_the_same_result_has_the_same_uids_and_any_difference_others(documents) -> None:
    context = StudyContext.of([documents.real("CT_small.dcm")])
    frames = [StudyContext.of([documents.ultrasound()], [f]) for f in (0, 1)]
    first = instance_uid("sr", context, documents.report())
    assert first == instance_uid("sr", context, documents.report())
    others = [
        instance_uid("seg", context, documents.report()),
        instance_uid("sr", context, documents.report("Another text.")),
        instance_uid("sr", context, documents.report(seed=1)),
        instance_uid("sr", context, documents.report(settings={"think": True})),
        instance_uid("sr", context, documents.report(model={"weights_sha256": "f" * 64})),
        *(instance_uid("sr", frame, documents.report()) for frame in frames),
    ]
    assert len({first, *others}) == len(others) + 1
    assert all(pydicom.uid.UID(uid).is_valid and uid.startswith("2.25.") for uid in (first, *others))
    assert series_uid("sr", context, documents.report()) == series_uid("sr", context, documents.report("Else."))


def test_a_series_of_results_is_of_one_side_and_part(documents) -> None:
    """Side and part belong to the series (PS3.3 C.7.3.1), and one series may hold images of both breasts."""
    source, series = documents.ultrasound(), set()
    for part, side in (("BREAST", "L"), ("BREAST", "R"), ("CHEST", "L")):
        source.BodyPartExamined, source.ImageLaterality = part, side
        series.add(series_uid("secondary", StudyContext.of([source], [0]), documents.report()))
    assert len(series) == 3
