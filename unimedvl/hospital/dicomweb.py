"""DICOMweb (PS3.18): query (QIDO-RS), fetch (WADO-RS) and store (STOW-RS), over the library dicomweb-client."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import pydicom
import requests
from dicomweb_client.web import DICOMwebClient
from pydicom.dataset import Dataset

from unimedvl.data.whole import written_whole
from unimedvl.hospital.connection import Access, Unreachable, attempted, open_session
from unimedvl.hospital.error import HospitalError

# In the transfer syntax that the server holds them in.
_AS_STORED = (("application/dicom", "*"),)
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
# Failure reasons of STOW-RS (PS3.18 table I.2-2) after which the same may succeed later.
_OUT_OF_RESOURCES = range(0xA700, 0xA800)
_FAILURES = {
    0x0110: "it could not process it",
    0x0122: "it does not store this SOP class",
    0x0124: "not authorised",
    0xA900: "the data set does not fit its SOP class",
    0xC000: "it does not understand the data set",
}


@dataclass(frozen=True)
class FoundStudy:
    """A study that a query found. date is YYYYMMDD, time HHMMSS; empty or 0 where the server does not tell."""

    uid: str
    date: str
    time: str
    accession: str
    patient_id: str
    patient_name: str
    description: str
    modalities: tuple[str, ...]
    series: int
    instances: int


@dataclass(frozen=True)
class FoundSeries:
    uid: str
    study: str
    modality: str
    number: int
    body_part: str
    description: str
    instances: int


@dataclass(frozen=True)
class FoundInstance:
    uid: str
    series: str
    study: str
    sop_class: str


@dataclass(frozen=True)
class Bounds:
    """The most that a fetch takes: instances, bytes of one, bytes of all."""

    instances: int = 5000
    instance_bytes: int = 2**31
    bytes: int = 2**33


class DicomWeb:
    """A DICOMweb server. Every method raises HospitalError where it refuses, Unreachable where it does not answer."""

    def __init__(self, url: str, access: Access = Access(), bounds: Bounds = Bounds()) -> None:  # noqa: B008
        """url: of the service, such as http://pacs:8042/dicom-web."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise HospitalError(f"{url}: no URL of a DICOMweb server; write one such as http://pacs:8042/dicom-web")
        if parts.username or parts.password:
            raise HospitalError("a URL must not hold a password; give user and password apart from it")
        self.url, self.access, self.bounds = url.rstrip("/"), access, bounds
        self._client = DICOMwebClient(
            self.url,
            session=open_session(access, bounds.instance_bytes),
            timeout=(access.connect_seconds, access.read_seconds),
        )
        # Its own repeats send a large body that was used up already, so ours are the only ones.
        self._client.set_http_retry_params(retry=False)

    def studies(self, limit: int = 100, **filters: str) -> list[FoundStudy]:
        """Studies by attributes, such as PatientID="7", StudyDate="20260101-20260131", ModalitiesInStudy="CT"."""
        fields = ["StudyDescription", "ModalitiesInStudy", "NumberOfStudyRelatedSeries",
                  "NumberOfStudyRelatedInstances"]  # fmt: skip
        rows = self._ask("query", lambda: _datasets(self._client.search_for_studies(
            limit=limit, fields=fields, search_filters=filters)))  # fmt: skip
        return [_study(row) for row in rows]

    def series(self, study: str) -> list[FoundSeries]:
        check_uid(study)
        fields = ["BodyPartExamined", "SeriesDescription", "NumberOfSeriesRelatedInstances"]
        rows = self._ask("query", lambda: _datasets(self._client.search_for_series(study, fields=fields)))
        return [_series(row, study) for row in rows]

    def instances(self, study: str, series: str | None = None) -> list[FoundInstance]:
        """Those of a study, or of one of its series."""
        place = (check_uid(study), None if series is None else check_uid(series))
        rows = self._ask("query", lambda: _datasets(self._client.search_for_instances(*place)))
        return [_instance(row, study) for row in rows]

    def datasets(self, study: str, series: str | None = None) -> Iterator[Dataset]:
        """Instances one after the other, as the server holds them, within the bounds. Nothing is written."""
        found = self.instances(study, series)
        if not found:
            raise HospitalError(f"fetch at {urlsplit(self.url).netloc}: there is no such study there, or it is empty")
        if len(found) > self.bounds.instances:
            raise HospitalError(f"the study has {len(found)} instances; at most {self.bounds.instances} are fetched")
        return self._fetched(found)

    def fetch(
        self, study: str, folder: Path, series: str | None = None, told: Callable[[int], None] = lambda done: None
    ) -> list[Path]:
        """Write instances into a folder, each whole or not at all, over those that are there already.

        told: called with the number of instances done. Returns the files, named by SOP instance UID.
        """
        files = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HospitalError(f"{folder}: can't be made ({error.strerror})") from error
        for dataset in self.datasets(study, series):
            file = folder / f"{check_uid(str(dataset.SOPInstanceUID))}.dcm"
            with written_whole(file) as part:
                dataset.save_as(part, enforce_file_format=True)
            files.append(file)
            told(len(files))
        return files

    def store(self, datasets: Iterable[Dataset]) -> None:
        """Store instances one by one. What is there already is no error, so storing twice is storing once."""
        for dataset in datasets:
            # The library leaves out a preamble that a data set lacks; Orthanc then hands out what nobody can read.
            whole = pydicom.dcmread(BytesIO(encoded(dataset)))
            answer = self._ask("store", lambda whole=whole: self._stored(whole))
            for failed in answer.get("FailedSOPSequence") or []:
                self._refused(int(failed.get("FailureReason") or 0))

    def _stored(self, dataset: Dataset) -> Dataset:
        """The server's answer; also the one that it gives with 409, when it stored nothing (PS3.18 10.5.3)."""
        try:
            return self._client.store_instances([dataset])
        except requests.HTTPError as error:
            if error.response is None or error.response.status_code != 409:
                raise
            with suppress(Exception):  # pydicom raises every type there is on what is no DICOM JSON
                answer = Dataset.from_json(error.response.json())
                if answer.get("FailedSOPSequence"):
                    return answer
            raise

    def _refused(self, reason: int) -> None:
        host = urlsplit(self.url).netloc
        if reason in _OUT_OF_RESOURCES:
            raise Unreachable(f"store at {host}: it has no room now (0x{reason:04X})")
        same = (code for code in (reason, reason & 0xFF00, reason & 0xF000) if code in _FAILURES)
        known = _FAILURES.get(next(same, 0), "no reason given")
        raise HospitalError(f"store at {host}: refused, {known} (0x{reason:04X})")

    def _fetched(self, found: list[FoundInstance]) -> Iterator[Dataset]:
        total = 0
        for instance in found:
            dataset = self._ask("fetch", lambda i=instance: self._client.retrieve_instance(
                i.study, i.series, i.uid, media_types=_AS_STORED))  # fmt: skip
            if str(dataset.get("SOPInstanceUID", "")) != instance.uid:
                raise HospitalError(f"fetch at {urlsplit(self.url).netloc}: it sent another instance than asked for")
            total += _size(dataset)
            if total > self.bounds.bytes:
                raise HospitalError(f"the study is larger than {self.bounds.bytes / 2**20:.0f} MiB, the most that is "
                                    "fetched")  # fmt: skip
            yield dataset

    def _ask(self, what: str, ask: Callable):
        return attempted(ask, what, self.url, self.access)


