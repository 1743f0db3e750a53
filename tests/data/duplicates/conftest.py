"""What tests of duplicates share: samples out of simulated images and invented texts, and the searches over them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pytest

from unimedvl.data.duplicates.images import ImageGroups, group_images
from unimedvl.data.duplicates.prints import Prints, loaders, take_prints
from unimedvl.data.duplicates.texts import TextGroups, group_texts
from unimedvl.data.record import Record
from unimedvl.data.source import Sample, answer, pictures, question


def make_sample(
    name: str,
    *images: bytes,
    dataset: str = "demo",
    asked: str = "",
    said: str = "No",
    outputs: int = 0,
    **fields,
) -> Sample:
    """A sample with these encoded images, of which the last `outputs` are to be drawn."""
    inputs = len(images) - outputs
    paths = pictures(f"{name}-{n}.png" for n in range(len(images)))
    record = Record(
        main_task_type="understanding", sub_task_type="vqa", modality="cxr", dataset=dataset, id=name,
        licence="CC0-1.0", input_img=paths[:inputs], output_img=paths[inputs:],
        message=(question(asked or f"What does picture {name} show?", inputs), answer(said)), **fields,
    )  # fmt: skip
    return Sample(record, tuple(partial(bytes, image) for image in images))


@dataclass
class Searched:
    prints: Prints
    images: ImageGroups
    texts: TextGroups


def search_samples(samples, cohorts=None, settings=None) -> Searched:
    """Prints of the samples, and their groups."""
    samples = list(samples)
    prints, faults = take_prints(samples, cohorts)
    assert not faults
    image, text = loaders(samples.__getitem__, prints)
    return Searched(prints, group_images(prints, image, settings), group_texts(prints, text))


@pytest.fixture
def sample():
    return make_sample


@pytest.fixture
def search():
    return search_samples
