"""A real Orthanc and back: DICOMweb there and again, its C-STORE to the listener, and the guide as it is written."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest

from unimedvl.hospital.connection import Access
from unimedvl.hospital.dicomweb import DicomWeb, encoded
from unimedvl.hospital.error import HospitalError
from unimedvl.phantoms import simulate
from unimedvl.phantoms.dicom import dicom_of

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "hospital-network.md"
PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
SECONDS = 120
pytestmark = pytest.mark.timeout(600)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def until(reached: Callable[[], object]) -> object:
    end = time.monotonic() + SECONDS
    while not (found := reached()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.2)
    return found


class Orthanc:
    """The server in the foreground, from a configuration of its own."""

    def __init__(self, folder: Path, secret: str = "") -> None:
        self.http, self.dicom, self.listener = free_port(), free_port(), free_port()
        self.secret, self.url = secret, f"http://127.0.0.1:{self.http}"
        settings = {
            "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"), "HttpPort": self.http,
            "DicomPort": self.dicom, "DicomAet": "ORTHANC", "Plugins": [PLUGIN], "RemoteAccessAllowed": False,
            "AuthenticationEnabled": bool(secret), "RegisteredUsers": {"me": secret} if secret else {},
            "DicomModalities": {"unimedvl": ["UNIMEDVL", "127.0.0.1", self.listener]},
        }  # fmt: skip
        file = folder / "orthanc.json"
        file.write_text(json.dumps(settings))
        self._process = subprocess.Popen(["Orthanc", file], stdout=-3, stderr=-3)
        until(self.answers)

    def answers(self) -> bool:
        try:
            return bool(self.rest("/system"))
        except (urllib.error.URLError, ConnectionError):
            return False

    def rest(self, path: str, data: bytes | None = None):
        request = urllib.request.Request(self.url + path, data)
        if self.secret:
            request.add_header("Authorization", "Basic " + base64.b64encode(f"me:{self.secret}".encode()).decode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def put(self, dataset: pydicom.Dataset) -> str:
        """Returns Orthanc's name of the study."""
        return self.rest("/instances", encoded(dataset))["ParentStudy"]

    def series(self, modality: str) -> list[str]:
        return [s for s in self.rest("/series") if self.rest(f"/series/{s}")["MainDicomTags"]["Modality"] == modality]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Callable[..., Orthanc]]:
    started: list[Orthanc] = []

    def start(**options) -> Orthanc:
        folder = tmp_path / f"orthanc{len(started)}"
        folder.mkdir()
        started.append(Orthanc(folder, **options))
        return started[-1]

    yield start
    for one in started:
        one.close()


def unimedvl(*words: object, status: int = 0, **environment: str) -> str:
    command = [sys.executable, "-m", "unimedvl", "hospital", *map(str, words)]
    inherited = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=inherited | environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def test_a_study_is_found_fetched_reported_and_the_report_stored_once(orthanc, tmp_path: Path) -> None:
    server = orthanc(secret="s3cret")
    source = dicom_of(simulate("cxr", 3, 128), "frontal")
    server.put(source)
    place = ("--dicomweb", f"{server.url}/dicom-web", "--user", "me")
    secret = {"UNIMEDVL_DICOMWEB_PASSWORD": "s3cret"}
    refused = unimedvl("query", *place, status=2, UNIMEDVL_DICOMWEB_PASSWORD="wrong")
    assert refused.strip().count("\n") == 0
    assert "the credentials were refused" in refused
    (found,) = json.loads(unimedvl("query", *place, "--modality", "DX", "--json", **secret))
    assert (found["uid"], found["patient_id"]) == (source.StudyInstanceUID, source.PatientID)
    run = ("run", *place, "--study", found["uid"], "--task", "report", "--store", "--json")
    first, again = (json.loads(unimedvl(*run, **secret)) for _ in range(2))
    assert first == again
    (series,) = server.series("SR")
    (instance,) = server.rest(f"/series/{series}")["Instances"]
    tags = server.rest(f"/instances/{instance}/simplified-tags")
    assert tags["SOPInstanceUID"] == first[0]["uid"]
    assert (tags["StudyInstanceUID"], tags["VerificationFlag"]) == (found["uid"], "UNVERIFIED")
    unimedvl("fetch", tmp_path / "sr", *place, "--study", found["uid"], "--modality", "SR", **secret)
    (file,) = (tmp_path / "sr").iterdir()
    assert pydicom.dcmread(file).SOPInstanceUID == tags["SOPInstanceUID"]


def test_masks_made_images_and_reports_are_all_stored(orthanc) -> None:
    server = orthanc()
    source = dicom_of(simulate("mri", 3, 128), "t2")
    server.put(source)
    place = ("--dicomweb", f"{server.url}/dicom-web", "--study", source.StudyInstanceUID, "--store")
    unimedvl("run", *place, "--task", "translate", "--to", "flair")
    unimedvl("run", *place, "--task", "segment", "--target", "brain")
    unimedvl("run", *place, "--task", "ask", "--question", "What is seen?", "--output", "sr-3d")
    assert [len(server.series(modality)) for modality in ("MR", "OT", "SEG", "SR")] == [1, 1, 1, 1]


