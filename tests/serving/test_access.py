"""Keys, limits, origins, the audit and the numbers of a whole server."""

from __future__ import annotations

import json
from pathlib import Path

import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from unimedvl.inference.engine import Engine
from unimedvl.serving.audit_table import read_lines
from unimedvl.serving.keys import add_key
from unimedvl.serving.openai.chat_examples import PICTURE

WORDS = [{"role": "user", "content": "What is a chest X-ray?"}]
SEEN = [{"role": "user", "content": [{"type": "text", "text": "Is it?"},
                                     {"type": "image_url", "image_url": {"url": PICTURE}}]}]  # fmt: skip


def numbers(text: str) -> dict[tuple, float]:
    """Name and labels -> value."""
    samples = (s for family in text_string_to_metric_families(text) for s in family.samples)
    return {(s.name, *sorted(s.labels.items())): s.value for s in samples}


def test_only_who_has_a_key_is_answered(engine: Engine, serve, tmp_path: Path):
    key = add_key(tmp_path / "keys", "ward-3")
    with serve(engine, keys=tmp_path / "keys", key=key) as running:
        assert running.client.chat.completions.create(model="nano", messages=WORDS).choices
        with pytest.raises(openai.AuthenticationError) as caught:
            openai.OpenAI(base_url=f"{running.url}/v1", api_key="umv_wrong").models.list()
        assert caught.value.code == "invalid_api_key" and caught.value.request_id
        for path, status in (("/health", 200), ("/ready", 200), ("/metrics", 401), ("/v1/models", 401), ("/", 401)):
            reply = running.http.get(path, headers={"Authorization": ""})
            assert reply.status_code == status, path
        asks = running.http.get("/", headers={"Authorization": ""}).headers["www-authenticate"]
        assert asks.startswith("Basic")
        assert running.http.get("/v1/models", auth=("anybody", key)).status_code == 200


def test_limits_of_a_request_are_told_with_their_status(engine: Engine, serve):
    limits = {"body_bytes": 20_000, "images": 2, "text_characters": 50, "tokens": 60, "n": 2, "max_tokens": 20}
    with serve(engine, limits=limits) as running:
        def status(messages: list, **given) -> tuple[int, str]:
            reply = running.http.post("/v1/chat/completions", json={"messages": messages, **given})
            return reply.status_code, reply.json().get("error", {}).get("code")

        assert status(WORDS) == (200, None)
        assert status([{"role": "user", "content": "x" * 51}]) == (413, "text_too_long")
        assert status([{"role": "user", "content": "x" * 30_000}]) == (413, "body_too_large")
        three = [{"role": "user", "content": SEEN[0]["content"] + SEEN[0]["content"][1:] * 2}]
        assert status(three) == (413, "too_many_images")
        assert status(SEEN)[0] == 400  # an image is of more tokens than 60
        assert status(WORDS, n=3)[0] == 400 and status(WORDS, max_tokens=21)[0] == 400
        schema = {"type": "boolean", "description": "x" * 50}
        wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
        assert status(WORDS, response_format=wanted) == (413, "text_too_long")
        assert status(WORDS, stop=["x" * 51]) == (413, "text_too_long")


def test_a_request_that_says_no_length_gets_no_more_than_is_allowed(engine: Engine, serve):
    edit = {"image": PICTURE, "prompt": "Add an effusion.", "think": True, "num_inference_steps": 2, "stream": True}
    with serve(engine, limits={"max_tokens": 3}) as running:
        said = running.http.post("/v1/chat/completions", json={"messages": WORDS, "repetition_penalty": 5}).json()
        assert said["choices"][0]["finish_reason"] == "length" and said["usage"]["completion_tokens"] == 3
        asked = {"question": WORDS[0]["content"], "repetition_penalty": 5}
        assert running.http.post("/v1/tasks/ask", json=asked).json()["usage"]["completion_tokens"] == 3
        done = [x for x in running.http.post("/v1/images/edits", json=edit).text.splitlines() if "completed" in x][1]
        assert json.loads(done.partition(" ")[2])["usage"]["output_tokens_details"]["text_tokens"] <= 3


def test_so_many_stop_texts_are_taken(engine: Engine, serve):
    with serve(engine) as running:
        for path, asked in (("chat/completions", {"messages": WORDS}), ("tasks/ask", {"question": "Is it?"})):
            reply = running.http.post(f"/v1/{path}", json={**asked, "stop": list("abcde")})
            assert (reply.status_code, reply.json()["error"]["param"]) == (400, "stop")
            assert running.http.post(f"/v1/{path}", json={**asked, "stop": list("abcd")}).status_code == 200


