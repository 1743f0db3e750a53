"""`unimedvl data build`: counts told as text and JSON, and wrong recipes in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from unimedvl.data.build.lock import alone_in

RECIPE = """
folder: built
inputs:
  - {name: vqa-rad, miniature: true}
alignment: {instruments: none}
processes: 1
"""


@pytest.fixture
def recipe(run) -> str:
    """In the empty folder that `run` is in."""
    Path("small.yaml").write_text(RECIPE)
    return "small.yaml"


def test_a_build_tells_its_counts_and_where_the_report_is(run, recipe):
    ended = run("data", "build", recipe, tiny=False)
    assert ended.status == 0 and "vqa-rad: read 5, kept 4, quarantined 0; dropped: contaminated: image 1" in ended.out
    assert "simulated images: vqa-rad" in ended.out and ended.out.splitlines()[-1] == "built/report.json"
    page = Path("built/stats.html").read_text()
    assert "vqa-rad" in page and "simulated" in page and ended.out.splitlines()[-2] == "built/stats.html"
    assert "read: 5 in " in ended.err and "written: 4 in " in ended.err
    assert not run("data", "build", recipe, "--quiet", tiny=False).err


def test_counts_as_json_balance(run, recipe):
    told = run("data", "build", recipe, "coarse.fewest_characters=23", "--json", "--quiet", tiny=False).json
    total = told["total"]
    assert total["read"] == 5 == total["kept"] + total["quarantined"] + sum(total["dropped"].values())
    assert total["dropped"]["text-length"] and sum(told["splits"].values()) == total["kept"]
    assert all(Path("built", shard["file"]).is_file() and shard["sha256"] for shard in told["shards"])


@pytest.mark.parametrize(
    ("override", "error"),
    [
        ("alignment.keep=0.5", "small.yaml: alignment.keep: no such field; there are captions, similarity_weight,"),
        ("alignment.share=2", "small.yaml: alignment.share: Input should be less than or equal to 1"),
        ("inputs.0.name=vqarad", "small.yaml: inputs.0.name: no source called 'vqarad'; there are "),
        ("inputs.0.miniature=false", "small.yaml: inputs.0: vqa-rad: give the folder of the data set, or miniature"),
        ("inputs.0.mini=1", "small.yaml: inputs.0.mini: no such field; there are name, folder, miniature, limit"),
        ("splits.test=0.99", "splits: validation and test are 0.05 and 0.99; together at most 1"),
        ("chunk", "'chunk' is no override; write key=value, as in processes=2"),
        ("inputs=[{name: vqa-rad, folder: nowhere}]", "nowhere: expected VQA_RAD Dataset Public.json in it"),
    ],
)
def test_what_is_wrong_in_a_recipe_is_one_line(run, recipe, override, error):
    ended = run("data", "build", recipe, override, tiny=False)
    assert ended.status == 2 and error in ended.err and ended.err.count("\n") == 1


def test_a_second_build_in_the_folder_and_another_recipe_are_refused(run, recipe):
    with alone_in(Path("built")):
        ended = run("data", "build", recipe, tiny=False)
    assert ended.status == 2 and "another build runs in this folder" in ended.err
    assert run("data", "build", recipe, tiny=False).status == 0
    ended = run("data", "build", recipe, "splits.seed=1", tiny=False)
    assert ended.status == 2 and "begun with splits.seed 0, which now is 1" in ended.err
    assert ended.err.count("\n") == 1


def test_a_file_that_is_no_recipe_is_told(run, recipe):
    Path("bad.yaml").write_text("inputs: [")
    for file, error in (("none.yaml", "none.yaml: No such file"), ("bad.yaml", "bad.yaml: not YAML: ")):
        ended = run("data", "build", file, tiny=False)
        assert ended.status == 2 and error in ended.err and ended.err.count("\n") == 1


def test_a_folder_that_can_not_be_made_is_told(run, recipe):
    Path("built").write_text("a file")
    ended = run("data", "build", recipe, tiny=False)
    assert ended.status == 2 and ended.err == "error: built: File exists\n"


def test_without_ray_its_extra_is_named(run, recipe, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    ended = run("data", "build", recipe, "--engine", "ray", tiny=False)
    assert ended.status == 1 and "ray is not installed; pip install 'unimedvl[ray]'" in ended.err
