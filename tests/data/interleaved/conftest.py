"""The pairs of the data sets' miniatures, and of simulated studies."""

from __future__ import annotations

import json

import pytest

from unimedvl.data.miniatures import write_miniature
from unimedvl.data.source import Sample
from unimedvl.data.sources import source


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    """The samples of a source's miniature, which is written once."""
    known: dict[str, list[Sample]] = {}

    def read(name: str) -> list[Sample]:
        if name not in known:
            root = tmp_path_factory.mktemp("miniatures") / name
            write_miniature(name, root)
            known[name] = [i for i in source(name).read(root) if isinstance(i, Sample)]
        return known[name]

    return read


@pytest.fixture
def phantoms(tmp_path):
    """The pairs of a task from simulated studies of a modality: so many seeds from the first on."""

    def read(task: str, modality: str, seed: int, count: int = 1) -> list[Sample]:
        settings = {"studies": count, "first_seed": seed, "modalities": [modality], "size": 64}
        (tmp_path / "phantoms.json").write_text(json.dumps(settings))
        return [s for s in source("phantoms").read(tmp_path) if s.record.sub_task_type == task]

    return read
