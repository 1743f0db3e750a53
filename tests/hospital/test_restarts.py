"""A listener that is killed at any moment loses no study, and handles none twice.

The listener is the real command, senders and the destination are real, and the kill is SIGKILL.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from unimedvl.hospital.inbox import Inbox

ROOT = Path(__file__).parents[2]
SECONDS = 100  # for whatever is waited for, on a machine that does other things too
pytestmark = pytest.mark.timeout(400)
KILLS = [
    ["Inbox.receive", "before", 2],  # one instance is acknowledged, the next is not kept
    ["Inbox._write", "after", 2],  # its file is there and its row is not
    ["Inbox.receive", "after", 2],  # kept, and not acknowledged
    ["Inbox.settle", "after", 4],  # received, perhaps ready
    ["Inbox.claim", "after", 1],  # a look at an inbox with nothing in it
    ["Inbox.decide", "before", 1],  # running
    ["Inbox.made", "before", 1],  # results are files and not recorded
    ["Inbox.made", "after", 1],  # recorded and not sent
    ["Inbox.stored", "before", 1],  # sent and not recorded: it is sent again
    ["Inbox.stored", "after", 1],
    ["Inbox.finish", "before", 1],
]


class Listeners:
    """Starts the command on one folder, again and again."""

    def __init__(self, process: subprocess.Popen, folder: Path, destination: str) -> None:
        self.process, self.folder, self.pid = process, folder, 0
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        rules = {
            "destinations": {"pacs": {"ae": destination}},
            "queue": {"first_wait_seconds": 0.1, "reserve_mb": 0, "originals_hours": 0},
            "rules": [{"name": "chest", "when": {"modality": "DX"},
                       "do": [{"task": "report", "images": "all", "max_tokens": 6}]}],
        }  # fmt: skip
        self.rules = folder.parent / "rules.yaml"
        self.rules.write_text(json.dumps(rules))

    def start(self, kill: list | None = None, quiet: float = 0.4) -> None:
        words = ["hospital", "listen", "--rules", self.rules, "--folder", self.folder, "--port", self.port,
                 f"queue.quiet_seconds={quiet}"]  # fmt: skip
        log = self.folder.parent / "log"
        self.pid = self._order({"arguments": list(map(str, words)), "log": str(log), "kill": kill})
        until(self._listens)

    def _listens(self) -> bool:
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", self.port)) == 0

    def wait(self) -> int:
        """How it ended: the exit status, or less than 0 for a signal."""
        return os.waitstatus_to_exitcode(self._order({"wait": self.pid}))

    def kill(self, number: signal.Signals) -> int:
        os.kill(self.pid, number)
        return self.wait()

    def counts(self) -> dict[str, int]:
        with Inbox(self.folder) as inbox:
            return inbox.counts()

    def until_done(self, count: int) -> None:
        until(lambda: self.counts()["done"] == count)

    def _order(self, order: dict) -> int:
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


def until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not reached():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def preloaded() -> Iterator[subprocess.Popen]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, Path(__file__).with_name("preloaded.py")]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env=environment) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def listeners(preloaded: subprocess.Popen, tmp_path: Path, peer) -> Listeners:
    return Listeners(preloaded, tmp_path / "inbox", peer.address)


def sent_until_acknowledged(datasets: list, listeners: Listeners, peer) -> None:
    """What a sender does: what was not acknowledged is sent again."""
    end = time.monotonic() + SECONDS
    while datasets:
        assert time.monotonic() < end, "waited too long"
        answers = peer.send(datasets, listeners.port)
        assert set(answers) <= {0x0000}, answers
        datasets = datasets[len(answers) :]
        time.sleep(0.05)


def check_once(datasets: list, peer) -> None:
    """One report of the study at the destination, of all its images; what was sent twice is the same, bit by bit."""
    got = peer.of(datasets[0].StudyInstanceUID)
    assert len({d.SOPInstanceUID for d in got}) == 1
    assert all(d == got[0] for d in got)
    (study,) = got[0].CurrentRequestedProcedureEvidenceSequence
    named = {i.ReferencedSOPInstanceUID for s in study.ReferencedSeriesSequence for i in s.ReferencedSOPSequence}
    assert named == {d.SOPInstanceUID for d in datasets}


@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: "-".join(map(str, kill)))
def test_killed_at_a_point_each_study_is_handled_once(kill: list, listeners: Listeners, peer, chest) -> None:
    datasets = chest(1, ["PA", "LL"])
    listeners.start(kill)
    answers = peer.send(datasets, listeners.port)
    assert listeners.wait() == -signal.SIGKILL
    listeners.start(quiet=0.4 if len(answers) == len(datasets) else 2)  # time to send the rest
    sent_until_acknowledged(datasets[len(answers) :], listeners, peer)
    listeners.until_done(1)
    sent_until_acknowledged(datasets, listeners, peer)  # all of it once more
    assert listeners.kill(signal.SIGTERM) == 0
    check_once(datasets, peer)
    assert listeners.counts() | {"done": 1, "late": 0} == listeners.counts()
    assert len(peer.got) == (2 if kill == ["Inbox.stored", "before", 1] else 1)


def test_killed_at_many_times_while_studies_come_each_is_handled_once(listeners: Listeners, peer, chest) -> None:
    studies = [chest(seed, ["PA"] * (1 + seed % 3)) for seed in range(10, 16)]
    listeners.start()

    def send_all() -> None:
        for study in studies:
            sent_until_acknowledged(study, listeners, peer)

    sender = threading.Thread(target=send_all)
    sender.start()
    for seconds in (0.05, 0.2, 0.45, 0.7, 1.0):
        time.sleep(seconds)
        assert listeners.kill(signal.SIGKILL) == -signal.SIGKILL
        listeners.start()
    sender.join()
    until(lambda: all(peer.of(s[0].StudyInstanceUID) for s in studies))
    until(lambda: sum(listeners.counts()[state] for state in ("received", "ready", "running", "made", "stored")) == 0)
    assert listeners.kill(signal.SIGTERM) == 0
    assert not listeners.counts()["failed"]
    for study in studies:
        got = peer.of(study[0].StudyInstanceUID)
        assert len({d.SOPInstanceUID for d in got}) == 1


def test_terminated_while_it_runs_the_study_goes_on_at_the_next_start(listeners: Listeners, peer, chest) -> None:
    datasets = chest(2)
    listeners.start()
    sent_until_acknowledged(datasets, listeners, peer)
    until(lambda: listeners.counts()["received"] != 1)
    assert listeners.kill(signal.SIGTERM) == 0
    stopped = listeners.counts()
    assert sum(stopped[state] for state in ("ready", "made", "done")) == 1, stopped
    listeners.start()
    listeners.until_done(1)
    assert listeners.kill(signal.SIGTERM) == 0
    check_once(datasets, peer)


def test_of_two_listeners_on_one_folder_the_second_is_refused(listeners: Listeners, tmp_path: Path) -> None:
    listeners.start()
    first, listeners.port = listeners.pid, 1
    words = ["hospital", "listen", "--rules", listeners.rules, "--folder", listeners.folder, "--port", "0"]
    second = listeners._order({"arguments": list(map(str, words)), "log": str(tmp_path / "second")})
    assert os.waitstatus_to_exitcode(listeners._order({"wait": second})) == 2
    assert "another listener uses this folder" in (tmp_path / "second").read_text()
    listeners.pid = first
    assert listeners.kill(signal.SIGTERM) == 0
