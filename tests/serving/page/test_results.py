"""Results as cards, in the conversation and as files."""

from __future__ import annotations

import io
import json
from datetime import datetime

import numpy as np
import pydicom
import pytest
from PIL import Image as PillowImage

from unimedvl.hospital.context import StudyContext
from unimedvl.imaging import read_image, read_provenance
from unimedvl.inference.conversation import Conversation, Turn
from unimedvl.inference.results import NOT_CLINICAL, ImageResult, TextResult
from unimedvl.phantoms import simulate
from unimedvl.phantoms.dicom import dicom_of
from unimedvl.serving.page import cards, conversation, downloads
from unimedvl.serving.page.running import Progress
from unimedvl.serving.page.session import Made, Session
from unimedvl.serving.page.upload import Item
from unimedvl.serving.pictures import encoded_result

SHARP = '<img src=x onerror="alert(1)">'
CAME = {
    "task": "ask", "request": "what?", "seed": 3, "settings": {}, "inputs": [],
    "model": {"name": "nano", "weights_sha256": "ab" * 32, "trained_on": "simulated images"},
    "versions": {"unimedvl": "0.1.0"},
}  # fmt: skip
AT = datetime(2026, 1, 2, 3, 4, 5)


@pytest.fixture(scope="module")
def study():
    return simulate("cxr", 3, 64)


@pytest.fixture(scope="module")
def context(study) -> StudyContext:
    return StudyContext.of([dicom_of(study, "frontal")])


def png(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    PillowImage.fromarray(array).save(out, "PNG")
    return out.getvalue()


def said(text: str = "Findings: An effusion. Impression: Effusion.", context=None, words: str = "?", **more) -> Made:
    result = TextResult(text, confidence=0.83, provenance=CAME, **more)
    return Made("report", words, AT, 1.5, result=result, context=context)


def drawn(study, context=None, target: str | None = None, task: str = "segment") -> Made:
    array = study.images["frontal"]
    result = ImageResult(array, text="Here it is.", confidence=0.5, provenance=CAME | {"task": task})
    return Made(task, "the heart", AT, 2.0, (png(array),), result, encoded_result(result), context, target)


def test_a_card_tells_confidence_model_seed_and_that_it_is_not_for_clinical_use(study):
    told = cards.card(said())
    assert "Confidence 83%" in told and cards.CERTAINTY in told and "nano" in told and "seed 3" in told
    told = cards.card(drawn(study))
    assert NOT_CLINICAL in told and "Synthetic" in told and "Confidence 50%" in told and 'type="range"' in told


def test_words_of_people_and_models_are_words_and_not_html(study):
    sharp = said(SHARP, words=SHARP, thought=SHARP)
    failed = Made("ask", SHARP, AT, 0, problem=SHARP)
    for told in (
        cards.card(sharp), cards.card(failed), cards.history([sharp, failed]), cards.progress(Progress(SHARP), False),
        cards.progress(Progress(thought=SHARP), False),
    ):  # fmt: skip
        assert "<img src=x" not in told and "&lt;img" in told
    assert 'alt="Synthetic image: the heart"' in cards.card(drawn(study))


def test_words_in_the_conversation_are_neither_html_nor_markdown(study):
    image = read_image(study.images["frontal"])
    asked = Conversation((Turn("user", (image, f"{SHARP} ![x](http://evil/x.png) *a*")),))
    session = Session(None, items=[Item("<b>name</b>", b"", image)])
    made = said(f"{SHARP} ![y](http://evil/y.png)")
    conversation.answered(session, asked, made.result, made)
    for message in session.said:
        assert "<img" not in message["content"] and "![" not in message["content"] and "*a*" not in message["content"]
        assert "<b>" not in message["content"]
    assert "Confidence 83%" in session.said[1]["content"]


def test_an_image_goes_with_the_conversation_once_until_it_looks_otherwise(study):
    image = read_image(study.images["frontal"])
    session = Session(None, items=[Item("x.png", b"", image)])
    first = conversation.asked(session, "What is this?", draw=False, think=False, seed=0)
    assert len(first.turns[-1].sources) == 1
    conversation.answered(session, first, said().result, said())
    second = conversation.asked(session, "And now?", draw=False, think=False, seed=0)
    assert [len(turn.sources) for turn in second.turns] == [1, 0, 0]
    session.forget_conversation()
    assert len(conversation.asked(session, "Again?", draw=False, think=False, seed=0).turns[-1].sources) == 1
    with pytest.raises(ValueError, match="words"):
        conversation.asked(session, "  ", draw=False, think=False, seed=0)


def test_the_forms_that_a_result_can_be_downloaded_in(study, context):
    assert downloads.kinds(said()) == ("pdf",)
    assert downloads.kinds(said(context=context)) == ("dcm", "pdf")
    assert downloads.kinds(said("", context=context)) == ("pdf",)
    assert downloads.kinds(drawn(study)) == ("png", "dcm", "pdf")
    assert downloads.kinds(Made("ask", "x", AT, 0, problem="Cancelled.")) == ()
    with pytest.raises(KeyError):
        downloads.file_of(said(), "png")


def test_the_png_carries_where_it_came_from(study, tmp_path):
    (tmp_path / "x.png").write_bytes(downloads.file_of(drawn(study), "png"))
    assert read_provenance(tmp_path / "x.png")["model"]["name"] == "nano"


def test_dicom_is_a_report_a_mask_or_an_image_of_the_study_and_else_of_nobody(study, context):
    read = {
        name: pydicom.dcmread(io.BytesIO(downloads.file_of(made, "dcm")))
        for name, made in {
            "report": said(context=context), "mask": drawn(study, context, "heart"),
            "image": drawn(study, context, task="edit"), "nobody": drawn(study, None, "heart"),
        }.items()
    }  # fmt: skip
    assert [read[name].Modality for name in read] == ["SR", "SEG", "OT", "OT"]
    assert all(read[name].StudyInstanceUID == context.study_uid for name in ("report", "mask", "image"))
    assert "Not a patient" in str(read["nobody"].PatientName) and read["nobody"].SyntheticData == "YES"


@pytest.mark.parametrize("words", ["Grüße, Befund: 病変 ➜ ok", "x" * 800, "line\nline\ttab\x07"])
def test_the_pdf_holds_any_words_and_says_on_every_page_that_it_is_not_for_clinical_use(study, words, monkeypatch):
    from unimedvl.serving.page import pdf

    came = CAME | {"settings": {"notes": ["a note"] * 200}}
    result = ImageResult(study.images["frontal"], text=words, confidence=0.5, provenance=came)
    made = Made("edit", words, AT, 2.0, (png(study.images["frontal"]),), result, encoded_result(result))
    pages: list[int] = []
    notice = pdf._Page._notice
    monkeypatch.setattr(pdf._Page, "_notice", lambda page: (pages.append(page.page_no()), notice(page)))
    for font in (pdf._font(), None):
        monkeypatch.setattr(pdf, "_font", lambda font=font: font)
        pages.clear()
        data = downloads.file_of(made, "pdf")
        assert data.startswith(b"%PDF-") and len(set(pages)) > 1
        assert all(pages.count(page) == 2 for page in set(pages))
        assert data == pdf.pdf_of(made)


def test_names_of_files_hold_nothing_of_what_was_asked():
    assert downloads.name_of(said(words="Anna Meyer"), "pdf") == "unimedvl-report-20260102-030405.pdf"


def test_provenance_is_shown_as_json():
    told = cards.card(said())
    assert json.loads(told.split("<pre>")[1].split("</pre>")[0].replace("&quot;", '"')) == CAME
