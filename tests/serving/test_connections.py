"""A client that does not say what it wants is not waited for; one that asks slowly but in time is answered."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from unimedvl.serving.connections import PatientProtocol


class Quick(PatientProtocol):
    header_seconds = 0.6


async def app(scope, receive, send) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    config = uvicorn.Config(app, port=0, http=Quick, lifespan="off", log_level="critical", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def connection(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        yield connection


def closed(connection: socket.socket) -> bool:
    """Whether the server closes it within ten seconds, saying nothing."""
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True


def answer(connection: socket.socket) -> bytes:
    """What is answered, to its body."""
    got = b""
    while not got.endswith(b"ok") and (block := connection.recv(1000)):
        got += block
    return got


def test_one_that_says_nothing_is_closed(connection):
    assert closed(connection)


def test_one_that_drips_its_headers_is_closed(connection):
    connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\n")
    try:
        for n in range(30):
            connection.sendall(b"x-%d: y\r\n" % n)
            time.sleep(0.1)
    except OSError:
        return
    assert closed(connection)


def test_one_that_drips_its_second_request_is_closed(connection):
    connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    assert answer(connection).endswith(b"ok")
    connection.sendall(b"GET / HT")
    assert closed(connection)


def test_a_body_may_take_longer_and_so_may_the_time_between_requests(connection):
    for _ in range(2):
        connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n12")
        time.sleep(0.9)
        connection.sendall(b"34")
        assert answer(connection).endswith(b"ok")
        time.sleep(0.9)
