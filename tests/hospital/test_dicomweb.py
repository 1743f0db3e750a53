"""The DICOMweb client and other HTTP destinations, against servers that answer as servers do on bad days.

That it works with a real server on a good day is tested with Orthanc, in tests/e2e.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from unimedvl.hospital.connection import Access, Unreachable, read_secret
from unimedvl.hospital.dicomweb import Bounds, DicomWeb, encoded
from unimedvl.hospital.error import HospitalError
from unimedvl.hospital.send import sender
from unimedvl.hospital.settings import Destination

QUICK = {"first_wait": 0.01, "read_seconds": 5}


class Server:
    """Gives the answers that it is told, one after the other, the last for ever; keeps the requests."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str, bytes]] = [(200, "application/dicom+json", b"[]")]
        self.asked: list[tuple[str, str, dict, bytes]] = []
        self.delay = 0.0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Transfer-Encoding") == "chunked":
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                owner.asked.append((self.command, self.path, dict(self.headers), body))
                time.sleep(owner.delay)
                status, kind, data = owner.answers.pop(0) if len(owner.answers) > 1 else owner.answers[0]
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with suppress(BrokenPipeError):  # who asked had enough
                    self.wfile.write(data)

            do_GET = do_POST = answer

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/dicom-web"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server():
    running = Server()
    yield running
    running.close()


def client(server: Server, bounds: Bounds = Bounds(), **access) -> DicomWeb:  # noqa: B008
    return DicomWeb(server.url, Access(**QUICK | access), bounds)


def multipart(*parts: bytes) -> tuple[int, str, bytes]:
    body = b"".join(b"\r\n--b\r\nContent-Type: application/dicom\r\n\r\n" + part for part in parts) + b"\r\n--b--"
    return 200, 'multipart/related; type="application/dicom"; boundary=b', body


def listed(*datasets) -> tuple[int, str, bytes]:
    rows = [{tag: {"vr": "UI", "Value": [str(d[tag].value)]} for tag in ("00080016", "00080018", "0020000E")}
            for d in datasets]  # fmt: skip
    return 200, "application/dicom+json", json.dumps(rows).encode()


def test_studies_are_typed_and_what_the_server_does_not_tell_is_empty(server: Server) -> None:
    row = {"0020000D": {"vr": "UI", "Value": ["1.2"]}, "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]},
           "00080061": {"vr": "CS", "Value": ["CT", "SR"]}, "00201208": {"vr": "IS", "Value": [7]},
           "00080020": {"vr": "DA"}}  # fmt: skip
    server.answers = [(200, "application/dicom+json", json.dumps([row]).encode())]
    (found,) = client(server).studies(PatientID="7")
    assert (found.uid, found.patient_name, found.modalities, found.instances) == ("1.2", "A^B", ("CT", "SR"), 7)
    assert (found.date, found.series) == ("", 0)
    assert "PatientID=7" in server.asked[0][1]


@pytest.mark.parametrize(
    ("status", "said", "temporary"),
    [
        (401, "the credentials were refused", False),
        (403, "these credentials may not do that", False),
        (404, "there is no such thing", False),
        (503, r"it can't answer now \(HTTP 503\)", True),
        (500, r"it can't answer now \(HTTP 500\)", True),
    ],
)
def test_a_refusal_is_one_line_and_only_what_may_pass_is_asked_again(
    server: Server, status: int, said: str, temporary: bool
) -> None:
    server.answers = [(status, "text/html", b"<html>secret of a patient</html>")]
    with pytest.raises(HospitalError, match=rf"^query at 127\.0\.0\.1:\d+: .*{said}") as refused:
        client(server).studies()
    assert isinstance(refused.value, Unreachable) is temporary
    assert len(server.asked) == (3 if temporary else 1)


def test_a_server_that_is_busy_for_a_moment_is_asked_again(server: Server) -> None:
    server.answers = [(503, "text/plain", b""), (429, "text/plain", b""), (200, "application/dicom+json", b"[]")]
    assert client(server).studies() == []
    assert len(server.asked) == 3


def test_a_server_that_does_not_answer_is_told(server: Server) -> None:
    server.delay = 0.5
    with pytest.raises(Unreachable, match="no answer in time"):
        client(server, attempts=1, read_seconds=0.05).studies()
    server.close()
    with pytest.raises(Unreachable, match=r"can't be reached \(Connection refused\)"):
        client(server, attempts=1).studies()


