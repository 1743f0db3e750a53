"""The contract of VLMEvalKit, without the kit; tests/e2e runs the kit itself."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.harness.vlmevalkit import (
    FAILED,
    KitModel,
    failures,
    kit_run,
    main,
    options_of,
    reduced,
)
from unimedvl.inference.text import Sampling

# As the kit words multiple choice.
PROMPT = """Hint: Look at the base.
Question: What is shown?
Options:
A. pneumonia
B. normal
C. effusion
D. fracture
Please select the correct answer from the options above. 
"""  # noqa: W291
OPTIONS = ("pneumonia", "normal", "effusion", "fracture")


@pytest.fixture(scope="module")
def model(tiny) -> KitModel:
    return KitModel(owner=tiny, max_tokens=6)


def row(*pieces: str) -> list[dict[str, str]]:
    return [{"type": "image" if p.endswith(".png") else "text", "value": p} for p in pieces]


def test_options_are_read_from_the_prompt():
    assert options_of(PROMPT) == OPTIONS
    assert options_of("Which?\n(A) left\n(B) right") == ("left", "right")
    assert options_of("A. one\nB. two\nNow the real one:\nA: three\nB: four\nC: five") == ("three", "four", "five")
    assert options_of("A. Smith asked: which side?") == () == options_of("Is it large?")


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"), ("b", "B"), ("<answer>B</answer>", "B"), ("<think>C? No.</think> (B)", "B"), ("normal", "B"),
        ("Option D is right because of the gap that is seen in this view", "D"), ("The answer is \\boxed{C}.", "C"),
    ],
)  # fmt: skip
def test_an_answer_is_reduced_to_the_letter_that_it_chooses(text, letter):
    assert reduced(text, OPTIONS) == letter


def test_an_answer_that_chooses_nothing_keeps_its_words():
    assert reduced("pneumonia or effusion", OPTIONS) == "pneumonia or effusion"
    assert reduced("<think>B</think>Yes, on the left.", ()) == "Yes, on the left."


def test_rows_are_answered_as_ask_answers_them(model, tiny, picture_file):
    said = tiny.ask(picture_file, PROMPT, sampling=Sampling(max_tokens=6)).text
    assert model.generate_inner(row(str(picture_file), PROMPT), "PathVQA_VAL") == reduced(said, OPTIONS)


def test_letters_may_be_left_alone(tiny, picture_file, monkeypatch):
    asked = row(str(picture_file), PROMPT)
    whole = KitModel(owner=tiny, max_tokens=6, letters=False)
    assert whole.generate_inner(asked) == tiny.ask(picture_file, PROMPT, sampling=Sampling(max_tokens=6)).text
    open_ended = KitModel(owner=tiny, max_tokens=6)
    monkeypatch.setattr(open_ended, "chooses", lambda dataset: False)
    assert open_ended.generate_inner(asked) == whole.generate_inner(asked)


def test_images_between_words_matter(model, picture_file):
    image = str(picture_file)
    first = model.generate_inner(row("Before:", image, "After:", image, "What changed?"))
    assert first == model.generate_inner(row("Before:", image, "After:", image, "What changed?"))
    assert first != model.generate_inner(row(image, image, "Before:", "After:", "What changed?"))


def test_a_row_that_cannot_be_answered_says_so_in_the_kits_words(model, picture_file, caplog):
    assert model.generate_inner(row("nowhere.png", "Why?")) == FAILED
    assert model.generate_inner([{"type": "video", "value": "a.mp4"}, *row("Why?")]) == FAILED
    assert model.generate_inner(row(str(picture_file))) == FAILED
    assert [r.message.partition(": ")[2].split()[0] for r in caplog.records] == ["nowhere.png:", "a", "the"]


def test_a_conversation_is_taken_in_with_its_answers(model, picture_file):
    turns = [
        {"role": "user", "content": row(str(picture_file), "Is it left?")},
        {"role": "assistant", "content": row("Yes.")},
        {"role": "user", "content": row("How large?")},
    ]
    other = [turns[0], {"role": "assistant", "content": row("No.")}, turns[2]]
    assert model.chat_inner(turns) == model.chat_inner(turns) != model.chat_inner(other)


def test_calls_from_threads_are_batched_and_answered_as_alone(tiny, model, picture_file):
    together = KitModel(owner=tiny, max_tokens=6, batch=4)
    sizes, run = [], together.batches.answer
    together.batches.answer = lambda batch: (sizes.append(len(batch)), run(batch))[1]
    together.batches.patience = 30
    rows = [row(str(picture_file), words) for words in ("Why?", "What changed?", PROMPT, "Is it pale?")]
    with ThreadPoolExecutor(4) as pool:
        given = list(pool.map(together.generate_inner, rows))
    assert given == [model.generate_inner(one) for one in rows]
    assert sizes == [4]


def test_the_kit_is_told_to_call_from_threads_only_where_it_may(tiny, monkeypatch):
    alone, together = KitModel(owner=tiny), KitModel(owner=tiny, batch=4)
    assert (alone.is_api, together.is_api) == (False, True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not together.is_api
    with pytest.raises(EvaluationError, match="batch is 0"):
        KitModel(owner=tiny, batch=0)


def test_failures_are_those_of_this_run(tmp_path):
    told = {
        "A": {"status": "done", "error_message": "KeyError:\n 'x'"},
        "B": {"status": "done", "skip_reason": "invalid_dataset"},
        "C": {"status": "done", "skip_reason": "mode_infer", "error_message": None},
    }
    for name, age in (("T1", 1000), ("T2", 3000)):
        (tmp_path / "m" / name).mkdir(parents=True)
        file = tmp_path / "m" / name / "status.json"
        file.write_text(json.dumps({"datasets": told if name == "T2" else {"old": {"error_message": "gone"}}}))
        os.utime(file, (age, age))
    assert failures(tmp_path, "m", since=2000) == ["A: KeyError: 'x'", "B: no such benchmark"]
    assert failures(tmp_path, "m", since=4000) == failures(tmp_path, "other", since=0) == []


def test_bad_input_is_one_line(tmp_path, capsys):
    for words in (["--kit", str(tmp_path)], ["--batch", "0"]):
        with pytest.raises(SystemExit) as ended:
            main(["--data", "X", *words])
        assert ended.value.code == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1


def test_a_kit_that_cannot_be_imported_is_told_with_the_reason(tmp_path, monkeypatch):
    (tmp_path / "vlmeval").mkdir()
    (tmp_path / "vlmeval" / "__init__.py").write_text("import a_package_that_is_not_here")
    (tmp_path / "run.py").write_text("")
    monkeypatch.setattr("sys.path", [*os.sys.path])
    with pytest.raises(EvaluationError, match="can't be imported here .*a_package_that_is_not_here"):
        kit_run(tmp_path)
