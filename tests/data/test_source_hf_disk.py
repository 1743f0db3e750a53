"""A data set saved to disk: rows of all files in order, images out of the mapped file, and other forms of columns."""

from __future__ import annotations

import json

import pytest

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.hf_disk import save
from unimedvl.data.miniatures.paint import encoded, picture


def _image(seed: int) -> dict:
    return {"bytes": encoded(picture("cxr", seed)), "path": "a.jpg"}


def test_rows_of_all_files_and_splits_with_classes_in_words(miniature, read):
    got = read("hf-disk", miniature("hf-disk"))
    assert not got.faults
    assert [(r.id, r.split, r.message[1].value) for r in got.records] == [
        ("train-0", "train", "no"), ("train-1", "train", "yes"), ("train-2", "train", "no"),
        ("validation-0", "validation", "yes"),
    ]  # fmt: skip
    assert [r.attributes.get("organ") for r in got.records] == ["lung", "heart", None, "lung"]
    assert {r.licence for r in got.records} == {"cc0-1.0"}
    assert [s.images[0]() for s in got.samples] == [encoded(picture("cxr", 800 + n)) for n in (0, 1, 2, 0)]


def test_one_data_set_of_captions_or_of_several_images_or_of_text(tmp_path, read):
    save(tmp_path / "a", [[{"image": _image(1), "text": "Seen."}]], "extra", {})
    two = {"images": [_image(1), _image(2)], "question": "What changed?", "answer": "A lot."}
    save(tmp_path / "b", [[two]], "", {})
    save(tmp_path / "c", [[{"question": "What is it?", "answer": "It."}]], "test", {})
    (captioned,), (several,), (text,) = (read("hf-disk", tmp_path / name).samples for name in "abc")
    assert (captioned.record.sub_task_type, captioned.record.split) == ("caption", None)
    assert captioned.record.message[1].value == "Seen." and captioned.record.attributes == {"split": "extra"}
    assert several.record.message[0].value == "<image>\n<image>\nWhat changed?" and several.record.id == "row-0"
    assert [load() for load in several.images] == [_image(1)["bytes"], _image(2)["bytes"]]
    assert (text.record.modality, text.record.sub_task_type, text.record.split) == ("text", "text_qa", "test")


def test_rows_without_bytes_or_answer_are_faults(tmp_path, read):
    rows = [
        {"image": _image(1) | {"bytes": None}, "question": "Is it?", "answer": 1},
        {"image": None, "question": "Is it?", "answer": 0},
        {"image": _image(1), "question": "Is it?", "answer": 2},
        {"image": _image(1), "question": "Is it?", "answer": None},
        {"image": _image(1), "question": "Is it?", "answer": 0},
    ]
    save(tmp_path, [rows], "train", {"answer": {"names": ["no", "yes"], "_type": "ClassLabel"}})
    got = read("hf-disk", tmp_path)
    assert [r.id for r in got.records] == ["train-4"]
    file = tmp_path / "data-00000-of-00001.arrow"
    missing = "image: expected its bytes, found none; save the data set with its images inside"
    assert [(f.where, f.reason) for f in got.faults] == [
        (f"{file}: row 0", missing),
        (f"{file}: row 1", missing),
        (f"{file}: row 2", "answer: expected one of 0 to 1, found 2"),
        (f"{file}: row 3", "answer: empty"),
    ]


def test_missing_and_broken_files_and_chosen_rows_are_errors(miniature, read):
    root = miniature("hf-disk")
    file, state = root / "train/data-00001-of-00002.arrow", root / "train/state.json"
    whole = file.read_bytes()
    file.write_bytes(b"no Arrow at all, but a text")
    with pytest.raises(DataError, match="data-00001-of-00002.arrow: no Arrow stream"):
        read("hf-disk", root)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="data-00001-of-00002.arrow: "):
        read("hf-disk", root)
    file.unlink()
    with pytest.raises(DataError, match="expected data-00001-of-00002.arrow in it"):
        read("hf-disk", root)
    state.write_text(json.dumps(json.loads(state.read_text()) | {"_indices_files": [{"filename": "indices.arrow"}]}))
    with pytest.raises(DataError, match="flatten_indices"):
        read("hf-disk", root)
