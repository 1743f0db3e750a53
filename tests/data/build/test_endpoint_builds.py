"""Builds whose texts a language model on a real local server writes: counted, quarantined, stopped and gone on with."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from unimedvl.data.build.places import write_miniatures
from unimedvl.data.build.read import read_lane
from unimedvl.data.build.recipe import BuildRecipe
from unimedvl.data.build.run import run_build
from unimedvl.data.error import DataError
from unimedvl.data.record import Record
from unimedvl.data.scan import scan

ROOT = Path(__file__).parents[3]
# Turned round, what the words of a pair wish for is lost.
LOST = {"left": "right", "right": "left", "T2": "FLAIR", "FLAIR": "T2", "3+": "2+", "0": "3+", "1+": "0", "2+": "1+",
        "MRI": "CT", "MR": "CT", "CT": "MRI", "tumour": "liver", "4x": "2x", "4": "2", "four": "two"}  # fmt: skip


def at(server, **more) -> dict:
    return {"endpoint": server.url, "model": "m", "tries": 1, "pause_s": 0, **more}


def build_of(folder: Path, name: str, instruments: object = "none", **entry) -> BuildRecipe:
    given = {"folder": folder, "inputs": [{"name": name, "miniature": True, **entry}], "chunk": 2, "shard": 4}
    alignment = {"instruments": instruments, "captions": 2}
    return BuildRecipe.model_validate(given | {"processes": 1, "alignment": alignment})


def files(folder: Path) -> dict[str, bytes]:
    found = (p for p in folder.rglob("*") if p.is_file() and not p.name.endswith(".lock"))
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}


def read_records(folder: Path) -> list[Record]:
    """What the first stage kept."""
    return [record for _, record in scan(sorted((folder / "read").rglob("*.parquet")))]


def read_of(build: BuildRecipe) -> list[Record]:
    """The first stage done, and what it kept."""
    write_miniatures(build)
    list(read_lane(build, 0, 1))
    return read_records(build.folder)


def adds_up(report: dict) -> bool:
    every = [report["total"], *report["sources"].values()]
    every += [counts for stages in report["stages"].values() for counts in stages.values()]
    return all(c["read"] == c["kept"] + c["quarantined"] + sum(c["dropped"].values()) for c in every)


def unique(asked: list[dict]) -> int:
    return len({json.dumps(a, sort_keys=True) for a in asked})


# What it writes -----------------------------------------------------------------------------------


def test_captions_and_measures_by_a_server_name_it_and_never_its_key(tmp_path, serving, model, monkeypatch):
    monkeypatch.setenv("MODEL_KEY", "s3cret-of-the-model")
    with serving(model.say) as server:
        named = at(server, key="MODEL_KEY")
        report = run_build(build_of(tmp_path, "rocov2", {"captioner": named}, captions={"writer": named}))
    told = report["captions"]["rocov2"]
    for kind in ("description", "prompt", "plan"):
        assert told[kind] == {"written": 5, "refused": 0}
    assert all("m at 127.0.0.1" in by for by in told["written by"])
    measured_by = report["reports"]["alignment"]["measured by"]
    assert any("m at 127.0.0.1" in by for by in measured_by) and any("stand-in matcher" in by for by in measured_by)
    drawn = [r for r in read_records(tmp_path) if r.main_task_type == "generation"]
    assert len(drawn) == 10 and all("structures are in view" in r.attributes["description"] for r in drawn)
    assert adds_up(report) and not any(b"s3cret" in data for data in files(tmp_path).values())
    # Both records of an image, and its original, are measured by what was said of it once. The greeting comes twice.
    asked = [a for a in server.asked if model.wish(a) != "Say yes."]
    assert unique(asked) == len(asked)


def test_texts_that_break_the_rules_are_counted_and_the_captions_stand(tmp_path, serving, model):
    def diagnosing(asked: dict) -> str:
        return model.say(asked).replace("nothing stands out", "a carcinoma stands out") + " Das ist ein Bild."

    with serving(diagnosing) as server:
        report = run_build(build_of(tmp_path, "rocov2", captions={"writer": at(server)}))
    assert report["captions"]["rocov2"]["description"] == {"written": 5, "refused": 5}
    refused = report["captions"]["rocov2"]["plan"]["refused"]
    drawn = [r for r in read_records(tmp_path) if r.main_task_type == "generation"]
    assert len(drawn) == 10 - refused and not any("description" in r.attributes for r in drawn)
    reasons = {d.reason for r in drawn for d in r.decisions if d.rule == "caption-description"}
    assert any("diagnosis" in reason for reason in reasons)
    assert adds_up(report) and report["total"]["read"] == 5 + len(drawn)


def careless(asked: dict) -> str:
    """Other words that say the opposite."""
    text = asked["messages"][0]["content"].rsplit("\n\n", 1)[-1]
    return " ".join(LOST.get(word.strip(".,:?"), word) for word in text.split(" "))


# Of a level, a sequence and a structure, a finding and its side, a factor.
@pytest.mark.parametrize("name", ["bci", "brats2023", "icg-cxr", "ixi"])
def test_a_rewording_that_loses_a_wish_falls_back_to_the_template(tmp_path, serving, name):
    with serving(careless) as server:
        made = read_of(build_of(tmp_path / "made", name, limit=6, pairs={"rewriter": at(server)}))
    plain = {r.id: r for r in read_of(build_of(tmp_path / "plain", name, limit=6, pairs=True))}
    refused = 0
    for record in made:
        for said in (d for d in record.decisions if d.rule == "interleaved-words"):
            for n, which in enumerate(("request", "reply")):
                if f"{which} not reworded" in said.reason:
                    refused += 1
                    assert record.message[n] == plain[record.id].message[n]
    assert refused


def test_rewordings_are_counted_and_those_that_keep_the_wishes_taken(tmp_path, serving, model):
    with serving(model.say) as server:
        report = run_build(build_of(tmp_path / "kept", "bci", pairs={"rewriter": at(server)}))
    assert report["pairs"]["bci"]["refused"] == 0 and "reworded by m at" in report["pairs"]["bci"]["worded by"][0]
    for record in read_records(tmp_path / "kept"):
        assert "As agreed: " in record.message[0].value and record.attributes["her2"] in record.message[0].value
    with serving(careless) as server:
        report = run_build(build_of(tmp_path / "lost", "bci", pairs={"rewriter": at(server)}))
    said = [d for r in read_records(tmp_path / "lost") for d in r.decisions if d.rule == "interleaved-words"]
    assert 0 < report["pairs"]["bci"]["refused"] == sum(d.score for d in said) <= report["pairs"]["bci"]["texts"] == 8
    assert adds_up(report) and report["total"]["kept"] == 4


# What it can't do ---------------------------------------------------------------------------------


def shown(asked: dict) -> str:
    """A hash of the image that is asked about; empty where none is."""
    content = asked["messages"][0]["content"]
    if isinstance(content, str):
        return ""
    return hashlib.sha256(base64.b64decode(content[0]["image_url"]["url"].split(",", 1)[1])).hexdigest()


def test_a_record_whose_caption_can_not_be_had_is_quarantined_with_its_reason(tmp_path, serving, model):
    run_build(build_of(tmp_path / "plain", "rocov2"))
    dark = read_records(tmp_path / "plain")[1].input_img[0].sha256  # the last of a chunk

    def say(asked: dict) -> str | int:
        return 400 if shown(asked) == dark else model.say(asked)

    with serving(say) as server:
        named = {"captioner": at(server)}
        report = run_build(build_of(tmp_path / "made", "rocov2", named, captions={"writer": at(server)}))
    stages = report["stages"]["rocov2"]
    assert stages["read"]["quarantined"] == 1 and stages["alignment"]["quarantined"] == 1 and adds_up(report)
    lines = [json.loads(line) for line in (tmp_path / "made" / "dropped.jsonl").read_text().splitlines()]
    reasons = [line["reason"] for line in lines if line["rule"] == "quarantined"]
    assert len(reasons) == 2 and all("status 400" in reason for reason in reasons)
    assert report["captions"]["rocov2"]["prompt"]["written"] == 4


@pytest.mark.parametrize("asks", ["captions", "pairs", "alignment"])
def test_a_build_that_loses_its_endpoint_stops_and_goes_on_to_the_same_bytes(tmp_path, serving, model, asks):
    def build(server, name: str) -> BuildRecipe:
        named = at(server, failures=3)
        if asks == "captions":
            return build_of(tmp_path / name, "rocov2", captions={"writer": named})
        if asks == "pairs":
            return build_of(tmp_path / name, "bci", pairs={"rewriter": named})
        return build_of(tmp_path / name, "rocov2", {"captioner": named})

    with serving(model.say) as server:
        report = run_build(build(server, "alone"))
    port, answers = int(server.url.rsplit(":", 1)[1].split("/")[0]), len(server.asked)
    lost = 3 + answers // 3
    with serving(lambda asked: 503 if len(server.asked) > lost else model.say(asked), port) as server:
        with pytest.raises(DataError, match=r"status 503.*failed (once|\d times in a row); see that the server runs"):
            run_build(build(server, "torn"))
        kept = unique(server.asked[:lost])
        assert not any(b"status 503" in data for data in files(tmp_path / "torn").values())
    with serving(model.say, port) as server:
        assert run_build(build(server, "torn")) == report
        # One greeting, and nothing that it was told before.
        assert len(server.asked) <= 1 + answers - kept + 1
    assert files(tmp_path / "torn") == files(tmp_path / "alone")


def test_a_build_that_is_done_asks_nothing_and_another_instrument_is_refused(tmp_path, serving, model):
    with serving(model.say) as server:
        build = build_of(tmp_path, "rocov2", {"captioner": at(server)})
        report = run_build(build)
    assert run_build(build) == report  # the server is gone
    with serving(model.say) as other, pytest.raises(DataError, match=r"begun with alignment.instruments.captioner.end"):
        run_build(build_of(tmp_path, "rocov2", {"captioner": at(other)}))
    # How long it is waited for changes no byte.
    patient = build_of(tmp_path, "rocov2", {"captioner": at(server, tries=9, timeout_s=5)})
    assert run_build(patient) == report


BUILDS = "import sys; from pathlib import Path; from unimedvl.data.build.recipe import load_recipe; \
from unimedvl.data.build.run import run_build; run_build(load_recipe(Path(sys.argv[1])))"


def test_a_build_that_is_killed_does_not_ask_again_what_it_was_told(tmp_path, serving, model):
    def slowly(asked: dict) -> str:
        time.sleep(0.02)
        return model.say(asked)

    def start(name: str) -> subprocess.Popen:
        build = build_of(tmp_path / name, "rocov2", captions={"writer": at(server)})
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(build.model_dump(mode="json")))
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen([sys.executable, "-c", BUILDS, str(file)], env=environment, stderr=subprocess.PIPE)

    def told(name: str) -> int:
        return len(list((tmp_path / name / "answers").rglob("*.json")))

    with serving(slowly) as server:
        run_build(build_of(tmp_path / "alone", "rocov2", captions={"writer": at(server)}))
        asked, total = len(server.asked), told("alone")
        del server.asked[:]
        torn = start("torn")
        while torn.poll() is None and told("torn") < total // 2:
            time.sleep(0.002)
        assert torn.poll() is None, torn.stderr.read()
        torn.send_signal(signal.SIGKILL)
        torn.wait()
        run_build(build_of(tmp_path / "torn", "rocov2", captions={"writer": at(server)}))
    assert files(tmp_path / "torn") == files(tmp_path / "alone")
    # The greeting of the second start, and what the killed one had asked and not kept yet.
    assert len(server.asked) <= asked + 2


def test_lanes_that_share_answers_leave_the_bytes_of_one(tmp_path, serving, model):
    with serving(model.say) as server:
        one, two = (build_of(tmp_path / n, "rocov2", captions={"writer": at(server)}) for n in ("one", "two"))
        read_of(one)
        write_miniatures(two)
        lanes = [threading.Thread(target=lambda n=n: list(read_lane(two, n, 2))) for n in range(2)]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
    assert files(tmp_path / "two") == files(tmp_path / "one")
