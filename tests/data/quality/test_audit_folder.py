"""An audit's folder: what is drawn, and that no rating is lost or made up, with several writers and after a kill."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from unimedvl.data.error import DataError
from unimedvl.data.quality.audit import DIMENSIONS, Rating
from unimedvl.data.quality.audit_folder import Audit, RatingFile, rater_name, write_audit
from unimedvl.data.record import Decision
from unimedvl.data.scan import scan
from unimedvl.data.shards import write_shard
from unimedvl.data.source import Sample

BEST = {d.name: d.most for d in DIMENSIONS}


@pytest.fixture
def samples(miniature, read) -> list[Sample]:
    return read("slake", miniature("slake")).samples + read("vqa-rad", miniature("vqa-rad")).samples


@pytest.fixture
def shard(samples, tmp_path) -> Path:
    write_shard(tmp_path / "a.parquet", samples)
    return tmp_path / "a.parquet"


@pytest.fixture
def audit(shard, tmp_path) -> Audit:
    write_audit(tmp_path / "audit", [shard])
    return Audit(tmp_path / "audit")


def rated(audit, place, rater="ann", comment="", share=1.0) -> Rating:
    record = audit.records[place]
    return Rating(rater, record.dataset, record.id, {n: s * share for n, s in BEST.items()}, comment)


def test_the_sample_is_drawn_by_seed_with_its_images(shard, samples, tmp_path):
    first = write_audit(tmp_path / "1", [shard], 6, seed=1)
    assert len(first) == 6 and first == write_audit(tmp_path / "2", [shard], 6, seed=1)
    assert (tmp_path / "1" / "sample.parquet").read_bytes() == (tmp_path / "2" / "sample.parquet").read_bytes()
    audit = Audit(tmp_path / "1")
    assert {r.modality for r in audit.records} == {s.record.modality for s in samples}
    images = {(s.record.dataset, s.record.id): [load() for load in s.images] for s in samples}
    assert all([load() for load in s.images] == images[s.record.dataset, s.record.id] for s in audit.samples)
    told = json.loads((tmp_path / "1" / "audit.json").read_text())
    assert told == {"seed": 1, "asked_for": 6, "records": 6, "shards": [str(shard)], "simulated": []}


def test_what_was_dropped_is_not_drawn_and_no_two_have_one_name(samples, tmp_path):
    out = samples[0].record.decided(Decision(rule="length", kept=False, by="a test"))
    same = [Sample(samples[1].record, samples[1].images)] * 3
    nameless = [Sample(s.record.model_copy(update={"id": ""}), s.images) for s in samples[2:4]]
    write_shard(tmp_path / "b.parquet", [Sample(out, samples[0].images), *same, *nameless])
    names = [r.id for r in write_audit(tmp_path / "audit", [tmp_path / "b.parquet"])]
    name = samples[1].record.id
    assert sorted(names) == sorted([name, f"{name}#2", f"{name}#3", "b-4", "b-5"])
    write_shard(tmp_path / "c.parquet", [Sample(out, samples[0].images)])
    with pytest.raises(DataError, match="no records that passed all rules"):
        write_audit(tmp_path / "none", [tmp_path / "c.parquet"])


def test_an_audit_is_never_written_over(audit, shard):
    with pytest.raises(DataError, match="has an audit already"):
        write_audit(audit.folder, [shard])
    with pytest.raises(DataError, match="no audit here"):
        Audit(audit.folder.parent)


def test_the_last_rating_of_a_record_counts(audit):
    audit.save(rated(audit, 0, share=0.0))
    audit.save(rated(audit, 0, comment="two\nlines, “quoted”"))
    audit.save(rated(audit, 1, rater="BOB"))
    again = Audit(audit.folder)
    assert again.raters() == ["ann", "bob"] and len(again.ratings()) == 2
    first = again.ratings()[0]
    assert first.score == 1 and first.comment == "two\nlines, “quoted”"
    assert list(again.of("Bob").values()) == [rated(audit, 1, rater="bob")]


def test_half_a_line_spoils_no_other(audit, caplog):
    file = audit.folder / "ratings" / "ann.jsonl"
    audit.save(rated(audit, 0))
    with file.open("ab") as out:
        out.write(b'\n{"rater": "ann", "dataset": "sl')  # as a kill in the middle of a write leaves it
    audit.save(rated(audit, 1))
    with caplog.at_level(logging.WARNING):
        assert len(audit.of("ann")) == 2
    assert "line 4: no rating" in caplog.text


def test_a_rating_that_finds_no_room_is_told_and_leaves_no_trace(audit, room):
    file = audit.folder / "ratings" / "ann.jsonl"
    with room(50), pytest.raises(DataError, match="ann.jsonl: File too large; the rating is not saved$"):
        audit.save(rated(audit, 0))
    assert file.read_bytes() == b"" and not audit.raters()
    audit.save(rated(audit, 0))
    before = file.read_bytes()
    with room(len(before) + 50), pytest.raises(DataError, match="the rating is not saved"):
        audit.save(rated(audit, 1))
    assert file.read_bytes() == before
    audit.save(rated(audit, 1))
    assert len(audit.of("ann")) == 2


def test_a_sample_that_finds_no_room_leaves_no_half_audit(audit, shard, room, tmp_path):
    sizes = [(audit.folder / name).stat().st_size for name in ("audit.json", "sample.parquet")]
    for size in (sizes[1] - 1, sizes[0] - 1):
        with room(size), pytest.raises(DataError, match="File too large$"):
            write_audit(tmp_path / "torn", [shard])
        assert list((tmp_path / "torn").iterdir()) == []
    write_audit(tmp_path / "torn", [shard])
    assert (tmp_path / "torn" / "sample.parquet").read_bytes() == (audit.folder / "sample.parquet").read_bytes()


def test_many_processes_and_threads_lose_no_rating(audit):
    code = (
        "import sys; from pathlib import Path; from unimedvl.data.quality.audit import Rating;"
        "from unimedvl.data.quality.audit_folder import RatingFile\n"
        "for n in range(150):\n"
        "    RatingFile(Path(sys.argv[1])).append("
        "Rating('ann', sys.argv[2], str(n), {'completeness': 3.0}, 'x' * 500))"
    )
    file = audit.folder / "many.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", code, str(file), f"set-{k}"]) for k in range(3)]
    assert [w.wait(60) for w in writers] == [0, 0, 0]
    found = [r.key for r in RatingFile(file).read()]
    assert len(found) == 450 and set(found) == {(f"set-{k}", str(n)) for k in range(3) for n in range(150)}


def test_names_and_records_that_are_none_are_refused(audit):
    assert rater_name(" Ann.B-1 ") == "ann.b-1"
    for name in ("", "../x", "a b", ".hidden", "x" * 33, "ä"):
        with pytest.raises(DataError, match="rater .*: expected 1 to 32 of"):
            audit.save(rated(audit, 0, rater=name))
    with pytest.raises(DataError, match="nowhere/1: this record is not in the sample"):
        audit.save(Rating("ann", "nowhere", "1", BEST))
    assert not audit.raters() and not audit.ratings()


def test_what_a_build_calls_simulated_is_kept_with_the_sample(shard, tmp_path):
    write_audit(tmp_path / "audit", [shard], simulated=["slake"])
    assert Audit(tmp_path / "audit").simulated == ("slake",)


def test_sampling_reads_no_more_than_the_named_shards(shard, tmp_path):
    done = []
    write_audit(tmp_path / "audit", [shard], told=done.append)
    assert sum(done) == 2 * len(list(scan([shard])))
