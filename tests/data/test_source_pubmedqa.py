"""PubMedQA: three parts, the test by its ids, and the Parquet form."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unimedvl.data.error import DataError


def test_the_test_is_what_the_ground_truth_names_and_the_other_parts_are_for_training(miniature, read):
    got = read("pubmedqa", miniature("pubmedqa"))
    assert not got.faults
    assert [(r.id, r.split, r.attributes.get("decision")) for r in got.records] == [
        ("labelled-90000001", "train", "yes"),
        ("labelled-90000002", "test", "no"),
        ("labelled-90000003", "train", "maybe"),
        ("labelled-90000004", "test", "yes"),
        ("unlabelled-90000011", "train", None),
        ("artificial-90000021", "train", "no"),
    ]


def test_the_abstract_comes_before_the_question_and_the_decision_before_the_answer(miniature, read):
    records = read("pubmedqa", miniature("pubmedqa")).records
    assert records[2].message[0].value == (
        "BACKGROUND: It is asked whether samples help.\nMETHODS: Ten samples were made and counted.\n\n"
        "Do samples help in case 03?"
    )
    assert records[2].message[1].value == "Maybe. Samples are of help to those who count."
    assert records[4].message[1].value == "Samples are of help to those who count."


def test_bad_entries_and_a_test_that_says_otherwise_are_faults(miniature, read):
    root = miniature("pubmedqa")
    file, truth = root / "data/ori_pqal.json", root / "data/test_ground_truth.json"
    rows = json.loads(file.read_text())
    del rows["90000001"]["QUESTION"]
    rows["90000002"]["final_decision"] = "yes"
    rows["90000003"]["LABELS"] = ["BACKGROUND"]
    rows["90000004"]["final_decision"] = "perhaps"
    file.write_text(json.dumps(rows | {"90000005": [], "90000006": rows["90000001"] | {"CONTEXTS": []}}))
    truth.write_text(json.dumps({"90000002": "no", "90000009": "no"}))
    got = read("pubmedqa", root)
    assert [r.attributes["part"] for r in got.records] == ["unlabelled", "artificial"]
    assert [(f.where, f.reason) for f in got.faults] == [
        (f"{file}: 90000001", "no key question; the row has pubid, context, long_answer, year, final_decision"),
        (f"{file}: 90000002", "final_decision: expected 'no' as in test_ground_truth.json, found 'yes'"),
        (f"{file}: 90000003", "labels: expected 2, as many as contexts"),
        (f"{file}: 90000004", "final_decision: expected yes, no, maybe, found 'perhaps'"),
        (f"{file}: 90000005", "expected an object, found list"),
        (f"{file}: 90000006", "contexts: expected a list of texts"),
        (f"{truth}: 90000009", "no labelled question of this id"),
    ]


def test_the_labelled_part_is_not_read_without_its_test(miniature, read):
    root = miniature("pubmedqa")
    (root / "data/test_ground_truth.json").unlink()
    with pytest.raises(DataError, match="expected test_ground_truth.json"):
        read("pubmedqa", root)


def test_the_parquet_form_has_no_split_of_the_labelled_but_with_the_ground_truth(tmp_path, read):
    context = {"contexts": ["Ten were counted."], "labels": ["METHODS"], "meshes": ["Humans"]}
    for part, decisions in (("pqa_labeled", ["yes", "no"]), ("pqa_unlabeled", [None])):
        columns = {"pubid": [90000001, 90000002], "question": ["Does it help?"] * 2, "context": [context] * 2,
                   "long_answer": ["It does."] * 2, "final_decision": decisions}  # fmt: skip
        rows = {name: cells[: len(decisions)] for name, cells in columns.items()}
        (tmp_path / part).mkdir()
        table = pa.table(rows if decisions[0] else {k: v for k, v in rows.items() if k != "final_decision"})
        pq.write_table(table, tmp_path / part / "train-00000-of-00001.parquet")
    got = read("pubmedqa", tmp_path)
    assert not got.faults
    assert [(r.id, r.split) for r in got.records] == [
        ("labelled-90000001", None), ("labelled-90000002", None), ("unlabelled-90000001", "train"),
    ]  # fmt: skip
    assert got.records[1].message[0].value == "METHODS: Ten were counted.\n\nDoes it help?"
    assert [r.message[1].value for r in got.records] == ["Yes. It does.", "No. It does.", "It does."]
    (tmp_path / "test_ground_truth.json").write_text('{"90000002": "no"}')
    assert [r.split for r in read("pubmedqa", tmp_path).records] == ["train", "test", "train"]
