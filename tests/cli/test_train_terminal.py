"""`unimedvl train` in a real terminal: a bar with stage, losses and speed, and Ctrl-C that saves and says so."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unimedvl.data.shards import write_shard
from unimedvl.data.sources import source

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
ROOT = Path(__file__).parents[2]
PATIENCE = 100  # seconds for anything to appear


@pytest.fixture
def recipe(tiny_folder, tmp_path) -> Path:
    (tmp_path / "phantoms.json").write_text(json.dumps({"studies": 3, "size": 64, "modalities": ["cxr"]}))
    (tmp_path / "data" / "shards").mkdir(parents=True)
    write_shard(tmp_path / "data" / "shards" / "train-00000.parquet", source("phantoms").read(tmp_path))
    stage = {
        "name": "reading", "steps": 100_000, "mixture": {"image_to_text": 1}, "tokens": 400, "packs": 1,
        "learning_rate": 1e-3,
    }  # fmt: skip
    values = {
        "folder": "run", "start": {"checkpoint": str(tiny_folder)}, "bf16": False, "log": {"every": 1},
        "data": {"folders": ["data"], "workers": 1, "lookahead": 8}, "stages": [stage],
    }  # fmt: skip
    (tmp_path / "recipe.json").write_text(json.dumps(values))
    return tmp_path / "recipe.json"


class Watched:
    """The program in a terminal of its own, 160 columns wide."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        import fcntl
        import pty
        import struct
        import termios

        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
        # The terminal becomes the controlling one of a new session, so that ^C reaches the whole group as a signal.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "unimedvl", *arguments],
            stdin=slave, stdout=slave, stderr=slave, cwd=folder, start_new_session=True,
            env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "OMP_NUM_THREADS": "1"},
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(slave)
        self.shown = ""

    def until(self, pattern: str | None) -> str:
        """Read until what is shown, without codes of the terminal, has the pattern; to the end where None."""
        end = time.monotonic() + PATIENCE
        while pattern is None or not re.search(pattern, self.text):
            ready, _, _ = select.select([self.master], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"no {pattern} in {self.text!r}"
            try:
                self.shown += os.read(self.master, 65536).decode(errors="replace")
            except OSError:  # the program has closed the terminal
                assert pattern is None, f"no {pattern} in {self.text!r}"
                break
        return self.text

    @property
    def text(self) -> str:
        """Each state of the bar is a line of its own."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.shown).replace("\r", "\n")

    def press(self, keys: str) -> None:
        self.shown = ""
        os.write(self.master, keys.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def watch(recipe):
    opened = []

    def start(*more: str) -> Watched:
        opened.append(Watched(recipe.parent, "train", "recipe.json", *more))
        return opened[-1]

    yield start
    for watched in opened:
        watched.close()


@pytest.mark.timeout(300)
def test_the_bar_shows_stage_losses_and_speed_and_an_interrupt_saves_and_says_so(watch, recipe):
    watched = watch()
    shown = watched.until(r"reading .*\b([3-9]|\d\d+)/100000 .*ce \d.*tokens/s \d.*mfu \d")
    assert "Traceback" not in shown and "warning" not in shown.lower()
    watched.press("\x03")
    shown = watched.until(None)
    assert watched.process.wait(PATIENCE) == 143
    [saved] = [int(p.name[5:]) for p in (recipe.parent / "run" / "checkpoints").glob("step-*")]
    assert f"stopped and saved at step {saved}; start it again to go on" in shown
    assert "Traceback" not in shown and "warning" not in shown.lower()
    # Goes on from there.
    watched = watch()
    shown = watched.until(r"\b[1-9]\d*/100000 .*ce \d")
    assert int(re.search(r"\b([1-9]\d*)/100000", shown)[1]) >= saved


@pytest.mark.timeout(300)
def test_an_end_leaves_the_folder_alone_on_the_screen(watch):
    watched = watch("stages.0.steps=2", "export=false", "folder=short")
    shown = watched.until(None)
    assert watched.process.wait(PATIENCE) == 0
    assert shown.rstrip().splitlines()[-1] == "short"
