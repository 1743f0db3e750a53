"""The commands about the machine and the simulated studies, and how fast help is there."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unimedvl.checkpoint import fingerprint
from unimedvl.phantoms import simulate


def test_help_needs_neither_torch_nor_numpy():
    code = (
        "import sys; from unimedvl.cli.main import main; main(['--help']); main(['stain', '--help'])\n"
        "assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    for word in ("ask", "counterfactual", "doctor", "clinical", "--her2"):
        assert word in ended.stdout


def test_the_module_is_the_program_and_its_status_reaches_the_shell():
    ended = subprocess.run(
        [sys.executable, "-m", "unimedvl", "ask", "nowhere.png", "what?"], capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: nowhere.png: no such file\n"


def test_models_describes_a_folder(run, model_folder):
    [model] = run("models", model_folder, "--json", tiny=False).json
    assert model["name"] == "tiny"
    assert model["weights_sha256"] == fingerprint(model_folder)
    assert model["bytes"] == 4 * model["parameters"]
    shown = run("models", model_folder, tiny=False)
    assert "nothing at all" in shown.out


def test_models_lists_the_hub_cache(run, model_folder, monkeypatch, tmp_path):
    monkeypatch.setattr("unimedvl.cli.models._cached", lambda: [("me/tiny", model_folder), ("me/other", tmp_path)])
    ended = run("models", "--json", tiny=False)
    assert ended.status == 0
    assert [m["folder"] for m in ended.json if m["name"] == "tiny"] == [str(model_folder)]


def test_models_refuses_what_is_none(run, tmp_path):
    ended = run("models", tmp_path, tiny=False)
    assert (ended.status, ended.out) == (2, "")


def test_doctor_tells_versions_device_model_and_what_is_missing(run, model_folder, monkeypatch):
    from unimedvl.cli import doctor

    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "scipy" else real(name))
    ended = run("doctor", "--json")
    assert ended.status == 0
    assert ended.json["model"]["weights_sha256"] == fingerprint(model_folder)
    assert ended.json["device"]["default"] in ("cpu", "cuda")
    assert [m["package"] for m in ended.json["missing"] if m["package"] == "scipy"] == ["scipy"]
    shown = run("doctor").out
    assert "missing scipy" in shown
    assert "unimedvl[phantoms]" in shown


def test_doctor_fails_where_the_model_is_not_there(run):
    ended = run("doctor", "--model", "nowhere", tiny=False)
    assert ended.status == 1
    assert "model missing" in ended.out


def test_doctor_looks_for_a_hub_id_in_the_cache_alone(run, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: pytest.fail("the hub was asked"))
    ended = run("doctor", "--model", "some-owner/some-model", tiny=False)
    assert ended.status == 1
    assert "some-owner/some-model: no such folder, and not in the local cache of the hub" in ended.out


def test_an_unreachable_hub_is_one_line_for_the_shell():
    code = "import sys; from unimedvl.cli.main import main; sys.exit(main(['ask', 'hello there', '--model', 'a/b']))"
    with socket.socket() as listener:  # a port that nobody listens on
        listener.bind(("127.0.0.1", 0))
        environment = os.environ | {"HF_ENDPOINT": f"http://127.0.0.1:{listener.getsockname()[1]}"}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert ended.stderr.startswith("error: hub checkpoint a/b: no such folder, cannot be downloaded")


def test_phantoms_write_gives_images_masks_and_their_truth(run):
    wanted = ("--count", "2", "--modality", "cxr", "--size", "64")
    told = run("phantoms", "write", "studies", *wanted, "--json", tiny=False)
    assert told.status == 0, told.err
    truths = [json.loads(line) for line in Path(told.json["truth"]).read_text().splitlines()]
    assert [t["seed"] for t in truths] == [0, 1]
    for truth in truths:
        study = simulate("cxr", truth["seed"], 64)
        for view, name in truth["images"].items():
            assert " " not in name
            assert np.array_equal(np.asarray(Image.open(Path("studies") / name)), study.images[view])
        for structure, name in truth["masks"].items():
            assert np.array_equal(np.asarray(Image.open(Path("studies") / name)) > 0, study.masks[structure])
        assert truth["simulated"] is True
        assert [f["name"] for f in truth["findings"]] == [f.name for f in study.findings]


def test_phantoms_sheet_is_a_marked_picture(run):
    ended = run("phantoms", "sheet", "--modality", "cfp", "--count", "3", "--size", "64", tiny=False)
    assert (ended.status, ended.out) == (0, "sheet.png\n")
    assert "SIMULATED" in Image.open("sheet.png").text["Comment"]


def test_names_of_findings_stay_below_their_study(run):
    wanted = ("--modality", "cxr", "--count", "1", "--seed", "24", "--size", "64")  # has two findings
    assert run("phantoms", "sheet", *wanted, tiny=False).status == 0
    sheet = Image.open("sheet.png")
    below = np.asarray(sheet.convert("L"))[64:]
    assert 64 <= sheet.width < 100 and len(below) >= 3 * 14 and (below[:, -2:] == 255).all()


@pytest.mark.parametrize(
    "arguments",
    [["sheet", "--modality", "palm"], ["sheet", "--out", "no/a.png"], ["write", "no/where"], ["write", "full"]],
)
def test_phantoms_refuse_in_one_line_and_leave_nothing(run, arguments):
    Path("full").mkdir()
    (Path("full") / "mine").write_text("kept")
    ended = run("phantoms", *arguments, tiny=False)
    assert (ended.status, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert sorted(str(p) for p in Path().rglob("*")) == ["full", "full/mine"]
