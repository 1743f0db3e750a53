"""Results as FHIR R4: a bundle of DiagnosticReport, ImagingStudy, Provenance and Device.

The library (`fhir.resources`, R4B, whose resources here are those of R4) checks fields and formats. What it leaves
unchecked, codes, references and attached data, is checked by `fhir_checks`.

The status is `partial`: of the codes of R4's DiagnosticReportStatus it is the one whose definition includes
unverified content, while `preliminary`, though often used in radiology, is defined as verified early results.
"""

from __future__ import annotations

import base64
import hashlib
import html
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from pydicom.dataset import Dataset
from pydicom.uid import UID

from unimedvl.hospital import coding
from unimedvl.hospital.context import StudyContext
from unimedvl.hospital.error import HospitalError
from unimedvl.hospital.fhir_checks import check
from unimedvl.hospital.identity import MANUFACTURER, Maker, Result, instance_uid, plain, uid_from
from unimedvl.inference.results import NOT_CLINICAL, TextResult, package_version

if TYPE_CHECKING:
    from fhir.resources.R4B.bundle import Bundle

STATUS = "partial"
AIAST = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "AIAST",
    "display": "Artificial Intelligence asserted",
}
_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_SYSTEMS = {"LN": "http://loinc.org", "SCT": "http://snomed.info/sct", "DCM": _DCM}
_SECTIONS = "http://terminology.hl7.org/CodeSystem/v2-0074"
_RADIOLOGY = {"system": _SECTIONS, "code": "RAD", "display": "Radiology"}
# Which service makes a report, where it is not radiology.
_PATHOLOGY = {"system": _SECTIONS, "code": "SP", "display": "Surgical Pathology"}
_OTHER = {"system": _SECTIONS, "code": "OTH", "display": "Other"}
_CATEGORIES = {"SM": _PATHOLOGY, "GM": _PATHOLOGY} | dict.fromkeys(("OP", "OPT", "ES", "DMS", "XC"), _OTHER)
_ROLES = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"


@dataclass(frozen=True)
class Made:
    """A result, and a DICOM document that holds it; None where there is none. One for each document of a result."""

    result: Result
    document: Dataset | None = None


def fhir_bundle(
    made: Sequence[Made],
    context: StudyContext,
    *,
    kind: Literal["transaction", "collection"] = "transaction",
    dicomweb: str | None = None,
    subject: str | None = None,
    pdf: bytes | None = None,
    at: datetime | None = None,
) -> Bundle:
    """What was made of a study: its report, the study with the results in it, who made them, and of what.

    made: at least one. The texts make the conclusion of the DiagnosticReport.
    kind: "transaction" is posted to a server as it is: what is there already, by its identifier, is not made again.
    dicomweb: base URL of a DICOMweb server where the results lie; then links name their URLs there. Without it they
        are named by their UIDs alone.
    subject: reference to the patient's resource, such as "Patient/17"; by the patient's number where None.
    pdf: the report as PDF, put into it. at: when it was made; now where None.

    Raises:
        HospitalError: nothing was made, a context without images, a document of another study, a wrong code or
            reference, a base URL that is none.
    """
    from fhir.resources.R4B.bundle import Bundle

    _check_given(made, context, kind, dicomweb, pdf)
    at = (at or datetime.now()).astimezone()
    writer = _Writer(tuple(made), context, dicomweb.rstrip("/") if dicomweb else None, subject, at)
    entries = [writer.entry(resource, kind) for resource in writer.resources(pdf)]
    bundle = {"resourceType": "Bundle", "type": kind, "timestamp": at.isoformat(timespec="seconds"), "entry": entries}
    check(bundle)
    return Bundle.model_validate(bundle)


