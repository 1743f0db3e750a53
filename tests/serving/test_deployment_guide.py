"""docs/deployment.md does what it says: its commands run, its servers start as far as the port, its figures hold."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from unimedvl.model.config import preset
from unimedvl.serving.keys import load_keys
from unimedvl.serving.settings import ServerSettings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "deployment.md").read_text()
COMPOSE_SECRETS = {"api-keys", "orthanc-password", "orthanc-users.json", "postgres-password"}


def blocks() -> list[str]:
    return re.findall(r"```bash\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deployment")
    shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=shutil.ignore_patterns("secrets", ".env"))
    (folder / "bin").mkdir()
    for name, words in (("unimedvl", "-m unimedvl"), ("python", "")):
        (folder / "bin" / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (folder / "bin" / name).chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def taken() -> Iterator[int]:
    with socket.create_server(("0.0.0.0", 0)) as one:
        yield one.getsockname()[1]


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(["bash", "-e", "-c", script], cwd=folder, env=environment, capture_output=True, text=True,
                          timeout=100)  # fmt: skip


def test_one_machine(folder: Path, taken: int):
    keys, server = (line for line in blocks()[0].splitlines())
    done = run(keys, folder)
    assert done.returncode == 0, done.stderr
    done = run(server.replace("8000", str(taken)), folder)
    assert done.returncode == 2 and "give another with --port" in done.stderr, done.stderr
    assert (folder / "audit.db").is_file()


def test_the_secrets_of_compose(folder: Path):
    done = run(blocks()[2], folder)
    assert done.returncode == 0, done.stderr
    made = folder / "deploy" / "secrets"
    assert {file.name for file in made.iterdir()} == COMPOSE_SECRETS
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    files = [*made.iterdir(), folder / "deploy" / ".env"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o400}
    password = (made / "orthanc-password").read_text()
    assert json.loads((made / "orthanc-users.json").read_text()) == {"RegisteredUsers": {"unimedvl": password}}
    assert f":{(made / 'postgres-password').read_text()}@postgres/audit" in (folder / "deploy" / ".env").read_text()
    assert len(load_keys(made / "api-keys", {})) == 1
    assert "all in order" in done.stdout + done.stderr


def test_the_ray_that_it_installs_is_the_extra_s_and_the_tests():
    install, serve = blocks()[1].splitlines()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    lock = (ROOT / "requirements.lock").read_text()
    assert shlex.split(install)[2:] == ["unimedvl[ray-serve]"]
    assert extras["ray-serve"] == ["unimedvl[serve]", "ray[serve]>=2.60"]
    assert re.search(r"^ray==2\.60\.", lock, re.M)
    assert serve == "serve run deploy/ray-serve.yaml"  # which tests/e2e/test_ray_serve.py runs


def test_what_is_not_run_is_said_to_be_and_has_options_that_there_are():
    scripts = re.findall(r"(\S[^\n]*)\n\n```text\n(.*?)```", PAGE, re.S)
    commands = [(before, block) for before, block in scripts if re.search(r"^(docker|ray|sudo|export)", block, re.M)]
    assert len(commands) == 3
    assert all("not run" in before.lower() for before, _ in commands)


def test_sizes_are_those_of_the_geometry():
    tokens = ServerSettings().engine.context_tokens
    for name, size, told in (("14b", 2, "3.8 GB"), ("nano", 4, "0.5 GB")):
        decoder = preset(name).decoder
        bytes_ = tokens * 2 * decoder.num_layers * decoder.num_kv_heads * decoder.head_dim * size
        assert told in PAGE
        assert bytes_ / 1e9 == pytest.approx(float(told.split()[0]), abs=0.05), name
