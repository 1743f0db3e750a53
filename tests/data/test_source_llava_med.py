"""LLaVA-Med: the misspelt key, where image marks stand, ids over files, and turns that are no conversation."""

from __future__ import annotations

import json

import pytest

from unimedvl.data.error import DataError

_INSTRUCT = "data/instruct/llava_med_instruct_60k.json"


def test_all_files_are_read_with_ids_of_their_own(miniature, read):
    got = read("llava-med", miniature("llava-med"))
    assert not got.faults
    assert [(r.id, r.sub_task_type, r.modality, r.split) for r in got.records] == [
        ("alignment-9000021_F1", "caption", "mri", None),
        ("alignment-9000022_F2", "caption", "cxr", None),
        ("10k-9000022_F2", "vqa", "cxr", None),
        ("60k-9000022_F2", "vqa", "cxr", None),
        ("60k-9000023_F3", "vqa", "mixed", None),
        ("eval-0", "vqa", "his", "test"),
    ]
    assert got.records[5].attributes == {"domain": "histology", "question_type": "conversation"}


def test_the_mark_stands_first_wherever_it_stood_and_under_either_key(miniature, read):
    got = read("llava-med", miniature("llava-med"))
    first, turns = got.records[0].message, got.records[3].message
    assert first[0].value == "<image>\nDescribe this figure."
    assert [(m.speaker, m.value) for m in turns] == [
        ("human", "<image>\nWhat is shown?"), ("gpt", "A chest X-ray."),
        ("human", "Is there a nodule?"), ("gpt", "Yes, in the left lung."),
    ]  # fmt: skip
    assert got.records[5].message[0].value == "<image>\nWhat stain is it?"


def test_turns_that_are_no_conversation_are_faults(miniature, read):
    root = miniature("llava-med")
    row = json.loads((root / _INSTRUCT).read_text())[0]
    human, gpt = row["conversations"][:2]
    wrong = [[], [human], [gpt, human], [human, gpt | {"value": " "}], [human | {"value": "<image>"}, gpt], "text"]
    (root / _INSTRUCT).write_text(json.dumps([row | {"conversations": turns} for turns in wrong] + [{"id": "x"}]))
    got = read("llava-med", root)
    assert len(got.records) == 4
    assert got.faults[0].where == f"{root / _INSTRUCT}: entry 0"
    assert [f.reason for f in got.faults] == [
        "conversations: expected a list of turns",
        "conversations: expected human and gpt by turns, found human",
        "conversations: expected human and gpt by turns, found gpt, human",
        "value: empty",
        "conversations: a turn that is nothing but <image>",
        "conversations: expected a list of turns",
        "no key conversations or conversatons; the row has id",
    ]


def test_a_pointer_in_place_of_a_file_is_an_error_that_says_so(miniature, read):
    root = miniature("llava-med")
    (root / _INSTRUCT).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(DataError, match="llava_med_instruct_60k.json: a Git LFS pointer"):
        read("llava-med", root)


def test_the_data_folder_itself_is_read_and_an_image_not_fetched_is_an_error(miniature, read):
    root = miniature("llava-med") / "data"
    sample = read("llava-med", root).samples[0]
    assert sample.record.input_img[0].path == "images/9000021_F1.jpg"
    sample.images[0]()
    (root / "images/9000021_F1.jpg").unlink()
    with pytest.raises(DataError, match="images/9000021_F1.jpg: No such file"):
        sample.images[0]()
