"""A saved checkpoint of the tiny model, and ways to change its files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from unimedvl.checkpoint import save_model
from unimedvl.model.unified import UnifiedModel


@pytest.fixture(scope="session")
def saved(model: UnifiedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "tiny"
    save_model(model, path)
    return path


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint, to be changed."""
    return Path(shutil.copytree(saved, tmp_path / "tiny"))


@pytest.fixture(scope="session")
def same() -> Callable[[UnifiedModel, UnifiedModel], bool]:
    """Whether two models have the same tensors."""

    def compare(a: UnifiedModel, b: UnifiedModel) -> bool:
        x, y = a.state_dict(), b.state_dict()
        return x.keys() == y.keys() and all(torch.equal(x[n], y[n]) for n in x)

    return compare


@pytest.fixture(scope="session")
def edit_json() -> Callable[..., None]:
    """Set fields of a JSON file; None takes one out."""

    def edit(path: Path, **changes) -> None:
        values = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))

    return edit


@pytest.fixture(scope="session")
def edit_tensors() -> Callable[..., None]:
    """Change the tensors of a file by a function of their dictionary."""

    def edit(path: Path, change) -> None:
        tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
        save_file(change(tensors) or tensors, path)

    return edit