def _check_given(
    made: Sequence[Made], context: StudyContext, kind: str, dicomweb: str | None, pdf: bytes | None
) -> None:
    if not made:
        raise HospitalError("nothing was made, so there is nothing to tell")
    if not context.sources:
        raise HospitalError("FHIR resources tell of a study; this context has no images")
    if kind not in ("transaction", "collection"):
        raise HospitalError(f"kind is {kind!r}; it must be transaction or collection")
    if any(m.document is not None and str(m.document.StudyInstanceUID) != context.study_uid for m in made):
        raise HospitalError("a document is of another study than the context")
    if dicomweb is not None and not dicomweb.startswith(("http://", "https://")):
        raise HospitalError(f"dicomweb is {dicomweb!r}; it must be a URL, such as https://pacs.example.org/dicom-web")
    if pdf is not None and not pdf.startswith(b"%PDF-"):
        raise HospitalError("the report's bytes are no PDF; a PDF begins with %PDF-")


@dataclass(frozen=True)
class _Writer:
    """Writes the resources of one bundle as dicts."""

    made: tuple[Made, ...]
    context: StudyContext
    dicomweb: str | None
    subject: str | None
    at: datetime

    def resources(self, pdf: bytes | None) -> Iterator[dict]:
        yield self.report(pdf)
        yield self.study()
        yield from self.devices().values()
        if self.dicomweb is not None:
            yield self.endpoint()
        for number, _ in enumerate(self.made):
            yield self.provenance(number)

    def entry(self, resource: dict, kind: str) -> dict:
        entry = {"fullUrl": self.url(resource["id"]), "resource": resource}
        if kind == "transaction":
            name = resource["resourceType"]
            entry["request"] = {"method": "POST", "url": name}
            if "identifier" in resource:
                field, system, value = "identifier", *(resource["identifier"][0][k] for k in ("system", "value"))
            else:  # a Provenance has no identifier in R4, but every resource has tags
                field, system, value = "_tag", *(resource["meta"]["tag"][0][k] for k in ("system", "code"))
            entry["request"]["ifNoneExist"] = f"{field}={system}|{quote(value, safe=':/')}"
        return entry

    def url(self, id_: str) -> str:
        return f"urn:uuid:{id_}"

    def id_of(self, *words: object) -> str:
        """The same for the same results: a UUID of the names."""
        named = [instance_uid("fhir", self.context, m.result) for m in self.made]
        return str(uuid.UUID(int=int(uid_from("fhir", *words, *named).removeprefix("2.25."))))

    def report(self, pdf: bytes | None) -> dict:
        part = coding.part_of(self.context.modality, self.context.body_part)
        title = coding.report_title(self.context.modality, part)
        maker = Maker.of(self.made[0].result)
        words = self.words()
        first = {"system": "urn:dicom:uid", "value": _oid(uid_from("fhir report", self.id_of("report")))}
        documents = [{"system": "urn:dicom:uid", "value": _oid(m.document.SOPInstanceUID)}
                     for m in self.made if m.document is not None]  # fmt: skip
        forms = [_attachment(f"{words}\n\n{maker.notice}".encode(), "text/plain; charset=utf-8", "AI draft", self.at)]
        if pdf is not None:
            forms.append(_attachment(pdf, "application/pdf", "AI draft", self.at))
        forms += [
            {"contentType": "application/dicom", "url": url, "title": str(m.document.get("SeriesDescription", ""))}
            for m in self.made
            if m.document is not None and (url := self.instance_url(m.document))
        ]
        return {
            "resourceType": "DiagnosticReport",
            "id": self.id_of("report"),
            "meta": {"security": [AIAST]},
            "text": _narrative(words, maker.notice),
            "identifier": [first, *documents],
            "status": STATUS,
            "category": [{"coding": [_CATEGORIES.get(self.context.modality, _RADIOLOGY)]}],
            "code": _concept(title),
            "subject": self.patient(),
            "issued": self.at.isoformat(timespec="seconds"),
            "performer": [{"display": f"{maker.name} ({MANUFACTURER}), a model. Not verified by a person."}],
            "imagingStudy": [{"reference": self.url(self.id_of("study"))}],
            "conclusion": f"{words}\n\nDraft by a model, not verified. {NOT_CLINICAL}",
            "presentedForm": forms,
        } | self.effective()  # fmt: skip

    def words(self) -> str:
        """What the texts say; of drawings, what was drawn."""
        said = []
        for result in {id(m.result): m.result for m in self.made}.values():  # which may have several documents
            asked = result.provenance.get("request", "")
            if isinstance(result, TextResult):
                question = f"{asked}\n" if result.provenance.get("task") == "ask" else ""
                said.append(f"{question}{result.text}")
            else:
                said.append(f"An image was made by the model. Request: {asked}\n{result.text}".strip())
        return plain("\n\n".join(said))

    def effective(self) -> dict:
        """When the images were taken: the study's date, if it has one."""
        date = str(self.context.common.get("StudyDate") or "").strip()
        return {"effectiveDateTime": f"{date[:4]}-{date[4:6]}-{date[6:]}"} if date else {}

    def patient(self) -> dict:
        """A reference by resource, or by the patient's number; never the name."""
        if self.subject is not None:
            return {"reference": self.subject}
        number = str(self.context.common.get("PatientID") or "")
        if not number:
            return {"type": "Patient", "display": "Patient without a number"}
        identifier: dict[str, Any] = {"value": number}
        if issuer := str(self.context.common.get("IssuerOfPatientID") or ""):
            identifier["assigner"] = {"display": issuer}
        return {"type": "Patient", "identifier": identifier}

    def study(self) -> dict:
        """The study with the series that were read and those that were made."""
        series: dict[str, list[Dataset]] = {}
        for one in (*self.context.sources, *(m.document for m in self.made if m.document is not None)):
            series.setdefault(str(one.SeriesInstanceUID), []).append(one)
        listed = [_series(uid, instances) for uid, instances in series.items()]
        told = {
            "resourceType": "ImagingStudy",
            "id": self.id_of("study"),
            "identifier": [{"system": "urn:dicom:uid", "value": _oid(self.context.study_uid)}],
            "status": "available",
            "subject": self.patient(),
            "numberOfSeries": len(listed),
            "numberOfInstances": sum(s["numberOfInstances"] for s in listed),
            "series": listed,
            "note": [{"text": "Lists the images that were read and the results, not all of the study."}],
        }
        if date := self.effective():
            told["started"] = date["effectiveDateTime"]
        if self.dicomweb is not None:
            told["endpoint"] = [{"reference": self.url(self.id_of("endpoint"))}]
        return told

    def endpoint(self) -> dict:
        """Where the images and results can be fetched."""
        system = "http://terminology.hl7.org/CodeSystem/endpoint-connection-type"
        return {
            "resourceType": "Endpoint",
            "id": self.id_of("endpoint"),
            "identifier": [{"system": "urn:ietf:rfc:3986", "value": self.dicomweb}],
            "status": "active",
            "connectionType": {"system": system, "code": "dicom-wado-rs", "display": "DICOM WADO-RS"},
            "payloadType": [{"text": "DICOM"}],
            "payloadMimeType": ["application/dicom"],
            "address": self.dicomweb,
        }

    def devices(self) -> dict[str, dict]:
        """The models, by UID."""
        found = {}
        for m in self.made:
            maker = Maker.of(m.result)
            found[maker.uid] = {
                "resourceType": "Device",
                "id": self.id_of("device", maker.uid),
                "identifier": [{"system": "urn:dicom:uid", "value": _oid(maker.uid)}],
                "status": "active",
                "manufacturer": MANUFACTURER,
                "serialNumber": maker.weights,
                "deviceName": [{"name": maker.name, "type": "model-name"}],
                "type": {"text": "Medical vision-language model (software)"},
                "version": [
                    {"type": {"text": "Program"}, "value": maker.version},
                    {"type": {"text": "Weights, SHA-256"}, "value": maker.weights},
                ],
                "note": [{"text": f"Trained on: {maker.trained_on}. {NOT_CLINICAL}"}],
            }
        return found

    def provenance(self, number: int) -> dict:
        """Who made one result, when, and of what."""
        result, document = self.made[number].result, self.made[number].document
        target: list[dict] = [{"reference": self.url(self.id_of("report"))}]
        if document is not None:
            uid = {"system": "urn:dicom:uid", "value": _oid(document.SOPInstanceUID)}
            target.append({"type": "ImagingStudy", "identifier": uid, "display": self.instance_url(document) or _NAMED})
        device = {"reference": self.url(self.id_of("device", Maker.of(result).uid))}
        sources = [{"role": "source", "what": {"reference": self.url(self.id_of("study"))}}]
        for reference in self.context.references:
            uid = {"system": "urn:dicom:uid", "value": _oid(reference.sop_instance)}
            frame = {} if reference.frame is None else {"display": f"frame {reference.frame}"}
            sources.append({"role": "source", "what": {"identifier": uid, **frame}})
        moment, id_ = self.at.isoformat(timespec="seconds"), self.id_of("provenance", number)
        return {
            "resourceType": "Provenance",
            "id": id_,
            "meta": {"security": [AIAST], "tag": [{"system": "urn:ietf:rfc:3986", "code": self.url(id_)}]},
            "target": target,
            "occurredDateTime": moment,
            "recorded": moment,
            "activity": {
                "coding": [{
                    "system": "http://terminology.hl7.org/CodeSystem/v3-DataOperation",
                    "code": "CREATE", "display": "create",
                }],
                "text": f"{result.provenance.get('task', 'task')} by UniMedVL {package_version()}",
            },
            "agent": [{"type": {"coding": [{"system": _ROLES, "code": "author", "display": "Author"}]}, "who": device}],
            "entity": sources,
        }  # fmt: skip

    def instance_url(self, document: Dataset) -> str | None:
        if self.dicomweb is None:
            return None
        uids = (document.StudyInstanceUID, document.SeriesInstanceUID, document.SOPInstanceUID)
        return "{}/studies/{}/series/{}/instances/{}".format(self.dicomweb, *uids)


