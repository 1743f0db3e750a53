"""`/v1/images` as OpenAI's own client uses it, over the embedded model."""

from __future__ import annotations

import base64
import hashlib
import io

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from unimedvl import UniMedVL
from unimedvl.provenance import ProvenanceError, detect, read_provenance
from unimedvl.provenance.manifest import read_manifest
from unimedvl.serving.run import check
from unimedvl.serving.settings import ServerSettings

SMALL = {"num_inference_steps": 4}
PROMPT = "Chest X-ray with cardiomegaly"


def png(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def decoded(b64: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(b64)))


def test_images_are_those_of_the_model_and_say_where_they_come_from(client: openai.OpenAI, nano: UniMedVL):
    reply = client.images.generate(model="nano", prompt=PROMPT, size="64x64", n=2, extra_body={**SMALL, "seed": 3})
    assert reply.size == "64x64" and reply.output_format == "png" and len(reply.data) == 2
    for number, item in enumerate(reply.data):
        provenance = read_provenance(base64.b64decode(item.b64_json))
        assert provenance["seed"] == item.seed == 3 + number and provenance["request"] == PROMPT
        assert detect(np.asarray(decoded(item.b64_json))).found
        own = nano.generate(PROMPT, size=(64, 64), steps=4, seed=3 + number)
        # The mark of the file changes values by little.
        assert np.abs(np.asarray(decoded(item.b64_json)).astype(int) - own.array).mean() < 4
    assert reply.usage.output_tokens == 2 * 16 and reply.usage.input_tokens > 0


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_images_come_in_the_form_that_is_asked(client: openai.OpenAI, form: str):
    given = {"output_format": form, "output_compression": 90, "size": "64x64"}
    reply = client.images.generate(prompt=PROMPT, extra_body=SMALL, **given)
    assert decoded(reply.data[0].b64_json).format == form.upper() and reply.output_format == form


def test_images_differ_from_call_to_call_unless_a_seed_is_given(client: openai.OpenAI):
    def drawn(**extra) -> tuple[bytes, int]:
        item = client.images.generate(prompt=PROMPT, size="64x64", extra_body={**SMALL, **extra}).data[0]
        return decoded(item.b64_json).tobytes(), item.seed

    first, second = drawn(), drawn()
    assert first != second and drawn(seed=first[1]) == first


def test_an_image_is_edited_at_its_own_size(client: openai.OpenAI, photo: np.ndarray):
    reply = client.images.edit(
        image=("scan.png", png(photo), "image/png"), prompt="Add an effusion.", extra_body={**SMALL, "seed": 3}
    )
    assert decoded(reply.data[0].b64_json).size == (128, 128) == tuple(map(int, reply.size.split("x")))
    assert reply.data[0].text and reply.usage.input_tokens_details.image_tokens > 0


def test_an_edit_says_that_it_was_made_of_an_image_and_of_which(client: openai.OpenAI, photo: np.ndarray):
    sent = png(photo)
    made = client.images.edit(image=("x.png", sent), prompt="Add an effusion.", extra_body=SMALL)
    found = read_manifest(base64.b64decode(made.data[0].b64_json), "png")
    assert found.actions == ("c2pa.created (compositeWithTrainedAlgorithmicMedia)",)
    assert found.provenance["inputs"][0]["sha256"] == hashlib.sha256(sent).hexdigest()


def test_an_image_that_can_not_be_signed_is_the_servers_fault(client: openai.OpenAI, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("UNIMEDVL_C2PA_KEY", str(tmp_path / "key.pem"))
    monkeypatch.setenv("UNIMEDVL_C2PA_CERT", str(tmp_path / "certificate.pem"))
    with pytest.raises(openai.InternalServerError) as caught:
        client.images.generate(prompt="CT", size="64x64", extra_body=SMALL)
    assert (caught.value.status_code, caught.value.code) == (503, "not_signed")
    assert str(tmp_path) not in caught.value.message and f"{tmp_path}/key.pem: cannot be read" in caplog.text
    with pytest.raises(ProvenanceError, match="cannot be read"):  # a server does not even start
        check(ServerSettings())


def test_several_images_are_edited_together(client: openai.OpenAI, photo: np.ndarray):
    files = [("a.png", png(photo), "image/png"), ("b.png", png(255 - photo), "image/png")]
    one = client.images.edit(image=files[:1], prompt="Join them.", size="64x64", extra_body=SMALL)
    two = client.images.edit(image=files, prompt="Join them.", size="64x64", extra_body=SMALL)
    tokens = [r.usage.input_tokens_details.image_tokens for r in (one, two)]
    assert tokens[1] == 2 * tokens[0]


def test_a_mask_is_refused_by_name(client: openai.OpenAI, photo: np.ndarray):
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.edit(image=png(photo), mask=png(photo), prompt="Fill it.")
    assert caught.value.param == "mask"


def test_a_stream_shows_images_on_the_way(client: openai.OpenAI, photo: np.ndarray):
    extra = {"num_inference_steps": 7, "seed": 3}
    stream = client.images.generate(prompt=PROMPT, size="64x64", stream=True, partial_images=2, extra_body=extra)
    events = list(stream)
    assert [e.type.partition(".")[2] for e in events] == ["partial_image", "partial_image", "completed"]
    assert [e.partial_image_index for e in events[:2]] == [0, 1] and events[2].usage.output_tokens == 16
    assert all(decoded(e.b64_json).size == (64, 64) for e in events)
    edits = client.images.edit(
        image=png(photo), prompt="Add an effusion.", size="64x64", stream=True, partial_images=1, extra_body=extra
    )
    assert [e.type for e in edits] == ["image_edit.partial_image", "image_edit.completed"]


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"size": "63x64"}, None),
        ({"size": "big"}, "size"),
        ({"background": "transparent"}, "background"),
        ({"quality": "high"}, "quality"),
        ({"style": "vivid"}, "style"),
        ({"response_format": "url"}, "response_format"),
        ({"n": 9}, "n"),
        ({"output_compression": 50}, "output_compression"),
        ({"partial_images": 2}, "partial_images"),
        ({"extra_body": {"guidance_scale": 99}}, "guidance_scale"),
        ({"extra_body": {"modality": "xray"}}, None),
        ({"extra_body": {"image": "data:image/png;base64,AA=="}}, "image"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(client: openai.OpenAI, given: dict, param: str | None):
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(prompt=PROMPT, **given)
    assert caught.value.param == param and caught.value.body["message"]


def test_an_edit_without_an_image_is_refused(running):
    reply = running.http.post("/v1/images/edits", json={"prompt": "Add an effusion."})
    assert reply.status_code == 400 and reply.json()["error"]["param"] == "image"


def test_guidance_and_steps_change_the_image(running):
    def drawn(**given) -> bytes:
        asked = {"prompt": PROMPT, "size": "64x64", "seed": 3, **given}
        reply: httpx.Response = running.http.post("/v1/images/generations", json=asked)
        return decoded(reply.json()["data"][0]["b64_json"]).tobytes()

    images = {drawn(**SMALL), drawn(num_inference_steps=6), drawn(**SMALL, guidance_scale=6)}
    assert len(images) == 3