@pytest.mark.parametrize("answer", [b"<html>", b'[{"00080018": 3}]', b"[1]"])
def test_an_answer_of_another_kind_is_told(server: Server, answer: bytes) -> None:
    server.answers = [(200, "text/html", answer)]
    with pytest.raises(HospitalError, match="is it the right URL"):
        client(server).studies()


@pytest.mark.parametrize("url", ["pacs", "ftp://pacs/x", "http://", "http://me:secret@pacs/dicom-web"])
def test_what_is_no_url_is_refused_without_its_secret(url: str) -> None:
    with pytest.raises(HospitalError) as refused:
        DicomWeb(url)
    assert "secret" not in str(refused.value)


def test_credentials_go_as_asked(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    client(server, user="jö", password="p:w").studies()
    client(server, token="abc").studies()
    sent = [headers["Authorization"] for _, _, headers, _ in server.asked]
    assert sent == ["Basic " + base64.b64encode("jö:p:w".encode()).decode(), "Bearer abc"]
    assert "p:w" not in repr(Access(user="u", password="p:w", token="abc"))


def test_secrets_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(" abc\n")
    assert read_secret(tmp_path / "token") == "abc"
    (tmp_path / "empty").write_text("\n")
    for name, said in (("empty", "the secret is empty"), ("missing", "can't be read")):
        with pytest.raises(HospitalError, match=said):
            read_secret(tmp_path / name)


def test_a_study_is_fetched_into_files_and_in_memory(server: Server, chest, tmp_path: Path) -> None:
    made = chest(1, ["PA", "LL"])
    server.answers = [listed(*made), *(multipart(encoded(d)) for d in made)]
    done: list[int] = []
    files = client(server).fetch("1.2", tmp_path / "new" / "study", told=done.append)
    assert [f.name for f in files] == [f"{d.SOPInstanceUID}.dcm" for d in made]
    assert done == [1, 2]
    assert "transfer-syntax=*" in server.asked[1][2]["Accept"]
    server.answers = [listed(*made), *(multipart(encoded(d)) for d in made)]
    assert list(client(server).datasets("1.2")) == made


def test_a_fetch_keeps_its_bounds(server: Server, chest) -> None:
    made = chest(1, ["PA", "LL"])
    answers = [listed(*made), *(multipart(encoded(d)) for d in made)]
    for bounds, said in (
        (Bounds(instances=1), "has 2 instances; at most 1 are fetched"),
        (Bounds(bytes=9000), "larger than 0 MiB, the most that is fetched"),
        (Bounds(instance_bytes=2000), "answer is larger than 0 MiB, the most that is taken"),
    ):
        server.answers = list(answers)
        with pytest.raises(HospitalError, match=said):
            list(client(server, bounds).datasets("1.2"))


def test_another_instance_than_asked_for_is_refused(server: Server, chest) -> None:
    server.answers = [listed(*chest(1)), multipart(encoded(chest(2)[0]))]
    with pytest.raises(HospitalError, match="another instance than asked for"):
        list(client(server).datasets("1.2"))


@pytest.mark.parametrize("uid", ["../../etc", "1.2/series", "1" * 65, ""])
def test_only_a_uid_gets_into_a_url(server: Server, uid: str) -> None:
    for ask in (client(server).series, client(server).instances, client(server).datasets):
        with pytest.raises(HospitalError, match="is no UID"):
            ask(uid)
    assert not server.asked


def test_a_large_instance_is_sent_whole_again_after_a_busy_answer(server: Server, chest) -> None:
    (large,) = chest(1)
    large.Rows = large.Columns = 1536
    large.PixelData = bytes(1536 * 1536)
    server.answers = [(503, "text/plain", b""), (200, "application/dicom+json", b"{}")]
    client(server).store([large])
    first, second = (body for _, _, _, body in server.asked)
    assert len(first) > 1536 * 1536
    assert first == second


def test_what_is_stored_is_a_whole_file_even_if_the_data_set_was_none_yet(server: Server, chest) -> None:
    server.answers = [(200, "application/dicom+json", b"{}")]
    client(server).store(chest(1))
    assert b"\r\n\r\n" + bytes(128) + b"DICM" in server.asked[0][3]


@pytest.mark.parametrize("status", [202, 409])
@pytest.mark.parametrize(
    ("reason", "said", "temporary"),
    [(0xA700, "no room now", True), (0x0122, "it does not store this SOP class", False),
     (0xC123, "it does not understand the data set", False), (0xA9F0, "does not fit its SOP class", False)],
)  # fmt: skip
def test_an_instance_that_the_server_names_as_failed_is_no_success(
    server: Server, chest, reason: int, said: str, temporary: bool, status: int
) -> None:
    failed = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [reason]}}]}}
    server.answers = [(status, "application/dicom+json", json.dumps(failed).encode())]
    with pytest.raises(HospitalError, match=said) as refused:
        client(server).store(chest(1))
    assert isinstance(refused.value, Unreachable) is temporary


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b"[1]"])
def test_a_conflict_without_a_reason_is_no_success(server: Server, chest, body: bytes) -> None:
    server.answers = [(409, "application/dicom+json", body)]
    with pytest.raises(HospitalError, match="it did not accept what was sent"):
        client(server).store(chest(1))


