"""Loading behind, queues, deadlines, clients that go, and shutdowns: what the server does at its edges."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
import torch

from unimedvl import UniMedVL
from unimedvl.inference.engine import Engine, EngineLimits
from unimedvl.serving import run
from unimedvl.serving.run import bound
from unimedvl.serving.settings import ServerSettings

LONG = {"prompt": "Chest X-ray with cardiomegaly", "size": "64x64", "num_inference_steps": 1000, "seed": 3}
WORDS = [{"role": "user", "content": "What is a chest X-ray?"}]


def test_a_server_answers_before_its_model_is_loaded(nano: UniMedVL, serve, wait_until):
    gate = threading.Event()

    def load() -> Engine:
        gate.wait(30)
        return Engine(nano)

    with serve(load) as running:
        assert running.http.get("/health").json()["status"] == "ok"
        waiting = running.http.get("/ready")
        assert waiting.status_code == 503 and waiting.headers["retry-after"]
        with pytest.raises(openai.InternalServerError) as caught:
            running.client.chat.completions.create(model="nano", messages=WORDS)
        assert caught.value.status_code == 503 and caught.value.code == "loading"
        assert running.client.models.list().data[0].id == "nano"
        gate.set()
        assert wait_until(lambda: running.http.get("/ready").status_code == 200)
        assert running.client.chat.completions.create(model="nano", messages=WORDS).choices


def test_small_packets_of_a_stream_are_sent_at_once():
    with bound(ServerSettings(port=0)) as listening:
        listening.setblocking(False)

        async def taken() -> int:
            told = asyncio.get_running_loop().create_future()
            server = await asyncio.start_server(lambda _, writer: told.set_result(writer), sock=listening)
            async with server:
                _, ours = await asyncio.open_connection(*listening.getsockname())
                writer = await told
                option = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                for end in (ours, writer):
                    end.close()
            return option

        assert asyncio.run(taken()) == 1


@pytest.mark.parametrize(
    ("settings", "small", "threads"),
    [({}, 512, 1), ({}, 255, 4), ({"replicas": 3}, 255, 1), ({"replicas": 2}, 255, 2), ({"threads": 3}, 512, 3)],
)
def test_a_small_model_has_one_thread_and_a_larger_its_share(settings, small, threads, monkeypatch):
    monkeypatch.setattr(run, "_SMALL", small)  # nano is 256 wide
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        run.load_engine(ServerSettings(**settings)).close()
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_a_model_that_cannot_be_loaded_ends_the_server(serve, wait_until):
    def load() -> Engine:
        raise ValueError("no such model")

    with serve(load) as running:
        assert wait_until(lambda: running.server.should_exit)
        assert str(running.service.engine.failure) == "no such model"


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_cancels_its_request(running, engine: Engine, wait_until, stream: bool):
    before = engine.state().cancelled
    asked = LONG | ({"stream": True, "partial_images": 1} if stream else {})
    with pytest.raises(httpx.ReadTimeout), httpx.Client(base_url=running.url, timeout=1.5) as client:
        client.post("/v1/images/generations", json=asked)
    assert wait_until(lambda: engine.state().cancelled == before + 1 and engine.state().drawing == 0)
    assert wait_until(lambda: running.service.running == 0)


def test_a_client_that_goes_in_the_middle_of_a_stream_cancels_its_request(running, engine: Engine, wait_until):
    before = engine.state().cancelled
    with running.http.stream("POST", "/v1/tasks/generate", json={"caption": "CT", "stream": True, "size": "64x64",
                                                                 "num_inference_steps": 1000}) as reply:  # fmt: skip
        lines = reply.iter_lines()
        while "step" not in next(lines):
            pass
    assert wait_until(lambda: engine.state().cancelled == before + 1 and engine.state().drawing == 0)


def test_deadlines_of_clients_and_of_the_server_are_kept(running, engine: Engine, serve):
    with pytest.raises(openai.InternalServerError) as caught:
        running.client.images.generate(prompt="CT", extra_headers={"x-timeout": "0.5"}, size="64x64",
                                       extra_body={"num_inference_steps": 1000})  # fmt: skip
    assert caught.value.status_code == 504 and caught.value.code == "deadline_passed"
    assert caught.value.response.headers["x-should-retry"] == "false"
    wrong = running.http.post("/v1/images/generations", json=LONG, headers={"x-timeout": "soon"})
    assert wrong.status_code == 400 and wrong.json()["error"]["param"] == "x-timeout"
    with serve(engine, deadline=0.5) as strict:
        late = strict.http.post("/v1/images/generations", json=LONG, headers={"x-timeout": "100"})
        assert late.status_code == 504


def test_an_error_in_the_middle_of_a_stream_reaches_the_client(running):
    stream = running.client.images.generate(
        prompt="CT", size="64x64", stream=True, partial_images=3, extra_headers={"x-timeout": "1"},
        extra_body={"num_inference_steps": 1000},
    )  # fmt: skip
    with pytest.raises(openai.APIError) as caught:
        list(stream)
    assert caught.value.code == "deadline_passed"


def test_a_full_queue_is_told_with_when_to_come_again(nano: UniMedVL, serve, wait_until):
    with Engine(nano, limits=EngineLimits(drawing=1, waiting=0)) as small, serve(small) as running:
        with ThreadPoolExecutor() as pool:
            first = pool.submit(running.http.post, "/v1/images/generations", json=LONG | {"num_inference_steps": 60})
            assert wait_until(lambda: small.state().drawing == 1)
            with pytest.raises(openai.RateLimitError) as caught:
                running.client.images.generate(prompt="CT", size="64x64")
            assert int(caught.value.response.headers["retry-after"]) >= 1 and caught.value.code == "queue_full"
            assert first.result().status_code == 200
        # Of several images none is left behind where there is no place for all.
        refused = running.http.post("/v1/images/generations", json=LONG | {"n": 8})
        assert refused.status_code == 429 and wait_until(lambda: small.state().drawing == 0)


def test_a_shutdown_lets_what_runs_end_and_refuses_what_is_new(engine: Engine, serve, wait_until):
    with serve(engine) as running, ThreadPoolExecutor() as pool:
        asked = LONG | {"num_inference_steps": 60}
        first = pool.submit(running.http.post, "/v1/images/generations", json=asked)
        assert wait_until(lambda: engine.state().drawing == 1)
        running.server.drain()
        with pytest.raises(openai.InternalServerError) as caught:
            running.client.chat.completions.create(model="nano", messages=WORDS)
        assert caught.value.status_code == 503 and caught.value.code == "shutting_down"
        assert running.http.get("/ready").status_code == 503 and running.http.get("/health").status_code == 200
        assert first.result().status_code == 200
        assert wait_until(lambda: running.server.should_exit)


def test_a_shutdown_ends_the_streams_of_a_page(nano: UniMedVL, serve, wait_until):
    with serve(lambda: Engine(nano), page=True) as running, ThreadPoolExecutor() as pool:
        assert running.http.get("/").status_code == 200

        def listen() -> int:
            with httpx.stream("GET", f"{running.url}/gradio_api/heartbeat/a1", timeout=60) as reply:
                return sum(1 for _ in reply.iter_lines())

        beat = pool.submit(listen)
        assert wait_until(lambda: running.service.engine.ready and len(running.server.server_state.connections) == 2)
        begun = time.monotonic()
        running.server.drain()
        assert beat.result() >= 0 and time.monotonic() - begun < 10  # and not the grace of 30 s


def test_a_shutdown_does_not_wait_longer_than_its_grace(nano: UniMedVL, serve, wait_until):
    with serve(lambda: Engine(nano), grace=0.5) as running, ThreadPoolExecutor() as pool:
        assert wait_until(lambda: running.service.engine.ready)
        first = pool.submit(running.http.post, "/v1/images/generations", json=LONG)
        assert wait_until(lambda: running.service.engine.state().drawing == 1)
        running.server.drain()
        begun = time.monotonic()
        stopped = first.result()
        assert stopped.status_code == 503 and time.monotonic() - begun < 10


def test_a_failure_is_told_without_its_words(nano: UniMedVL, serve, caplog: pytest.LogCaptureFixture):
    class Broken(Engine):
        def submit(self, *_, **__):
            raise RuntimeError("patient Smith")

    with Broken(nano) as broken, serve(broken) as running:
        with pytest.raises(openai.InternalServerError) as caught:
            running.client.chat.completions.create(model="nano", messages=WORDS)
        assert caught.value.status_code == 500 and caught.value.type == "server_error"
        assert "Smith" not in str(caught.value) and caught.value.request_id
    assert "RuntimeError" in caplog.text and caught.value.request_id in caplog.text
    assert "Smith" not in caplog.text and "chest X-ray" not in caplog.text


def test_a_server_whose_engine_fails_says_so_and_ends(nano: UniMedVL, serve, wait_until):
    def broken() -> None:
        raise RuntimeError("no memory")

    with Engine(nano) as engine, serve(engine) as running:
        engine._rounds.round = broken
        with pytest.raises(openai.InternalServerError) as caught:
            running.client.chat.completions.create(model="nano", messages=WORDS)
        assert caught.value.status_code == 503 and caught.value.code == "engine_failed"
        assert wait_until(lambda: running.server.should_exit)


def test_what_has_no_route_is_told_in_the_same_form(running):
    for method, path, status in (("GET", "/v1/nothing", 404), ("GET", "/v1/chat/completions", 405)):
        reply = running.http.request(method, path)
        assert reply.status_code == status and set(reply.json()["error"]) == {"message", "type", "param", "code"}
        assert reply.headers["x-request-id"].startswith("req_")
    named = running.http.get("/v1/models", headers={"x-request-id": "mine-1"})
    assert named.headers["x-request-id"] == "mine-1"
    for body in (b"{", b"[]", b'"x"', b"\xff"):
        reply = running.http.post("/v1/chat/completions", content=body)
        assert reply.status_code == 400 and reply.json()["error"]["code"] == "invalid_json"
