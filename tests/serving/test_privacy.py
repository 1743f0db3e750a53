"""A secret word and a patient's name go through every route, well and badly, and reach neither log, audit nor disk."""

from __future__ import annotations

import base64
import io
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pytest
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo
from pydicom.data import get_testdata_file

from unimedvl.serving.keys import add_key

WORD = "Slartibartfast"
PATIENT = "Beeblebrox^Zaphod"
SECRETS = (WORD, "Beeblebrox")
SMALL = {"size": "32x32", "num_inference_steps": 2, "seed": 1}


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """Images that hold the secrets: in a DICOM's attributes, in a PNG's text; and files that are none."""
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
    dataset.PatientName, dataset.PatientID, dataset.StudyDescription = PATIENT, WORD, WORD
    stream = io.BytesIO()
    dataset.save_as(stream)
    whole = stream.getvalue()
    rows = whole.index(b"\x28\x00\x10\x00US")
    frames = b"\x28\x00\x08\x00IS" + len(WORD).to_bytes(2, "little") + WORD.encode()
    text = PngInfo()
    text.add_text("Comment", f"{PATIENT} {WORD}")
    png = io.BytesIO()
    PillowImage.fromarray(np.zeros((32, 32, 3), np.uint8)).save(png, "PNG", pnginfo=text)
    return {
        "whole": whole, "broken": whole[:rows] + frames + whole[rows:], "half": whole[:3000],
        "png": png.getvalue(), "cut": png.getvalue()[:-60], "none": f"{PATIENT} {WORD}".encode(),
    }  # fmt: skip


def url(data: bytes, kind: str = "application/octet-stream") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def chats(files: dict[str, bytes]) -> Iterator[dict]:
    def body(*parts: dict, **more) -> dict:
        content = [*parts, {"type": "text", "text": f"What of {WORD} and {PATIENT}?"}]
        return {"messages": [{"role": "user", "content": content}], "max_tokens": 3, **more}

    for name, data in files.items():
        yield {"json": body({"type": "image_url", "image_url": {"url": url(data)}}, user=WORD, stream=name == "whole")}
    yield {"json": body({"type": "image_url", "image_url": {"url": f"https://{WORD}.test/{PATIENT}.png"}})}
    yield {"json": body({"type": "image_url", "image_url": {"url": url(b"x", f"image/{WORD}")}})}
    yield {"json": body({"type": "image_url", "image_url": {"url": f"attachment://{PATIENT}.dcm"}})}
    yield {"json": body(**{WORD: PATIENT})}
    yield {"json": body(model=WORD)}
    yield {"json": body(stop=[WORD], response_format={"type": WORD})}
    schema = {"name": "x", "schema": {"type": WORD}}
    yield {"json": body(response_format={"type": "json_schema", "json_schema": schema})}
    yield {"json": body(modalities=["image"], **SMALL)}
    yield {"json": {"messages": [{"role": WORD, "content": PATIENT}]}}
    yield {"json": {"messages": PATIENT}}
    yield {"content": f'{{"messages": "{WORD} {PATIENT}'.encode(), "headers": {"content-type": "application/json"}}
    yield {"content": WORD.encode(), "headers": {"content-type": f"text/{WORD}", "x-timeout": WORD, "cookie": PATIENT}}


def tasks(files: dict[str, bytes]) -> Iterator[dict]:
    for data in files.values():
        named = {"image": (f"{PATIENT} {WORD}.dcm", data, "application/dicom")}
        yield {"files": named, "data": {"question": f"{WORD}? {PATIENT}?", "max_tokens": "3"}}
    yield {"files": {WORD: (PATIENT, files["png"])}, "data": {WORD: PATIENT, "window": WORD}}
    yield {"files": {"image": (PATIENT, files["png"], f"image/{WORD}")}}
    yield {"json": {"images": [url(files["png"])], "question": WORD, "plane": PATIENT}}
    yield {"json": {"images": [PATIENT], "question": WORD}}


