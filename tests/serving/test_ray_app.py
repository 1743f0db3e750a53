"""The application for Ray Serve, as far as it goes without one: settings, health, the end. tests/e2e has the rest."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from unimedvl.inference.engine import Engine, EngineFailed
from unimedvl.inference.requests import request_for
from unimedvl.recipes import RecipeError
from unimedvl.serving import ray_app
from unimedvl.serving.keys import KeysError
from unimedvl.serving.ray_app import Replica, settings_of
from unimedvl.serving.run import ServingError


@pytest.fixture
def replica(nano, monkeypatch: pytest.MonkeyPatch, log) -> Replica:
    """One over nano, which is loaded already, with the log where it was."""
    log()
    monkeypatch.setattr(ray_app, "load_engine", lambda settings: Engine(nano))
    made = Replica(settings_of({"host": "127.0.0.1"}).model_dump(mode="json"))
    yield made
    made.__del__()


def test_settings_are_those_of_the_file_the_environment_and_args(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "serve.yaml").write_text("deadline: 9\ngrace: 9\nname: file\n")
    monkeypatch.setenv("UNIMEDVL_SERVE_GRACE", "8")
    settings = settings_of({"config": str(tmp_path / "serve.yaml"), "name": "args", "engine": {"speaking": 3}})
    assert (settings.deadline, settings.grace, settings.name, settings.engine.speaking) == (9, 8, "args", 3)


def test_a_page_that_needs_one_process_is_off_unless_it_is_asked_for():
    assert not settings_of({}).page
    assert settings_of({"page": True}).page


@pytest.mark.parametrize("given", [{"port": 9000}, {"replicas": 2}, {"tls": {"certificate": "a", "key": "b"}}])
def test_what_ray_has_its_own_way_for_is_refused(given: dict):
    with pytest.raises(ServingError, match=r"not a setting of the server under Ray Serve; give \w"):
        settings_of(given)


def test_a_wrong_setting_is_named():
    with pytest.raises(RecipeError, match="prot: no such field"):
        settings_of({"prot": 1})


def test_without_keys_none_starts_that_others_reach(monkeypatch: pytest.MonkeyPatch, log):
    log()
    with pytest.raises(KeysError, match=r"host is 0\.0\.0\.0, which others reach, and there are no keys"):
        Replica(settings_of({}).model_dump(mode="json"))


def test_a_replica_is_the_whole_application(replica: Replica):
    app = replica.__serve_build_asgi_app__()

    async def ask() -> list[httpx.Response]:
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")
        async with app.router.lifespan_context(app), client as http:
            body = {"messages": [{"role": "user", "content": "What is a chest X-ray?"}], "max_tokens": 4}
            return [await http.get("/ready"), await http.post("/v1/chat/completions", json=body), await http.get("/")]

    ready, answered, page = asyncio.run(ask())
    assert ready.json()["status"] == "ready"
    assert answered.json()["choices"][0]["message"]["content"]
    assert page.status_code == 404


def test_health_fails_once_the_engine_has(replica: Replica):
    replica.check_health()

    def broken() -> None:
        raise MemoryError("no room")

    replica._engine._rounds.round = broken
    with pytest.raises(EngineFailed):
        replica._engine.submit(request_for("ask", (), "What is it?")).result(60)
    with pytest.raises(RuntimeError, match="the engine has failed: .*no room"):
        replica.check_health()


def test_the_engine_ends_with_the_replica(replica: Replica):
    replica.__del__()
    assert not replica._engine.state().running
