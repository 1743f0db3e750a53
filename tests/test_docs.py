"""Every command of the README and the guides runs as written; long ones with fewer samples."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from pydicom.data import get_testdata_file
from safetensors.torch import load_file

from unimedvl.data.shards import write_shard
from unimedvl.data.sources import source
from unimedvl.evaluation.phantom_classifier import FILE
from unimedvl.phantoms import simulate
from unimedvl.serving.audit import Audit, AuditLine

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]
MACHINE = "--quick --preset nano --repeats 1 --dtypes fp32 --inference --threads 1"
# What is added to a command that would take minutes, so that it takes seconds.
SHORTER = {
    "benchmarks.nano": "--count 2 --steps 3",
    "benchmarks.machine": MACHINE,
    "benchmarks.judge": "--count 2",
    "benchmarks.engine": "--clients 2 --drawings 1 --steps 3 --threads 1",
    "benchmarks.curves": "",
    "benchmarks.burned_in": "--drawings 1 --side 128",
    "benchmarks.watermark": "--studies 1 --sizes 64 --rounds 0",
    "benchmarks.training": "--geometry nano --layers 1 --side 128 --tokens 700 --packs 1 --steps 1 --studies 4"
    " --workers 0 --device cpu",
    "benchmarks.data": "--images 4 --repeats 1 --records",
    "benchmarks.serving": "--requests 6 --alone 2 --clients 2",
    "pytest": "--quiet -k test_encoders",
    "unimedvl.demo": "--steps 2",
    "make demo": "--steps 2 --out {folder}-page/index.html",
    "make test": "--collect-only --quiet tests/test_tokenizer.py",
    "make lint": "",
    "make bench": MACHINE,
    "make nano-table": "--count 2 --steps 3",
    "make scoreboard": "'benchmarks=[{benchmark: phantoms-closed, count: 4}]' --model baseline:oracle",
    "make train-nano": "folder={folder} start.parts={folder}-parts.json data.build={folder}-data.json"
    " validation.packs=1 validation.grid=0 " + " ".join(f"stages.{n}.steps=1 stages.{n}.packs=2" for n in range(3)),
}
# Words in capitals that stand for something, and what they stand for here.
PLACEHOLDERS = {
    "PARTS": "runs/nano-parts", "RUN": "runs/nano", "FILE.svg": "curves.svg",
    "DIR": str(ROOT / "tests" / "parity" / "golden"), "HOST:29500": "127.0.0.1:0",
}  # fmt: skip
# A training on two steps of a few records; machines and ranks of torchrun become one and two.
TRAINED = "stages.0.steps=2 stages.0.tokens=500 stages.0.packs=2 save.every=1 'stages.0.mixture={ask: 1}'"
# Parts in a folder of their own, two steps of each.
PARTS = (
    "folder=runs/small-parts modalities=[cxr] texts=2000 vit.steps=2 vit.batch=2"
    " 'vae.phases=[{steps: 2, crop: 16, batch: 2}]'"
)
# Instead of a whole suite.
ASKED = "'benchmarks=[{benchmark: phantoms-closed, count: 3}, {benchmark: phantoms-segmentation, count: 1}]'"
ONE_MACHINE = {"--nnodes": "1", "--nproc-per-node": "2"}
SECONDS = 280  # on a machine that does other things too


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S)


def commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in blocks(page, "sh"):
            lines = (re.sub(r"\s+#.*", "", line).strip() for line in block.splitlines())
            found += [(page.name, line) for line in lines if line]
    return list(dict.fromkeys(found))


def program(command: str) -> str:
    """What a command runs: a module, or the first word."""
    words = shlex.split(command)
    return words[2] if words[:2] == ["python", "-m"] else words[0]


def inline_commands() -> list[tuple[str, str]]:
    """Commands in the middle of a sentence or a table, of programs that no block runs."""
    run = {program(command) for _, command in commands()}
    found = [(p.name, c) for p in PAGES for c in re.findall(r"`((?:python -m|pytest) [^`]+)`", p.read_text())]
    return [item for item in dict.fromkeys(found) if program(item[1]) not in run]


@pytest.fixture(scope="module")
def folder_of_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages speak of: real ones where a package ships them."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copy(get_testdata_file("CT_small.dcm", download=False), folder / "scan.dcm")
    pictures = {"frontal.png": ("cxr", "frontal"), "cxr.png": ("cxr", "frontal"), "he.png": ("his", "he")}
    for name, (modality, view) in (pictures | {"fundus.png": ("cfp", "fundus")}).items():
        Image.fromarray(simulate(modality, 3).images[view]).save(folder / name)
    t2 = simulate("mri", 3).images["t2"][..., 0].astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(t2[:, :, None], np.eye(4)), folder / "t2.nii.gz")
    (folder / "demo").mkdir()
    finished_run(folder / "runs")
    small_training(folder / "nano")
    small_data(folder / "runs" / "my-data")
    small_audit(folder / "audit.db")
    for part in ("benchmarks", "recipes"):
        shutil.copytree(ROOT / part, folder / part)
    return folder


def finished_run(runs: Path) -> None:
    """What a training leaves: the embedded model as its export, the judge as its ViT, and invented curves."""
    shutil.copytree(ROOT / "unimedvl" / "weights" / "nano", runs / "nano" / "export")
    (runs / "nano-parts").mkdir()
    (runs / "judge-parts").mkdir()
    torch.save({"model": load_file(FILE)}, runs / "judge-parts" / "vit.pt")
    logs = {"nano-parts/vae": ["psnr"], "nano-parts/vit": ["all_right"], "nano/log": ["ce", "mse", "rate"]}
    for file, values in logs.items():
        lines = [{"step": step} | dict.fromkeys(values, 1 / step) for step in (1, 2, 3)]
        (runs / f"{file}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def small_training(beside: Path) -> None:
    """Recipes of parts and of data for a training of the embedded geometry that takes seconds."""
    inputs = beside.with_name(f"{beside.name}-phantoms")
    inputs.mkdir()
    (inputs / "phantoms.json").write_text(json.dumps({"studies": 24}))
    recipes = {
        "parts": {
            "preset": "nano", "folder": f"{beside}-parts", "texts": 2000,
            "vae": {"phases": [{"steps": 2, "crop": 16, "batch": 2}], "learning_rate": 1e-3},
            "vit": {"steps": 2, "batch": 2, "side": 126, "learning_rate": 1e-3},
        },
        "data": {
            "folder": f"{beside}-data", "inputs": [{"name": "phantoms", "folder": str(inputs)}],
            "alignment": {"instruments": "none"}, "processes": 1,
            "splits": {"validation": 0.25, "test": 0.01, "keep_train": False},
        },
    }  # fmt: skip
    for name, recipe in recipes.items():
        Path(f"{beside}-{name}.json").write_text(json.dumps(recipe))


def small_data(folder: Path) -> None:
    """What a data build leaves: a shard of the records of three simulated X-rays."""
    settings = folder / "phantoms"
    settings.mkdir(parents=True)
    (folder / "shards").mkdir()
    (settings / "phantoms.json").write_text(json.dumps({"studies": 3, "modalities": ["cxr"]}))
    write_shard(folder / "shards" / "train-00000.parquet", source("phantoms").read(settings))


def small_audit(file: Path) -> None:
    """What a server leaves that answered once."""
    line = AuditLine(
        who="ward-3", task="ask", request_sha256="0" * 64, input_sha256s=(), output_sha256="0" * 64, model="nano",
        weights_sha256="0" * 64, seed=0, outcome="200", seconds=0.5, at=datetime.now(UTC), request="req_1",
    )  # fmt: skip
    with Audit.open(f"sqlite:///{file}") as audit:
        audit.record(line)


def arguments_of_torchrun(words: list[str]) -> list[str]:
    """The same on this machine, with two ranks."""
    before = ["", *words]
    return [ONE_MACHINE.get(last, word) for last, word in zip(before, words, strict=False)]


def test_pages_have_commands() -> None:
    assert len(commands()) >= 10
    assert {"pytest", "benchmarks.curves"} <= {program(c) for _, c in inline_commands()}


def run_target(target: str, folder: Path) -> None:
    """Run what the Makefile says, in the environment that the tests run in and with little to do."""
    arguments = shlex.split(SHORTER[f"make {target}"].format(folder=shlex.quote(str(folder / "nano"))))
    quoted = " ".join(shlex.quote(x) for x in arguments)
    command = ["make", "-o", f"{sys.prefix}/installed", f"VENV={sys.prefix}", f"ARGS={quoted}", target]
    readme = folder / "board.md"
    readme.write_text("<!-- scoreboard -->\n<!-- /scoreboard -->\n")
    command += [f"README={readme}", f"SCORES={folder / 'scores'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]


@pytest.mark.timeout(SECONDS + 20)
@pytest.mark.parametrize(
    ("page", "command"), commands() + inline_commands(), ids=lambda x: re.sub(r"\W+", "-", x)[:60]
)
def test_command_runs(page: str, command: str, folder_of_files: Path) -> None:
    words, folder = [PLACEHOLDERS.get(word, word) for word in shlex.split(command)], folder_of_files
    if words[0] == "make":
        run_target(words[1], folder_of_files)
        return
    if words[0] == "pytest":
        words, folder = [sys.executable, "-m", *words, *shlex.split(SHORTER["pytest"])], ROOT
    elif words[:2] == ["python", "-m"]:
        words = [sys.executable, "-m", *words[2:], *shlex.split(SHORTER[words[2]])]
    elif words[0] == "torchrun":
        words = [sys.executable, "-m", "torch.distributed.run", *arguments_of_torchrun(words[1:])]
    else:
        assert words[0] == "unimedvl", f"{page} has a command of an unknown kind: {command}"
        words = [sys.executable, "-m", "unimedvl", *words[1:]]
    if "train" in words and words[words.index("train") + 1].endswith(".yaml"):
        words += shlex.split(PARTS if "parts.yaml" in words[words.index("train") + 1] else TRAINED)
    if "eval" in words and words[words.index("eval") + 1] == "run":
        words += shlex.split(ASKED)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        words, cwd=folder, env=environment, input="/quit\n", capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]


def test_python_of_the_readme_runs(folder_of_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder_of_files)
    (block,) = blocks(ROOT / "README.md", "python")
    exec(compile(block, "README.md", "exec"), {})
    for name in ("cxr.png", "her2.png", "flair.png"):
        assert Path(name).is_file()
