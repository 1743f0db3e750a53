"""`serve run deploy/ray-serve.yaml` with the real Ray Serve: two replicas answer, one that dies is replaced.

What Ray Serve needs beyond Ray is laid beside the packages of the tests, for this test alone: among it are another
event loop and HTTP parser, which uvicorn takes wherever it finds them, and so would the servers of all other tests.
"""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest
import yaml
from PIL import Image

from unimedvl.phantoms import simulate
from unimedvl.serving.keys import add_key

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SECONDS = 240  # for two replicas to load on a machine that does other things too
pytestmark = pytest.mark.timeout(900)
QUESTION = "Is there a zygomorphic effusion?"  # in no log


def until(reached: Callable[[], object], seconds: float = SECONDS) -> object:
    end = time.monotonic() + seconds
    while not (found := reached()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(1)
    return found


@dataclass
class Cluster:
    """Ray with the application. logs: Ray's own folder, with what all its processes write."""

    process: subprocess.Popen
    url: str
    key: str
    logs: Path
    config: Path
    environment: dict[str, str]

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.key, max_retries=0, timeout=120)

    def status(self) -> dict:
        """What `serve status` tells of the deployment."""
        done = subprocess.run([*SERVE, "status"], env=self.environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return yaml.safe_load(done.stdout)["applications"]["unimedvl"]["deployments"]["UniMedVL"]

    def running(self) -> bool:
        told = self.status()
        return told["status"] == "HEALTHY" and told["replica_states"] == {"RUNNING": 2}

    def replicas(self) -> list[int]:
        """The processes of the replicas, by what they call themselves."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                words, kept = (place / "cmdline").read_bytes(), (place / "environ").read_bytes()
            except OSError:
                continue  # ended, or another's
            if words.startswith(b"ray::ServeReplica:unimedvl:UniMedVL") and str(self.logs).encode() in kept:
                found.append(int(place.name))
        return found


SERVE = [sys.executable, "-c", "import sys; from ray.serve.scripts import cli; sys.argv[0] = 'serve'; cli()"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("ray-serve")
    packages, short = folder / "packages", Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # sockets' paths are short
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([*pip, "--target", packages, "-r", HERE / "ray-serve.lock"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    port, key = free_port(), add_key(folder / "keys.txt", "ward-3")
    config = yaml.safe_load((ROOT / "deploy" / "ray-serve.yaml").read_text())
    config["http_options"]["port"] = port
    config["applications"][0]["args"]["keys"] = str(folder / "keys.txt")
    config["applications"][0]["deployments"][0]["ray_actor_options"]["num_cpus"] = 0.2
    (folder / "ray-serve.yaml").write_text(yaml.safe_dump(config))
    environment = os.environ | {
        "PYTHONPATH": f"{packages}:{ROOT}", "HOME": str(folder), "RAY_TMPDIR": str(short), "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0", "RAY_AUTH_MODE": "token",
    }  # fmt: skip
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        [*SERVE, "run", "ray-serve.yaml"], cwd=folder, env=environment, stdout=log, stderr=log,
        # What a shell has put behind ignores interrupts, and so would what is started there.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    one = Cluster(process, f"http://127.0.0.1:{port}", key, short, folder / "ray-serve.yaml", environment)
    try:
        until(lambda: process.poll() is not None or answers(one))
        assert process.poll() is None, (folder / "log").read_text()[-3000:]
        dashboard = re.search(r"dashboard at .*?(http://[\d.:]+)", (folder / "log").read_text())[1]
        environment["RAY_DASHBOARD_ADDRESS"] = dashboard
        until(one.running)
        yield one
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(120)
        log.close()
        shutil.rmtree(short, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def answers(cluster: Cluster) -> bool:
    try:
        return httpx.get(f"{cluster.url}/ready", timeout=30).status_code == 200
    except httpx.HTTPError:
        return False


def picture() -> dict:
    buffer = io.BytesIO()
    Image.fromarray(simulate("cxr", 3).images["frontal"]).save(buffer, "png")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def test_openai_s_client_is_answered(cluster: Cluster) -> None:
    messages = [{"role": "user", "content": [picture(), {"type": "text", "text": QUESTION}]}]
    ask = cluster.client.chat.completions.create
    reply = ask(model="nano", messages=messages, max_tokens=16)
    streamed = "".join(
        chunk.choices[0].delta.content or ""
        for chunk in ask(model="nano", messages=messages, max_tokens=16, stream=True) if chunk.choices
    )  # fmt: skip
    assert reply.choices[0].message.content == streamed != ""
    few = {"num_inference_steps": 3, "seed": 7}
    made = cluster.client.images.generate(prompt="Chest X-ray with cardiomegaly", size="64x64", extra_body=few)
    assert Image.open(io.BytesIO(base64.b64decode(made.data[0].b64_json))).size == (64, 64)


def test_keys_are_asked_for_and_errors_have_their_form(cluster: Cluster) -> None:
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{cluster.url}/v1", api_key="none", max_retries=0).models.list()
    with pytest.raises(openai.NotFoundError, match="is not served here"):
        cluster.client.chat.completions.create(model="gpt", messages=[{"role": "user", "content": "a"}])


def test_what_is_asked_is_in_no_log_of_ray(cluster: Cluster) -> None:
    cluster.client.chat.completions.create(model="nano", messages=[{"role": "user", "content": QUESTION}])
    files = [f for f in cluster.logs.rglob("*") if f.is_file() and "/logs/" in str(f)]
    lines = until(lambda: [f for f in files if b"POST /v1/chat/completions 200" in f.read_bytes()], 30)
    assert lines, "the application's own line"
    assert not [f for f in files if b"zygomorphic" in f.read_bytes()]


def test_a_replica_that_dies_is_replaced_and_the_other_answers(cluster: Cluster) -> None:
    before = cluster.replicas()
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    end = time.monotonic() + 10
    lost = 0
    while time.monotonic() < end:  # but for what it had taken, or was being sent
        lost += not answers(cluster)
    assert lost <= 2
    until(lambda: len(now := cluster.replicas()) == 2 and before[0] not in now)
    until(cluster.running)
    assert before[1] in cluster.replicas()


def test_a_replica_that_is_taken_away_ends_its_streams_first(cluster: Cluster) -> None:
    """The last test here: one replica is left."""
    before = set(cluster.replicas())
    with ThreadPoolExecutor(4) as pool:
        begun = [threading.Event() for _ in range(4)]  # more than one replica is sent
        streams = [pool.submit(drawn, cluster, one) for one in begun]
        assert all(one.wait(60) for one in begun)
        config = yaml.safe_load(cluster.config.read_text())
        config["applications"][0]["deployments"][0]["num_replicas"] = 1
        cluster.config.write_text(yaml.safe_dump(config))
        deploy = [*SERVE, "deploy", cluster.config]
        done = subprocess.run(deploy, env=cluster.environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        assert [one.result(120) for one in streams] == ["image_generation.completed"] * 4
    until(lambda: len(cluster.replicas()) == 1)
    assert set(cluster.replicas()) < before


def drawn(cluster: Cluster, begun: threading.Event) -> str:
    """The last event of a stream; begun: set at the first."""
    asked = {"prompt": "Chest X-ray", "size": "128x128", "stream": True, "partial_images": 3,
             "num_inference_steps": 300}  # fmt: skip
    credentials, last = {"Authorization": f"Bearer {cluster.key}"}, ""
    url = f"{cluster.url}/v1/images/generations"
    with httpx.stream("POST", url, json=asked, headers=credentials, timeout=120) as stream:
        for line in stream.iter_lines():
            if line.startswith("event: "):
                begun.set()
                last = line.removeprefix("event: ")
    return last
