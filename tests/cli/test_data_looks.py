"""`unimedvl data stats`, `inspect`, `shard` and `audit` as a shell calls them."""

from __future__ import annotations

from pathlib import Path

import pytest

from unimedvl.data.quality.audit import DIMENSIONS, Rating
from unimedvl.data.quality.audit_folder import Audit
from unimedvl.data.quality.ratings import write_ratings


@pytest.fixture
def data(run):
    """Run a command of `unimedvl data` in a folder with the shard of a miniature, `slake.parquet`."""

    def call(*arguments):
        return run("data", *arguments, tiny=False)

    call("miniature", "slake", "slake")
    assert "slake.parquet: 6 records, 0 faults" in call("shard", "slake", "slake", "slake.parquet").out
    return call


def test_a_shard_leaves_out_what_cannot_be_used_and_says_so(data):
    (Path("slake") / "train.json").write_text("[{}]")
    ended = data("shard", "slake", "slake", "less.parquet", "--json")
    assert ended.status == 0 and ended.json["faults"][0]["where"].endswith("train.json: entry 0")
    assert "left out: " in ended.err and ended.json["records"] < 6


def test_stats_write_a_page_and_tell_numbers(data):
    told = data("stats", "slake.parquet", "--json", "--out", "stats.html").json["stages"]
    assert [stage["stage"] for stage in told] == ["shards"] and told[0]["records"] == 6
    page = Path("stats.html").read_text()
    assert data("stats", ".", "--out", "again.html").out == "shards: 6 records passed of 6\nagain.html\n"
    assert "Records of slake.parquet" in page and "<svg" in page


def test_inspect_is_the_same_each_time(data):
    first = data("inspect", "slake.parquet", "--count", "2", "--seed", "3", "--text", "--out", "page.html")
    page = Path("page.html").read_bytes()
    again = data("inspect", "slake.parquet", "--count", "2", "--seed", "3", "--text", "--out", "page.html")
    assert first.out == again.out and Path("page.html").read_bytes() == page and first.out.count("  user  ") == 2
    told = data("inspect", "slake.parquet", "--modality", "mri", "--json").json
    assert told and {r["modality"] for r in told} == {"mri"}


def test_an_audit_is_sampled_and_reported(data):
    told = data("audit", "sample", "slake.parquet", "--out", "audit", "--size", "4", "--json").json
    assert told["records"] == 4 and sum(told["modalities"].values()) == 4
    audit = Audit(Path("audit"))
    for record in audit.records[:2]:
        audit.save(Rating("ann", record.dataset, record.id, {d.name: d.most for d in DIMENSIONS}))
    assert "**Incomplete**: 2 of 4" in data("audit", "report", "audit").out
    rest = [Rating("bob", r.dataset, r.id, {"completeness": 4.5}) for r in audit.records[2:]]
    write_ratings(Path("more.csv"), rest)
    found = data("audit", "report", "audit", "--csv", "more.csv", "--json").json
    assert found["verdict"] == "accepted" and found["mean"] == pytest.approx(0.95) and found["alpha"]["overall"] is None
    assert "bob" in Path("audit/ratings.csv").read_text() and "**Accepted**" in Path("audit/report.md").read_text()


@pytest.mark.parametrize(("arguments", "error"), [
    (("stats", "slake.parquet"), "name a page with --out stats.html"),
    (("stats", "nowhere", "--json"), "nowhere: no such file or folder"),
    (("stats", "slake/train.json", "--json"), "train.json: no shard of records"),
    (("stats", "slake.parquet", "--out", "no/stats.html"), "no/stats.html: No such file or directory"),
    (("inspect", "slake.parquet"), "--out page.html"),
    (("inspect", "slake.parquet", "--text", "--source", "x"), "no record has source 'x'; there is slake"),
    (("shard", "nothing", ".", "x.parquet"), "no source called 'nothing'"),
    (("audit", "sample", "slake.parquet", "--out", "a", "--size", "1"), "sample size is 1; it must be at least"),
    (("audit", "report", "slake"), "no audit here"),
    (("audit", "serve", "slake"), "no audit here"),
])  # fmt: skip
def test_wrong_input_is_one_line(data, arguments, error):
    ended = data(*arguments)
    assert ended.status == 2 and error in ended.err and ended.err.count("\n") == 1


def test_an_audit_without_ratings_and_one_that_is_there(data):
    data("audit", "sample", "slake.parquet", "--out", "audit", "--size", "4")
    for arguments, error in (
        (("report", "audit"), "no ratings"),
        (("sample", "slake.parquet", "--out", "audit"), "has an audit already"),
        (("serve", "audit", "--host", "256.0.0.1"), "can't listen on 256.0.0.1"),
    ):
        ended = data("audit", *arguments)
        assert ended.status == 2 and error in ended.err
