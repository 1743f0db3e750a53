"""The OpenAPI document tells the truth: every example in it is accepted, and every reference leads somewhere."""

from __future__ import annotations

import json
import re

import pytest


@pytest.fixture(scope="module")
def document(running) -> dict:
    return running.http.get("/openapi.json").json()


def test_every_route_is_there_and_every_reference_leads_somewhere(document: dict):
    assert {"/v1/chat/completions", "/v1/images/generations", "/v1/images/edits", "/v1/models", "/v1/models/{model}",
            "/v1/tasks", "/v1/tasks/{task}", "/health", "/ready", "/metrics"} <= set(document["paths"])  # fmt: skip
    references = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document))
    assert references and set(references) <= set(document["components"]["schemas"])


def test_every_example_is_accepted(running, document: dict):
    sent = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for place, body in _examples(path, operation):
                reply = running.http.request(method, place, json=body)
                assert reply.status_code == 200, f"{method} {place}: {reply.text[:300]}"
                sent += 1
            if method == "post":
                assert operation["requestBody"]["content"]["application/json"]["examples"]
    assert sent >= 25


def _examples(path: str, operation: dict):
    """Paths and bodies: of the task's route each task's own, of others each body, or none."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    bodies = {name: e["value"] for name, e in content.get("examples", {}).items()} or {"": None}
    if path == "/v1/tasks/{task}":
        (parameter,) = operation["parameters"]
        for name, example in parameter["examples"].items():
            yield path.format(task=example["value"]), bodies.get(name)
    elif "{model}" in path:
        yield path.format(model=operation["parameters"][0]["schema"]["examples"][0]), None
    else:
        for body in bodies.values():
            yield path, body
