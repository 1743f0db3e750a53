"""What strangers may send to a real server is answered with an image's result, or refused in one sentence."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import nibabel
import numpy as np
import pytest
from PIL import Image as PillowImage
from pydicom.data import get_testdata_file

from unimedvl.cli.main import main
from unimedvl.serving.audit_table import read_lines
from unimedvl.serving.keys import add_key, remove_key

MIB = 2**20
LIMITS = {
    "body_bytes": 4 * MIB, "file_bytes": 2 * MIB, "pixels": 1_000_000, "unpacked_bytes": 8 * MIB, "frames": 50,
    "decoders": 1, "decode_bytes": 1024 * MIB, "images": 3, "text_characters": 500, "max_tokens": 40, "n": 2,
    "json_depth": 20, "request_pixels": 1_500_000, "rate": 100_000, "burst": 10_000,
}  # fmt: skip


@pytest.fixture(scope="module")
def strict(serve, engine) -> Iterator:
    """A server with tight limits."""
    with serve(engine, limits=LIMITS) as one:
        yield one


def picture(pixels: np.ndarray, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    PillowImage.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def shipped(name: str) -> bytes:
    return Path(get_testdata_file(name, download=False)).read_bytes()


def url(data: bytes, kind: str = "application/octet-stream") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def port_of(server) -> tuple[str, int]:
    return "127.0.0.1", int(server.url.rpartition(":")[2])


def refusal(answer: httpx.Response, *statuses: int) -> str:
    """The sentence of an answer that refuses, which is one line in OpenAI's form."""
    assert answer.status_code in statuses, (answer.status_code, answer.text[:500])
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    message = error["message"]
    assert message.isprintable() and 0 < len(message) < 600 and "Traceback" not in message
    assert answer.headers["content-type"] == "application/json" and answer.headers["x-request-id"]
    return message


def chat(image: str, **fields) -> dict:
    content = [{"type": "image_url", "image_url": {"url": image}}, {"type": "text", "text": "What is it?"}]
    return {"model": "nano", "messages": [{"role": "user", "content": content}], "max_tokens": 4, **fields}


BOMBS = ("pixels", "text chunk", "pages", "gzip", "deflated", "nested", "frames", "webp", "huge offset")
MALFORMED = ("half", "no pixels", "length beyond the file", "plan", "bad vr", "only its head",
             "fragment beyond the file", "noise behind the head")  # fmt: skip
SMALL = picture(np.zeros((32, 32), np.uint8), "PNG")


