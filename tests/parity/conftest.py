"""The parity checks run on the project's own small set, and on every folder given with --golden."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unimedvl.checkpoint import load_model
from unimedvl.model.unified import UnifiedModel

OWN = Path(__file__).parent / "golden"
DEFAULT = Path(__file__).parents[3] / "shared" / "parity"
TOLERANCE = 2e-4


@dataclass
class Golden:
    """A folder of recorded numbers in the published form (see golden/README.md)."""

    folder: Path

    @cached_property
    def cases(self) -> dict:
        return json.loads((self.folder / "cases.json").read_text())

    @cached_property
    def model(self) -> UnifiedModel:
        return load_model(self.folder / "checkpoint", dtype=torch.float32)

    def tensors(self, topic: str) -> dict[str, torch.Tensor]:
        return load_file(self.folder / f"{topic}.safetensors")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", action="append", default=None, metavar="DIR", help="a folder of parity numbers")


_loaded: dict[Path, Golden] = {}


@pytest.fixture(params=["own", "given"])
def golden(request: pytest.FixtureRequest) -> Golden:
    if request.param == "own":
        folders = [OWN]
    else:
        folders = [Path(p) for p in request.config.getoption("--golden") or [DEFAULT]]
    folder = folders[0]
    if request.param == "given" and not request.config.getoption("--golden") and not folder.is_dir():
        pytest.skip(f"no recorded numbers at {folder}; give a folder with --golden DIR")
    if not (folder / "cases.json").is_file():
        pytest.fail(f"{folder} has no cases.json; --golden takes a folder of the form in golden/README.md")
    return _loaded.setdefault(folder, Golden(folder))


def assert_close(out: torch.Tensor, ref: torch.Tensor, what: str) -> None:
    """``max|out - ref| <= 2e-4 * max(1, max|ref|)``."""
    assert out.shape == ref.shape, f"{what}: shape {tuple(out.shape)}, recorded {tuple(ref.shape)}"
    error = (out.float() - ref.float()).abs().max().item()
    limit = TOLERANCE * max(1.0, ref.float().abs().max().item())
    assert error <= limit, f"{what}: off by {error:.3g}, allowed {limit:.3g}"
