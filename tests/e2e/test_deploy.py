"""The real Orthanc and the real listener with the files of deploy/: a study goes in, its report comes back by itself.

Ports, folders and the names of hosts are those of this machine; all else is as written.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from unimedvl.hospital.dicomweb import encoded
from unimedvl.phantoms import simulate
from unimedvl.phantoms.dicom import dicom_of

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SECONDS = 120
PASSWORD = "s3cret"
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


@contextmanager
def started(command: list, log: Path, **environment: str) -> Iterator[subprocess.Popen]:
    inherited = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with log.open("w") as out:
        process = subprocess.Popen(command, env=inherited | environment, stdout=out, stderr=out)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


class Place:
    """The files of deploy/ in a folder, as they are on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.http, self.dicom, self.listener = folder, free_port(), free_port(), free_port()
        (folder / "orthanc").mkdir()
        (folder / "db").mkdir()
        secret = folder / "password"
        secret.write_text(PASSWORD)
        paths = {"/var/lib/orthanc/db": folder / "db", "/etc/orthanc": folder / "orthanc",
                 "/run/secrets/orthanc-password": secret, "http://orthanc:": "http://127.0.0.1:",
                 '"hospital"': '"127.0.0.1"', "quiet_seconds: 30": "quiet_seconds: 1",
                 '"StableAge": 30': '"StableAge": 2'}  # fmt: skip
        ports = {"8042": self.http, "4242": self.dicom, "11112": self.listener}
        for name, place in (("orthanc.json", "orthanc"), ("route.lua", "orthanc"), ("rules.yaml", ".")):
            text = (DEPLOY / name).read_text()
            for old, new in paths.items():
                text = text.replace(old, str(new))
            text = re.sub(r"(?<![\d.])(8042|4242|11112)(?![\d.])", lambda m: str(ports[m[1]]), text)
            (folder / place / name).write_text(text)
        (folder / "orthanc" / "users.json").write_text(json.dumps({"RegisteredUsers": {"unimedvl": PASSWORD}}))

    def rest(self, path: str, data: bytes | None = None, password: str = PASSWORD):
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data)
        credentials = base64.b64encode(f"unimedvl:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {credentials}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def answers(self) -> bool:
        try:
            return bool(self.rest("/system"))
        except (urllib.error.URLError, ConnectionError):
            return False

    def reports(self) -> list[str]:
        return [s for s in self.rest("/series") if self.rest(f"/series/{s}")["MainDicomTags"]["Modality"] == "SR"]


def test_a_study_sent_to_orthanc_comes_back_with_a_report(tmp_path: Path) -> None:
    place = Place(tmp_path)
    compose = (DEPLOY / "compose.yaml").read_text()
    words = re.search(r"command: \[(hospital, listen, .*)\]", compose)[1].split(", ")
    here = {"/etc/unimedvl/rules.yaml": tmp_path / "rules.yaml", "/data/inbox": tmp_path / "inbox"}
    listen = [sys.executable, "-m", "unimedvl", *(str(here.get(word, word)) for word in words)]
    log, orthanc = tmp_path / "log", tmp_path / "orthanc.log"
    with started(listen, log) as listener, started(["Orthanc", tmp_path / "orthanc"], orthanc):
        until(place.answers)
        until(lambda: "listens on" in log.read_text() or listener.poll() is not None)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            place.rest("/system", password="wrong")
        source = dicom_of(simulate("cxr", 5, 128), "frontal")
        place.rest("/instances", encoded(source))
        until(place.reports)
        until(lambda: "a result of ours came back" in log.read_text())  # the study is stable again, and sent again
        time.sleep(3)
        assert len(place.reports()) == 1
        (instance,) = place.rest(f"/series/{place.reports()[0]}")["Instances"]
        tags = place.rest(f"/instances/{instance}/simplified-tags")
        assert (tags["StudyInstanceUID"], tags["VerificationFlag"]) == (source.StudyInstanceUID, "UNVERIFIED")
        listener.send_signal(signal.SIGTERM)
        assert listener.wait(60) == 0
    assert "done" in log.read_text() and "SIMULATED" not in log.read_text()


def test_orthanc_knows_every_setting(tmp_path: Path) -> None:
    """Orthanc passes over names that it does not know. Its own file, which it writes out, and Debian's of the plugin
    name all that there are."""
    subprocess.run(["Orthanc", f"--config={tmp_path / 'all.json'}"], check=True, capture_output=True)
    known = (tmp_path / "all.json").read_text()
    settings = json.loads((DEPLOY / "orthanc.json").read_text())
    plugin = settings.pop("DicomWeb")
    assert [name for name in settings if f'"{name}" :' not in known] == []
    of_plugin = Path("/etc/orthanc/dicomweb.json").read_text()
    assert [name for name in plugin if f'"{name}"' not in of_plugin] == []


def test_the_health_check_of_the_listener_leaves_it_as_it_is(tmp_path: Path) -> None:
    place = Place(tmp_path)
    compose = (DEPLOY / "compose.yaml").read_text()
    check = re.search(r"test: \[CMD, python, -c, \"(.*11112.*)\"\]", compose)[1].replace("11112", str(place.listener))
    words = shlex.split("hospital listen --rules") + [str(tmp_path / "rules.yaml"), "--folder", str(tmp_path / "inbox")]
    log = tmp_path / "log"
    with started([sys.executable, "-m", "unimedvl", *words], log) as listener:
        until(lambda: "listens on" in log.read_text() or listener.poll() is not None)
        before = log.read_text()
        for _ in range(20):  # more than there may be associations
            subprocess.run([sys.executable, "-c", check], check=True, timeout=60)
        time.sleep(1)
        assert log.read_text() == before
        assert listener.poll() is None
