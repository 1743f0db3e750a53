"""Medical-Diff-VQA: one image or two, its own split, and rows that can't be joined."""

from __future__ import annotations

import shutil

import pytest

from unimedvl.data.error import DataError


def test_only_a_question_on_a_difference_has_the_reference_before_its_image(miniature, read):
    got = read("medical-diff-vqa", miniature("medical-diff-vqa"))
    assert not got.faults
    assert [r.id for r in got.records] == ["50000902-1", "50000902-2", "50000901-3", "50000901-4"]
    assert [r.sub_task_type for r in got.records] == ["difference_vqa", "vqa", "vqa", "vqa"]
    change, presence, *_ = got.records
    assert [p.path.split("/")[-2] for p in change.input_img] == ["s50000901", "s50000902"]
    assert change.message[0].value == (
        "<image>\n<image>\nThe first image is the reference image, the second is the main image. "
        "what has changed compared to the reference image?"
    )
    assert change.message[1].value == "the main image is missing the finding of edema than the reference image."
    assert change.attributes["reference_study"] == "50000901"
    assert change.attributes["views"] == "postero-anterior, antero-posterior"
    assert [p.path for p in presence.input_img] == [
        "mimic-cxr-jpg/2.0.0/files/p10/p10000901/s50000902/50000902-00000000-0badcafe-0badcafe-0badcafe.jpg"
    ]
    assert "reference_study" not in presence.attributes


def test_the_split_is_that_of_the_questions(miniature, read):
    got = read("medical-diff-vqa", miniature("medical-diff-vqa")).records
    assert [r.split for r in got] == ["train", "validation", "test", "train"]
    assert {r.attributes["mimic_split"] for r in got} == {"train"}


def test_the_image_tree_may_be_beside_the_tables(miniature, read):
    root = miniature("medical-diff-vqa")
    shutil.move(root / "mimic-cxr-jpg/2.0.0/files", root / "files")
    shutil.rmtree(root / "mimic-cxr-jpg")
    got = read("medical-diff-vqa", root)
    assert got.records[1].input_img[0].path.startswith("files/p10/") and got.samples[1].images[0]()


def test_rows_that_cannot_be_joined_are_faults(miniature, read):
    root = miniature("medical-diff-vqa")
    with (root / "mimic_pair_questions.csv").open("a") as out:
        out.write("50000999,10000901,50000901,view,which view?,PA view,train\n")
        out.write("50000902,10000901,50000999,difference,what has changed?,nothing has changed.,train\n")
        out.write("50000902,11000902,50000901,view,which view?,PA view,train\n")
        out.write("50000902,10000901,50000999,view,which view?,,train\n")
        out.write("50000902,10000901,50000999,view,which view?,PA view,train\n")
    got = read("medical-diff-vqa", root)
    assert [f.reason for f in got.faults] == [
        "study_id: 50000999 is not in mimic_all.csv",
        "ref_id: 50000999 is not in mimic_all.csv",
        "study_id: 50000902 is of subject 10000901 in mimic_all.csv, of 11000902 here",
        "answer: empty",
    ]
    assert [f.where.rpartition(": ")[2] for f in got.faults] == ["row 6", "row 7", "row 8", "row 9"]
    # The reference of a question on one image isn't needed.
    assert got.records[-1].id == "50000902-9"


def test_a_missing_image_is_an_error_when_it_is_loaded(miniature, read):
    root = miniature("medical-diff-vqa")
    sample = read("medical-diff-vqa", root).samples[0]
    (root / sample.record.input_img[0].path).unlink()
    with pytest.raises(DataError, match="s50000901/.*jpg: No such file"):
        sample.images[0]()
