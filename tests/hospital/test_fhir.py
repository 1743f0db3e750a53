"""FHIR resources of results: valid when read back, partial, by a device, linked to the DICOM documents."""

from __future__ import annotations

import base64
import hashlib
import json
from urllib.parse import parse_qsl

import numpy as np
import pytest
from fhir.resources.R4B.bundle import Bundle

from unimedvl.hospital.context import StudyContext
from unimedvl.hospital.error import HospitalError
from unimedvl.hospital.fhir import Made, fhir_bundle
from unimedvl.hospital.fhir_checks import check
from unimedvl.hospital.mask import segmentation
from unimedvl.hospital.report import report_sr

PACS = "https://pacs.example.org/dicom-web"


@pytest.fixture(scope="module")
def context(documents) -> StudyContext:
    return StudyContext.of([documents.real("CT_small.dcm")])


@pytest.fixture(scope="module")
def made(documents, context) -> list[Made]:
    mask = documents.mask_result(np.eye(64, dtype=bool))
    return [
        Made(documents.report(), report_sr(documents.report(), context, at=documents.AT)),
        Made(mask, segmentation(mask, context, "left lung", at=documents.AT)),
    ]


@pytest.fixture(scope="module")
def bundle(documents, context, made) -> dict:
    text = fhir_bundle(made, context, dicomweb=f"{PACS}/", pdf=b"%PDF-1.7", at=documents.AT).model_dump_json()
    assert Bundle.model_validate_json(text).model_dump_json() == text
    return json.loads(text)


class ConditionalServer:
    """Conditional creates as FHIR R4 tells them (http.html 3.1.0.8.1): by a token search, exactly as asked."""

    def __init__(self) -> None:
        self.resources: list[dict] = []

    def take(self, bundle: dict) -> None:
        for entry in bundle["entry"]:
            assert entry["request"]["method"] == "POST"
            assert entry["request"]["url"] == entry["resource"]["resourceType"]
            if not any(self._is_meant(r, entry) for r in self.resources):
                self.resources.append(entry["resource"])

    @staticmethod
    def _is_meant(there: dict, entry: dict) -> bool:
        ((field, token),) = parse_qsl(entry["request"].get("ifNoneExist", "_id=none"), strict_parsing=True)
        system, _, value = token.partition("|")
        tokens = there.get("identifier", []) if field == "identifier" else there.get("meta", {}).get("tag", [])
        known = [(t["system"], t.get("value", t.get("code"))) for t in tokens]
        return there["resourceType"] == entry["request"]["url"] and (system, value) in known


def of(bundle: dict, kind: str) -> list[dict]:
    return [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind]


def test_a_bundle_has_a_report_a_study_a_device_and_where_each_result_came_from(bundle) -> None:
    kinds = [entry["resource"]["resourceType"] for entry in bundle["entry"]]
    assert kinds == ["DiagnosticReport", "ImagingStudy", "Device", "Endpoint", "Provenance", "Provenance"]


def test_the_report_is_partial_and_says_that_a_model_wrote_it(documents, bundle) -> None:
    (report,) = of(bundle, "DiagnosticReport")
    assert report["status"] == "partial"
    assert report["meta"]["security"][0]["code"] == "AIAST"
    assert documents.REPORT in report["conclusion"] and "not verified" in report["conclusion"]
    assert report["code"]["coding"][0] == {
        "system": "http://loinc.org", "code": "25045-6", "display": "CT Report"}  # fmt: skip
    assert report["subject"] == {"type": "Patient", "identifier": {"value": "1CT1"}}
    assert report["effectiveDateTime"] == "2004-01-19" and report["issued"].startswith("2026-03-04T05:06:07")
    assert "Not verified by a person" in report["text"]["div"]


def test_no_resource_names_the_patient(bundle, context) -> None:
    assert "CompressedSamples" not in json.dumps(bundle)


def test_the_forms_of_the_report_are_whole(bundle) -> None:
    (report,) = of(bundle, "DiagnosticReport")
    text, pdf, *links = report["presentedForm"]
    for form in (text, pdf):
        data = base64.b64decode(form["data"])
        assert form["size"] == len(data)
        assert form["hash"] == base64.b64encode(hashlib.sha1(data).digest()).decode()
    assert pdf["contentType"] == "application/pdf" and len(links) == 2


def test_results_are_linked_by_their_uids_and_their_urls(bundle, made) -> None:
    (report,) = of(bundle, "DiagnosticReport")
    known = {i["value"] for i in report["identifier"]}
    urls = {f["url"] for f in report["presentedForm"] if "url" in f}
    for m in made:
        document = m.document
        assert f"urn:oid:{document.SOPInstanceUID}" in known
        series = f"{PACS}/studies/{document.StudyInstanceUID}/series/{document.SeriesInstanceUID}"
        assert f"{series}/instances/{document.SOPInstanceUID}" in urls


def test_the_archive_is_named_where_its_url_is_known(bundle) -> None:
    (endpoint,), (study,) = of(bundle, "Endpoint"), of(bundle, "ImagingStudy")
    assert endpoint["address"] == PACS and endpoint["connectionType"]["code"] == "dicom-wado-rs"
    assert study["endpoint"] == [{"reference": f"urn:uuid:{endpoint['id']}"}]


