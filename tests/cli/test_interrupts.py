"""`unimedvl chat` in a real terminal: what an interrupt ends and what it keeps."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
PATIENCE = 60  # seconds for anything to appear


class Talk:
    """The program in a terminal of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        import fcntl
        import pty
        import termios

        self.master, self.slave = pty.openpty()
        def in_front() -> None:
            """The terminal becomes the controlling one of a new session, so that ^C reaches it as a signal, and that
            isn't ignored as by what a shell has put behind."""
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        self.process = subprocess.Popen(
            [sys.executable, "-m", "unimedvl", *arguments],
            stdin=self.slave, stdout=self.slave, stderr=self.slave, cwd=folder, start_new_session=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "dumb", "OMP_NUM_THREADS": "1"},
            preexec_fn=in_front,
        )  # fmt: skip
        self.shown = ""

    def type(self, text: str) -> None:
        self.shown = ""
        os.write(self.master, text.encode())

    def until(self, *words: str) -> None:
        """Read what is shown since something was typed last, until one of the words and then the prompt are in it."""
        end = time.monotonic() + PATIENCE
        while not any(word in self.shown for word in words) or not f"\n{self.shown}".endswith("\n> "):
            ready, _, _ = select.select([self.master], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"none of {words} in {self.shown!r}"
            self.shown += os.read(self.master, 4096).decode(errors="replace")

    def speaks(self, question: str) -> None:
        """Ask, and hold the terminal's output: the program stops where it shows the first of its answer."""
        import fcntl
        import termios

        self.type("\x13")  # ^S
        self.type(question)
        end = time.monotonic() + PATIENCE
        while fcntl.ioctl(self.slave, termios.FIONREAD, bytes(4)) != bytes(4):
            assert time.monotonic() < end, "the question was not read"
            time.sleep(0.05)
        time.sleep(2)  # from the question to the first of the answer

    def ended(self) -> int:
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.slave)
        os.close(self.master)


@pytest.fixture
def talk(model_folder, tmp_path):
    opened = Talk(tmp_path, "chat", "--model", str(model_folder), "--max-tokens", "8")
    opened.until("")
    yield opened
    opened.close()


def questions(folder: Path, talk: Talk, name: str) -> list[str]:
    talk.type(f"/save {name}\n")
    talk.until(f"saved {name}")
    return [turn["question"] for turn in json.loads((folder / name).read_text())]


def stopped_in_the_second_turn(talk: Talk) -> bool:
    """Whether an interrupt met the answer; on a busy machine it may come before or after it."""
    talk.type("/reset\n")
    talk.until("a new conversation")
    talk.type("hello\n")
    talk.until("confidence")
    talk.speaks("and now?\n")
    talk.type("\x03")
    talk.until("stopped; this turn is forgotten", "confidence", "/quit ends")
    return "this turn is forgotten" in talk.shown


@pytest.mark.timeout(300)
def test_an_interrupt_stops_the_answer_and_keeps_the_conversation_and_two_at_the_prompt_end_it(talk, tmp_path):
    assert any(stopped_in_the_second_turn(talk) for _ in range(5))
    assert questions(tmp_path, talk, "one.json") == ["hello"]
    talk.type("again\n")
    talk.until("confidence")
    assert questions(tmp_path, talk, "two.json") == ["hello", "again"]
    again = json.loads((tmp_path / "two.json").read_text())[1]
    assert [t["request"] for t in again["provenance"]["settings"]["turns_before"]] == ["hello"]
    talk.type("half a line\x03")
    talk.until("/quit ends the conversation")
    talk.type("/reset\n")  # what is typed in between makes the next interrupt a first one
    talk.until("a new conversation")
    talk.type("\x03")
    talk.until("so does another interrupt")
    talk.type("\x03")
    assert talk.ended() == 130
