"""VLMEvalKit and lmms-eval themselves run the embedded model, by the commands of docs/harnesses.md.

Each suite is installed, whole and with fixed versions, into an environment of its own that is gone when the test ends.
What that lacks is taken from the environment of the tests.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from unimedvl import UniMedVL
from unimedvl.evaluation.harness.vlmevalkit import reduced
from unimedvl.evaluation.item import Item
from unimedvl.evaluation.tsv import write_tsv
from unimedvl.inference.text import Sampling
from unimedvl.phantoms import simulate

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# Each suite imports half the field, from packages that were installed a moment ago.
pytestmark = pytest.mark.timeout(900)
QUESTIONS = ("Is there a pleural effusion?", "Is the heart enlarged?")
OPTIONS = ("yes", "no")
# Asked in the kit's words, nano reasons before it answers.
TOKENS = 64
# As the kit words multiple choice.
CHOICE = (
    "Question: {}\nOptions:\nA. yes\nB. no\nPlease select the correct answer from the options above. \n"
)
TASK = """
task: simulated_chest
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: generate_until
doc_to_visual: !function simulated_chest.images
doc_to_text: !function simulated_chest.words
doc_to_target: answer
process_results: !function simulated_chest.right
generation_kwargs: {{max_new_tokens: {tokens}, temperature: 0, do_sample: false}}
metric_list: [{{metric: right, aggregation: mean, higher_is_better: true}}]
metadata: [{{version: 0.0}}]
"""
FUNCTIONS = """
from PIL import Image

def images(row):
    return [Image.open(row["image"]).convert("RGB")]

def words(row, lmms_eval_specific_kwargs=None):
    return row["question"]

def right(row, results):
    return {"right": float(results[0].lower().startswith(row["answer"]))}
"""


@dataclass(frozen=True)
class Suite:
    """An environment in which a suite is installed, and a folder to run it in."""

    programs: Path
    folder: Path

    def run(self, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command of the guide. The suite is to ask no network."""
        first, *words = shlex.split(command)
        offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(self.folder / "hf"), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [self.programs / first, *words],
            cwd=self.folder, env=os.environ | offline | environment, capture_output=True, text=True, timeout=800,
        )  # fmt: skip


@contextmanager
def installed(lock: str, folder: Path) -> Iterator[Suite]:
    """A new environment with what a lock file names and this package, over the environment of the tests."""
    place = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    python = place / "bin" / "python"
    site = place / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (site / "project.pth").write_text(sysconfig.get_path("purelib"))
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check",
           "--no-deps", "--no-build-isolation", "--no-compile"]  # fmt: skip
    try:
        for what in (["-r", HERE / lock], ["-e", ROOT]):
            done = subprocess.run([*map(str, pip), *map(str, what)], capture_output=True, text=True, timeout=800)
            assert done.returncode == 0, done.stderr
        shutil.copy(HERE / "torchvision_on_cpu.py", site)
        (site / "torchvision.pth").write_text("import torchvision_on_cpu\n")
        yield Suite(place / "bin", folder)
    finally:
        shutil.rmtree(place)


def command(program: str) -> str:
    """The guide's command that begins with these words."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "docs" / "harnesses.md").read_text(), re.S)
    (found,) = [line for block in blocks for line in block.splitlines() if line.startswith(program)]
    return found


@pytest.fixture(scope="module")
def nano() -> UniMedVL:
    return UniMedVL.load(device="cpu")


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    """Two simulated radiographs, as PNG."""
    held = [io.BytesIO() for _ in range(2)]
    for seed, stream in enumerate(held):
        Image.fromarray(simulate("cxr", seed).images["frontal"]).save(stream, "PNG")
    return [stream.getvalue() for stream in held]


@pytest.fixture
def ask(nano, pictures) -> Callable[[list[int], str], str]:
    """What nano says to pictures, by number, and words."""
    return lambda numbers, words: nano.ask(
        [pictures[n] for n in numbers], words, sampling=Sampling(max_tokens=TOKENS)
    ).text


def test_vlmevalkit_runs_the_model_and_scores_it(tmp_path, ask, pictures):
    shown = [[0], [0], [1], [1], [0, 1]]  # the last row has both
    items = [
        Item(str(n), "ask", "choice", images=tuple((lambda p=p: pictures[p]) for p in numbers),
             question=QUESTIONS[n % 2], options=OPTIONS, answers=("AB"[n % 2],), groups={"category": "toy"})
        for n, numbers in enumerate(shown)
    ]  # fmt: skip
    (tmp_path / "tables").mkdir()
    write_tsv(items, tmp_path / "tables" / "SimulatedChest.tsv")
    told = {"LMUData": str(tmp_path / "tables"), "PRED_FORMAT": "tsv"}
    with installed("vlmevalkit.lock", tmp_path) as kit:
        asked = command("python -m unimedvl.evaluation.harness.vlmevalkit")
        done = kit.run(f"{asked} --max-tokens {TOKENS} --batch 4 --device cpu", **told)
        assert done.returncode == 0, done.stderr[-3000:]
    results = tmp_path / "outputs" / "unimedvl-nano"
    (file,) = {path.resolve() for path in results.rglob("unimedvl-nano_SimulatedChest.tsv")}
    with file.open(newline="") as lines:
        predicted = {int(row["index"]): row["prediction"] for row in csv.DictReader(lines, delimiter="\t")}
    wanted = [reduced(ask(numbers, CHOICE.format(QUESTIONS[n % 2])), OPTIONS) for n, numbers in enumerate(shown)]
    assert [predicted[n] for n in range(5)] == wanted
    (status,) = {path.resolve() for path in results.rglob("status.json")}
    metrics = json.loads(status.read_text())["datasets"]["SimulatedChest"]["metrics"]
    assert sum(letter == "AB"[n % 2] for n, letter in enumerate(wanted)) / 5 in metrics.values(), metrics


def test_lmms_eval_finds_the_model_and_scores_it(tmp_path, ask, pictures):
    rows = []
    for n, data in enumerate(pictures):
        (tmp_path / f"{n}.png").write_bytes(data)
        image = str(tmp_path / f"{n}.png")
        rows += [{"image": image, "question": q, "answer": a} for q, a in zip(QUESTIONS, OPTIONS, strict=True)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "simulated_chest.yaml").write_text(TASK.format(rows=tmp_path / "rows.jsonl", tokens=TOKENS))
    (tmp_path / "tasks" / "simulated_chest.py").write_text(FUNCTIONS)
    with installed("lmms-eval.lock", tmp_path) as suite:
        done = suite.run(f"{command('lmms-eval')} --device cpu")
        assert done.returncode == 0, done.stderr[-3000:]
    (samples,) = (tmp_path / "results").rglob("*_samples_simulated_chest.jsonl")
    said = {line["doc_id"]: line["filtered_resps"] for line in map(json.loads, samples.read_text().splitlines())}
    wanted = [ask([n // 2], words) for n, words in enumerate(QUESTIONS * 2)]
    assert [said[n] if isinstance(said[n], str) else said[n][0] for n in range(4)] == wanted
    (results,) = (tmp_path / "results").rglob("*_results.json")
    right = [words.lower().startswith(answer) for words, answer in zip(wanted, OPTIONS * 2, strict=True)]
    assert json.loads(results.read_text())["results"]["simulated_chest"]["right,none"] == sum(right) / 4
