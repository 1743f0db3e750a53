"""Records: the published layout, errors that name file, line and field, and JSON lines written whole or not at all."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimedvl.data.error import DataError
from unimedvl.data.jsonl import read_jsonl, write_jsonl
from unimedvl.data.record import Decision, Message, Picture, Record, json_schema, parse_record

PUBLISHED = {
    "main_task_type": "understanding", "sub_task_type": "vqa", "modality": "cxr", "dataset": "invented",
    "input_img": [{"path": "images/1.png", "height": 256, "width": 300}], "output_img": [],
    "message": [{"from": "human", "value": "<image>\nWhat is shown?"}, {"from": "gpt", "value": "A chest X-ray."}],
}  # fmt: skip
pictures = st.builds(
    Picture,
    path=st.text(min_size=1, max_size=9),
    height=st.none() | st.integers(1, 9999),
    width=st.none() | st.integers(1, 9999),
    sha256=st.none() | st.just("0" * 64),
)
texts = st.text(max_size=20).filter(lambda t: "<image>" not in t)
messages = st.builds(Message, speaker=st.sampled_from(["human", "gpt"]), value=texts)
decisions = st.builds(
    Decision,
    rule=st.text(min_size=1, max_size=5),
    kept=st.booleans(),
    by=st.just("x 1"),
    score=st.none() | st.floats(allow_nan=False, allow_infinity=False),
)
records = st.builds(
    Record,
    main_task_type=st.sampled_from(["understanding", "generation", "interleaved"]),
    sub_task_type=st.just("vqa"), modality=st.just("ct"), dataset=st.just("invented"),
    input_img=st.lists(pictures, max_size=2).map(tuple), output_img=st.lists(pictures, max_size=2).map(tuple),
    message=st.lists(messages, min_size=1, max_size=3).map(tuple), id=texts, patient=texts,
    split=st.sampled_from([None, "train", "validation", "test"]),
    attributes=st.dictionaries(texts, texts, max_size=2), decisions=st.lists(decisions, max_size=2).map(tuple),
)  # fmt: skip


def test_a_published_record_is_written_back_as_it_was_but_for_hashes():
    record = parse_record(json.dumps(PUBLISHED), "x")
    out = json.loads(record.to_json())
    assert out["input_img"][0].pop("sha256") is None
    assert out == PUBLISHED and list(out) == list(PUBLISHED)


@given(records)
def test_every_record_survives_a_line(record):
    line = record.to_json()
    assert "\n" not in line and parse_record(line, "x") == record


def test_decisions_add_up_and_one_no_is_a_no():
    record = parse_record(json.dumps(PUBLISHED), "x")
    passed = record.decided(Decision(rule="size", kept=True, by="test 1", score=256))
    failed = passed.decided(Decision(rule="text", kept=False, by="test 1", reason="3 characters"))
    assert record.kept and passed.kept and not failed.kept
    assert [d.rule for d in failed.decisions] == ["size", "text"] and not record.decisions
    assert record.text == "What is shown?\nA chest X-ray."


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"modality": None}, r"modality: Input should be a valid string, found None"),
        ({"main_task_type": "vqa"}, r"main_task_type: Input should be 'understanding', .*, found 'vqa'"),
        ({"message": []}, r"message: Tuple should have at least 1 item"),
        ({"message": [{"from": "user", "value": "x"}]}, r"message.0.from: Input should be 'human' or 'gpt'"),
        ({"input_img": [{"path": "x", "height": 0, "width": 1}]}, r"input_img.0.height: .* greater than 0, found 0"),
        ({"input_img": []}, r"message: 1 <image> marks for 0 input images"),
        ({"extra": 1}, r"extra: Extra inputs are not permitted, found 1"),
    ],
)
def test_a_bad_record_is_an_error_that_names_file_line_and_field(tmp_path, change, error):
    file = tmp_path / "records.jsonl"
    file.write_text(json.dumps(PUBLISHED) + "\n\n" + json.dumps(PUBLISHED | change) + "\n")
    with pytest.raises(DataError, match=rf"records.jsonl: line 3: {error}"):
        list(read_jsonl(file))


def test_what_is_missing_or_no_json_is_named_too(tmp_path):
    file = tmp_path / "records.jsonl"
    file.write_text(json.dumps({k: v for k, v in PUBLISHED.items() if k != "dataset"}))
    with pytest.raises(DataError, match=r"line 1: dataset: Field required$"):
        list(read_jsonl(file))
    file.write_text('{"main_task_type": ')
    with pytest.raises(DataError, match=r"line 1: not JSON: .* at column"):
        list(read_jsonl(file))
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="not UTF-8"):
        list(read_jsonl(file))
    with pytest.raises(DataError, match="No such file"):
        list(read_jsonl(tmp_path / "none.jsonl"))


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "records.jsonl"
    record = parse_record(json.dumps(PUBLISHED), "x")
    assert write_jsonl(file, [record, record]) == 2

    def broken():
        yield record
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_jsonl(file, broken())
    assert list(read_jsonl(file)) == [record, record] and not list(tmp_path.glob("*.part"))
    with pytest.raises(DataError, match="No such file or directory"):
        write_jsonl(tmp_path / "none" / "x.jsonl", [])


def test_the_schema_names_the_published_fields():
    schema = json_schema()
    assert set(PUBLISHED) <= set(schema["properties"]) and "message" in schema["required"]
    assert "from" in schema["$defs"]["Message"]["properties"]