_NAMED = "DICOM instance, by its UID"


def _series(uid: str, instances: list[Dataset]) -> dict:
    first = instances[0]
    told = {
        "uid": uid,
        "modality": {"system": _DCM, "code": str(first.get("Modality") or "OT")},
        "numberOfInstances": len({str(i.SOPInstanceUID) for i in instances}),
        "instance": [
            {"uid": str(i.SOPInstanceUID), "sopClass": {"system": "urn:ietf:rfc:3986", "code": _oid(i.SOPClassUID),
                                                       "display": UID(i.SOPClassUID).name}}
            for i in {str(i.SOPInstanceUID): i for i in instances}.values()
        ],
    }  # fmt: skip
    if first.get("SeriesDescription"):
        told["description"] = str(first.SeriesDescription)
    number = first.get("SeriesNumber")
    if number is not None and int(number) >= 0:  # FHIR has no negative ones
        told["number"] = int(number)
    return told


def _oid(uid: object) -> str:
    return f"urn:oid:{uid}"


def _concept(code) -> dict:
    coded = {"system": _SYSTEMS[code.scheme_designator], "code": code.value, "display": code.meaning}
    return {"coding": [coded], "text": code.meaning}


def _narrative(words: str, notice: str) -> dict:
    lines = "".join(f"<p>{html.escape(line)}</p>" for line in (*words.splitlines(), notice) if line.strip())
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{lines}</div>'}


def _attachment(data: bytes, kind: str, title: str, at: datetime) -> dict:
    return {
        "contentType": kind,
        "data": base64.b64encode(data).decode(),
        "size": len(data),
        "hash": base64.b64encode(hashlib.sha1(data).digest()).decode(),
        "title": title,
        "creation": at.isoformat(timespec="seconds"),
    }
