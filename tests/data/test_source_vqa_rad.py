"""VQA-RAD: both forms, and the traps of the first."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq

from unimedvl.data.miniatures.paint import encoded, picture


def test_integers_blanks_nulls_and_missing_keys_are_read(miniature, read):
    got = read("vqa-rad", miniature("vqa-rad"))
    assert not got.faults
    assert [r.id for r in got.records] == ["0", "1", "2", "3", "4"]
    assert [r.message[1].value for r in got.records] == ["No", "Yes", "2", "axial", "left frontal lobe"]
    assert [r.split for r in got.records] == ["train", "test", "train", "train", "test"]
    assert got.records[1].attributes["answer_type"] == "closed"
    assert [r.attributes["rephrased"] for r in got.records] == ["", "Is there cardiomegaly?", "", "", ""]


def test_a_record_without_an_answer_is_a_fault_that_names_it(miniature, read):
    root = miniature("vqa-rad")
    file = root / "VQA_RAD Dataset Public.json"
    rows = json.loads(file.read_text())
    rows[2]["answer"], rows[3]["question"] = " ", None
    del rows[4]["image_name"]
    file.write_text(json.dumps([*rows, "no object"]))
    got = read("vqa-rad", root)
    assert len(got.records) == 2
    assert [f.where.rpartition(": ")[2] for f in got.faults] == ["entry 2", "entry 3", "entry 4", "entry 5"]
    reasons = [f.reason for f in got.faults]
    assert reasons[:2] == ["answer: empty", "question: empty"]
    assert reasons[2].startswith("no key image_name") and reasons[3] == "expected an object, found str"


def test_the_parquet_form_is_read_with_its_images(tmp_path, read):
    (tmp_path / "data").mkdir()
    parts = (("train-00000-of-00002", ["yes", "the left lung"]), ("train-00001-of-00002", ["no"]), ("test-0", ["no"]))
    for name, said in parts:
        images = [{"bytes": encoded(picture("cxr", n)), "path": None} for n in range(len(said))]
        table = pa.table({"image": images, "question": ["Is it large?"] * len(said), "answer": said})
        pq.write_table(table, tmp_path / "data" / f"{name}.parquet")
    got = read("vqa-rad", tmp_path)
    assert [r.id for r in got.records] == ["train-0", "train-1", "train-2", "test-0"]
    assert [r.attributes["answer_type"] for r in got.records] == ["closed", "open", "closed", "closed"]
    assert got.samples[1].images[0]() == encoded(picture("cxr", 1))
