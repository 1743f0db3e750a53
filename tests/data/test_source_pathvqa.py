"""PathVQA: the pickles, which must not run code, and the Parquet form."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import encoded, picture

_TRAIN = "pvqa/qas/train/train_qa.pkl"


class _Touches:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def test_pickles_of_all_splits_are_read_with_their_images(miniature, read):
    got = read("pathvqa", miniature("pathvqa"))
    assert not got.faults
    assert [(r.id, r.split) for r in got.records] == [
        ("train-0", "train"), ("train-1", "train"), ("train-2", "train"), ("validation-0", "validation"),
        ("test-0", "test"),
    ]  # fmt: skip
    assert [r.message[1].value for r in got.records] == ["in the gland", "yes", "Stroma", "No", "4"]
    assert [r.attributes["answer_type"] for r in got.records] == ["open", "closed", "open", "closed", "open"]
    assert got.records[3].input_img[0].path == "images/val/val_0001.jpg"
    assert got.samples[2].images[0]() == encoded(picture("his", 912))
    assert got.samples[3].images[0]() == encoded(picture("his", 913))


def test_the_other_folder_s_name_and_a_suffix_in_the_image_s_name_are_taken(miniature, read):
    root = miniature("pathvqa")
    expected = read("pathvqa", root).records
    rows = [{"image": f"{r['image']}.jpg"} | {k: r[k] for k in ("question", "answer")}
            for r in pickle.loads((root / _TRAIN).read_bytes())]  # fmt: skip
    (root / _TRAIN).write_bytes(pickle.dumps(rows, protocol=2))
    (root / "pvqa").rename(root / "split")
    assert read("pathvqa", root).records == expected
    assert read("pathvqa", root / "split").records == expected


def test_a_pickle_that_would_run_code_is_refused_before_it_does(miniature, read, tmp_path):
    root = miniature("pathvqa")
    (root / _TRAIN).write_bytes(pickle.dumps([_Touches(tmp_path / "ran")]))
    with pytest.raises(DataError, match=r"train_qa\.pkl: not a pickle of plain values: it names "):
        read("pathvqa", root)
    assert not (tmp_path / "ran").exists()
    (root / _TRAIN).write_bytes(pickle.dumps({"image": []}))
    with pytest.raises(DataError, match=r"train_qa\.pkl: expected a list, found dict"):
        read("pathvqa", root)


def test_bad_rows_are_faults_and_a_missing_image_is_an_error(miniature, read):
    root = miniature("pathvqa")
    row = {"image": "train_0009", "question": "Is it dense?", "answer": "yes"}
    wrong = [row, row | {"answer": None}, row | {"question": " "}, {"question": "?", "answer": "yes"}, "text"]
    (root / _TRAIN).write_bytes(pickle.dumps(wrong))
    got = read("pathvqa", root)
    assert [r.id for r in got.records] == ["train-0", "validation-0", "test-0"]
    assert [f.where for f in got.faults] == [f"{root / _TRAIN}: entry {n}" for n in range(1, 5)]
    reasons = [f.reason for f in got.faults]
    assert reasons[:2] == ["answer: empty", "question: empty"]
    assert reasons[2].startswith("no key image;") and reasons[3] == "expected an object, found str"
    with pytest.raises(DataError, match=r"images/train/train_0009\.jpg: No such file"):
        got.samples[0].images[0]()
    shutil.rmtree(root / "pvqa/images")
    with pytest.raises(DataError, match="expected images in it, found none"):
        read("pathvqa", root)


def test_the_parquet_form_counts_on_over_the_files_of_a_split(tmp_path, read):
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match=r"data: expected train-\*\.parquet or .* in it, found none"):
        read("pathvqa", tmp_path)
    images = [{"bytes": encoded(picture("his", n)), "path": None} for n in (1, 2)]
    for name in ("train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001"):
        rows = {"image": [*images[:1], None], "question": ["Is it dense?"] * 2, "answer": ["Yes", "no"]}
        rows["image"][1] = images[1] if name.startswith("train-00001") else None
        pq.write_table(pa.table(rows), tmp_path / f"data/{name}.parquet")
    got = read("pathvqa", tmp_path)
    assert [r.id for r in got.records] == ["train-0", "train-2", "train-3", "validation-0"]
    assert got.records[3].split == "validation" and got.records[0].attributes["answer_type"] == "closed"
    assert got.samples[2].images[0]() == images[1]["bytes"]
    assert [f.reason for f in got.faults] == ["image: expected an image's bytes, found none"] * 2
