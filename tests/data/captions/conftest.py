"""A local server in the OpenAI chat form, and records of simulated studies with their captions."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from unimedvl.data.record import Record
from unimedvl.data.slices import png
from unimedvl.data.source import Sample, answer, pictures, question
from unimedvl.phantoms import simulate
from unimedvl.phantoms.language import caption, report


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
def captioned():
    """A simulated study as a captioned sample, or one with its report."""

    def make(modality: str, seed: int, kind: str = "caption", text: str | None = None, **more) -> Sample:
        study = simulate(modality, seed, 64)
        view, rng = next(iter(study.images)), np.random.default_rng(seed)
        said = text or (caption(study, view, rng) if kind == "caption" else report(study, rng, view))
        record = Record(
            main_task_type="understanding", sub_task_type=kind, modality=modality, dataset="phantoms",
            input_img=pictures([f"{modality}-{seed}.png"]), message=(question("Describe this image."), answer(said)),
            id=f"{modality}-{seed}-{kind}", licence="Apache-2.0", patient=f"p{seed}", split="test", **more,
        )  # fmt: skip
        return Sample(record, (lambda: png(study.images[view]),))

    return make