def test_the_client_meets_the_server(orthanc, tmp_path: Path) -> None:
    server = orthanc()
    source = dicom_of(simulate("cxr", 4, 512), "frontal")
    source.Rows = source.Columns = 1536  # in several chunks
    source.PixelData = bytes(1536 * 1536)
    client = DicomWeb(f"{server.url}/dicom-web", Access(attempts=1))
    client.store([source])
    client.store([source])
    (series,) = client.series(source.StudyInstanceUID)
    assert (series.modality, series.instances, series.body_part) == ("DX", 1, "CHEST")
    (instance,) = client.instances(source.StudyInstanceUID, series.uid)
    assert instance.sop_class == source.SOPClassUID
    (fetched,) = client.datasets(source.StudyInstanceUID)
    assert fetched == source
    assert client.studies(PatientID="nobody") == []
    with pytest.raises(HospitalError, match="there is no such study"):
        client.fetch("1.2.3", tmp_path)
    with pytest.raises(HospitalError, match="refused"):
        DicomWeb(server.url, Access(attempts=1)).studies()


def test_a_study_that_orthanc_sends_is_handled_and_its_own_result_is_not(orthanc, tmp_path: Path) -> None:
    server = orthanc()
    study = server.put(dicom_of(simulate("cxr", 5, 128), "frontal"))
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        f"destinations: {{pacs: {{ae: 'ORTHANC@127.0.0.1:{server.dicom}'}}}}\n"
        "rules: [{name: chest, when: {body_part: CHEST}, do: [{task: report}], late: again}]\n"
        f"queue: {{quiet_seconds: 0.5}}\nlisten: {{port: {server.listener}, allowed: ORTHANC}}\n"
    )
    inbox, log = tmp_path / "inbox", tmp_path / "log"
    command = [sys.executable, "-m", "unimedvl", "hospital", "listen", "--rules", rules, "--folder", inbox]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with log.open("w") as out, subprocess.Popen(command, env=environment, stderr=out) as listener:
        try:
            until(lambda: "listens on" in log.read_text() or listener.poll() is not None)
            server.rest("/modalities/unimedvl/store", study.encode())
            until(lambda: server.series("SR"))
            until(lambda: "done" in log.read_text())
            server.rest("/modalities/unimedvl/store", study.encode())  # now with the result, which is passed over
            until(lambda: "a result of ours came back" in log.read_text())
            time.sleep(1.5)
            counts = json.loads(unimedvl("status", inbox, "--json"))["counts"]
            listener.send_signal(signal.SIGTERM)
            assert listener.wait(60) == 0
        finally:
            listener.kill()
    assert {state: count for state, count in counts.items() if count} == {"done": 1}
    assert len(server.series("SR")) == 1
    assert "SIMULATED" not in log.read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", GUIDE.read_text(), re.M | re.S)


def test_the_guide_leads_from_orthanc_to_a_report_in_a_viewer(tmp_path: Path) -> None:
    ports = {name: str(free_port()) for name in ("8042", "4242", "11112")}

    def here(text: str) -> str:
        return re.sub(r"(?<![\d.])(8042|4242|11112)(?![\d.])", lambda m: ports[m[1]], text)

    (settings,), (rules,) = blocks("json"), blocks("yaml")
    (tmp_path / "orthanc.json").write_text(here(settings))
    (tmp_path / "rules.yaml").write_text(here(rules))
    program = tmp_path / "bin" / "unimedvl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m unimedvl "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": path}
    said: dict[str, str] = {}
    servers: list[subprocess.Popen] = []
    waits = {"Orthanc": "8042", "unimedvl hospital listen": "11112"}
    try:
        for line in filter(None, (line for block in blocks("shell") for line in here(block).splitlines())):
            port = next((ports[port] for start, port in waits.items() if line.startswith(start)), None)
            if port:
                servers.append(subprocess.Popen(f"exec {line}", shell=True, cwd=tmp_path, env=environment,
                                                stdout=-3, stderr=-3))  # fmt: skip
                until(lambda port=port: socket.socket().connect_ex(("127.0.0.1", int(port))) == 0)
                continue
            done = subprocess.run(line, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True,
                                  timeout=300)  # fmt: skip
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            said[" ".join(line.split()[:3])] = done.stdout
        until(lambda: list((tmp_path / "drafts").glob("*.json")))
        done = until(lambda: "done 1" in (told := subprocess.run(
            ["unimedvl", "hospital", "status", "inbox"], cwd=tmp_path, env=environment, capture_output=True, text=True,
        ).stdout) and told)  # fmt: skip
    finally:
        for server in reversed(servers):
            server.terminate()
            server.wait(60)
    assert "chest radiograph: report on 1 images, sr to pacs, fhir to drafts" in said["unimedvl hospital check-rules"]
    assert "Impression" in next(text for name, text in said.items() if name.startswith("dsrdump"))
    page = (tmp_path / "report.html").read_text()
    assert "UNVERIFIED" in page.upper()
    assert "failed 0" in done
