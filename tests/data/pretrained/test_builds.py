"""Builds of miniatures by tiny models through transformers, a server and the embedded stand-ins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unimedvl.data.build.recipe import BuildRecipe
from unimedvl.data.build.run import run_build
from unimedvl.data.error import DataError
from unimedvl.data.quality.revisions import revision_of
from unimedvl.data.shards import read_shard


def build_of(folder: Path, instruments: dict, **entry) -> BuildRecipe:
    inputs = [{"name": "rocov2", "miniature": True, **entry}]
    alignment = {"captions": 2, "share": 1.0, "instruments": instruments}
    return BuildRecipe.model_validate({"folder": folder, "inputs": inputs, "processes": 1, "alignment": alignment})


def by(folder: Path, report: dict) -> set[str]:
    """What decided of text and image, in the finished records."""
    found = (s.record for shard in report["shards"] for s in read_shard(folder / shard["file"]))
    return {d.by for record in found for d in record.decisions if d.rule.startswith("alignment-")}


def test_a_server_a_model_and_a_stand_in_measure_side_by_side(tmp_path, tiny, serving):
    with serving(lambda asked: "A chest x ray.") as server:
        captioner = {"endpoint": server.url, "model": "medgemma"}
        named = {"captioner": captioner, "encoder": {"transformers": tiny["encoder"]}, "matcher": "embedded"}
        report = run_build(build_of(tmp_path, named))
    similarity, match = sorted(by(tmp_path, report))
    revision = revision_of(tiny["encoder"])
    assert similarity.endswith(f": medgemma at 127.0.0.1, temperature 0.7, seed 0, encoder@{revision}")
    assert "stand-in matcher" in match
    assert report["total"]["kept"] == report["total"]["read"] == 5


def test_three_models_through_transformers_build_the_same_bytes_again(tmp_path, tiny):
    named = {role: {"transformers": folder, "device": "cpu"} for role, folder in tiny.items()}
    # What the writer makes of random weights breaks every rule, and is counted.
    entry = {"limit": 2, "captions": {"writer": named["captioner"]}}
    reports = [run_build(build_of(tmp_path / name, named, **entry)) for name in ("one", "other")]
    assert reports[0] == reports[1]
    assert reports[0]["captions"]["rocov2"]["prompt"] == {"written": 2, "refused": 2}
    revisions = {role: revision_of(folder) for role, folder in tiny.items()}
    said = " ".join(by(tmp_path / "one", reports[0]))
    assert all(f"{role}@{revision}" in said for role, revision in revisions.items())
    noted = json.loads((tmp_path / "one" / "recipe.json").read_text())["recipe"]["alignment"]["instruments"]
    assert {role: choice["revision"] for role, choice in noted.items()} == revisions


def test_a_model_that_has_changed_does_not_go_on_with_a_build(tmp_path, tiny):
    folder = tmp_path / "encoder"
    folder.mkdir()
    for file in Path(tiny["encoder"]).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    build = build_of(tmp_path / "build", {"encoder": {"transformers": str(folder)}}, limit=2)
    run_build(build)
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(DataError, match=r"begun with alignment.instruments.encoder.revision \w+, which now is "):
        run_build(build)
