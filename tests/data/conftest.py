"""What tests of the data engine share."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from unimedvl.data.miniatures import write_miniature
from unimedvl.data.source import Fault, Sample
from unimedvl.data.sources import source


class Read:
    """What a source's reader gave: `samples`, their `records`, and `faults`."""

    def __init__(self, name: str, root: Path) -> None:
        items = list(source(name).read(root))
        self.samples = [i for i in items if isinstance(i, Sample)]
        self.faults = [i for i in items if isinstance(i, Fault)]
        self.records = [s.record for s in self.samples]


@pytest.fixture
def miniature(tmp_path: Path):
    """Write a source's miniature; returns its folder."""

    def write(name: str) -> Path:
        write_miniature(name, tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def read():
    return Read


class ChatHandler(BaseHTTPRequestHandler):
    """Answers in the OpenAI chat form."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        content = self.server.say(asked)
        if isinstance(content, int):
            self.send_error(content)
            return
        said = {"choices": [{"message": {"role": "assistant", "content": content}}]}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def in_background():
    """Serve in a thread for the length of a `with`."""

    @contextmanager
    def run(server: ThreadingHTTPServer):
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    return run


@pytest.fixture
def serving(monkeypatch, in_background):
    """Serve what `say(asked)` answers, a text or a status; the server has `url`, and what it was asked as `asked`.
    port: where it is to be; any free one where none is given."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    @contextmanager
    def serve(say, port: int = 0):
        server = ThreadingHTTPServer(("127.0.0.1", port), ChatHandler)
        server.say, server.asked = say, []
        server.url = f"http://127.0.0.1:{server.server_port}/v1"
        with in_background(server):
            yield server

    return serve