# Path and method -> the requests that are sent there, and which of their paths.
ASKED: dict[tuple[str, str], Callable[[dict[str, bytes]], list[tuple[str, dict]]]] = {
    ("post", "/v1/chat/completions"): lambda f: [("/v1/chat/completions", one) for one in chats(f)],
    ("post", "/v1/tasks/{task}"): lambda f: [
        *(("/v1/tasks/ask", one) for one in tasks(f)), (f"/v1/tasks/{WORD}", {"json": {}}),
        ("/v1/tasks/generate", {"json": {"caption": f"{WORD} {PATIENT}", **SMALL}}),
        ("/v1/tasks/generate", {"json": {"caption": WORD, "modality": PATIENT, **SMALL}}),
        ("/v1/tasks/edit", {"files": {"image": (PATIENT, f["png"])}, "data": {"instruction": WORD, "size": PATIENT}}),
        ("/v1/tasks/segment", {"json": {"images": [url(f["png"])], "target": WORD, "stream": True, **SMALL}}),
    ],
    ("post", "/v1/images/generations"): lambda f: [
        ("/v1/images/generations", {"json": {"prompt": f"{WORD} {PATIENT}", **SMALL}}),
        ("/v1/images/generations", {"json": {"prompt": WORD, "stream": True, "partial_images": 1, **SMALL}}),
        ("/v1/images/generations", {"json": {"prompt": WORD, "style": PATIENT}}),
        ("/v1/images/generations", {"json": {"prompt": WORD, "size": PATIENT, "user": WORD}}),
    ],
    ("post", "/v1/images/edits"): lambda f: [
        ("/v1/images/edits", {"files": {"image": (PATIENT, f[name])}, "data": {"prompt": WORD, "size": "32x32"}})
        for name in ("broken", "none", "cut")
    ] + [("/v1/images/edits", {"json": {"image": url(f["whole"]), "prompt": WORD, **SMALL}})],
    ("get", "/v1/models"): lambda f: [(f"/v1/models?patient={PATIENT}&word={WORD}", {})],
    ("get", "/v1/models/{model}"): lambda f: [(f"/v1/models/{WORD}/{PATIENT}", {})],
    ("get", "/v1/tasks"): lambda f: [(f"/v1/tasks?q={WORD}", {"headers": {"referer": f"https://x/{PATIENT}"}})],
    ("get", "/v1/tasks/{task}"): lambda f: [(f"/v1/tasks/{WORD}", {}), (f"/v1/tasks/ask?of={PATIENT}", {})],
    ("get", "/health"): lambda f: [(f"/health?{WORD}", {})],
    ("get", "/ready"): lambda f: [(f"/ready?{WORD}", {"headers": {"user-agent": PATIENT}})],
    ("get", "/metrics"): lambda f: [(f"/metrics?{WORD}", {})],
}  # fmt: skip


def left_behind(folder: Path) -> list[str]:
    """Files below a folder that hold a secret."""
    found = []
    for file in folder.rglob("*"):
        if file.is_file() and any(secret.encode() in file.read_bytes() for secret in SECRETS):
            found.append(str(file))
    return found


def requests(server, files) -> list[httpx.Response]:
    return [
        server.http.request(method, path, **asked)
        for (method, _), make in ASKED.items() for path, asked in make(files)
    ]  # fmt: skip


