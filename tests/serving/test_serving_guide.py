"""docs/serving.md does what it says: its Python and shell run against a server, its settings are those there are."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from unimedvl.phantoms import simulate
from unimedvl.serving.settings import EngineSettings, ServerSettings, load_settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text()
HERE = "http://127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the page speaks of."""
    folder = tmp_path_factory.mktemp("guide")
    shutil.copy(get_testdata_file("CT_small.dcm", download=False), folder / "scan.dcm")
    for name, modality, view in (("cxr.png", "cxr", "frontal"), ("he.png", "his", "he")):
        Image.fromarray(simulate(modality, 3).images[view]).save(folder / name)
    t2 = simulate("mri", 3).images["t2"][..., 0].astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(t2[:, :, None], np.eye(4)), folder / "t2.nii.gz")
    return folder


def test_the_python_runs(running, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.chdir(folder)
    for block in blocks("python"):
        exec(compile(block.replace(HERE, running.url), "docs/serving.md", "exec"), {"__name__": "guide"})
    assert Image.open(folder / "made.png").size == (128, 128)
    assert "effusion=" in capsys.readouterr().out


@pytest.mark.parametrize("number", range(len(blocks("bash"))))
def test_the_shell_runs(running, folder: Path, number: int):
    script = blocks("bash")[number].replace(HERE, running.url).replace("curl -s", "curl --fail-with-body -s")
    done = subprocess.run(["bash", "-e", "-c", script], cwd=folder, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-500:]
    assert done.stdout
    if "-o heart.png" in script:
        assert Image.open(folder / "heart.png").format == "PNG" and "event: preview" in done.stdout


def test_its_commands_start_as_far_as_the_port(folder: Path):
    lines = [line for block in blocks("text") for line in block.splitlines() if line.startswith("unimedvl serve")]
    assert len(lines) == 3
    (folder / "keys.txt").write_text(f"ward-3:{'0' * 64}\n")
    with socket.create_server(("0.0.0.0", 0)) as taken:
        for line in lines:
            words = [sys.executable, "-m", "unimedvl", *shlex.split(line)[1:], "--port", str(taken.getsockname()[1])]
            place = os.environ | {"PYTHONPATH": str(ROOT)}
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=100, env=place)
            assert done.returncode == 2 and "give another with --port" in done.stderr, done.stderr


def test_every_setting_is_told():
    table = PAGE[PAGE.index("| setting | default |") :].split("\n\n")[0]
    names = {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert names == set(ServerSettings.model_fields)
    assert all(f"`{name}`" in table for name in EngineSettings.model_fields)


def test_the_file_of_settings_is_one(tmp_path: Path):
    (block,) = blocks("yaml")
    (tmp_path / "serve.yaml").write_text(block)
    settings = load_settings(tmp_path / "serve.yaml", ["port=9001"], {"UNIMEDVL_SERVE_LIMITS__IMAGES": "4"})
    assert settings.port == 9001 and settings.engine.speaking == 16
    assert settings.limits.images == 4 and settings.limits.max_tokens == 1024


def test_every_route_and_number_is_told(running):
    document = running.http.get("/openapi.json").json()
    assert all(path in PAGE for path in document["paths"])
    numbers = running.http.get("/metrics").text
    told = re.findall(r"^# TYPE unimedvl_(\w+) (?!gauge)|^# TYPE unimedvl_(engine_\w+) ", numbers, re.M)
    for name in {a or b for a, b in told} - {"engine_reused_tokens"}:
        assert f"`{name}`" in PAGE, name
