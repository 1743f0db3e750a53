"""Bodies are counted and timed as they arrive, whatever their headers say. Over real connections."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from unimedvl.serving.bodies import Body, read_body
from unimedvl.serving.body import BodyLimit, check_json
from unimedvl.serving.errors import ApiError
from unimedvl.serving.limits import Limits

LIMITS = Limits(body_bytes=4096, body_seconds=1, json_depth=8, json_values=200, bodies_bytes=8192)
JSON = "content-type: application/json\r\n"


async def echo(scope, receive, send) -> None:
    """Answers with what it received, after a wait where the path names one."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    if scope["path"] == "/wait":  # until the client goes
        assert (await receive())["type"] == "http.disconnect"
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def served(app) -> Iterator[int]:
    """A real server in a thread; its port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(autouse=True)
def impatient(monkeypatch) -> None:
    monkeypatch.setattr("unimedvl.serving.body._PATIENCE", 0.5)


@pytest.fixture(scope="module")
def limit() -> BodyLimit:
    return BodyLimit(echo, LIMITS)


@pytest.fixture(scope="module")
def port(limit) -> Iterator[int]:
    with served(limit) as port:
        yield port


def sent(port: int, head: str, *pieces: bytes, wait: float = 0.0) -> tuple[int, dict, bytes]:
    """Status, headers and body of the answer to bytes as they are written here."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(f"POST / HTTP/1.1\r\nhost: x\r\n{head}\r\n".encode())
        for piece in pieces:
            time.sleep(wait)
            connection.sendall(piece)
        answer = b""
        while True:
            try:
                block = connection.recv(65536)
            except ConnectionResetError:
                break
            answer += block
            if not block or (b"\r\n\r\n" in answer and b"connection: close" not in answer):
                break
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


def problem(body: bytes) -> str:
    return json.loads(body)["error"]["message"]


def test_what_is_small_passes_unchanged(port):
    for body in (b"", b"x", bytes(4096), b'{"a": [1, "]]]]]]]]]]"]}'):
        kind = "application/octet-stream" if b"\x00" in body else "application/json"
        answer = httpx.post(f"http://127.0.0.1:{port}/", content=body, headers={"content-type": kind})
        assert (answer.status_code, answer.content) == (200, body)


def test_a_declared_larger_body_is_refused_before_it_is_sent(port):
    status, headers, body = sent(port, f"{JSON}content-length: 4097\r\n")
    assert (status, headers["connection"]) == (413, "close")
    assert problem(body) == "the body is too large; at most 0.003906 MiB are taken"


def test_one_that_says_nothing_is_counted(port, limit):
    chunk = b"400\r\n" + b"x" * 1024 + b"\r\n"
    status, headers, _ = sent(port, f"{JSON}transfer-encoding: chunked\r\n", chunk * 4, chunk, b"0\r\n\r\n")
    assert (status, headers["connection"]) == (413, "close")
    assert limit._held == 0


def test_lengths_that_lie_are_refused(port):
    for head in ("content-length: -1\r\n", "content-length: 1e3\r\n", "content-length: 5\r\ncontent-length: 6\r\n"):
        assert sent(port, JSON + head, b"hello")[0] == 400
    both = "content-length: 3\r\ntransfer-encoding: chunked\r\n"
    status = sent(port, JSON + both, b"1388\r\n" + b"x" * 5000 + b"\r\n0\r\n\r\n")[0]
    assert status in (400, 413)


def test_a_body_that_drips_is_cut_off(port, limit):
    started = time.monotonic()
    with pytest.raises(OSError):  # closed on us while we go on dripping
        for _ in range(2):
            status, _, body = sent(port, f"{JSON}content-length: 400\r\n", *[b" "] * 7, wait=0.2)
            assert status == 408 and problem(body) == "the body took over 1 seconds to arrive"
        raise OSError
    assert time.monotonic() - started < 8 and limit._held == 0


def test_a_client_that_goes_leaves_nothing_behind(port, limit):
    for path, length in (("/", 400), ("/wait", 4)):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n1234".encode())
            time.sleep(0.1)
            assert limit._held == 4
        until = time.monotonic() + 5
        while limit._held and time.monotonic() < until:
            time.sleep(0.02)
        assert limit._held == 0


