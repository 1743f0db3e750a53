"""What tests of the data engine share."""

from __future__ import annotations

from pathlib import Path

import pytest

from unimedvl.data.miniatures import write_miniature
from unimedvl.data.source import Fault, Sample
from unimedvl.data.sources import source


class Read:
    """What a source's reader gave: `samples`, their `records`, and `faults`."""

    def __init__(self, name: str, root: Path) -> None:
        items = list(source(name).read(root))
        self.samples = [i for i in items if isinstance(i, Sample)]
        self.faults = [i for i in items if isinstance(i, Fault)]
        self.records = [s.record for s in self.samples]


@pytest.fixture
def miniature(tmp_path: Path):
    """Write a source's miniature; returns its folder."""

    def write(name: str) -> Path:
        write_miniature(name, tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def read():
    return Read
