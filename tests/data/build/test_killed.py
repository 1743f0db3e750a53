"""A build that is killed again and again, started as a user starts it, ends with the bytes of one left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
RECIPE = """
folder: {folder}
inputs:
  - {{name: vqa-rad, miniature: true}}
  - {{name: slake, miniature: true}}
  - {{name: pathvqa, miniature: true}}
  - {{name: phantoms, miniature: true, limit: 8}}
evaluation:
  - {{name: openi, miniature: true}}
chunk: 2
shard: 3
processes: 2
"""
KILLS = 5


def start(folder: Path) -> subprocess.Popen:
    """`unimedvl data build`, as the first process of a group of its own."""
    file = folder.with_suffix(".yaml")
    file.write_text(RECIPE.format(folder=folder))
    command = [sys.executable, "-m", "unimedvl", "data", "build", str(file), "--json"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, start_new_session=True)  # fmt: skip


def finish(process: subprocess.Popen) -> dict:
    out, errors = process.communicate(timeout=110)
    assert process.returncode == 0, errors
    return json.loads(out)


def whole(folder: Path) -> int:
    """Whole files of a folder in which a build may run: `os.walk` passes over what it removes meanwhile."""
    return sum(not name.endswith(".part") for *_, names in os.walk(folder) for name in names)


def gone(group: int) -> bool:
    """Whether no process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.timeout(400)
def test_a_build_that_is_killed_five_times_ends_with_the_same_bytes(tmp_path, hashes):
    report = finish(start(tmp_path / "alone"))
    total = whole(tmp_path / "alone")
    chance = random.Random(5)
    # Killed when so many files are there, over all stages, and a moment later.
    for count in sorted(chance.sample(range(3, total - 1), KILLS)):
        process = start(tmp_path / "torn")
        while process.poll() is None and whole(tmp_path / "torn") < count:
            time.sleep(0.001)
        time.sleep(chance.random() / 50)
        assert process.poll() is None, process.communicate()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 20
        while not gone(process.pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert gone(process.pid), "processes of the build outlive it"
    assert finish(start(tmp_path / "torn")) == report
    assert hashes(tmp_path / "torn") == hashes(tmp_path / "alone")