@pytest.fixture(scope="module")
def bombs() -> dict[str, bytes]:
    """Files of a few kilobytes that would be gigabytes, or take for ever."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    def png(width: int, height: int, *chunks: bytes) -> bytes:
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")

    pages = [PillowImage.fromarray(np.zeros((8, 8), np.uint8)) for _ in range(60)]
    tiff = io.BytesIO()
    pages[0].save(tiff, "TIFF", save_all=True, append_images=pages[1:])
    volume = nibabel.Nifti1Image(np.zeros((8, 8, 8), np.uint8), np.eye(4)).to_bytes()
    deflated = shipped("image_dfl.dcm")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    dicom = shipped("CT_small.dcm")
    at = dicom.index(b"\x08\x00\x05\x00CS")
    nested = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 50_000
    frames = dicom.index(b"\x28\x00\x10\x00US")
    many = b"\x28\x00\x08\x00IS\x08\x00" + b"99999999"
    return {
        "pixels": png(60_000, 60_000, chunk(b"IDAT", zlib.compress(bytes(10 * MIB), 9))),
        "text chunk": png(8, 8, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80 * MIB), 9))),
        "pages": tiff.getvalue(),
        "gzip": gzip.compress(volume + bytes(40 * MIB), 9),
        "deflated": deflated[: deflated.index(b"1.2.840.10008.1.2.1.99") + 22]
        + packer.compress(bytes(40 * MIB)) + packer.flush(),
        "nested": dicom[:at] + nested + dicom[at:],
        "frames": dicom[:frames] + many + dicom[frames:],
        "webp": b"RIFF\x28\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xff" * 6 + bytes(9),
        "huge offset": volume[:108] + struct.pack("<f", 1e30) + volume[112:],
    }  # fmt: skip


@pytest.fixture(scope="module")
def malformed() -> dict[str, bytes]:
    """Files that begin like DICOM."""
    whole = shipped("CT_small.dcm")
    pixels = whole.index(b"\xe0\x7f\x10\x00OW")
    encapsulated = shipped("SC_rgb_jpeg_gdcm.dcm")
    item = encapsulated.index(b"\xe0\x7f\x10\x00OB") + 12
    return {
        "half": whole[: len(whole) // 2],
        "no pixels": whole[:pixels],
        "length beyond the file": whole[: pixels + 8] + b"\xfe\xff\xff\x7f" + whole[pixels + 12 : -2000],
        "plan": shipped("rtplan.dcm"),
        "bad vr": shipped("badVR.dcm"),
        "only its head": whole[:140],
        "fragment beyond the file": encapsulated[: item + 12] + b"\xff\xff\xff\x7f" + bytes(300),
        "noise behind the head": whole[:400] + bytes(range(256)) * 40,
    }


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_at_every_door(strict, bombs, name):
    data = bombs[name]
    assert len(data) < LIMITS["file_bytes"]
    refusal(strict.http.post("/v1/tasks/report", files={"image": ("scan", data)}), 413, 422)
    refusal(strict.http.post("/v1/tasks/report", json={"images": [url(data)]}), 413, 422)
    refusal(strict.http.post("/v1/chat/completions", json=chat(url(data))), 413, 422)
    refusal(strict.http.post("/v1/images/edits", files={"image": ("x.png", data)}, data={"prompt": "x"}), 413, 415, 422)


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_dicom_is_refused(strict, malformed, name):
    data = malformed[name]
    for answer in (
        strict.http.post("/v1/tasks/report", files={"image": ("scan.dcm", data, "application/dicom")}),
        strict.http.post("/v1/chat/completions", json=chat(url(data, "application/dicom"))),
    ):
        assert "scan.dcm" in (said := refusal(answer, 415, 422)) or "messages[0]" in said
    assert strict.http.get("/ready").status_code == 200


@pytest.mark.parametrize("name", ["../../../../tmp/evil.png", "/etc/passwd", "..\\..\\evil.png", "a/b/../../evil.png"])
def test_names_of_files_are_never_paths(strict, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    before = set(os.listdir("/tmp"))
    answer = strict.http.post("/v1/tasks/report", files={"image": (name, SMALL)}, data={"max_tokens": "2"})
    assert answer.status_code == 200
    said = refusal(strict.http.post("/v1/tasks/report", files={"image": (name, b"root:x:0:0:root")}), 415)
    assert "is a text file" in said and "/" not in said.partition(":")[0] and "\\" not in said.partition(":")[0]
    assert os.listdir(tmp_path) == []
    assert not any("evil" in new or "spool" in new.lower() for new in set(os.listdir("/tmp")) - before)


@pytest.mark.parametrize("path", [
    "/../../etc/passwd", "/v1/models/../../../etc/passwd", "/v1/models/..%2f..%2fetc%2fpasswd", "/%2e%2e/etc/passwd",
    "/v1/tasks/..%2f..%2fetc%2fpasswd", "/v1/tasks/....//etc/passwd", "//etc/passwd", "/v1/models/%00", "/static/../x",
])  # fmt: skip
def test_paths_lead_nowhere(strict, path):
    with socket.create_connection(port_of(strict), timeout=20) as connection:  # no client puts the path in order
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.split()[1] == b"404" and b"root:" not in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]


def test_bodies_that_are_none_are_refused(strict):
    post = strict.http.post
    kind = {"content-type": "application/json"}
    for body, status, said in (
        (b"{" * 5000, 400, "nested more than 20 deep"), (b'{"a":' * 19 + b"1", 400, "not JSON"),
        (b"\xff\xfe", 400, "JSON"), (b"[]", 400, "JSON object"),
        (b'"' + b"x" * 5 * MIB + b'"', 413, "too large"), (b"", 400, "JSON"),
        (b'{"messages": ' + b"[1]," * 3 + b"}", 400, "JSON"), (b'{"n": 1e400, "messages": []}', 400, ""),
    ):  # fmt: skip
        assert said in refusal(post("/v1/chat/completions", content=body, headers=kind), status)
    form = {"content-type": "multipart/form-data"}
    assert "form" in refusal(post("/v1/tasks/report", content=b"x", headers=form), 400)
    boundary = {"content-type": "multipart/form-data; boundary=b"}
    for body in (b"--b\r\n", b"--b\r\ncontent-disposition: form-data\r\n\r\n\r\n--b--\r\n", b"--b" * 1000, b"none",
                 b'--b\r\ncontent-disposition: form-data; name="image"; filename="\xff\xfe"\r\n\r\nx\r\n--b--\r\n',
                 b"--b\r\nx: " + b"y" * 20_000 + b"\r\n\r\n\r\n--b--"):  # fmt: skip
        refusal(post("/v1/tasks/report", content=body, headers=boundary), 400, 415, 422)
    many = [("image", ("x", SMALL))] * 5
    assert "3 are taken" in refusal(post("/v1/tasks/report", files=many), 413)


def test_limits_of_a_request(strict):
    post = strict.http.post
    said = refusal(post("/v1/chat/completions", json=chat(url(SMALL), n=3)), 400)
    assert "at most 2" in said
    assert "at most 40" in refusal(post("/v1/chat/completions", json=chat(url(SMALL), max_tokens=41)), 400)
    long = {"messages": [{"role": "user", "content": "x" * 501}]}
    assert "more than 500 characters" in refusal(post("/v1/chat/completions", json=long), 413)
    content = [{"type": "image_url", "image_url": {"url": url(SMALL)}}] * 4
    many = {"messages": [{"role": "user", "content": content}]}
    assert "3 images" in refusal(post("/v1/chat/completions", json=many), 413)
    large = [("image", ("x", picture(np.zeros((900, 1000), np.uint8), "PNG")))] * 2
    assert "1.5 megapixels together" in refusal(post("/v1/tasks/report", files=large), 413)
    for wrong in ("http://169.254.169.254/latest", "file:///etc/passwd", "https://example.org/x.png", "data:,x"):
        refusal(post("/v1/chat/completions", json=chat(wrong)), 400, 415)
    as_html = chat(url(b"<script>", "text/html"))
    assert "no image read here" in refusal(post("/v1/chat/completions", json=as_html), 415)
    another = chat(url(picture(np.zeros((8, 8), np.uint8), "JPEG"), "image/png"))
    assert "says it is image/png but is JPEG" in refusal(post("/v1/chat/completions", json=another), 415)


def test_the_server_answers_after_all_that(strict):
    answer = strict.http.post("/v1/chat/completions", json=chat(url(SMALL)))
    assert answer.status_code == 200 and answer.json()["choices"]


@pytest.fixture
def keyed(serve, engine, tmp_path) -> Iterator:
    """A server with the key of ward-3, which may ask three times at once, and its file of keys."""
    file = tmp_path / "keys.txt"
    key = add_key(file, "ward-3")
    limits = {"burst": 3, "rate": 6, "decoders": 1}
    with serve(engine, key=key, keys=file, limits=limits, audit=f"sqlite:///{tmp_path / 'audit.db'}") as one:
        yield one, file


def test_only_those_with_a_key_are_answered_until_it_is_taken_away(keyed):
    server, file = keyed
    assert server.http.get("/v1/models").status_code == 200
    for path in ("/v1/models", "/metrics", "/", "/docs", "/openapi.json", "/v1/nothing"):
        for headers in ({}, {"Authorization": "Bearer umv_wrong"}, {"Authorization": "Basic Og=="}):
            answer = httpx.get(server.url + path, headers=headers)
            assert "API key" in refusal(answer, 401) and answer.headers["www-authenticate"]
    for path in ("/health", "/ready"):
        assert httpx.get(server.url + path).status_code == 200
    # FastAPI's page of the API would run another site's scripts beside the key.
    refusal(server.http.get("/docs"), 404)
    large = httpx.post(f"{server.url}/v1/chat/completions", content=b"x" * 10_000_000)
    assert "no API key was given" in refusal(large, 401)
    # Refused before its body is there: a stranger can't have the server hold anything.
    with socket.create_connection(port_of(server), timeout=20) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 60000000\r\n\r\n")
        assert b" 401 " in connection.recv(1000)
    remove_key(file, "ward-3")
    assert "not known here" in refusal(server.http.get("/v1/models"), 401)


def test_one_key_may_ask_so_often(keyed, tmp_path, wait_until):
    server, _ = keyed
    statuses = [server.http.get("/v1/models").status_code for _ in range(4)]
    answer = server.http.get("/v1/models")
    assert statuses == [200, 200, 200, 429] and "6 times a minute" in refusal(answer, 429)
    assert 1 <= int(answer.headers["retry-after"]) <= 10 and answer.headers["x-should-retry"] == "true"
    assert server.http.get("/health").status_code == 200
    assert wait_until(lambda: server.service.audit.written == 5)  # the last after the answer is sent
    lines = list(read_lines(f"sqlite:///{tmp_path / 'audit.db'}"))
    assert [(line.who, line.outcome) for line in lines] == [("ward-3", "200")] * 3 + [("ward-3", "429")] * 2


def test_one_key_may_ask_so_many_at_once(serve, engine):
    with serve(engine, limits={"concurrent": 1, "decoders": 1}) as server, ThreadPoolExecutor(6) as pool:
        body = {"messages": [{"role": "user", "content": "Describe a chest X-ray."}], "max_tokens": 60}
        asked = [pool.submit(server.http.post, "/v1/chat/completions", json=body) for _ in range(6)]
        answers = [one.result() for one in asked]
    assert {a.status_code for a in answers} == {200, 429}
    assert all("under way" in refusal(a, 429) for a in answers if a.status_code == 429)


def test_pages_of_other_sites_and_other_names_are_refused(strict):
    evil = {"origin": "https://evil.test", "content-type": "text/plain"}
    assert "another site" in refusal(strict.http.post("/v1/tasks/report", content=b"{}", headers=evil), 403)
    assert "another name" in refusal(strict.http.get("/v1/models", headers={"host": "evil.test"}), 403)
    asked = {"origin": "https://evil.test", "access-control-request-method": "POST"}
    answer = strict.http.options("/v1/chat/completions", headers=asked)
    assert answer.status_code == 405 and not any(h.startswith("access-control") for h in answer.headers)


def test_pages_of_listed_sites_are_answered(serve, engine):
    with serve(engine, cors=["https://viewer.test"]) as server:
        asked = {"origin": "https://viewer.test", "access-control-request-method": "POST"}
        allowed = server.http.options("/v1/chat/completions", headers=asked)
        assert allowed.headers["access-control-allow-origin"] == "https://viewer.test"
        assert "access-control-allow-credentials" not in allowed.headers
        answer = server.http.post("/v1/chat/completions", json=chat(url(SMALL)), headers={"origin": asked["origin"]})
        assert answer.status_code == 200
        other = {"origin": "https://evil.test", "access-control-request-method": "POST"}
        assert "access-control-allow-origin" not in server.http.options("/v1/models", headers=other).headers


def test_answers_bear_the_headers_of_safety(strict):
    for answer in (strict.http.get("/v1/models"), strict.http.get("/v1/none"), strict.http.get("/health")):
        assert answer.headers["x-content-type-options"] == "nosniff" and "server" not in answer.headers
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert strict.http.get("/v1/models").headers["cache-control"] == "no-store"


def test_tls_is_served_and_only_tls(serve, engine, make_certificate):
    certificate, key = make_certificate("127.0.0.1", "localhost", days=90)
    with serve(engine, tls={"certificate": certificate, "key": key}) as server:
        context = ssl.create_default_context(cafile=str(certificate))
        secure = server.url.replace("http:", "https:")
        with httpx.Client(base_url=secure, verify=context) as client:
            answer = client.get("/health")
            assert answer.status_code == 200 and answer.headers["strict-transport-security"]
            assert client.post("/v1/chat/completions", json=chat(url(SMALL)), timeout=60).status_code == 200
        with pytest.raises(httpx.ConnectError, match="certificate"):
            httpx.get(f"{secure}/health")
        with pytest.raises(httpx.HTTPError):
            server.http.get("/health")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(certificate)
        with pytest.warns(DeprecationWarning):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError), socket.create_connection(port_of(server)) as plain:
            old.wrap_socket(plain, server_hostname="127.0.0.1")


def test_what_must_be_recorded_is_recorded_or_refused(serve, engine, tmp_path, monkeypatch, wait_until):
    place = f"sqlite:///{tmp_path / 'audit.db'}"
    monkeypatch.setattr("unimedvl.serving.audit._PAUSES", (0.05,))
    with serve(engine, audit=place, audit_required=True) as server:
        body = chat(url(SMALL))
        assert server.http.post("/v1/chat/completions", json=body).status_code == 200
        assert wait_until(lambda: server.service.audit.written == 2)  # the last after the answer is sent
        lines = list(read_lines(place))
        assert [line.outcome for line in lines] == ["begun", "200"]
        assert {(line.task, line.model, len(line.request_sha256)) for line in lines} == {(lines[1].task, "nano", 64)}
        assert len(lines[1].input_sha256s) == 1 and len(lines[1].output_sha256) == 64 == len(lines[1].weights_sha256)

        real = server.service.audit._engine.begin

        def gone() -> None:
            raise OSError("no space left")

        monkeypatch.setattr(server.service.audit._engine, "begin", gone, raising=False)
        answer = server.http.post("/v1/chat/completions", json=body)
        assert "audit can't be written" in refusal(answer, 503)
        monkeypatch.setattr(server.service.audit._engine, "begin", real, raising=False)
        assert server.http.post("/v1/chat/completions", json=body).status_code == 200


def serve_command(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "unimedvl", "serve", "--port", "0", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def test_a_server_that_others_reach_does_not_start_without_keys(tmp_path, capsys, log):
    log()  # a server sets the log up, which is put back after the test
    ended = serve_command("--host", "0.0.0.0")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(r"error: host is 0\.0\.0\.0, which others reach, and there are no keys; .*\n", ended.stderr)
    for arguments, said in (
        (["keys=none.txt"], "none.txt: No such file"),
        (["tls.certificate=a.pem", "tls.key=b.pem"], "a.pem: No such file"),
        (["audit=mysql://x"], "the audit's URL is of no form"), (["fetch=['*.org']"], "is no host; name each exactly"),
        (["limits.n=0"], "limits.n"),
    ):  # fmt: skip
        assert main(["serve", "--port", "0", *arguments]) == 2
        shown = capsys.readouterr().err
        assert said in shown and shown.count("\n") == 1


def test_a_client_that_is_silent_is_closed(serve, engine, monkeypatch):
    monkeypatch.setattr("unimedvl.serving.connections.PatientProtocol.header_seconds", 0.3)
    started = time.monotonic()
    with serve(engine) as server, socket.create_connection(port_of(server), timeout=20) as connection:
        assert connection.recv(10) == b"" and time.monotonic() - started < 15
