"""The parity checks run on the project's own small set, and on every folder given with --golden."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from unimedvl.checkpoint import load_model
from unimedvl.model.unified import UnifiedModel
from unimedvl.sequence import Latent, Seen, Segment, Text

OWN = Path(__file__).parent / "golden"
DEFAULT = Path(__file__).parents[3] / "shared" / "parity"
TOPICS = ("understanding", "generation", "training")
TOLERANCE = 2e-4
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


class Golden:
    """A folder of recorded numbers (its form is in golden/README.md)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tensors: dict[str, dict[str, Tensor]] = {}

    @cached_property
    def cases(self) -> dict:
        return json.loads((self.folder / "cases.json").read_text())

    @cached_property
    def model(self) -> UnifiedModel:
        return load_model(self.folder / "checkpoint", dtype=torch.float32)

    def tensors(self, topic: str) -> dict[str, Tensor]:
        if topic not in self._tensors:
            self._tensors[topic] = load_file(self.folder / f"{topic}.safetensors")
        return self._tensors[topic]

    def official_keys(self) -> dict[str, dict[str, list[int]]]:
        """Names and shapes per file. A name may hold a range of numbers, as in ``layers.{0..27}.``."""
        stored = json.loads((self.folder / "official_keys.json").read_text())
        return {
            file: {full: shape for name, shape in shapes.items() for full in _spelled_out(name)}
            for file, shapes in stored.items()
        }


def _spelled_out(name: str) -> list[str]:
    found = _RANGE.search(name)
    if found is None:
        return [name]
    numbers = range(int(found[1]), int(found[2]) + 1)
    return [
        one for n in numbers for one in _spelled_out(name[: found.start()] + str(n) + name[found.end() :])
    ]


@dataclass(frozen=True)
class Case:
    """One recorded case of a topic: what `cases.json` says of it, and the topic's tensors."""

    golden: Golden
    spec: dict
    prefix: str
    tensors: dict[str, Tensor]

    @property
    def model(self) -> UnifiedModel:
        return self.golden.model

    def recorded(self, name: str) -> Tensor:
        return self.tensors[f"{self.prefix}_{name}"]

    def segments(self, specs: list[dict]) -> list[Segment]:
        return [segment for spec in specs for segment in self._segments(spec)]

    def _segments(self, spec: dict) -> list[Segment]:
        predict = spec.get("loss", False)
        if spec["type"] == "text":
            return [Text(spec["ids"], predict)]
        if spec["type"] == "vit":
            return [Seen(self.tensors[spec["image"]])]
        if spec["type"] == "vae":
            logit = spec.get("timestep_logit")
            return [Latent(self.tensors[spec["image"]], predict, timestep_logit=logit)]
        return [Latent(self.tensors[spec["vae"]]), Seen(self.tensors[spec["vit"]])]


PREFIXES = {"understanding": "und", "generation": "gen", "training": "train"}


def folders(config: pytest.Config) -> list[tuple[str, Path]]:
    given = config.getoption("--golden") or [DEFAULT]
    return [("own", OWN), *((Path(folder).name, Path(folder)) for folder in given)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `golden` runs once per folder; one that takes a topic once per case of it."""
    for name in ("golden", *TOPICS):
        if name in metafunc.fixturenames:
            params = [p for label, folder in folders(metafunc.config) for p in _params(name, label, folder)]
            metafunc.parametrize(name, params, indirect=True)


def _params(name: str, label: str, folder: Path) -> list:
    if folder == DEFAULT and not folder.is_dir():
        why = f"no recorded numbers at {folder}; name a folder with --golden DIR"
        return [pytest.param((folder, 0), id=label, marks=pytest.mark.skip(reason=why))]
    if not (folder / "cases.json").is_file():
        raise pytest.UsageError(
            f"{folder} holds no cases.json; a --golden folder has the form in {OWN / 'README.md'}"
        )
    if name == "golden":
        return [pytest.param(folder, id=label)]
    cases = json.loads((folder / "cases.json").read_text())[name]
    return [pytest.param((folder, i), id=f"{label}-{i}") for i in range(len(cases))]


@pytest.fixture(scope="session")
def open_golden():
    opened: dict[Path, Golden] = {}
    return lambda folder: opened.setdefault(folder, Golden(folder))


@pytest.fixture
def golden(request: pytest.FixtureRequest, open_golden) -> Golden:
    return open_golden(request.param)


def _case(topic: str, request: pytest.FixtureRequest, open_golden) -> Case:
    folder, number = request.param
    golden = open_golden(folder)
    return Case(golden, golden.cases[topic][number], f"{PREFIXES[topic]}{number}", golden.tensors(topic))


@pytest.fixture
def understanding(request: pytest.FixtureRequest, open_golden) -> Case:
    return _case("understanding", request, open_golden)


@pytest.fixture
def generation(request: pytest.FixtureRequest, open_golden) -> Case:
    return _case("generation", request, open_golden)


@pytest.fixture
def training(request: pytest.FixtureRequest, open_golden) -> Case:
    return _case("training", request, open_golden)


@pytest.fixture(scope="session")
def assert_close():
    return _assert_close


def _assert_close(out: Tensor, recorded: Tensor, what: str) -> None:
    """``max|out - recorded| <= 2e-4 * max(1, max|recorded|)``."""
    assert out.shape == recorded.shape, f"{what}: shape {tuple(out.shape)}, recorded {tuple(recorded.shape)}"
    error = (out.float() - recorded.float()).abs().max().item()
    limit = TOLERANCE * max(1.0, recorded.float().abs().max().item())
    assert error <= limit, f"{what}: off by {error:.3g}, allowed {limit:.3g}"
