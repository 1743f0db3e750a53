"""deploy/: what its files name is there, fits together, and is taken by the real commands.

No image is built here, as no container engine is: of the Containerfile, what it copies, installs, starts and checks is
held against this checkout. tests/e2e/test_deploy.py starts the real Orthanc and listener with these files, and
tests/e2e/test_ray_serve.py a real Ray.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import typer.main
import yaml

from unimedvl.cli.main import app as cli
from unimedvl.hospital.rules import read_rules
from unimedvl.serving.settings import load_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
ORTHANC = json.loads((DEPLOY / "orthanc.json").read_text())
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "unimedvl:local"}


def instructions() -> list[tuple[str, str]]:
    """Those of the Containerfile, in order, each with its words on one line."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "Containerfile").read_text(), flags=re.M)
    lines = filter(None, (line.strip() for line in re.sub(r"\\\n\s*", "", text).splitlines()))
    return [(line.split()[0], line.split(None, 1)[1]) for line in lines]


def of(kind: str) -> list[str]:
    return [words for name, words in instructions() if name == kind]


def last(kind: str) -> str:
    return of(kind)[-1]


def target(published: str) -> int:
    return int(published.rsplit(":", 1)[1])


def run(words: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    place = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment
    return subprocess.run([sys.executable, "-m", "unimedvl", *words], env=place, capture_output=True, text=True,
                          timeout=100)  # fmt: skip


def test_compose_names_what_it_defines_and_defines_what_it_names():
    for kind, others in (("networks", set()), ("volumes", set()), ("secrets", set())):
        named = set(others)
        for service in SERVICES.values():
            entries = [e["source"] if isinstance(e, dict) else e.split(":")[0] for e in service.get(kind, [])]
            named |= {entry for entry in entries if not entry.startswith(".")}
        assert named == set(COMPOSE[kind]), kind
    assert all(set(service.get("depends_on", ())) <= set(SERVICES) for service in SERVICES.values())
    assert {p for s in SERVICES.values() for p in s.get("profiles", ())} == {"postgres"}


def test_files_that_compose_mounts_are_there_and_its_secrets_are_kept_out_of_git_and_images():
    mounted = {v.split(":")[0] for s in SERVICES.values() for v in s.get("volumes", ()) if v.startswith(".")}
    assert mounted == {"./rules.yaml", "./orthanc.json", "./route.lua"}
    assert all((DEPLOY / file).is_file() for file in mounted)
    build = SERVICES["serve"]["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT and (ROOT / build["dockerfile"]).is_file()
    assert all(secret["file"].startswith("./secrets/") for secret in COMPOSE["secrets"].values())
    assert "/secrets/" in (DEPLOY / ".gitignore").read_text().splitlines()


def test_ports_titles_and_addresses_of_the_services_fit_together():
    rules = read_rules(DEPLOY / "rules.yaml")
    assert [target(p) for p in SERVICES["orthanc"]["ports"]] == [ORTHANC["HttpPort"], ORTHANC["DicomPort"]]
    title, host, port = ORTHANC["DicomModalities"]["unimedvl"]
    assert (title, host, port) == (rules.listen.aet, "hospital", rules.listen.port)
    assert rules.listen.allowed == (ORTHANC["DicomAet"],)
    assert str(port) in SERVICES["hospital"]["healthcheck"]["test"][-1]
    (pacs,) = rules.destinations.values()
    url = urlsplit(pacs.dicomweb)
    assert (url.hostname, url.port, f"{url.path}/") == ("orthanc", ORTHANC["HttpPort"], ORTHANC["DicomWeb"]["Root"])
    secret = pacs.password_file.relative_to("/run/secrets").name
    assert secret in SERVICES["hospital"]["secrets"] and ORTHANC["AuthenticationEnabled"]
    assert set(SERVICES["hospital"]["networks"]) & set(SERVICES["orthanc"]["networks"]) == {"pacs"}
    assert COMPOSE["networks"]["pacs"] == COMPOSE["networks"]["audit"] == {"internal": True}
    for file in (*ORTHANC["LuaScripts"], "/etc/orthanc/orthanc.json"):
        assert f"./{Path(file).name}:{file}:ro" in SERVICES["orthanc"]["volumes"]
    assert ORTHANC["StorageDirectory"] in {v.split(":")[1] for v in SERVICES["orthanc"]["volumes"]}
    assert "'/modalities/unimedvl/store'" in (DEPLOY / "route.lua").read_text()


def test_containers_may_do_little_and_only_this_machine_reaches_them():
    assert set(OURS) == {"serve", "hospital"}
    for service in SERVICES.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert ":" in service["image"] and not service["image"].endswith(":latest")
    for service in OURS.values():
        assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["tmpfs"] == ["/tmp"]
        written = {v.split(":")[1] for v in service["volumes"] if not v.endswith(":ro")}
        assert written == set(json.loads(last("VOLUME")))
    kept = dict(word.split("=", 1) for word in " ".join(of("ENV")).split())
    assert {kept["HF_HOME"], kept["XDG_DATA_HOME"]} == written  # the hub's checkpoints; the key that signs images


def test_the_server_of_compose_starts_as_far_as_the_port(tmp_path: Path):
    words, environment = list(SERVICES["serve"]["command"]), dict(SERVICES["serve"]["environment"])
    (given,) = re.findall(r"\$\{UNIMEDVL_AUDIT:-(.*)\}", environment["UNIMEDVL_SERVE_AUDIT"])
    environment["UNIMEDVL_SERVE_AUDIT"] = given.replace("/data/", f"{tmp_path}/")
    (tmp_path / "keys").write_text(f"ward-3:{'0' * 64}\n")
    words[words.index("/run/secrets/api-keys")] = str(tmp_path / "keys")
    with socket.create_server(("0.0.0.0", 0)) as taken:
        words[words.index("8000")] = str(taken.getsockname()[1])
        done = run(words, **environment)
    assert done.returncode == 2 and "give another with --port" in done.stderr, done.stderr
    assert target(SERVICES["serve"]["ports"][0]) == 8000 == int(last("EXPOSE"))
    settings = load_settings(None, [w for w in words if "=" in w], environment)
    assert settings.audit_required and (tmp_path / "audit.db").is_file()
    assert int(OURS["serve"]["stop_grace_period"].removesuffix("s")) >= settings.grace + 15


def test_the_listener_of_compose_has_words_that_the_command_takes():
    group, name, *words = SERVICES["hospital"]["command"]
    command = typer.main.get_command(cli).commands[group].commands[name]
    told = command.make_context(name, list(words)).params
    assert f"./{Path(told['rules']).name}:{told['rules']}:ro" in SERVICES["hospital"]["volumes"]
    assert (str(told["folder"]), told["host"]) == ("/data/inbox", "0.0.0.0")


def test_its_rules_are_in_order():
    done = run(["hospital", "check-rules", str(DEPLOY / "rules.yaml")])
    assert done.returncode == 0 and "all in order" in done.stdout + done.stderr


def test_the_containerfile_copies_what_is_there_and_nothing_else_is_in_its_context():
    copied = [w for words in of("COPY") if not words.startswith("--from") for w in words.split()[:-1]]
    assert all((ROOT / source).exists() for source in copied)
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line[1:] for line in lines if line.startswith("!")} == set(copied)
    assert next(line for line in lines if not line.startswith("#")) == "*"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {project["readme"], *project["license-files"], "pyproject.toml", "requirements.lock"} <= set(copied)


def test_the_containerfile_installs_as_the_makefile_does():
    """`make install` is what makes the environment of these tests, so its steps are known to work; but for apt, none
    of which the image needs."""
    runs = " && ".join(of("RUN"))
    make = (ROOT / "Makefile").read_text()
    assert subprocess.run(["bash", "-n", "-c", runs]).returncode == 0
    assert "apt" not in runs
    for step in ("pip install -r requirements.lock", "pip install --no-deps --no-build-isolation "):
        assert step in runs and step in make.replace(" --quiet --disable-pip-version-check", "")
    (index,) = re.findall(r"^TORCH_CPU_INDEX \?= (\S+)", make, re.M)
    assert f"TORCH_INDEX={index}" in of("ARG")
    (torch,) = re.findall(r"\$\((.*?)\)", runs)
    said = subprocess.run(["bash", "-c", torch], cwd=ROOT, capture_output=True, text=True).stdout
    assert re.fullmatch(r"torch==[\d.]+\n", said)
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert {f"python:{needed.removeprefix('>=')}-slim-bookworm"} == {words.split()[0] for words in of("FROM")}


def test_the_image_runs_as_nobody_in_particular_and_holds_no_secret():
    assert last("USER") == "10001:10001"
    assert [name for name, _ in instructions()].index("USER") < [name for name, _ in instructions()].index("VOLUME")
    told = " ".join(of("ENV") + of("ARG")).lower()
    assert not re.search(r"key|token|password|secret", told)


def test_what_the_image_starts_refuses_to_serve_others_without_keys():
    entry, words = json.loads(last("ENTRYPOINT")), json.loads(last("CMD"))
    assert entry == ["unimedvl"]
    done = run(words)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "there are no keys" in done.stderr


@pytest.mark.parametrize("where", ["image", "hospital"])
def test_health_checks_tell_a_server_from_none(running, where: str):
    """The command as written, but for its port."""
    image = json.loads(re.search(r"CMD (\[.*\])", last("HEALTHCHECK"))[1])
    command = image if where == "image" else SERVICES["hospital"]["healthcheck"]["test"][1:]
    port = 8000 if where == "image" else 11112
    assert command[0] == "python"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        for there, status in ((urlsplit(running.url).port, 0), (closed.getsockname()[1], 1)):
            words = [sys.executable, *(w.replace(str(port), str(there)) for w in command[1:])]
            assert subprocess.run(words, capture_output=True, timeout=60).returncode == status, shlex.join(words)


def test_the_deployment_of_ray_names_what_there_is():
    from unimedvl.serving.ray_app import DEPLOYMENT, settings_of

    config = yaml.safe_load((DEPLOY / "ray-serve.yaml").read_text())
    (one,) = config["applications"]
    module, _, name = one["import_path"].partition(":")
    assert callable(getattr(import_module(module), name))
    settings = settings_of(one["args"])
    assert settings.host == config["http_options"]["host"]
    (deployment,) = one["deployments"]
    assert deployment["name"] == DEPLOYMENT
    assert deployment["graceful_shutdown_timeout_s"] >= settings.grace + 15
