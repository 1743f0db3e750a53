"""`/v1/tasks`: every task of the model, with files of every kind that it reads."""

from __future__ import annotations

import base64
import io
import json

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from unimedvl import UniMedVL
from unimedvl.imaging import ReadOptions
from unimedvl.inference.text import Sampling
from unimedvl.provenance import read_provenance
from unimedvl.serving.task_form import examples, own_fields
from unimedvl.tasks import TASKS

SMALL = {"size": "64x64", "num_inference_steps": "3", "seed": "5"}


@pytest.fixture(scope="module")
def file(photo: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, "PNG")
    return stream.getvalue()


def events(text: str) -> list[tuple[str, dict]]:
    """Name and data of server-sent events."""
    blocks = [dict(line.split(": ", 1) for line in b.splitlines()) for b in text.strip().split("\n\n")]
    return [(b.get("event", ""), json.loads(b["data"])) for b in blocks]


def test_every_task_is_listed_with_what_it_takes(running):
    told = {t["id"]: t for t in running.http.get("/v1/tasks").json()["data"]}
    assert list(told) == list(TASKS)
    assert told["ask"]["fields"]["question"] == {"type": "string", "required": True}
    assert told["stain"]["fields"]["her2"]["choices"] == ["0", "1+", "2+", "3+"]
    assert told["counterfactual"]["answers"] == ["image", "text"] and told["upscale"]["images"]["least"] == 1
    assert "size" in told["segment"]["common_fields"] and "size" not in told["ask"]["common_fields"]
    assert running.http.get("/v1/tasks/ask").json() == told["ask"]
    assert running.http.get("/v1/tasks/dream").json()["error"]["code"] == "task_not_found"


@pytest.mark.parametrize("name", TASKS)
def test_every_task_answers_a_form_as_the_model_does(
    running, nano: UniMedVL, photo: np.ndarray, file: bytes, name: str
):
    own = {k: v for k, v in examples("")[name].items() if k in own_fields(name)}
    fields = own | (SMALL if TASKS[name].draws else {"max_tokens": "8"})
    if TASKS[name].inputs or name == "ask":
        files = {"image": ("a.png", file, "image/png")}
        reply = running.http.post(f"/v1/tasks/{name}", data=fields, files=files)
    else:
        reply = running.http.post(f"/v1/tasks/{name}", json=fields)
    told = reply.json()
    assert reply.status_code == 200, told
    assert told["task"] == name and "Not for clinical use" in told["notice"] and told["usage"]["total_tokens"] > 0
    assert told["provenance"]["model"]["name"] == "nano"
    if TASKS[name].draws:
        image = base64.b64decode(told["image"])
        assert Image.open(io.BytesIO(image)).size == (64, 64) and told["synthetic"] is True
        assert read_provenance(image)["task"] == name
    else:
        answered = getattr(nano, name)(photo, **own, sampling=Sampling(max_tokens=8))
        assert told["text"] == answered.text


def test_parts_of_dicom_and_nifti_files_are_chosen(running, nano: UniMedVL):
    with open(get_testdata_file("CT_small.dcm", download=False), "rb") as stream:
        dicom = stream.read()
    reply = running.http.post(
        "/v1/tasks/ask", data={"question": "Is it CT?", "window": "40,400"},
        files={"scan": ("x.dcm", dicom, "application/dicom")},
    )  # fmt: skip
    details = reply.json()["provenance"]["inputs"][0]
    assert details["kind"] == "dicom" and details["details"]["window"] == [40, 400]
    assert reply.json()["text"] == nano.run([_asked(dicom, ReadOptions(window=(40, 400)))])[0].text
    volume = nibabel.Nifti1Image(np.random.default_rng(0).integers(0, 900, (20, 24, 6)).astype(np.int16), np.eye(4))
    files = {"scan": ("x.nii", volume.to_bytes(), "application/octet-stream")}
    fields = {"question": "Is it MR?", "slice": "2", "plane": "axial"}
    reply = running.http.post("/v1/tasks/ask", data=fields, files=files)
    assert reply.json()["provenance"]["inputs"][0]["details"]["slice"] == 2


def _asked(data: bytes, read: ReadOptions):
    from unimedvl.inference.requests import request_for

    return request_for("ask", data, "Is it CT?", read=read)


def test_json_holds_base64_with_and_without_a_type(running, file: bytes):
    plain = base64.b64encode(file).decode()
    for source in (plain, f"data:image/png;base64,{plain}"):
        reply = running.http.post("/v1/tasks/ask", json={"images": source, "question": "Is it?", "max_tokens": 4})
        assert reply.status_code == 200 and reply.json()["provenance"]["inputs"][0]["kind"] == "png"


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_the_image_alone_comes_where_accept_asks_for_it(running, file: bytes, kind: str):
    reply = running.http.post(
        "/v1/tasks/segment", data={"target": "heart", **SMALL}, files={"a": ("a.png", file, "image/png")},
        headers={"Accept": f"image/{kind}"},
    )  # fmt: skip
    assert reply.headers["content-type"] == f"image/{kind}" and reply.headers["x-seed"] == "5"
    assert Image.open(io.BytesIO(reply.content)).format == kind.upper()
    words = running.http.post("/v1/tasks/ask", json={"question": "Is it?"}, headers={"Accept": f"image/{kind}"})
    assert words.status_code == 406


def test_a_stream_tells_text_steps_previews_and_the_result(running, file: bytes):
    fields = {"target": "heart", "stream": "true", "previews": "2", **SMALL, "num_inference_steps": "7"}
    reply = running.http.post("/v1/tasks/segment", data=fields, files={"a": ("a.png", file, "image/png")})
    told = events(reply.text)
    names = [name for name, _ in told]
    assert names[0] == "text" and names[-1] == "result" and names.count("preview") == 2 and names.count("step") == 6
    result = told[-1][1]
    assert "".join(d["text"] for n, d in told if n == "text") == result["text"] and result["image"]


@pytest.mark.parametrize(
    ("task", "given", "param"),
    [
        ("ask", {"question": "Is it?", "her2": "1+"}, "her2"),
        ("ask", {"question": "Is it?", "size": "64x64"}, "size"),
        ("ask", {"question": "Is it?", "think": "maybe"}, "think"),
        ("ask", {"question": "Is it?", "plane": "oblique"}, "plane"),
        ("ask", {"question": "Is it?", "temperature": -1}, "temperature"),
        ("ask", {"question": ["a"]}, "question"),
        ("ask", {}, None),
        ("report", {}, None),
        ("stain", {"her2": "9", "images": []}, None),
        ("segment", {"target": "heart", "previews": 2}, "previews"),
        ("ask", {"question": "x", "text": "y"}, None),
    ],
)
def test_what_a_task_does_not_take_is_refused(running, task: str, given: dict, param: str | None):
    reply = running.http.post(f"/v1/tasks/{task}", json=given)
    error = reply.json()["error"]
    assert reply.status_code == 400 and error["param"] == param and error["message"], error


def test_an_option_of_another_kind_of_file_is_refused(running, file: bytes):
    files = {"a": ("scan.png", file, "image/png")}
    reply = running.http.post("/v1/tasks/ask", data={"question": "Is it?", "slice": "3"}, files=files)
    assert reply.status_code == 422 and "scan.png" in reply.json()["error"]["message"]
