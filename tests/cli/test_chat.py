"""`unimedvl chat` with lines on standard input, as a script would use it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

SHORT = ("--max-tokens", "4")


@pytest.fixture
def say(run, monkeypatch):
    def talk(*lines: str, options: tuple[str, ...] = ()):
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(line + "\n" for line in lines)))
        return run("chat", *options, *SHORT)

    return talk


def test_every_line_gets_an_answer_until_the_end(say, picture):
    ended = say("hello", "", "and now?", options=("--json", str(picture)))
    turns = [json.loads(line) for line in ended.out.splitlines()]
    assert ended.status == 0
    assert [t["question"] for t in turns] == ["hello", "and now?"]
    assert [t["images"] for t in turns] == [[str(picture)], []]


def test_a_second_answer_rests_on_the_first_question_until_reset(say, picture):
    def logprobs(*lines):
        return json.loads(say(*lines, options=("--json",)).out.splitlines()[-1])["logprobs"]

    assert logprobs("one", "two") != logprobs("two")
    assert logprobs("one", "/reset", "two") == logprobs("two")
    assert logprobs(f"/image {picture}", "two") != logprobs("two")


def test_the_seed_makes_an_answer_again(say):
    def texts(*lines):
        ended = say(*lines, options=("--json", "--temperature", "2"))
        return [json.loads(line)["text"] for line in ended.out.splitlines()]

    a, b, c = texts("/seed 1", "go", "/reset", "/seed 2", "go", "/reset", "/seed 1", "go")
    assert a == c != b


def test_save_writes_the_turns_and_never_over_a_file(say):
    assert say("hello", "/save talk.json", "/quit", "not said").status == 0
    assert [t["question"] for t in json.loads(Path("talk.json").read_text())] == ["hello"]
    ended = say("/save talk.json")
    assert ended.status == 2
    assert "talk.json: exists" in ended.err


@pytest.mark.parametrize(
    ("line", "word"),
    [("/image gone.png", "gone.png"), ("/image", "scan.dcm"), ("/seed x", "/seed 7"), ("/dance", "/quit")],
)
def test_what_cannot_be_done_ends_a_script_with_status_2(say, line, word):
    ended = say(line, "hello")
    assert (ended.status, ended.out) == (2, "")
    assert word in ended.err.splitlines()[-1]