def test_methods_that_clients_invent_get_no_numbers_of_their_own(engine: Engine, serve):
    with serve(engine) as running:
        assert {running.http.request(f"METHOD{n}", "/health").status_code for n in range(3)} == {405}
        told = numbers(running.http.get("/metrics").text)
    counts = {k: v for k, v in told.items() if k[0] == "unimedvl_requests_total" and ("status", "405") in k}
    assert list(counts.values()) == [3] and ("method", "any") in next(iter(counts))


def test_a_key_that_asks_too_often_is_told_when_it_may_again(engine: Engine, serve):
    with serve(engine, limits={"rate": 1, "burst": 2}) as running:
        assert [running.http.get("/v1/models").status_code for _ in range(3)] == [200, 200, 429]
        with pytest.raises(openai.RateLimitError) as caught:
            running.client.models.list()
        assert int(caught.value.response.headers["retry-after"]) >= 1
        assert running.http.get("/health").status_code == 200


def test_pages_of_other_origins_are_let_in_only_where_they_are_listed(engine: Engine, serve):
    origin = {"Origin": "https://viewer.example.org"}
    asked = {"messages": WORDS}
    with serve(engine) as running:
        refused = running.http.post("/v1/chat/completions", json=asked, headers=origin)
        assert refused.status_code == 403 and "access-control-allow-origin" not in refused.headers
    with serve(engine, cors=["https://viewer.example.org"]) as running:
        taken = running.http.post("/v1/chat/completions", json=asked, headers=origin)
        assert taken.headers["access-control-allow-origin"] == origin["Origin"] and taken.status_code == 200
        preflight = running.http.options(
            "/v1/chat/completions", headers=origin | {"Access-Control-Request-Method": "POST"}
        )
        assert preflight.status_code == 200


def test_every_request_has_its_line_in_the_audit(engine: Engine, serve, tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'audit.db'}"
    key = add_key(tmp_path / "keys", "ward-3")
    with serve(engine, keys=tmp_path / "keys", key=key, audit=url, audit_required=True) as running:
        running.http.post("/v1/chat/completions", json={"messages": SEEN, "seed": 7}, headers={"x-request-id": "one"})
        running.http.post("/v1/chat/completions", json={"messages": []}, headers={"x-request-id": "two"})
        running.http.get("/v1/models", headers={"x-request-id": "three", "Authorization": ""})
        running.http.get("/health")
        asked = {"caption": "CT of the chest", "stream": True, "size": "64x64", "num_inference_steps": 3}
        running.http.post("/v1/tasks/generate", json=asked, headers={"x-request-id": "four"})
        assert running.service.audit.flush()
    lines = {(line.request, line.outcome): line for line in read_lines(url)}
    assert set(lines) == {("one", "begun"), ("one", "200"), ("two", "400"), ("three", "401"), ("four", "begun"),
                          ("four", "200")}  # fmt: skip
    one = lines["one", "200"]
    assert one.who == "ward-3" and one.task == "chat" and one.seed == 7 and len(one.input_sha256s) == 1
    assert one.model == "nano" and one.weights_sha256 == engine.model.weights and one.output_sha256
    assert lines["three", "401"].who == "" and lines["four", "200"].output_sha256
    assert b"Is it?" not in (tmp_path / "audit.db").read_bytes()


def test_numbers_tell_of_requests_tokens_and_the_engine(engine: Engine, serve):
    with serve(engine) as running:
        reply = running.http.post("/v1/chat/completions", json={"messages": WORDS}).json()
        running.http.post("/v1/chat/completions", json={"messages": WORDS, "stream": True})
        running.http.post("/v1/chat/completions", json={})
        running.http.get("/v1/nothing")
        told = numbers(running.http.get("/metrics").text)
    route = ("route", "/v1/chat/completions")
    assert told["unimedvl_requests_total", ("method", "POST"), route, ("status", "200")] == 2
    assert told["unimedvl_requests_total", ("method", "POST"), route, ("status", "400")] == 1
    assert told["unimedvl_requests_total", ("method", "any"), ("route", "other"), ("status", "404")] == 1
    assert told["unimedvl_request_seconds_count", route] == 3
    assert told["unimedvl_first_output_seconds_count", route] == 1
    assert told["unimedvl_tokens_total", ("kind", "answer")] == 2 * reply["usage"]["completion_tokens"]
    assert told["unimedvl_tokens_total", ("kind", "prompt")] == 2 * reply["usage"]["prompt_tokens"]
    assert told["unimedvl_replicas_ready",] == 1 and told["unimedvl_engine_taken",] >= 2
    assert {("unimedvl_engine_waiting",), ("unimedvl_engine_speaking",), ("unimedvl_engine_drawing",)} <= set(told)
