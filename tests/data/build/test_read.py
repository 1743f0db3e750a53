"""The first stage of a build: counts add up, bad items are quarantined, and a killed run ends with the same bytes."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from unimedvl.data.build.lanes import run_lanes
from unimedvl.data.build.read import counts, folder_of, pages, read_lane
from unimedvl.data.build.recipe import BuildRecipe
from unimedvl.data.miniatures import write_miniature
from unimedvl.data.shards import read_shard

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


def hashes(folder: Path) -> dict[str, str]:
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_every_item_is_kept_dropped_or_quarantined(tmp_path, inputs):
    build = recipe(tmp_path, inputs, coarse={"shortest_side": 120, "fewest_characters": 25})
    done = sum(run_lanes(read_lane, build, 1))
    found = counts(build)
    assert done == sum(c["read"] for c in found.values())
    for c in found.values():
        assert c["read"] == c["kept"] + c["quarantined"] + sum(n for k, n in c.items() if k.startswith("dropped"))
    rad = found["vqa-rad"]
    assert rad == {"read": 5, "kept": 2, "quarantined": 2, "dropped: text-length": 1}
    reasons = [q["reason"] for page in pages(build, "vqa-rad") for q in page["quarantined"]]
    assert "no image that can be read (8 bytes)" in reasons[0] and "damaged: " in reasons[1]


def test_what_is_kept_carries_hash_size_and_decisions(tmp_path, inputs):
    build = recipe(tmp_path, inputs, coarse={"shortest_side": 120})
    list(run_lanes(read_lane, build, 1))
    shard = min(folder_of(build, "vqa-rad").glob("*.parquet"))
    for sample in read_shard(shard):
        (picture,) = sample.record.pictures
        assert (picture.height, picture.width) == (128, 128) and picture.sha256
        assert [d.rule for d in sample.record.decisions] == ["image-side", "text-length"] and sample.record.kept


def test_larger_files_and_a_limit_are_kept_to(tmp_path, inputs):
    build = recipe(tmp_path, [inputs[0] | {"limit": 3}], largest_image=100)
    list(run_lanes(read_lane, build, 1))
    assert counts(build)["vqa-rad"] == {"read": 3, "kept": 0, "quarantined": 3}
    assert "bytes; at most 100 are taken" in next(pages(build, "vqa-rad"))["quarantined"][0]["reason"]


def test_lanes_change_no_byte(tmp_path, inputs):
    for lanes in (1, 2):
        list(run_lanes(read_lane, recipe(tmp_path / str(lanes), inputs), lanes))
    assert hashes(tmp_path / "1") == hashes(tmp_path / "2")


RUN = """
import sys
from unimedvl.data.build.lanes import run_lanes
from unimedvl.data.build.read import read_lane
from unimedvl.data.build.recipe import BuildRecipe

if __name__ == "__main__":
    list(run_lanes(read_lane, BuildRecipe.model_validate_json(open(sys.argv[1]).read()), 2))
"""


def test_a_run_that_is_killed_goes_on_to_the_same_bytes(tmp_path, inputs):
    list(run_lanes(read_lane, recipe(tmp_path / "whole", inputs), 1))
    torn = recipe(tmp_path / "torn", inputs)
    (tmp_path / "recipe.json").write_text(torn.model_dump_json())
    (tmp_path / "run.py").write_text(RUN)
    expected, killed = hashes(tmp_path / "whole"), 0
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    for least in (1, 3, 5):  # files that are there before it is killed
        command = [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "recipe.json")]
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        while process.poll() is None and len(hashes(tmp_path / "torn")) < least:
            time.sleep(0.002)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed
    list(run_lanes(read_lane, torn, 2))
    assert hashes(tmp_path / "torn") == expected


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"inputs": [{"name": "vqarad", "folder": "x"}]}, "no source called 'vqarad'"),
        ({"inputs": [{"name": "openi", "folder": "x"}] * 2}, "openi is there twice"),
        ({"inputs": []}, "at least 1 item"),
        ({"inputs": [{"name": "openi", "folder": "x"}], "chunks": 2}, "chunks"),
    ],
)
def test_a_wrong_recipe_is_told(tmp_path, values, error):
    with pytest.raises(ValidationError, match=error):
        BuildRecipe.model_validate({"folder": tmp_path, **values})