def test_bodies_together_have_a_bound(port, limit):
    limit._held += 8000
    try:
        status, headers, body = sent(port, f"{JSON}content-length: 200\r\n", b" " * 200)
    finally:
        limit._held -= 8000
    assert (status, headers["retry-after"], headers["x-should-retry"]) == (503, "2", "true")
    assert "try again later" in problem(body)


def test_clients_that_send_all_before_they_read_are_told(port):
    answer = httpx.post(f"http://127.0.0.1:{port}/", content=b"x" * 20_000_000)
    assert answer.status_code == 413 and "too large" in problem(answer.content)

    def pieces() -> Iterator[bytes]:
        yield from [b"x" * 100_000] * 100

    assert httpx.post(f"http://127.0.0.1:{port}/", content=pieces()).status_code == 413


def test_a_client_that_asks_first_is_told_at_once(port):
    status, headers, _ = sent(port, "content-length: 20000000\r\nexpect: 100-continue\r\n")
    assert (status, headers["connection"]) == (413, "close")


@pytest.mark.parametrize(("data", "said"), [
    (b"[" * 9 + b"]" * 9, "nested more than 8 deep"),
    (b'{"a":' * 2000, "nested more than 8 deep"),
    (b"[" + b"1," * 250 + b"1]", "more than 200 values"),
    (b"[" + b"[]," * 250 + b"1]", "more than 200 values"),
    (b'["\\"' + b"[" * 20 + b'"' + b"[" * 8, "nested more than 8 deep"),
])  # fmt: skip
def test_deep_and_wide_json_is_refused(port, data, said):
    status, _, body = sent(port, f"{JSON}content-length: {len(data)}\r\n", data)
    assert (status, said in problem(body)) == (413, False) if len(data) > 4096 else (400, True)


def test_forms_are_not_taken_for_json(port):
    data = b"[" * 100
    assert sent(port, f"content-type: multipart/form-data\r\ncontent-length: {len(data)}\r\n", data)[0] == 200
    # Whatever else it says that it is, would be parsed as JSON.
    for kind in ("", "content-type: image/png\r\n", "content-type: application/octet-stream\r\n",
                 "content-type: multipart/mixed\r\n"):  # fmt: skip
        assert sent(port, f"{kind}content-length: {len(data)}\r\n", data)[0] == 400


def of_a_form(charset: str, value: bytes) -> Body:
    head = b'--x\r\nContent-Disposition: form-data; name="request"\r\n\r\n'

    async def receive() -> dict:
        return {"type": "http.request", "body": head + value + b"\r\n--x--\r\n", "more_body": False}

    headers = [(b"content-type", b"multipart/form-data; boundary=x" + charset.encode())]
    return asyncio.run(read_body(Request({"type": "http", "headers": headers}, receive), Limits(json_values=200)))


def test_json_in_a_form_is_bounded_too():
    assert of_a_form("; charset=UTF-8", b'{"a": [1, 2]}').fields == {"a": [1, 2]}
    with pytest.raises(ApiError, match="more than 200 values"):
        of_a_form("", b'{"a": [' + b"1," * 250 + b"1]}")


@pytest.mark.parametrize("charset", ["; charset=punycode", '; charset="IDNA"'])
def test_a_form_in_an_encoding_that_takes_minutes_to_decode_is_refused(charset):
    with pytest.raises(ApiError, match="must be in UTF-8") as caught:
        of_a_form(charset, b"a-a")
    assert caught.value.status == 400


def test_long_strings_are_passed_over():
    check_json(b'{"url": "' + b"A[" * 10_000_000 + b'\\"[[["}', LIMITS)
    check_json(b'"' + b"\\[" * 1_000_000, LIMITS)


values = st.recursive(st.none() | st.text() | st.integers(), lambda v: st.lists(v) | st.dictionaries(st.text(), v))


@settings(max_examples=40)
@given(values, st.booleans())
def test_depth_is_what_a_parser_would_build(value, escaped):
    def depth(part: object) -> int:
        inside = part.values() if isinstance(part, dict) else part if isinstance(part, list) else None
        return 0 if inside is None else 1 + max(map(depth, inside), default=0)

    data, deep = json.dumps(value, ensure_ascii=escaped).encode(), depth(value)
    check_json(data, Limits(json_depth=max(4, deep)))
    if deep > 4:
        with pytest.raises(ApiError):
            check_json(data, Limits(json_depth=deep - 1))
