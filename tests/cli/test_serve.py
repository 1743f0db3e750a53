"""`unimedvl serve` as a process: how it starts, what it refuses, how it ends, and several replicas behind a port."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue

import httpx
import pytest

SECONDS = 90  # for a start on a machine that does other things too
WORDS = {"messages": [{"role": "user", "content": "What is a chest X-ray?"}]}


class Process:
    """The command, with its lines of output as they come."""

    def __init__(self, *arguments: str, program: tuple[str, ...] = ("-m", "unimedvl")) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *program, "serve", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self.lines: Queue[str] = Queue()
        self.log: list[str] = []
        threading.Thread(target=lambda: [self.lines.put(line) for line in self.process.stdout], daemon=True).start()
        threading.Thread(target=lambda: [self.log.append(line) for line in self.process.stderr], daemon=True).start()

    def line(self) -> str:
        try:
            return self.lines.get(timeout=SECONDS)
        except Empty:
            raise AssertionError("".join(self.log)) from None

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


@contextmanager
def started(*arguments: str) -> Iterator[Process]:
    process = Process(*arguments)
    try:
        yield process
    finally:
        if process.process.poll() is None:
            process.process.terminate()
            process.process.wait(SECONDS)


def url(line: str) -> str:
    return re.search(r"http://\S+:\d+", line)[0]


@pytest.mark.timeout(240)
def test_a_server_says_where_it_is_answers_and_ends_well():
    with started("--port", "0", "page=false") as server:
        first = server.line()
        assert first.startswith("nano at http://127.0.0.1:") and "Not for clinical use" in first
        # Bound at once: the connection waits until the server answers.
        assert httpx.get(url(first) + "/health", timeout=SECONDS).json()["status"] == "ok"
        assert server.line() == "ready\n"
        reply = httpx.post(url(first) + "/v1/chat/completions", json=WORDS, timeout=SECONDS)
        assert reply.status_code == 200
        assert server.end() == 0
    log = "".join(server.log)
    assert reply.headers["x-request-id"] in log and "chest X-ray" not in log and "Traceback" not in log


@pytest.mark.timeout(400)
def test_a_replica_that_dies_is_replaced_while_others_answer():
    with started("--port", "0", "--replicas", "2", "page=false", "pack=false") as server:
        place = url(server.line())
        assert server.line() == "ready, 2 replicas\n"
        replicas = _children(server.process.pid)
        for _ in range(6):
            assert httpx.post(place + "/v1/chat/completions", json=WORDS, timeout=SECONDS).status_code == 200
        told = httpx.get(place + "/metrics", timeout=SECONDS).text
        asked = r'unimedvl_requests_total\{method="POST",route="/v1/chat/completions",status="200"\} 6.0'
        assert re.search(asked, told) and "unimedvl_replicas_ready 2.0" in told
        os.kill(replicas[0], signal.SIGKILL)
        assert httpx.post(place + "/v1/chat/completions", json=WORDS, timeout=SECONDS).status_code == 200
        until = time.monotonic() + SECONDS
        while "unimedvl_replicas_ready 2.0" not in httpx.get(place + "/metrics", timeout=SECONDS).text:
            assert time.monotonic() < until, "".join(server.log)
            time.sleep(0.5)
        assert server.end() == 0
        assert not any(_alive(pid) for pid in replicas)
    assert "died" in "".join(server.log)


def _children(pid: int) -> list[int]:
    """Processes that are replicas, which came from `pid`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            words = (folder / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if parent == pid and b"spawn_main" in words:
            found.append(int(folder.name))
    return sorted(found)


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def refused(*arguments: str, program: tuple[str, ...] = ("-m", "unimedvl")) -> str:
    """The one line of a start that fails with exit status 2."""
    done = subprocess.run(
        [sys.executable, *program, "serve", *arguments], capture_output=True, text=True, timeout=SECONDS,
        env=os.environ | {"UNIMEDVL_API_KEYS": ""},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and "Traceback" not in done.stderr
    return last


def test_a_port_that_is_taken_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert port in refused("--port", port)


def test_a_setting_that_is_none_is_told_with_those_there_are(tmp_path: Path):
    assert "portt: no such field; there are model" in refused("portt=1")
    assert "port" in refused("--port", "70000")
    file = tmp_path / "serve.yaml"
    file.write_text("limits: {images: many}\n")
    assert "limits.images" in refused("--config", str(file)) and str(file) in refused("--config", str(file))


def test_an_address_that_others_reach_needs_keys(tmp_path: Path):
    assert "there are no keys" in refused("--host", "0.0.0.0")
    assert "missing" in refused("--host", "0.0.0.0", "--keys", str(tmp_path / "missing"))


@pytest.mark.timeout(240)
def test_a_model_that_is_not_there_is_told(tmp_path: Path):
    assert str(tmp_path / "nothing") in refused(str(tmp_path / "nothing"), "--port", "0")
    assert "one model" in refused("a", "b")


def test_a_missing_extra_is_told():
    block = "import sys; sys.modules['fastapi'] = None; from unimedvl.cli.main import main; sys.exit(main())"
    assert "pip install 'unimedvl[serve]'" in refused(program=("-c", block))
