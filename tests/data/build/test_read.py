"""The first stage of a build: counts add up, bad items are quarantined, any number of processes gives the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from unimedvl.data.build.chunks import Chunk
from unimedvl.data.build.lanes import run_lanes
from unimedvl.data.build.places import write_miniatures
from unimedvl.data.build.read import counts, folder_of, pages, read_lane
from unimedvl.data.build.recipe import BuildRecipe
from unimedvl.data.duplicates.prints import print_sample
from unimedvl.data.miniatures import write_miniature
from unimedvl.data.shards import read_shard
from unimedvl.data.sources import phantoms

NAMES = ("vqa-rad", "openi", "mimic-cxr")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("sources")
    for name in NAMES:
        write_miniature(name, folder / name)
    images = folder / "vqa-rad" / "VQA_RAD Image Folder"
    (images / "synpic90002.jpg").write_bytes(b"no image")
    whole = (images / "synpic90003.jpg").read_bytes()
    (images / "synpic90003.jpg").write_bytes(whole[: len(whole) // 2])
    return [{"name": name, "folder": folder / name} for name in NAMES]


def recipe(folder: Path, inputs: list[dict], **values) -> BuildRecipe:
    return BuildRecipe.model_validate({"folder": folder, "inputs": inputs, "chunk": 2, **values})


def test_every_item_is_kept_dropped_or_quarantined(tmp_path, inputs):
    build = recipe(tmp_path, inputs, coarse={"shortest_side": 120, "fewest_characters": 25})
    done = sum(run_lanes(read_lane, build, 1))
    found = {entry.name: counts(build, entry) for entry in build.inputs}
    assert done == sum(c["read"] for c in found.values())
    for c in found.values():
        assert c["read"] == c["kept"] + c["quarantined"] + sum(n for k, n in c.items() if k.startswith("dropped"))
    rad = found["vqa-rad"]
    assert rad == {"read": 5, "kept": 2, "quarantined": 2, "dropped: text-length": 1}
    reasons = [q["reason"] for page in pages(build, build.inputs[0]) for q in page["quarantined"]]
    assert "no image that can be read (8 bytes)" in reasons[0] and "damaged: " in reasons[1]


def test_what_is_kept_carries_hash_size_and_decisions(tmp_path, inputs):
    build = recipe(tmp_path, inputs, coarse={"shortest_side": 120})
    list(run_lanes(read_lane, build, 1))
    shard = min(folder_of(build, build.inputs[0]).glob("*.parquet"))
    for sample in read_shard(shard):
        (picture,) = sample.record.pictures
        assert (picture.height, picture.width) == (128, 128) and picture.sha256
        assert [d.rule for d in sample.record.decisions] == ["image-side", "text-length"] and sample.record.kept


def test_larger_files_and_a_limit_are_kept_to(tmp_path, inputs):
    build = recipe(tmp_path, [inputs[0] | {"limit": 3}], largest_image=100)
    list(run_lanes(read_lane, build, 1))
    (entry,) = build.inputs
    assert counts(build, entry) == {"read": 3, "kept": 0, "quarantined": 3}
    assert "bytes; at most 100 are taken" in next(pages(build, entry))["quarantined"][0]["reason"]


def test_a_page_has_the_prints_that_would_be_taken_of_what_is_kept(tmp_path, inputs):
    build = recipe(tmp_path, inputs)
    list(run_lanes(read_lane, build, 1))
    entry = build.inputs[0]
    prints = [p for page in pages(build, entry) for p in page["prints"]]
    shards = sorted(folder_of(build, entry).glob("*.parquet"))
    taken = [print_sample(sample).model_dump(mode="json") for shard in shards for sample in read_shard(shard)]
    assert prints == taken and prints


def test_an_evaluation_set_is_read_whole_and_by_its_splits(tmp_path, inputs):
    evaluation = [inputs[0] | {"splits": ["test"]}]
    build = recipe(tmp_path, inputs[1:2], evaluation=evaluation, coarse={"fewest_characters": 1000})
    list(run_lanes(read_lane, build, 1))
    (entry,) = build.evaluation
    assert counts(build, entry) == {"read": 2, "kept": 1, "quarantined": 1}
    assert counts(build, build.inputs[0])["kept"] == 0


def test_a_miniature_is_written_once_into_the_folder_of_the_build(tmp_path, hashes):
    build = recipe(tmp_path, [{"name": "vqa-rad", "miniature": True}])
    half = tmp_path / "miniatures" / ".vqa-rad.part"
    half.mkdir(parents=True)
    (half / "left.txt").write_text("of a run that was killed")
    write_miniatures(build)
    assert not half.exists() and "left.txt" not in hashes(tmp_path / "miniatures" / "vqa-rad")
    before = hashes(tmp_path / "miniatures")
    write_miniatures(build)
    assert hashes(tmp_path / "miniatures") == before
    list(run_lanes(read_lane, build, 1))
    assert counts(build, build.inputs[0])["read"] == 5


def test_lanes_change_no_byte_that_is_read(tmp_path, inputs, hashes):
    for lanes in (1, 2):
        list(run_lanes(read_lane, recipe(tmp_path / str(lanes), inputs), lanes))
    assert hashes(tmp_path / "1") == hashes(tmp_path / "2")


@pytest.fixture
def simulated(tmp_path, monkeypatch):
    """A recipe that reads five studies, nine records each; and the seeds of the studies that are rendered."""
    made, real = [], phantoms._records
    monkeypatch.setattr(phantoms, "_records", lambda *study: made.append(study[1]) or real(*study))
    (tmp_path / "phantoms.json").write_text('{"studies": 5, "first_seed": 999998, "size": 64, "modalities": ["cfp"]}')

    def recipe_of(folder: str, **values) -> BuildRecipe:
        return recipe(tmp_path / folder, [{"name": "phantoms", "folder": tmp_path}], **values)

    return recipe_of, made


def read_all(build: BuildRecipe, lanes: int) -> None:
    for lane in range(lanes):
        list(read_lane(build, lane, lanes))


def test_a_lane_simulates_its_own_chunks_and_nothing_that_is_done(simulated):
    recipe_of, made = simulated
    build = recipe_of("build", chunk=9)
    list(read_lane(build, 0, 2))
    assert made == [999998, 1000000, 1000002]
    made.clear()
    read_all(build, 1)
    assert made == [999999, 1000001]
    made.clear()
    Chunk(folder_of(build, build.inputs[0]), 3).page.unlink()
    read_all(build, 3)
    assert made == [1000001]


def test_chunks_that_cut_studies_are_the_same_by_any_lanes(simulated, hashes):
    recipe_of, _ = simulated
    for lanes in (1, 3):
        read_all(recipe_of(str(lanes), chunk=7), lanes)
    one, three = (hashes(recipe_of(str(lanes)).folder) for lanes in (1, 3))
    assert one == three and len(one) >= 14


def test_what_an_evaluation_leaves_out_is_not_simulated(simulated):
    recipe_of, made = simulated
    entry = recipe_of("build").inputs[0].model_dump() | {"splits": ["test"]}
    build = recipe_of("build", evaluation=[entry])
    build = build.model_copy(update={"inputs": ()})
    read_all(build, 1)
    assert made == [999998, 999999] and counts(build, build.evaluation[0])["read"] == 18


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"inputs": [{"name": "vqarad", "folder": "x"}]}, "no source called 'vqarad'"),
        ({"inputs": [{"name": "openi", "folder": "x"}] * 2}, "openi is there twice"),
        ({"inputs": []}, "at least 1 item"),
        ({"inputs": [{"name": "openi"}]}, "openi: give the folder of the data set, or miniature: true"),
        ({"inputs": [{"name": "openi", "folder": "x", "miniature": True}]}, "openi: give a folder or miniature"),
        ({"inputs": [{"name": "openi", "folder": "x"}], "chunks": 2}, "chunks"),
    ],
)
def test_a_wrong_recipe_is_told(tmp_path, values, error):
    with pytest.raises(ValidationError, match=error):
        BuildRecipe.model_validate({"folder": tmp_path, **values})
