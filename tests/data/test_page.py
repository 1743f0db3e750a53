"""Thumbnails of every depth, what is said to be simulated, and escaped text."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import encoded, picture
from unimedvl.data.page import document, made_by_model, made_how, table, thumbnail, write_page
from unimedvl.data.record import Message, Record
from unimedvl.provenance import save


def record(**values) -> Record:
    return Record.model_validate({
        "main_task_type": "understanding", "sub_task_type": "vqa", "modality": "cxr", "dataset": "invented",
        "message": (Message(speaker="gpt", value="x"),), **values,
    })  # fmt: skip


def opened(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_a_thumbnail_keeps_the_shape_and_never_grows():
    wide = thumbnail(encoded(np.zeros((100, 400, 3), np.uint8)), "wide.jpg", 200)
    assert (wide.width, wide.height, wide.full) == (200, 50, (400, 100))
    assert thumbnail(encoded(picture("cxr", 1)), "small.jpg").full == (128, 128)
    assert wide.url.startswith("data:image/png;base64,")


def test_sixteen_bits_are_stretched_to_eight():
    grey = np.linspace(300, 4000, 64 * 64).reshape(64, 64).astype(np.uint16)
    out = io.BytesIO()
    Image.fromarray(grey).save(out, "PNG")
    shown = opened(thumbnail(out.getvalue(), "ct.png").png)
    assert shown.min() == 0 and shown.max() == 255 and np.all(np.diff(shown[..., 0].ravel().astype(int)) >= 0)


def test_a_damaged_image_is_named():
    whole = encoded(picture("cxr", 1))
    for data in (b"", b"no image", whole[: len(whole) // 2]):
        with pytest.raises(DataError, match="scan.jpg: "):
            thumbnail(data, "scan.jpg")


def test_what_a_model_drew_says_so(tmp_path):
    save(picture("cxr", 1), tmp_path / "made.png", {"model": "tiny"})
    data = (tmp_path / "made.png").read_bytes()
    assert made_by_model(data) and thumbnail(data, "made.png").made
    assert not made_by_model(encoded(picture("cxr", 1))) and not made_by_model(b"no image")


@pytest.mark.parametrize(("values", "word"), [
    ({}, ""), ({"dataset": "phantoms"}, "simulated"), ({"attributes": {"simulated": "true"}}, "simulated"),
    ({"attributes": {"simulated": "no"}}, ""), ({"attributes": {"images": "Synthetic"}}, "synthetic"),
])  # fmt: skip
def test_a_record_says_how_its_images_were_made(values, word):
    assert made_how(record(**values)) == word


def test_text_is_no_markup(tmp_path):
    body = table(("<b>",), [("<script>", 1234567, 0.123456)])
    assert "<script>" not in body and "<b>" not in body and "1,234,567" in body and "0.1235" in body
    write_page(tmp_path / "page.html", document("<title>", body))
    assert "&lt;title&gt;" in (tmp_path / "page.html").read_text()
    with pytest.raises(DataError, match="no-folder"):
        write_page(tmp_path / "no-folder" / "page.html", "")
