"""What a recipe has made of a source's items: records to draw by, and pairs in new words, counted as read."""

from __future__ import annotations

from pathlib import Path

from unimedvl.data.build.lanes import run_lanes
from unimedvl.data.build.places import write_miniatures
from unimedvl.data.build.read import counts, folder_of, read_lane
from unimedvl.data.build.recipe import BuildRecipe
from unimedvl.data.record import Record
from unimedvl.data.shards import read_shard


def read(folder: Path, name: str, **settings) -> tuple[list[Record], dict]:
    recipe = BuildRecipe.model_validate({"folder": folder, "inputs": [{"name": name, "miniature": True, **settings}]})
    write_miniatures(recipe)
    list(run_lanes(read_lane, recipe, 1))
    [entry] = recipe.inputs
    shards = sorted(folder_of(recipe, entry).glob("*.parquet"))
    return [s.record for shard in shards for s in read_shard(shard)], counts(recipe, entry)


def test_captions_give_a_prompt_and_a_plan_beside_each_original(tmp_path):
    usual, _ = read(tmp_path / "usual", "rocov2")
    records, counted = read(tmp_path / "more", "rocov2", captions=True)
    drawn = [r for r in records if r.main_task_type == "generation"]
    originals = {r.id: r for r in usual}
    assert [r for r in records if r not in drawn] == usual
    assert {r.attributes["original"] for r in drawn} == set(originals)
    for r in drawn:
        original = originals[r.attributes["original"]]
        assert r.output_img == original.input_img and not r.input_img
        assert r.attributes["caption"] == " ".join(original.message[-1].value.split())
        assert any(d.rule == "caption-prompt" for d in r.decisions)
    assert counted["read"] == counted["kept"] + counted["quarantined"] + sum(
        n for k, n in counted.items() if k.startswith("dropped")
    )


def test_pairs_get_the_words_of_their_task_and_everything_else_stays(tmp_path):
    usual, _ = read(tmp_path / "usual", "bci")
    records, counted = read(tmp_path / "made", "bci", pairs=True)
    assert [r.id for r in records] == [r.id for r in usual] and not counted["quarantined"]
    for before, after in zip(usual, records, strict=True):
        assert after.pictures == before.pictures and f"{before.attributes['her2']}" in after.message[0].value
        assert any(d.rule == "interleaved-words" for d in after.decisions)
    plain, _ = read(tmp_path / "questions", "vqa-rad")
    same, _ = read(tmp_path / "questions-made", "vqa-rad", pairs=True, captions=True)
    assert same == plain
