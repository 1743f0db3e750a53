"""What tests of benchmarks share: real data sets in miniature, whose texts are invented and images simulated."""

from __future__ import annotations

from pathlib import Path

import pytest

from unimedvl.data.miniatures import write_miniature
from unimedvl.evaluation.item import Item, Prediction


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory):
    """The folder of a source's miniature. Not to be written to."""
    root = tmp_path_factory.mktemp("published")

    def folder(name: str) -> Path:
        if not (root / name).exists():
            write_miniature(name, root / name)
        return root / name

    return folder


@pytest.fixture
def predicted():
    """Pairs of items and what `say` answers to each, a text or a prediction."""

    def pairs(items: list[Item], say) -> list[tuple[Item, Prediction]]:
        said = [(item, say(item)) for item in items]
        return [(item, s if isinstance(s, Prediction) else Prediction(text=s)) for item, s in said]

    return pairs