@pytest.mark.parametrize(("modality", "code"), [("CT", "RAD"), ("SM", "SP"), ("OP", "OTH")])
def test_the_service_follows_from_the_modality(documents, modality: str, code: str) -> None:
    source = documents.ultrasound()
    source.Modality = modality
    told = fhir_bundle([Made(documents.report())], StudyContext.of([source], [0])).model_dump_json()
    assert of(json.loads(told), "DiagnosticReport")[0]["category"][0]["coding"][0]["code"] == code


def test_the_study_lists_what_was_read_and_what_was_made(bundle, context, made) -> None:
    (study,) = of(bundle, "ImagingStudy")
    assert study["identifier"] == [{"system": "urn:dicom:uid", "value": f"urn:oid:{context.study_uid}"}]
    assert [s["modality"]["code"] for s in study["series"]] == ["CT", "SR", "SEG"]
    assert (study["numberOfSeries"], study["numberOfInstances"]) == (3, 3)
    assert study["series"][2]["instance"][0]["sopClass"]["code"] == f"urn:oid:{made[1].document.SOPClassUID}"


def test_where_a_result_came_from_names_the_model_and_the_images(documents, bundle, context, made) -> None:
    (device,) = of(bundle, "Device")
    assert device["serialNumber"] == documents.WEIGHTS and device["deviceName"][0]["name"] == "nano"
    url = next(e["fullUrl"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Device")
    for provenance, one in zip(of(bundle, "Provenance"), made, strict=True):
        (agent,) = provenance["agent"]
        assert agent["who"] == {"reference": url} and agent["type"]["coding"][0]["code"] == "author"
        assert provenance["target"][1]["identifier"]["value"] == f"urn:oid:{one.document.SOPInstanceUID}"
        assert provenance["activity"]["coding"][0]["code"] == "CREATE"
        sources = [e["what"].get("identifier", {}).get("value") for e in provenance["entity"]]
        assert f"urn:oid:{context.references[0].sop_instance}" in sources
        assert {e["role"] for e in provenance["entity"]} == {"source"}


def test_a_transaction_makes_nothing_twice(documents, context, made) -> None:
    pacs = "https://pacs.example.org/dicom-web?site=1&room=2"
    one, other = (
        json.loads(fhir_bundle(made, context, dicomweb=pacs, at=documents.AT).model_dump_json()) for _ in range(2)
    )
    assert one == other and one["type"] == "transaction"
    server = ConditionalServer()
    server.take(one)
    kinds = sorted(r["resourceType"] for r in server.resources)
    assert kinds == sorted(e["resource"]["resourceType"] for e in one["entry"])
    server.take(other)  # as after a crash between sending and its record
    assert sorted(r["resourceType"] for r in server.resources) == kinds


def test_a_result_with_two_documents_is_told_once_and_linked_to_both(documents, context) -> None:
    result = documents.report()
    both = [report_sr(result, context, kind=kind, at=documents.AT) for kind in ("enhanced", "comprehensive3d")]
    told = json.loads(fhir_bundle([Made(result, document) for document in both], context).model_dump_json())
    (report,) = of(told, "DiagnosticReport")
    assert report["conclusion"].count(documents.REPORT) == 1
    uids = {f"urn:oid:{document.SOPInstanceUID}" for document in both}
    assert uids <= {i["value"] for i in report["identifier"]}
    assert uids == {p["target"][1]["identifier"]["value"] for p in of(told, "Provenance")}


def test_a_collection_asks_for_nothing(documents, context) -> None:
    bundle = json.loads(fhir_bundle([Made(documents.report())], context, kind="collection").model_dump_json())
    assert all("request" not in entry for entry in bundle["entry"])
    assert [s["modality"]["code"] for s in of(bundle, "ImagingStudy")[0]["series"]] == ["CT"]


def test_a_patient_may_be_named_by_a_resource(documents, context) -> None:
    bundle = json.loads(fhir_bundle([Made(documents.report())], context, subject="Patient/17").model_dump_json())
    assert of(bundle, "DiagnosticReport")[0]["subject"] == {"reference": "Patient/17"}


def test_what_the_library_lets_pass_is_checked(bundle) -> None:
    for path, wrong, said in (
        (("entry", 0, "resource", "status"), "draft", "DiagnosticReport.status is 'draft'"),
        (("entry", 1, "resource", "status"), "final", "ImagingStudy.status"),
        (("entry", 2, "resource", "deviceName", 0, "type"), "nickname", "deviceName.type"),
        (("entry", 4, "resource", "entity", 0, "role"), "cause", "entity.role"),
        (("entry", 0, "request", "method"), "SEND", "request.method"),
        (("entry", 0, "resource", "presentedForm", 0, "data"), "***", "not base64"),
        (("entry", 0, "resource", "imagingStudy", 0, "reference"), "urn:uuid:0", "not in the bundle"),
    ):
        changed = json.loads(json.dumps(bundle))
        place = changed
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = wrong
        with pytest.raises(HospitalError, match=said):
            check(changed)


def test_what_can_not_be_told_is_refused_in_one_line(documents, context, made) -> None:
    for given, options, said in (
        ([], {}, "nothing was made"),
        (made, {"kind": "batch"}, "transaction or collection"),
        (made, {"dicomweb": "pacs"}, "must be a URL"),
        (made, {"pdf": b"text"}, "no PDF"),
    ):
        with pytest.raises(HospitalError, match=said):
            fhir_bundle(given, context, **options)
    other = StudyContext.of([documents.real("MR_small.dcm")])
    with pytest.raises(HospitalError, match="another study"):
        fhir_bundle(made, other)
