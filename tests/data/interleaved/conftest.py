"""The pairs of the data sets' miniatures."""

from __future__ import annotations

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
