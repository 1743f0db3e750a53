"""A whole build: counts balance, each stage decides what it should, any number of processes gives the same bytes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from unimedvl.data.build.lock import alone_in
from unimedvl.data.build.recipe import BuildRecipe
from unimedvl.data.build.run import run_build
from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import picture, save
from unimedvl.data.shards import read_shard
from unimedvl.data.source import Sample

TEXTS = (
    "Chest radiograph of the invented patient {}, with a small left pleural effusion and no other finding.",
    "Brain MRI of the invented patient {}, in which nothing abnormal can be seen anywhere.",
)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """A folder source: 16 studies of 8 patients, a copy, a re-encoded copy, another patient's of the same image and
    text, and an image too small.
    """
    folder = tmp_path_factory.mktemp("table")
    rows = []
    for n in range(16):
        modality = ("cxr", "mri")[n % 2]
        save(folder / f"{n}.png", picture(modality, 50 + n))
        text = TEXTS[n % 2].format(n)
        row = {"id": f"r{n}", "image": f"{n}.png", "caption": text, "patient": f"p{n // 2}", "modality": modality}
        rows.append(row)
    save(folder / "3.jpg", picture("mri", 53))
    save(folder / "small.png", picture("cxr", 70, size=64))
    rows.append(rows[2] | {"id": "copy"})
    rows.append(rows[3] | {"id": "encoded", "image": "3.jpg"})
    rows.append(rows[4] | {"id": "other", "patient": "q"})
    rows.append(rows[0] | {"id": "small", "image": "small.png"})
    rows.append({"id": "gone", "image": "gone.png", "caption": "An image that is not there."})
    (folder / "studies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def recipe(folder: Path, table: Path, **values) -> BuildRecipe:
    inputs = [{"name": "folder", "folder": table}, {"name": "vqa-rad", "miniature": True}]
    evaluation = [{"name": "slake", "miniature": True, "splits": ["test"]}]
    given = {"folder": folder, "inputs": inputs, "evaluation": evaluation, "chunk": 4, "shard": 5, "processes": 1}
    return BuildRecipe.model_validate(given | values)


@pytest.fixture(scope="module")
def built(tmp_path_factory, table) -> tuple[BuildRecipe, dict, list[tuple[str, int, int | None]]]:
    build = recipe(tmp_path_factory.mktemp("build"), table)
    told: list = []
    return build, run_build(build, told=lambda *what: told.append(what)), told


def shards_of(build: BuildRecipe, report: dict) -> list[Sample]:
    return [sample for shard in report["shards"] for sample in read_shard(build.folder / shard["file"])]


def test_what_is_read_is_kept_dropped_or_quarantined_of_each_source_and_stage(built):
    build, report, _ = built
    by_stage = [counts for stages in report["stages"].values() for counts in stages.values()]
    for counts in (report["total"], *report["sources"].values(), *by_stage):
        assert counts["read"] == counts["kept"] + counts["quarantined"] + sum(counts["dropped"].values())
    for name, counts in report["sources"].items():
        stages = report["stages"][name]
        assert list(stages) == ["read", "duplicates", "alignment", "splits"]
        assert counts["read"] == stages["read"]["read"] and counts["kept"] == stages["splits"]["kept"]
        assert all(after["read"] == before["kept"] for before, after in zip(
            list(stages.values()), list(stages.values())[1:], strict=False))  # fmt: skip
    read = report["stages"]["folder"]["read"]
    assert read == {"read": 21, "kept": 19, "quarantined": 1, "dropped": {"image-side": 1}}
    assert report["total"]["kept"] == sum(report["splits"].values()) == len(shards_of(build, report))
    lines = [json.loads(line) for line in (build.folder / "dropped.jsonl").read_text().splitlines()]
    assert len(lines) == report["total"]["read"] - report["total"]["kept"] and all(line["reason"] for line in lines)
    assert json.loads((build.folder / "report.json").read_text()) == json.loads(json.dumps(report))


def test_copies_go_and_say_of_what(built):
    build, report, _ = built
    dropped = report["stages"]["folder"]["duplicates"]["dropped"]
    assert (dropped["exact-duplicate"], dropped["near-duplicate"]) == (1, 1)
    lines = [json.loads(line) for line in (build.folder / "dropped.jsonl").read_text().splitlines()]
    reasons = {line["record"]: line["reason"] for line in lines}
    assert reasons["folder copy"] == "the same pixels and words as folder r2"
    assert reasons["folder encoded"] == "the same picture and text as folder r3"
    assert not any(line["record"] == "folder other" and line["stage"] == "duplicates" for line in lines)
    assert "gone.png" in reasons["folder gone"] and "the shorter side is 64 px" in reasons["folder small"]


def test_what_an_evaluation_set_has_is_not_in_training(built):
    _, report, _ = built
    (evaluated,) = report["evaluation"].values()
    assert evaluated["kept"] == evaluated["read"] > 0
    dropped = report["stages"]["vqa-rad"]["duplicates"]["dropped"]
    assert any(rule.startswith("contaminated") for rule in dropped)
    table = report["reports"]["contamination"]["tables"]["Evaluation sets"]
    assert {"slake", "vqa-rad test"} <= set(table)


def test_the_upper_half_of_each_modality_is_kept_and_evaluation_splits_stay_whole(built):
    build, report, _ = built
    for name, counts in report["reports"]["alignment"]["modalities"].items():
        assert counts["kept"] == (counts["compared"] + 1) // 2, name
    assert all("stand-in" in by for by in report["reports"]["alignment"]["measured by"])
    kept = [s.record for s in shards_of(build, report)]
    own_tests = [r for r in kept if r.dataset == "vqa-rad" and r.split == "test"]
    assert len(own_tests) == 2 and not any(d.rule.startswith("alignment") for r in own_tests for d in r.decisions)


def test_a_finished_record_carries_every_decision_and_its_split(built):
    build, report, _ = built
    record = next(s.record for s in shards_of(build, report) if s.record.dataset == "folder")
    assert [d.rule for d in record.decisions] == [
        "image-side", "text-length", "duplicate", "contamination", "alignment-similarity", "alignment-match",
        "alignment", "split",
    ]  # fmt: skip
    assert record.kept
    for shard in report["shards"]:
        file = build.folder / shard["file"]
        assert {s.record.split for s in read_shard(file)} == {shard["split"]} and shard["records"] <= 5
        assert hashlib.sha256(file.read_bytes()).hexdigest() == shard["sha256"]


def test_a_patient_is_in_one_split(tmp_path, table):
    build = recipe(tmp_path, table, splits={"validation": 0.4, "test": 0.3}, alignment={"instruments": "none"})
    report = run_build(build)
    splits: dict[str, set] = {}
    for sample in shards_of(build, report):
        if sample.record.patient:
            splits.setdefault(sample.record.patient, set()).add(sample.record.split)
    assert len(set.union(*splits.values())) > 1 and all(len(found) == 1 for found in splits.values())
    assert not report["stages"]["folder"]["alignment"]["dropped"]


def test_progress_of_every_stage_is_told(built):
    _, report, told = built
    done = {stage: sum(n for s, n, _ in told if s == stage) for stage, _, _ in told}
    assert done["read"] == report["total"]["read"] + sum(e["read"] for e in report["evaluation"].values())
    assert done["written"] == report["total"]["kept"] and {"prints", "measured"} <= set(done)
    assert all(total == done["measured"] for stage, _, total in told if stage == "measured")


def test_processes_change_no_byte(tmp_path, built, table, hashes):
    build, *_ = built
    run_build(recipe(tmp_path, table, processes=2))
    assert hashes(tmp_path) == hashes(build.folder)


def test_a_build_that_is_done_reads_nothing_again(tmp_path, built, table, hashes):
    build, report, _ = built
    before, told = hashes(build.folder), []
    again = run_build(build, told=lambda *what: told.append(what))
    assert again == report and hashes(build.folder) == before and {stage for stage, *_ in told} == {"prints"}


def test_another_recipe_in_the_folder_is_refused(built, table):
    build, *_ = built
    with pytest.raises(DataError, match=r"begun with alignment.share 0.5, which now is 0.7; build in another"):
        run_build(recipe(build.folder, table, alignment={"share": 0.7}))


def test_two_builds_in_one_folder_are_refused(tmp_path, table):
    with alone_in(tmp_path), pytest.raises(DataError, match="another build runs in this folder"):
        run_build(recipe(tmp_path, table))


def test_a_build_of_which_nothing_is_left_says_why(tmp_path, table):
    build = recipe(tmp_path, table, coarse={"shortest_side": 4000})
    with pytest.raises(DataError, match=r"none of \d+ items passed the first stage; .*: the shorter side is 128 px"):
        run_build(build)


def test_an_instruction_that_training_and_evaluation_share_is_no_contamination(tmp_path):
    given = {"folder": tmp_path, "inputs": [{"name": "brats2023", "miniature": True}], "processes": 1}
    build = BuildRecipe.model_validate(given)
    report = run_build(build)
    assert not report["reports"]["alignment"]["modalities"]  # nor is it compared with what it is to draw
    texts = {(s.record.split, s.record.text) for s in shards_of(build, report)}
    trained = {text for split, text in texts if split == "train"}
    assert trained & {text for split, text in texts if split == "validation"}
    assert not any("text" in rule for rule in report["total"]["dropped"])
