"""Bad input: status 2, one line that names it, nothing computed and nothing left behind."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from unimedvl.cli.terminal import Terminal


def refused(ended, *words: str, status: int = 2) -> None:
    """One line on standard error, nothing on standard output."""
    assert ended.status == status, ended
    assert ended.out == ""
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    for word in words:
        assert word in ended.err, ended.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ask"], ["QUESTION", "--help"]),
        (["ask", "SCAN"], ["no question"]),
        (["ask", "SCAN", " "], ["needs a question"]),
        (["ask", "nowhere.dcm", "what?"], ["nowhere.dcm: no such file"]),
        (["ask", "SCAN", "what?", "--window", "40,-1"], ["width above 0"]),
        (["ask", "SCAN", "what?", "--slice", "3"], ["scan.png", "slice"]),
        (["ask", "SCAN", "what?", "--plane", "oblique"], ["--plane", "coronal"]),
        (["ask", "SCAN", "what?", "--temperature", "-1"], ["temperature", "must be 0"]),
        (["ask", "SCAN", "what?", "--temperature", "nan"], ["temperature is nan"]),
        (["ask", "SCAN", "what?", "--repetition-penalty", "inf"], ["repetition_penalty is inf"]),
        (["ask", "missing.png"], ["missing.png: no such file"]),
        (["ask", "SCAN", "what?", "--max-tokens", "many"], ["--max-tokens"]),
        (["ask", "SCAN", "what?", "--seed", "-1"], ["--seed"]),
        (["asc", "SCAN"], ["asc"]),
        (["report"], ["images", "--help"]),
        (["stain", "SCAN", "--her2", "4+"], ["--her2", "3+"]),
        (["translate", "SCAN"], ["--to"]),
        (["segment", "SCAN", ""], ["needs words"]),
        (["generate", "chest", "--size", "large"], ["--size", "128x128"]),
        (["generate", "chest", "--steps", "1"], ["--steps"]),
        (["generate", "chest", "-o", "nowhere/a.png"], ["nowhere", "create it first"]),
        (["generate", "chest", "-o", "a.bmp"], [".png"]),
        (["generate", "chest", "-o", "."], ["is a folder"]),
        (["chat", "nowhere.png"], ["nowhere.png"]),
    ],
)
def test_it_is_told_before_a_model_is_loaded(run, picture, no_model, arguments, words):
    given = [str(picture) if a == "SCAN" else a for a in arguments]
    refused(run(*given, tiny=False), *words)
    assert list(Path().iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="uses Linux's /proc as a folder that can't be written")
def test_a_read_only_folder_is_told_before_a_model_is_loaded(run, no_model):
    refused(run("generate", "chest", "-o", "/proc/a.png", tiny=False), "/proc/a.png", "writable folder")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "nowhere"], ["nowhere", "no such folder"]),
        (["--device", "abacus"], ["abacus", "cpu"]),
        (["--modality", "palm reading"], ["palm reading", "cxr"]),
        (["--size", "30x30"], ["30 x 30", "multiples of 4"]),
        (["--size", "4000x4000"], ["at most 32"]),
    ],
)
def test_it_is_told_by_what_loads_or_draws(run, model_folder, arguments, words):
    own = [] if "--model" in arguments else ["--model", model_folder]
    refused(run("generate", "chest", *arguments, *own, "--quiet", tiny=False), *words)
    assert list(Path().iterdir()) == []


def test_an_unexpected_error_is_one_line_and_a_traceback_only_where_asked_for(run, no_model):
    refused(run("generate", "chest"), "AssertionError", "--debug", status=1)
    ended = run("generate", "chest", "--debug")
    assert ended.status == 1
    assert "Traceback" in ended.err


def test_an_interrupted_drawing_ends_with_130_and_leaves_no_file(run, monkeypatch):
    @contextmanager
    def steps(self, what):
        def on_step(step):
            raise KeyboardInterrupt

        yield on_step

    monkeypatch.setattr(Terminal, "steps", steps)
    ended = run("generate", "chest", "--steps", "3", "--max-tokens", "2")
    assert (ended.status, ended.out) == (130, "")
    assert list(Path().iterdir()) == []
