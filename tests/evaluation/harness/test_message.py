"""A message of a harness is put to the model in its own order, in batches, and what fails fails alone."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.harness import message
from unimedvl.evaluation.harness.message import Answer, Part, Question, answer_all, load_reader, segments
from unimedvl.inference.requests import Request
from unimedvl.inference.text import Sampling
from unimedvl.sequence import Seen, Text

SHORT = Sampling(max_tokens=6)


def question(*parts: Part, sampling: Sampling = SHORT, think: bool = False) -> Question:
    return Question(parts, sampling, think)


def words_of(owner, sequence) -> list[str]:
    """The words of each text, and "image" for each image."""
    return [owner.tokenizer.decode(s.ids) if isinstance(s, Text) else "image" for s in sequence]


def test_images_and_then_words_are_answered_as_ask_answers_them(tiny, picture_part):
    asked = Request("ask", (picture_part.image, picture_part.image), "What changed?")
    (wanted,) = tiny.run([asked], sampling=SHORT)
    (answer,) = answer_all(tiny, [question(picture_part, picture_part, Part("What changed?"))])
    assert (answer.text, answer.spoken, answer.error) == (wanted.text, 6, "")


def test_thinking_is_asked_for_as_ask_does(tiny, picture_part):
    (wanted,) = tiny.run([Request("ask", (picture_part.image,), "Why?", think=True)], sampling=SHORT)
    (answer,) = answer_all(tiny, [question(picture_part, Part("Why?"), think=True)])
    assert answer.text == wanted.text


def test_pieces_keep_their_order(tiny, picture_part):
    image = picture_part
    laid = segments(tiny, question(Part("First:"), image, Part("Second:"), image, image, Part("Any"), Part("new?")))
    assert [type(s) for s in laid] == [Text, Seen, Text, Seen, Seen, Text]
    assert words_of(tiny, laid) == ["First:", "image", "Second:", "image", "image", "Any\nnew?"]


def test_the_models_own_words_are_a_turn_of_their_own(tiny):
    given = question(Part("Is it left?"), Part("Yes.", own=True), Part("How large?"), think=True)
    assert words_of(tiny, segments(tiny, given)) == ["Is it left?", "Yes.", "Think first. How large?"]


def test_a_batch_answers_as_each_question_alone(tiny, picture_part):
    warm = Sampling(temperature=1.0, seed=5, max_tokens=9)
    questions = [
        question(Part("Is there an effusion?")),
        question(picture_part, Part("Describe the findings in this image, please."), sampling=warm),
        question(Part("First:"), picture_part, Part("What changed?"), picture_part),
    ]
    together = answer_all(tiny, questions)
    assert together == [answer_all(tiny, [one])[0] for one in questions]
    assert [answer.spoken for answer in together] == [6, 9, 6]


def test_what_cannot_be_put_or_answered_fails_alone_and_says_why(tiny, picture_part, caplog):
    fine = question(picture_part, Part("Why?"))
    missing = question(Part(image="nowhere.png"), Part("Why?"))
    long = question(Part("effusion " * 600))  # more than the tiny model has positions
    before, wordless, no_image = Answer(error="no row"), question(picture_part), question(Part(image=7), Part("?"))
    answers = answer_all(tiny, [missing, fine, long, before, wordless, no_image])
    assert answers[1] == answer_all(tiny, [fine])[0] and not answers[1].error
    assert "nowhere.png" in answers[0].error and "positions" in answers[2].error and answers[3] is before
    assert answers[4].error.startswith("the message has no words") and "int" in answers[5].error
    assert all(answer.text == "" for n, answer in enumerate(answers) if n != 1)
    assert sum("not answered" in record.message for record in caplog.records) == 4


def test_a_message_must_end_with_the_users_words(tiny):
    with pytest.raises(EvaluationError, match="ends with the model's own words"):
        segments(tiny, question(Part("Why?"), Part("Because", own=True)))


def test_an_image_may_be_a_data_url(picture):
    held = io.BytesIO()
    Image.fromarray(picture).save(held, "PNG")
    url = "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()
    assert message.picture(url) == held.getvalue()
    assert message.picture("scan.png") == "scan.png"
    for wrong in ("data:image/png,abc", "data:image/png;base64,###"):
        with pytest.raises(EvaluationError, match="no base64"):
            message.picture(wrong)


def test_a_type_of_weights_that_is_none_is_refused():
    with pytest.raises(EvaluationError, match="one of float32, bfloat16, float16"):
        load_reader("nano", dtype="int8")

