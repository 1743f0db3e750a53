"""Records to look at: which are drawn, the page, and the text."""

from __future__ import annotations

import json
import re

import pytest

from unimedvl.data.error import DataError
from unimedvl.data.inspect import Wanted, as_text, choose, page, records_of
from unimedvl.data.record import Decision, Message
from unimedvl.data.scan import scan
from unimedvl.data.shards import write_shard
from unimedvl.data.source import Sample

BY = "a test"


@pytest.fixture
def samples(miniature, read) -> list[Sample]:
    both = read("slake", miniature("slake")).samples + read("vqa-rad", miniature("vqa-rad")).samples
    said = [Decision(rule="length", kept=k % 3 > 0, by=BY, score=k, reason="" if k % 3 else "short") for k in range(11)]
    return [Sample(s.record.decided(d), s.images) for s, d in zip(both, said, strict=True)]


@pytest.fixture
def shard(samples, tmp_path):
    write_shard(tmp_path / "a.parquet", samples)
    return tmp_path / "a.parquet"


def names(samples) -> list[tuple[str, str]]:
    return [(s.record.dataset, s.record.id) for s in samples]


def test_the_seed_alone_says_which_are_drawn(shard, samples, tmp_path):
    drawn = names(choose(scan([shard]), Wanted(), 4, seed=1))
    assert len(drawn) == 4 and drawn == names(choose(scan([shard]), Wanted(), 4, seed=1))
    assert {tuple(names(choose(scan([shard]), Wanted(), 4, seed=s))) for s in range(5)} != {tuple(drawn)}
    for number, part in enumerate((samples[6:], samples[:6])):
        write_shard(tmp_path / f"part-{number}.parquet", part)
    parts = [tmp_path / "part-0.parquet", tmp_path / "part-1.parquet"]
    assert sorted(names(choose(scan(parts), Wanted(), 4, seed=1))) == sorted(drawn)
    assert len(choose(scan([shard]), Wanted(), 100)) == 11


def test_only_what_is_wanted_is_drawn(shard):
    for wanted, holds in (
        (Wanted(modality="mri"), lambda r: r.modality == "mri"),
        (Wanted(task="vqa", source="vqa-rad"), lambda r: r.dataset == "vqa-rad"),
        (Wanted(rule="length", kept=False), lambda r: r.decisions[0].score % 3 == 0),
        (Wanted(kept=True), lambda r: r.kept),
    ):
        drawn = choose(scan([shard]), wanted, 100)
        assert drawn and all(holds(s.record) for s in drawn)
    kept, dropped = (choose(scan([shard]), Wanted(kept=k), 100) for k in (True, False))
    assert len(kept) + len(dropped) == 11


def test_where_nothing_fits_it_is_said_what_there_is(shard):
    with pytest.raises(DataError, match="no record has rule 'size'; there is length"):
        choose(scan([shard]), Wanted(rule="size"))
    with pytest.raises(DataError, match="no record has modality 'pet'; there is .*mri"):
        choose(scan([shard]), Wanted(modality="pet"))


def test_the_page_shows_images_messages_and_decisions(shard, samples):
    text = page(choose(scan([shard]), Wanted(), 100), "All of them")
    assert text.count("data:image/png;base64,") == sum(len(s.images) for s in samples)
    assert "Is it T1 or T2 weighted?" in text and "short" in text and "&lt;image&gt;" in text
    assert not re.search(r'(src|href)="(?!data:)', text) and "<script" not in text  # nothing from elsewhere
    assert text == page(choose(scan([shard]), Wanted(), 100), "All of them")


def test_simulated_images_are_called_so_and_text_is_no_markup(samples):
    record = samples[0].record.model_copy(update={
        "attributes": {"simulated": "yes"},
        "message": (Message(speaker="gpt", value="<img src=x onerror=alert(1)>\x1b[31m\nred"),),
    })  # fmt: skip
    shown = page([Sample(record, samples[0].images)], "One")
    assert "<img src=x" not in shown and 'alt="simulated ' in shown
    assert '<span class="made">simulated</span> input' in shown
    text = as_text(Sample(record, samples[0].images))
    assert "\x1b" not in text and "images are simulated" in text and "dropped by length 0: short" in text


def test_what_a_build_calls_simulated_is_called_so_of_each_record(samples):
    shown = page(samples[:1], "One", ["slake"])
    assert "Simulated inputs, with no patient behind them: slake." in shown
    assert "The images of this record are simulated." in shown and 'alt="simulated ' in shown
    assert "images are simulated" in as_text(samples[0], ["slake"]) and "simulated" not in page(samples[:1], "One")


def test_an_image_that_cannot_be_shown_says_why(samples):
    broken = Sample(samples[0].record, (lambda: b"no image",))
    assert "can't be shown: " in page([broken], "One")


def test_of_a_build_what_later_stages_dropped_can_be_looked_at(samples, tmp_path):
    build = tmp_path / "build"
    read, judged = build / "read" / "both", build / "alignment" / "both"
    for folder in (read, judged):
        folder.mkdir(parents=True)
    write_shard(read / "000000.parquet", samples)
    rows = [[{"rule": "alignment", "kept": k != 5, "by": BY, "score": k / 10}] for k in range(11)]
    (judged / "000000.json").write_text(json.dumps({"decisions": rows}))
    records, total = records_of([build])
    (dropped,) = choose(records, Wanted(rule="alignment", kept=False))
    assert total == 11 and names([dropped]) == names([samples[5]]) and len(dropped.record.decisions) == 2
    assert [load() for load in dropped.images] == [load() for load in samples[5].images]
    (judged / "000000.json").write_text(json.dumps({"decisions": rows, "split": ["test"]}))
    with pytest.raises(DataError, match="11 records, and 1 splits"):
        choose(records_of([build])[0], Wanted())
