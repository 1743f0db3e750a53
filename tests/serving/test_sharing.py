"""Servers that share a port share its connections too, each taking what the others have fewer of."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from unimedvl.inference.engine import Engine
from unimedvl.serving import sharing
from unimedvl.serving.app import make_app
from unimedvl.serving.run import bound
from unimedvl.serving.settings import ServerSettings, Tls
from unimedvl.serving.sharing import SharingServer


@contextmanager
def started(engine: Engine, listening: socket.socket, settings: ServerSettings) -> Iterator[SharingServer]:
    server = SharingServer(make_app(engine, settings), settings)
    thread = threading.Thread(target=server.run, args=([listening.dup()],), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def certificate(make_certificate) -> tuple[Path, Path]:
    certificate, key = make_certificate("localhost", days=90)
    key.chmod(0o600)
    return certificate, key


def test_who_has_fewer_connections_takes_the_next(engine: Engine, wait_until, monkeypatch):
    monkeypatch.setattr(sharing, "_LEFT", 0.005)  # a difference that a busy machine doesn't hide
    monkeypatch.setattr(sharing, "_LONGEST", 1.0)
    settings = ServerSettings(port=0, page=False)
    with ExitStack() as stack:
        listening = stack.enter_context(bound(settings))
        address = listening.getsockname()

        def connect(count: int) -> None:
            for _ in range(count):
                client = stack.enter_context(socket.create_connection(address, timeout=20))
                client.sendall(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
                assert client.recv(15) == b"HTTP/1.1 200 OK"

        first = stack.enter_context(started(engine, listening, settings))
        connect(20)
        second = stack.enter_context(started(engine, listening, settings))
        assert wait_until(lambda: second.started)
        connect(8)
        had = [len(server.server_state.connections) for server in (first, second)]
        assert sum(had) == 28 and had[1] >= 6, had


def test_it_serves_by_tls_and_outlives_who_does_not(engine: Engine, certificate):
    settings = ServerSettings(port=0, page=False, tls=Tls(certificate=certificate[0], key=certificate[1]))
    trusted = ssl.create_default_context(cafile=certificate[0])
    with bound(settings) as listening, started(engine, listening, settings):
        port = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
            plain.sendall(b"GET /health HTTP/1.1\r\n\r\n")
            plain.recv(100)  # an alert, or the end
        for _ in range(2):
            assert httpx.get(f"https://localhost:{port}/health", verify=trusted, timeout=20).status_code == 200
