"""`unimedvl data`: sources listed, miniatures written and checked, faults told."""

from __future__ import annotations

import json
from pathlib import Path

from unimedvl.data.sources import sources


def test_sources_are_listed_with_licence_and_counts(run):
    ended = run("data", "sources", tiny=False)
    assert ended.status == 0 and all(f"{name}  " in ended.out for name in sources())
    told = {s["name"]: s for s in run("data", "sources", "--json", tiny=False).json}
    assert told["vqa-rad"]["licence"] == "CC0-1.0" and told["vqa-rad"]["expected"] == {"train": 1797, "test": 451}


def test_the_schema_is_printed(run):
    assert "input_img" in run("data", "schema", tiny=False).json["properties"]


def test_a_miniature_is_written_and_read_to_its_end(run):
    assert run("data", "miniature", "vqa-rad", "mini", tiny=False).out.strip() == "mini"
    told = run("data", "check", "vqa-rad", "mini", "--images", "--json", tiny=False).json
    assert told["records"] == {"test": 2, "train": 3} and not told["faults"] and told["tasks"] == {"vqa": 5}
    assert "5 records, 0 faults; expected train 1,797, test 451" in run(
        "data", "check", "vqa-rad", "mini", tiny=False
    ).out


def test_faults_are_told_one_by_one(run):
    run("data", "miniature", "vqa-rad", "mini", tiny=False)
    (Path("mini") / "VQA_RAD Image Folder" / "synpic90000.jpg").write_bytes(b"no image")
    (Path("mini") / "VQA_RAD Image Folder" / "synpic90001.jpg").unlink()
    file = Path("mini") / "VQA_RAD Dataset Public.json"
    rows = json.loads(file.read_text())
    del rows[4]["question"]
    file.write_text(json.dumps(rows))
    ended = run("data", "check", "vqa-rad", "mini", "--images", tiny=False)
    assert "1 records, 4 faults" in ended.out and "synpic90000.jpg: no image: " in ended.out
    assert "synpic90001.jpg: No such file or directory" in ended.out and "entry 4: no key question" in ended.out


def test_a_wrong_name_or_folder_is_one_line(run):
    for arguments, error in (
        (("check", "vqarad", "."), "no source called 'vqarad'; there are "),
        (("check", "vqa-rad", "nowhere"), "nowhere: expected VQA_RAD Dataset Public.json in it, found none"),
        (("miniature", "vqarad", "x"), "no miniature of 'vqarad'"),
    ):
        ended = run("data", *arguments, tiny=False)
        assert ended.status == 2 and error in ended.err and ended.err.count("\n") == 1


def test_a_miniature_is_whole_or_not_there(run, room):
    with room(400):
        ended = run("data", "miniature", "slake", "mini", tiny=False)
    assert ended.status == 2 and ended.err == "error: mini: File too large\n" and not list(Path().iterdir())
    Path("mini").mkdir()
    assert run("data", "miniature", "slake", "mini", tiny=False).status == 0
    ended = run("data", "miniature", "slake", "mini", tiny=False)
    assert ended.status == 2 and "mini: exists and is not an empty folder" in ended.err
    assert [p.name for p in Path().iterdir()] == ["mini"]
