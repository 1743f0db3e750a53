"""Stages as streams: a build's folder, plain shards, and images without a size."""

from __future__ import annotations

import json

import pytest

from unimedvl.data.error import DataError
from unimedvl.data.record import Decision, Record
from unimedvl.data.shards import read_shard, write_shard
from unimedvl.data.source import Sample
from unimedvl.data.staged import simulated_inputs
from unimedvl.data.stats.count import count_stage
from unimedvl.data.stats.stages import Dropped, sized_records, stages_of


@pytest.fixture
def build(miniature, read, tmp_path):
    """The folder of a build after its first stage: of five items one is dropped and one quarantined."""
    samples = read("vqa-rad", miniature("vqa-rad")).samples
    folder = tmp_path / "build" / "read" / "vqa-rad"
    folder.mkdir(parents=True)
    kept = [Sample(s.record.decided(Decision(rule="image-side", kept=True, by="a test")), s.images) for s in samples]
    write_shard(folder / "000000.parquet", kept[:2])
    write_shard(folder / "000001.parquet", kept[2:3])
    dropped = {"where": "vqa-rad 4", "rule": "text-length", "reason": "3 characters; at least 10 are asked for"}
    quarantined = {"where": "vqa-rad 5", "reason": "synpic90002.jpg: no image that can be read (8 bytes)"}
    pages = ({"read": 2, "kept": 2, "dropped": [], "quarantined": []},
             {"read": 3, "kept": 1, "dropped": [dropped], "quarantined": [quarantined]})  # fmt: skip
    for number, page in enumerate(pages):
        (folder / f"{number:06d}.json").write_text(json.dumps(page))
    return tmp_path / "build"


def decide(build, stage, rule, kept, **more) -> None:
    """Write a later stage's pages: of each record of the first stage, whether this rule let it pass."""
    verdicts = iter(kept)
    for shard in sorted((build / "read" / "vqa-rad").glob("*.parquet")):
        rows = [[{"rule": rule, "kept": next(verdicts), "by": "a test", "reason": "r"}] for _ in read_shard(shard)]
        page = build / stage / "vqa-rad" / f"{shard.stem}.json"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(json.dumps({"decisions": rows} | {k: v * len(rows) for k, v in more.items()}))


def test_the_first_stage_tells_kept_dropped_and_quarantined(build):
    (stage,) = stages_of([build])
    items = list(stage.items)
    dropped = {d.rule: d.reason for d in items if isinstance(d, Dropped)}
    assert stage.name == "read" and sum(isinstance(i, Record) for i in items) == stage.total == 3
    assert "characters" in dropped["text-length"] and "no image that can be read" in dropped["quarantined"]


def test_later_stages_are_counted_by_what_they_decided(build):
    decide(build, "duplicates", "duplicate", [True, False, True])
    decide(build, "splits", "split", [True, True, False], split=["test"])
    counts = [count_stage(stage) for stage in stages_of([build])]
    assert [(c.name, c.items, c.records) for c in counts] == [("read", 5, 3), ("duplicates", 3, 2), ("splits", 2, 1)]
    assert counts[1].dropped.ordered() == {"duplicate": 1} and counts[2].groups["split"].ordered() == {"test": 1}


def test_a_builds_report_names_its_simulated_inputs_and_before_that_its_recipe(build):
    assert simulated_inputs(build) == []
    inputs = [{"name": "slake", "miniature": True}, {"name": "vqa-rad", "miniature": False}, {"name": "phantoms"}]
    (build / "recipe.json").write_text(json.dumps({"recipe": {"inputs": inputs}}))
    assert simulated_inputs(build) == ["slake", "phantoms"]
    (build / "report.json").write_text(json.dumps({"simulated": ["phantoms"]}))
    assert simulated_inputs(build) == ["phantoms"]


def test_a_stages_page_that_is_of_another_chunk_is_refused(build):
    decide(build, "duplicates", "duplicate", [True, False, True])
    page = build / "duplicates" / "vqa-rad" / "000000.json"
    page.write_text(json.dumps({"decisions": []}))
    with pytest.raises(DataError, match=r"000000.json: expected decisions of \d records"):
        [list(stage.items) for stage in stages_of([build])]
    page.write_text("{")
    with pytest.raises(DataError, match=r"000000.json: can't be read"):
        [list(stage.items) for stage in stages_of([build])]


def test_sizes_are_measured_where_records_do_not_state_them(miniature, read, tmp_path):
    samples = read("slake", miniature("slake")).samples
    write_shard(tmp_path / "a.parquet", [*samples, Sample(samples[0].record, (lambda: b"no image",))])
    assert samples[0].record.input_img[0].width is None
    sizes = [[(p.width, p.height) for p in r.pictures] for r in sized_records(tmp_path / "a.parquet")]
    assert sizes[:-1] == [[(128, 128)]] * len(samples) and sizes[-1] == [(None, None)]
    (stage,) = stages_of([tmp_path / "a.parquet"])
    counts = count_stage(stage)
    assert counts.unsized == 1 and counts.sizes.ordered() == {"128 x 128": len(samples)}