@pytest.fixture
def watched(serve, engine, tmp_path, log, monkeypatch) -> Iterator[tuple]:
    """A server with keys and an audit, its log, and the folder that all its files and those of the system lie in."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(tmp_path)
    key = add_key(tmp_path / "keys.txt", "ward-3")
    out = log()
    audit = f"sqlite:///{tmp_path / 'audit.db'}"
    with serve(engine, key=key, keys=tmp_path / "keys.txt", audit=audit, limits={"decoders": 1}) as server:
        yield server, out, tmp_path
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_every_route_is_asked(running):
    routes = {(m, path) for path, methods in running.http.get("/openapi.json").json()["paths"].items() for m in methods}
    assert routes == set(ASKED)


def test_no_secret_is_logged_recorded_or_left_on_the_disk(watched, files, capfd, wait_until):
    server, out, folder = watched
    answers = requests(server, files)
    answers += [server.http.get(f"/{WORD}/{PATIENT}"), server.http.request("DELETE", f"/v1/tasks?{WORD}"),
                httpx.get(f"{server.url}/v1/models", headers={"Authorization": f"Bearer {WORD}"})]  # fmt: skip
    statuses = {answer.status_code for answer in answers}
    assert {200, 400, 401, 404, 405, 415, 422} <= statuses and 500 not in statuses
    asked = sum("/v1/" in str(answer.url) for answer in answers)
    assert wait_until(lambda: server.service.audit.written == asked)  # the last after the answer is sent
    shown = capfd.readouterr()
    for text in (out.getvalue(), shown.out, shown.err, server.http.get("/metrics").text):
        assert not any(secret in text for secret in SECRETS), text
    assert left_behind(folder) == []
    lines = out.getvalue().splitlines()
    posts = [line for line in lines if " POST " in line]
    assert len(posts) == sum(answer.request.method == "POST" for answer in answers)
    assert all(" ward-3 POST /v1/" in line and " ms" in line for line in posts)
    with sqlite3.connect(folder / "audit.db") as audit:
        recorded = audit.execute("SELECT count(*) FROM unimedvl_audit WHERE who = 'ward-3'").fetchone()[0]
    assert recorded == asked - 1


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, KeyError, OSError])
def test_a_failure_that_holds_a_secret_does_not_tell_it(watched, files, monkeypatch, capfd, kind):
    server, out, folder = watched

    def fail(*_, **__) -> None:
        raise kind(f"{PATIENT} said {WORD}")

    monkeypatch.setattr(server.service.engine.engine, "submit", fail)
    body = {"messages": [{"role": "user", "content": "hello"}]}
    answer = server.http.post("/v1/chat/completions", json=body)
    assert answer.status_code == (400 if kind is ValueError else 500)
    monkeypatch.setattr("unimedvl.serving.uploads.read_image", fail)
    monkeypatch.setattr(server.service, "decoders", None)
    answer = server.http.post("/v1/tasks/ask", files={"image": ("x", files["png"])}, data={"question": "x"})
    assert answer.status_code in (400, 500)
    shown = capfd.readouterr()
    for text in (out.getvalue(), shown.out, shown.err):
        assert not any(secret in text for secret in SECRETS), text
    assert (kind is ValueError) or f"{kind.__name__}" in out.getvalue()
    assert left_behind(folder) == [] and os.getcwd() == str(folder)


def test_the_page_tells_no_secret_whatever_is_sent_to_its_functions(
    serve, engine, tmp_path, log, monkeypatch, files, capfd
):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    out, name = log(), f"{PATIENT} {WORD}.dcm"
    with serve(engine, page=True, audit=f"sqlite:///{tmp_path / 'audit.db'}", limits={"decoders": 1}) as server:
        http, tab = server.http, {"x-page-secret": "0123456789abcdef" * 2}
        for field, data in files.items():
            assert http.post("/page/upload", files={field: (name, data)}, headers=tab).status_code == 200
        http.get(f"/page/results/{WORD}/{PATIENT}")
        http.post("/page/leave", content=f"{WORD} {PATIENT}")
        http.get(f"/?patient={PATIENT}")
        failures = 0
        for function in http.get("/config").json()["dependencies"]:
            secret = [f"{PATIENT} {WORD}"] * len(function["inputs"])
            for data in (secret, [PATIENT]):
                asked = {"fn_index": function["id"], "data": data, "session_hash": "abc", "event_data": {WORD: PATIENT}}
                answers = [http.post(f"/gradio_api/{way}", json=asked) for way in ("run/predict", "queue/join")]
                failures += sum(answer.status_code >= 400 for answer in answers)
        with http.stream("GET", "/gradio_api/queue/data", params={"session_hash": "abc"}) as told:
            for line in told.iter_lines():
                if "close_stream" in line:
                    break
        server.service.audit.flush()
    shown = capfd.readouterr()
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert failures
    for text in (out.getvalue(), shown.out, shown.err):
        assert not any(secret in text for secret in SECRETS), text
    assert left_behind(tmp_path) == []
