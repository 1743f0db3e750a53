"""What holds for every source: it describes itself, and its miniature is read to the last image."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from unimedvl.data.error import DataError
from unimedvl.data.miniatures import miniatures
from unimedvl.data.sources import source, sources
from unimedvl.tasks import MODALITY_NAMES

NAMES = list(sources())


def test_every_source_has_a_miniature():
    assert miniatures() == NAMES


def test_an_unknown_source_is_an_error_that_lists_the_known_ones():
    with pytest.raises(DataError, match="no source called 'vqa-radd'; there are .*vqa-rad"):
        source("vqa-radd")


@pytest.mark.parametrize("name", NAMES)
def test_a_source_says_what_it_is(name):
    s = source(name)
    assert s.title and s.licence and s.home.startswith(("http", "unimedvl.")) and s.expected
    assert set(s.modalities) <= {*MODALITY_NAMES, "text", "mixed"}
    assert set(s.expected) <= {"train", "validation", "test"}


@pytest.mark.parametrize("name", NAMES)
def test_a_miniature_gives_whole_records_and_readable_images(name, miniature, read):
    got = read(name, miniature(name))
    assert got.records
    ids = [r.id for r in got.records]
    assert all(ids) and len(set(ids)) == len(ids)
    for sample in got.samples:
        record = sample.record
        assert record.dataset == name and record.licence and record.message[-1].speaker == "gpt"
        assert all(m.value.strip() for m in record.message)
        assert len(sample.images) == len(record.pictures)
        for load in sample.images:
            Image.open(io.BytesIO(load())).load()


@pytest.mark.parametrize("name", NAMES)
def test_reading_twice_gives_the_same(name, miniature, read):
    root = miniature(name)
    assert read(name, root).records == read(name, root).records


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_folder_is_one_clear_error(name, tmp_path):
    with pytest.raises(DataError, match=str(tmp_path)):
        list(source(name).read(tmp_path))
