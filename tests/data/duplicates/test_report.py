"""A report's counts add up, or it is none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from unimedvl.data.duplicates.report import Dropped, SourceCounts, make_report, read_report
from unimedvl.data.error import DataError


def test_counts_that_do_not_add_up_are_an_error():
    with pytest.raises(ValidationError, match="demo: read 5, but kept 3 and dropped 1"):
        SourceCounts(source="demo", read=5, kept=3, dropped={"exact-duplicate": 1})


def test_a_record_is_dropped_once():
    entry = Dropped(record="demo 0", rule="near-duplicate", reason="as demo 1")
    with pytest.raises(DataError, match="demo 0: dropped twice"):
        make_report("Title", ["demo"], [(0, entry), (0, entry)])


@given(
    st.lists(st.tuples(st.sampled_from(["one", "two"]), st.sampled_from(["", "exact", "near"])), max_size=40)
)
def test_a_report_counts_what_it_was_given_and_survives_json(records):
    dropped = [
        (n, Dropped(record=f"{source} {n}", rule=rule, reason="because"))
        for n, (source, rule) in enumerate(records)
        if rule
    ]
    report = make_report("Title", [source for source, _ in records], dropped, notes={"images": 3})
    assert report.read == len(records) and report.kept == len(records) - len(dropped)
    assert sum(report.dropped.values()) == len(dropped)
    again = read_report(report.to_json())
    assert again == report
    assert json.loads(report.to_json())["total"]["kept"] == report.kept
    assert all(sum(e.rule == rule for e in report.examples) <= 5 for rule in ("exact", "near"))


def test_markdown_has_a_row_for_each_source_and_escapes_bars():
    entry = Dropped(record="a|b 0", rule="exact-duplicate", reason="the same\nas a|b 1")
    report = make_report(
        "Duplicates", ["a|b"] * 1500, [(0, entry)], tables={"Sets": {"x test": {"shared": 2}}}
    )
    lines = report.to_markdown().splitlines()
    assert lines[0] == "# Duplicates"
    assert lines[2:6] == [
        "| source | read | kept | exact-duplicate |",
        "| --- | --- | --- | --- |",
        "| a\\|b | 1,500 | 1,499 | 1 |",
        "| all | 1,500 | 1,499 | 1 |",
    ]
    assert "| x test | 2 |" in lines and "| a\\|b 0 | exact-duplicate | the same as a\\|b 1 |" in lines


def test_what_is_no_report_is_an_error():
    with pytest.raises(DataError, match="no report"):
        read_report("{}")
    broken = make_report("T", ["a"], []).to_json().replace('"kept": 1', '"kept": 0')
    with pytest.raises(DataError, match="no report"):
        read_report(broken)
