"""Who made a result, and the UIDs that follow from what was asked: asking twice gives the same instance."""

from __future__ import annotations

import hashlib
import json
import unicodedata
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from unimedvl.hospital.context import StudyContext
from unimedvl.inference.results import NOT_CLINICAL, ImageResult, TextResult, package_version

if TYPE_CHECKING:
    import highdicom as hd

MANUFACTURER = "UniMedVL"
UNVERIFIED = "Made by a model, not verified by a person."
Result = TextResult | ImageResult


@dataclass(frozen=True)
class Maker:
    """The model as a device. weights: SHA-256 of the checkpoint, 64 characters, its serial number in DICOM."""

    name: str
    version: str
    weights: str
    trained_on: str = "not stated"
    adapters: str = ""

    @classmethod
    def of(cls, result: Result) -> Maker:
        """The model that a result's provenance names."""
        told, versions = result.provenance.get("model", {}), result.provenance.get("versions", {})
        return cls(
            name=one_value(told.get("name") or "unknown model")[-64:].strip(),
            version=one_value(versions.get("unimedvl") or package_version())[:64],
            weights=one_value(told.get("weights_sha256") or "unknown")[:64],
            trained_on=str(told.get("trained_on") or "not stated"),
            adapters=str(told.get("adapters", {}).get("sha256", "")),
        )

    @property
    def uid(self) -> str:
        """Of the device: the same for the same weights, adapters and version of the program, wherever it runs."""
        return uid_from("device", self.name, self.version, self.weights, self.adapters)

    @property
    def notice(self) -> str:
        """One paragraph for people: who wrote this, of what it is made, and what it is not for."""
        weights = f"weights {self.weights[:12]}" if self.weights != "unknown" else "weights not stated"
        made = f"Made by the model {self.name} ({MANUFACTURER} {self.version}, {weights})"
        return f"{made}, trained on: {self.trained_on}. Not verified by a person. {NOT_CLINICAL}"

    def put_into(self, dataset: Dataset) -> None:
        """General Equipment (PS3.3 C.7.5.1), complete enough for the Enhanced one."""
        dataset.Manufacturer, dataset.ManufacturerModelName = MANUFACTURER, self.name
        dataset.SoftwareVersions, dataset.DeviceSerialNumber = self.version, self.weights

    def contribution(self, description: str, at: datetime, synthesizing: bool) -> hd.ContributingEquipment:
        """An item of Contributing Equipment Sequence. synthesizing: it made the content up, not processed it."""
        import highdicom as hd

        purpose = codes.DCM.SynthesizingEquipment if synthesizing else codes.DCM.ProcessingEquipment
        return hd.ContributingEquipment(
            MANUFACTURER,
            purpose,
            manufacturer_model_name=self.name,
            software_versions=self.version,
            device_serial_number=self.weights,
            contribution_datetime=at,
            contribution_description=f"{description} {self.notice}"[:1024],
        )


def plain(text: str) -> str:
    """Text as documents can hold it: line breaks and tabs, but no other control characters and no half characters."""
    whole = text.encode("utf-8", "replace").decode()
    return "".join(c for c in whole if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs", "Cn"))


def one_value(text: object) -> str:
    """A name on one line, without the backslash, which parts values in DICOM (PS3.5 6.2)."""
    return " ".join(plain(str(text)).replace("\\", "/").split())


def uid_from(*words: object) -> str:
    """A UID under 2.25 (PS3.5 B.2) from a name-based UUID (RFC 9562, version 5): equal words give equal UIDs."""
    named = hashlib.sha256(json.dumps(["unimedvl", *words], sort_keys=True, default=str).encode()).hexdigest()
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, named).int}"


def instance_uid(kind: str, context: StudyContext, result: Result, *more: object) -> str:
    """The SOPInstanceUID of a result as a document of a kind.

    It follows from the images and frames, from the task, its words, seed and settings, from the weights and
    adapters, and from what came out. So running the same again gives the same instance, which an archive knows
    already; what differs in anything never shares a UID.
    """
    came = result.provenance
    asked = {key: came.get(key) for key in ("task", "request", "seed", "settings")}
    maker, sources = Maker.of(result), [(r.sop_instance, r.frame) for r in context.references]
    return uid_from(
        "instance", kind, context.study_uid, sources, asked, maker.weights, maker.adapters, _content(result), *more
    )


def series_uid(kind: str, context: StudyContext, result: Result) -> str:
    """The SeriesInstanceUID: one series for a kind of document, a task, a model and the series that it is of.

    What a series has one of, such as the side, may differ between the images of its source; then it has another UID.
    """
    maker, of = Maker.of(result), sorted({r.series for r in context.references})
    shown, task = (context.body_part, context.laterality), result.provenance.get("task")
    return uid_from("series", kind, context.study_uid, of, shown, task, maker.name, maker.weights)


def moment(at: datetime | None, context: StudyContext) -> datetime:
    """The time of making as the study tells time: in its zone where it has one and `at` has one.

    at: now where None. Give the same to get the same bytes.
    """
    at = at or datetime.now().astimezone()
    zone = str(context.common.get("TimezoneOffsetFromUTC") or "")
    if at.tzinfo is not None:
        here = at.astimezone()
        if zone:
            offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:]))
            here = at.astimezone(timezone(offset if zone[0] == "+" else -offset))
        at = here.replace(tzinfo=None)
    return at.replace(microsecond=0)


def put_times(dataset: Dataset, at: datetime) -> None:
    """When the instance and its content were made; all that contributed now is told by the same time."""
    date, time = at.strftime("%Y%m%d"), at.strftime("%H%M%S")
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = date, time
    dataset.ContentDate, dataset.ContentTime = date, time
    for item in dataset.get("ContributingEquipmentSequence", []):
        if "ContributionDateTime" in item:
            item.ContributionDateTime = date + time


def _content(result: Result) -> str:
    """A hash of what came out."""
    pixels = result.array.tobytes() if isinstance(result, ImageResult) else b""
    return hashlib.sha256(plain(result.text).encode() + b"\0" + pixels).hexdigest()
