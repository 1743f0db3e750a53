"""Thumbnails lie beside a chunk's shard, and are what the search for duplicates looks at."""

from __future__ import annotations

import numpy as np
import pytest

from unimedvl.data.build.chunks import Chunk, chunks_of
from unimedvl.data.build.read import folder_of, read_lane
from unimedvl.data.build.recipe import BuildRecipe, Input
from unimedvl.data.build.repeated import take_prints
from unimedvl.data.build.rows import Rows
from unimedvl.data.build.thumbnails import need_thumbnails, read_thumbnail, thumbnails_file, write_thumbnails
from unimedvl.data.duplicates.prints import loaders
from unimedvl.data.error import DataError
from unimedvl.data.miniatures import write_miniature
from unimedvl.data.shards import read_shard


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    folder = tmp_path_factory.mktemp("thumbnails")
    write_miniature("medical-diff-vqa", folder / "from")
    entry = Input(name="medical-diff-vqa", folder=folder / "from")
    recipe = BuildRecipe(folder=folder / "build", inputs=(entry,), processes=1, chunk=2)
    for _ in read_lane(recipe, 0, 1):
        pass
    return recipe


def test_the_thumbnail_of_every_image_is_that_of_the_image_in_the_shard(build):
    rows = Rows(build)
    prints, _ = take_prints(build, rows, lambda what, done, total: None)
    samples = [s for chunk in chunks_of(folder_of(build, build.inputs[0])) for s in read_shard(chunk.shard)]
    kept, decoded = rows.loaders(prints)[0], loaders(samples.__getitem__, prints)[0]
    count = int(prints.firsts[-1])
    assert len(rows.parts) > 1 and count > len(samples)  # some records have two images
    for number in range(count):
        assert np.array_equal(kept(number), decoded(number))


def test_a_chunk_without_its_thumbnails_is_one_clear_line(tmp_path):
    chunk = Chunk(tmp_path, 3)
    with pytest.raises(DataError, match=r"000003\.thumbnails: expected 2 thumbnails, found 0; build again in another"):
        need_thumbnails(chunk, 2)
    write_thumbnails(chunk, np.arange(3 * 64 * 64, dtype=np.uint8).reshape(3, 64, 64))
    need_thumbnails(chunk, 3)
    assert np.array_equal(read_thumbnail(chunk, 1), np.arange(64 * 64, dtype=np.uint8).reshape(64, 64))
    with pytest.raises(DataError, match="image 7: can't be read"):
        read_thumbnail(chunk, 7)
    thumbnails_file(chunk).write_bytes(b"half")
    with pytest.raises(DataError, match="expected 3 thumbnails, found 0.0009"):
        need_thumbnails(chunk, 3)
