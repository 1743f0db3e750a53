"""A local server in the OpenAI chat form, and the pairs of the data sets' miniatures."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from unimedvl.data.miniatures import write_miniature
from unimedvl.data.source import Sample
from unimedvl.data.sources import source


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        said = {"choices": [{"message": {"role": "assistant", "content": self.server.say(asked)}}]}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def serving(monkeypatch):
    """Serve what `say(asked)` answers; the server has `url`, and what it was asked as `asked`."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    @contextmanager
    def serve(say):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.say, server.asked = say, []
        server.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    return serve


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    """The samples of a source's miniature, which is written once."""
    known: dict[str, list[Sample]] = {}

    def read(name: str) -> list[Sample]:
        if name not in known:
            root = tmp_path_factory.mktemp("miniatures") / name
            write_miniature(name, root)
            known[name] = [i for i in source(name).read(root) if isinstance(i, Sample)]
        return known[name]

    return read
