"""Random sequences of segments for the tiny geometry."""

from __future__ import annotations

import pytest
import torch
from hypothesis import strategies as st

from unimedvl.sequence import Latent, Seen, Segment, Text


def image(height: int, width: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(3, height, width, generator=generator) * 2 - 1


ids = st.lists(st.integers(0, 59), min_size=1, max_size=5)
seeds = st.integers(0, 9)
texts = st.builds(Text, ids)
seen = st.builds(lambda h, w, s: Seen(image(14 * h, 14 * w, s)), st.integers(1, 3), st.integers(1, 3), seeds)
clean = st.builds(lambda h, w, s: Latent(image(4 * h, 4 * w, s)), st.integers(1, 3), st.integers(1, 3), seeds)
contexts = st.lists(texts | seen | clean, min_size=1, max_size=4)


@pytest.fixture(scope="session")
def drawn_contexts() -> st.SearchStrategy[list[Segment]]:
    """Contexts of one to four segments: texts, seen images, clean latents."""
    return contexts


@pytest.fixture(scope="session")
def make_image():
    return image