def sent(destination: Destination, file: Path) -> Callable[[], None]:
    return lambda: sender(destination)(file)


def test_a_bundle_is_posted_to_a_fhir_server(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "bundle.json"
    file.write_text('{"resourceType": "Bundle"}')
    sender(Destination(fhir=server.url))(file)
    command, path, headers, body = server.asked[0]
    assert (command, path, body) == ("POST", "/dicom-web", file.read_bytes())
    assert headers["Content-Type"] == "application/fhir+json"
    server.answers = [(422, "application/fhir+json", b"{}")]
    with pytest.raises(HospitalError, match="FHIR transaction at .*HTTP 422"):
        sender(Destination(fhir=server.url))(file)


def test_results_go_into_a_folder_and_twice_is_once(tmp_path: Path) -> None:
    file = tmp_path / "a.dcm"
    file.write_bytes(b"x")
    for _ in range(2):
        sender(Destination(folder=tmp_path / "out" / "deep"))(file)
    assert [f.read_bytes() for f in (tmp_path / "out" / "deep").iterdir()] == [b"x"]
    with pytest.raises(Unreachable, match="can't be written"):
        sender(Destination(folder=file / "below"))(file)


def test_results_go_to_an_ae(peer, chest, tmp_path: Path) -> None:
    file = tmp_path / "a.dcm"
    chest(1)[0].save_as(file, enforce_file_format=True)
    sender(Destination(ae=peer.address))(file)
    assert peer.got[0] == chest(1)[0]


@pytest.mark.parametrize(
    ("answer", "said", "temporary"), [(0xA702, "no room now", True), (0x0122, "does not store this SOP class", False),
                                      (0xB000, None, False)],
)  # fmt: skip
def test_what_an_ae_answers_decides(peer, chest, tmp_path: Path, answer: int, said: str, temporary: bool) -> None:
    file = tmp_path / "a.dcm"
    chest(1)[0].save_as(file, enforce_file_format=True)
    peer.answer = answer
    if said is None:
        sender(Destination(ae=peer.address))(file)
        return
    with pytest.raises(HospitalError, match=said) as refused:
        sender(Destination(ae=peer.address))(file)
    assert isinstance(refused.value, Unreachable) is temporary


def test_an_ae_that_refuses_or_is_not_there_is_told(peer, chest, tmp_path: Path) -> None:
    file = tmp_path / "a.dcm"
    chest(1)[0].save_as(file, enforce_file_format=True)
    with pytest.raises(HospitalError, match=r"association was refused; check the AE titles \(ours is UNIMEDVL\)"):
        sender(Destination(ae=f"OTHER@127.0.0.1:{peer.port}"))(file)
    peer._ae.supported_contexts = []
    peer._server.contexts = peer._server.contexts[:1]
    with pytest.raises(HospitalError, match="it does not store Digital X-Ray"):
        sender(Destination(ae=peer.address))(file)
    with pytest.raises(Unreachable, match="can't be reached"):
        sender(Destination(ae="PEER@127.0.0.1:1"))(file)