def check_uid(text: str) -> str:
    """A UID (PS3.5 9.1), so that nothing else gets into a URL or a file's name. Raises HospitalError."""
    if len(text) > 64 or not _UID.fullmatch(text):
        raise HospitalError(f"{text[:80]!r} is no UID; those have numbers and dots, such as 1.2.840.1")
    return text


def encoded(dataset: Dataset) -> bytes:
    """A data set as the bytes of a DICOM file."""
    out = BytesIO()
    pydicom.dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()


def _size(dataset: Dataset) -> int:
    pixels = dataset.get_item("PixelData") if "PixelData" in dataset else None
    return 4096 + (len(pixels.value) if pixels is not None and pixels.value else 0)


def _datasets(rows: list[dict]) -> list[Dataset]:
    """Raises ValueError where they are not in the DICOM JSON model (PS3.18 annex F)."""
    try:
        return [Dataset.from_json(row) for row in rows]
    except Exception as error:  # pydicom raises every type there is
        raise ValueError("no DICOM JSON") from error


def _text(row: Dataset, keyword: str) -> str:
    value = row.get(keyword)
    return "" if value is None else str(value).strip()


def _count(row: Dataset, keyword: str) -> int:
    try:
        return int(row.get(keyword) or 0)
    except (TypeError, ValueError):
        return 0


def _words(row: Dataset, keyword: str) -> tuple[str, ...]:
    value = row.get(keyword) or ()
    return (value,) if isinstance(value, str) else tuple(map(str, value))


def _study(row: Dataset) -> FoundStudy:
    return FoundStudy(
        _text(row, "StudyInstanceUID"), _text(row, "StudyDate"), _text(row, "StudyTime"), _text(row, "AccessionNumber"),
        _text(row, "PatientID"), _text(row, "PatientName"), _text(row, "StudyDescription"),
        _words(row, "ModalitiesInStudy"), _count(row, "NumberOfStudyRelatedSeries"),
        _count(row, "NumberOfStudyRelatedInstances"),
    )  # fmt: skip


def _series(row: Dataset, study: str) -> FoundSeries:
    return FoundSeries(
        _text(row, "SeriesInstanceUID"), study, _text(row, "Modality"), _count(row, "SeriesNumber"),
        _text(row, "BodyPartExamined"), _text(row, "SeriesDescription"), _count(row, "NumberOfSeriesRelatedInstances"),
    )  # fmt: skip


def _instance(row: Dataset, study: str) -> FoundInstance:
    uid, series, kind = (_text(row, k) for k in ("SOPInstanceUID", "SeriesInstanceUID", "SOPClassUID"))
    return FoundInstance(uid, series, study, kind)
