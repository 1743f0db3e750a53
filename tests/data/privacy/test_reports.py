"""Reports go with de-identified images by their studies' new UIDs, and a bad table is told before anything is done."""

from __future__ import annotations

import json

import pytest

from unimedvl.cli.main import main
from unimedvl.data.error import DataError
from unimedvl.data.privacy.key import write_key
from unimedvl.data.privacy.reports import read_reports
from unimedvl.data.source import Fault
from unimedvl.data.sources import source


@pytest.fixture
def scans(tmp_path):
    """Two simulated X-rays as a clinic has them, and a key."""
    words = ["phantoms", "write", str(tmp_path / "scans"), "--count", "2", "--modality", "cxr", "--size", "64"]
    assert main([*words, "--dicom"]) == 0
    write_key(tmp_path / "project.key")
    return tmp_path / "scans"


def deidentify(scans, table) -> int:
    out, key = scans.parent / "out", scans.parent / "project.key"
    words = ["data", "deidentify", str(scans / "dicom"), "--out", str(out), "--key-file", str(key), "--quiet"]
    return main([*words, "--reports", str(table)])


def test_each_study_finds_its_report_again_under_its_new_uid(scans):
    assert deidentify(scans, scans / "reports.csv") == 0
    out = scans.parent / "out"
    before = dict(read_reports(scans / "reports.csv"))
    after = [json.loads(line) for line in (out / "reports.jsonl").read_text().splitlines()]
    assert [row["report"] for row in after] == list(before.values())
    assert not {row["study"] for row in after} & set(before)
    items = list(source("dicom-tree").read(out))
    assert not [i for i in items if isinstance(i, Fault)]
    said = {i.record.study: i.record.message[1].value for i in items if i.record.sub_task_type == "report"}
    plain = {" ".join(text.split()).replace("FINDINGS", "Findings").replace("IMPRESSION", "Impression")
             for text in before.values()}  # fmt: skip
    assert len(said) == 2 and set(said.values()) == plain
    assert deidentify(scans, scans / "reports.csv") == 0  # goes on where it was


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "uid,report\n1.2,Clear.\n", "row 2: no key study; the row has uid, report"),
        ("a.csv", "study,report\n1.2,\n", "row 2: report: empty"),
        ("a.jsonl", '{"study": "1.2", "report": "Clear."}\n[1]\n', "line 2: expected an object, found list"),
        ("a.xlsx", "", "expected a table .csv or .jsonl with the columns study and report"),
    ],
)
def test_a_table_that_is_none_is_one_line_and_nothing_is_written(scans, capsys, name, text, message):
    table = scans.parent / name
    table.write_text(text)
    with pytest.raises(DataError, match=message):
        read_reports(table)
    assert deidentify(scans, table) == 2 and not (scans.parent / "out").exists()
    assert message in capsys.readouterr().err
