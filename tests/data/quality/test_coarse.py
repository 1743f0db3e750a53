"""Stage 1: the thresholds to the pixel and the character, and what can't be judged."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from pydantic import ValidationError

from unimedvl.data.error import DataError
from unimedvl.data.quality.coarse import CoarseSettings, decide, image_size
from unimedvl.data.record import Message, Record
from unimedvl.data.source import pictures


def png(width: int, height: int, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("L", (width, height)).save(out, kind)
    return out.getvalue()


def record(
    text: str = "A text that is long enough.", inputs: int = 1, outputs: int = 0, task: str = "caption"
):
    return Record(
        main_task_type="understanding", sub_task_type=task, modality="cxr", dataset="invented",
        input_img=pictures(f"in-{k}.png" for k in range(inputs)),
        output_img=pictures(f"out-{k}.png" for k in range(outputs)),
        message=(Message(speaker="human", value="<image>" * inputs + text),), id="1",
    )  # fmt: skip


@pytest.mark.parametrize(("size", "kept"), [((128, 500), True), ((500, 128), True), ((500, 127), False)])
def test_the_shorter_side_decides(size, kept):
    side, text = decide(record(), [png(*size)])
    assert (side.rule, side.kept, side.score) == ("image-side", kept, min(size))
    assert side.by == "unimedvl.data.quality.coarse 1"
    assert side.reason == ("" if kept else "in-0.png: the shorter side is 127 px, under 128")
    assert text.kept


@pytest.mark.parametrize(
    ("length", "reason"),
    [(9, "the text has 9 characters, under 10"), (10, ""), (1024, ""),
     (1025, "the text has 1025 characters, over 1024")],
)  # fmt: skip
def test_the_text_counts_without_image_marks(length, reason):
    text = decide(record("x" * length), [png(128, 128)])[-1]
    assert (text.rule, text.kept, text.score, text.reason) == ("text-length", not reason, length, reason)


def test_the_smallest_of_all_images_counts_but_not_an_input_that_is_small_on_purpose():
    images = [png(64, 64), png(256, 256, "JPEG")]
    both = record(inputs=1, outputs=1)
    assert decide(both, images)[0].reason.startswith("in-0.png: the shorter side is 64 px")
    upscaled = decide(both.model_copy(update={"sub_task_type": "super_resolution"}), images)
    assert (upscaled[0].kept, upscaled[0].score) == (True, 256)


def test_text_alone_is_judged_by_its_length():
    assert [d.rule for d in decide(record(inputs=0), [])] == ["text-length"]


def test_only_the_header_is_read():
    assert image_size(png(300, 200)[:60], "cut.png") == (300, 200)


@pytest.mark.parametrize(
    "data", [b"", b"no image", png(200, 200)[:20], b"\xff\xd8\xff\xe0", b"GIF89a", b"BM" + b"\0" * 60]
)
def test_what_is_no_image_is_an_error_that_names_it(data):
    with pytest.raises(DataError, match=r"in-0\.png: no image that can be read"):
        decide(record(), [data])


def test_an_image_too_large_to_open_is_an_error(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match=r"in-0\.png: too large"):
        decide(record(), [png(200, 200)])


def test_a_missing_image_is_an_error():
    with pytest.raises(DataError, match="1 images for 2 pictures"):
        decide(record(inputs=2), [png(128, 128)])


def test_settings_must_leave_a_range():
    with pytest.raises(
        ValidationError, match="fewest_characters is 20; it must not be over most_characters, 10"
    ):
        CoarseSettings(fewest_characters=20, most_characters=10)
