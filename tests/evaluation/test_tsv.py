"""Tables of VLMEvalKit are read with all their traps, and written so that it reads them."""

from __future__ import annotations

import base64
import csv
from dataclasses import replace
from pathlib import Path

import pytest

from unimedvl.data.miniatures import write_miniature
from unimedvl.data.miniatures.paint import encoded, picture
from unimedvl.evaluation.benchmark import Broken
from unimedvl.evaluation.benchmarks.omnimedvqa import OMNIMEDVQA
from unimedvl.evaluation.benchmarks.pathvqa import PATHVQA
from unimedvl.evaluation.benchmarks.slake import SLAKE
from unimedvl.evaluation.benchmarks.vqa_rad import VQA_RAD
from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.item import Item
from unimedvl.evaluation.tsv import Row, lmu_data, read_tsv, write_table, write_tsv

ONE, TWO = b"one image " * 8, b"another image " * 8


def coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture
def table(tmp_path):
    """Write a table of rows of cells by column."""

    def write(*rows: dict[str, str], name: str = "Demo.tsv", encoding: str = "utf-8") -> Path:
        with (tmp_path / name).open("w", encoding=encoding, newline="") as out:
            writer = csv.DictWriter(out, list(dict.fromkeys(c for r in rows for c in r)), delimiter="\t", restval="")
            writer.writeheader()
            writer.writerows(rows)
        return tmp_path / name

    return write


def test_a_short_image_cell_is_the_index_of_the_row_that_has_it_before_or_after(table):
    file = table(
        {"index": "0", "image": "2", "question": "What?"},
        {"index": "1", "image": coded(ONE), "question": "What?"},
        {"index": "2", "image": coded(TWO), "question": "What\nis it?"},
        {"index": "3", "image": "1", "question": "Where\tis it?"},
    )
    rows = list(read_tsv(file))
    assert [row.images[0]() for row in rows] == [TWO, ONE, TWO, ONE]
    assert rows[2].cell("question") == "What\nis it?" and rows[3].cell("question") == "Where\tis it?"


def test_a_reference_to_no_image_or_to_a_reference_is_told(table):
    file = table(
        {"index": "0", "image": "9", "question": "What?"},
        {"index": "1", "image": coded(ONE), "question": "What?"},
        {"index": "2", "image": "1", "question": "What?"},
        {"index": "3", "image": "2", "question": "What?"},
    )
    found = list(read_tsv(file))
    assert [type(row) for row in found] == [Broken, Row, Row, Broken]
    assert found[0].reason == "image: '9' is neither an image nor the index of a row that has one"
    assert found[0].where == f"{file}: row 2"


def test_several_images_are_a_list_and_may_be_referred_to(table):
    rows = list(read_tsv(table(
        {"index": "0", "image": repr([coded(ONE), coded(TWO)]), "question": "What?"},
        {"index": "1", "image": "0", "question": "What?"},
        {"index": "2", "image": "[" + coded(ONE), "question": "What?"},
    )))  # fmt: skip
    assert [[load() for load in row.images] for row in rows[:2]] == [[ONE, TWO]] * 2
    assert rows[2].reason == "image: expected base64, or a Python list of base64 texts"


def test_image_paths_are_absolute_or_below_the_folder_of_the_table(table, tmp_path):
    (tmp_path / "images/Demo").mkdir(parents=True)
    (tmp_path / "images/Demo/a.png").write_bytes(ONE)
    (tmp_path / "b.png").write_bytes(TWO)
    rows = (
        {"index": "0", "image_path": "a.png", "question": "What?"},
        {"index": "1", "image_path": str(tmp_path / "b.png"), "question": "What?"},
        {"index": "2", "image_path": f"['a.png', '{tmp_path / 'b.png'}']", "question": "What?"},
        {"index": "3", "image_path": "c.png", "question": "What?"},
    )
    # VLMEvalKit's form of a large table has another name and the same images.
    for name in ("Demo.tsv", "Demo_local.tsv"):
        found = list(read_tsv(table(*rows, name=name)))
        assert [[load() for load in row.images] for row in found[:3]] == [[ONE], [TWO], [ONE, TWO]]
        with pytest.raises(EvaluationError, match=r"c\.png: No such file"):
            found[3].images[0]()


def test_empty_options_are_absent_and_words_for_none_where_they_are_said_to_be(table):
    file = table(
        {"index": "0", "image": coded(ONE), "question": "?", "A": "x", "B": "None", "C": "None", "answer": "A"},
        {"index": "1", "image": coded(ONE), "question": "?", "A": "x", "B": "y", "C": "", "answer": "A"},
        {"index": "2", "image": coded(ONE), "question": "?", "A": "x", "B": "", "C": "z", "answer": "A"},
        {"index": "3", "image": coded(ONE), "question": "?", "A": "", "B": "", "C": "", "answer": "['x', 'y']"},
    )
    rows = list(read_tsv(file, {"C": ("None",)}))
    assert [row.options for row in (rows[0], rows[1], rows[3])] == [("x", "None"), ("x", "y"), ()]
    assert rows[2].reason == "option B: empty, before others that are not"
    assert rows[3].answers == ("x", "y")


def test_what_is_wrong_with_a_row_is_told(table, tmp_path):
    file = table(
        {"index": "0", "image": coded(ONE), "question": "?"},
        {"index": "0", "image": coded(ONE), "question": "?"},
        {"index": "", "image": coded(ONE), "question": "?"},
        {"index": "3", "image": coded(ONE), "question": " "},
        {"index": "4", "image": "", "question": "?"},
        {"index": "5", "image": "#" * 80, "question": "?"},
    )
    with file.open("a") as out:
        out.write("6\ttoo few\n")
    found = list(read_tsv(file))
    assert [row.reason for row in found if isinstance(row, Broken)] == [
        "index: 0 is before it", "index: empty", "question: empty", "no image", "expected 3 cells, found 2",
    ]  # fmt: skip
    with pytest.raises(EvaluationError, match="row 7: image: not base64"):
        found[5].images[0]()


def test_a_table_that_is_none_is_refused_in_one_line(tmp_path):
    file = tmp_path / "Demo.tsv"
    with pytest.raises(EvaluationError, match="No such file"):
        list(read_tsv(file))
    for content, told in ((b"", "nothing in it"), (b"index\tname\n", "no column question, image or image_path"),
                          (b"index\tquestion\timage\n\xff\t1\t2\n", "not UTF-8")):  # fmt: skip
        file.write_bytes(content)
        with pytest.raises(EvaluationError, match=told):
            list(read_tsv(file))


def test_images_are_read_when_asked_for_and_a_changed_table_is_noticed(table):
    file = table({"index": "0", "image": coded(ONE), "question": "?"}, encoding="utf-8-sig")
    (row,) = read_tsv(file)
    assert row.images[0]() == ONE and ONE not in row.cells.values() and coded(ONE) not in row.cells.values()
    file.write_text("index\n")
    with pytest.raises(EvaluationError, match="row 2 is no longer what it was"):
        row.images[0]()


@pytest.mark.parametrize(("benchmark", "name"), [(SLAKE, "slake"), (VQA_RAD, "vqa-rad")])
def test_what_vlmevalkit_lacks_is_written_and_read_back_the_same(benchmark, name, tmp_path, monkeypatch):
    write_miniature(name, tmp_path / name)
    told: list[tuple[int, int]] = []
    file, count, broken = write_table(benchmark, tmp_path / name, tmp_path / "LMUData", lambda *n: told.append(n))
    assert file == tmp_path / "LMUData" / f"{benchmark.title}.tsv" and count == 2 and not broken
    assert told == [(1, 2), (2, 2)]
    monkeypatch.setenv("LMUData", str(tmp_path / "LMUData"))
    ours, theirs = list(benchmark.read(tmp_path / name)), list(benchmark.read(None))
    assert [replace(item, images=()) for item in ours] == [replace(item, images=()) for item in theirs]
    assert [[load() for load in item.images] for item in ours] == [[load() for load in item.images] for item in theirs]


def test_a_written_table_has_the_columns_of_vlmevalkit_and_an_image_once(tmp_path):
    write_miniature("slake", tmp_path / "slake")
    file, _, _ = write_table(SLAKE, tmp_path / "slake", tmp_path)
    with file.open(newline="") as lines:
        first, second = csv.DictReader(lines, delimiter="\t")
    assert {"index", "image", "question", "answer", "category", "split"} <= set(first)
    assert len(first["image"]) > 64 and second["image"] == first["index"]
    assert (first["answer"], first["split"], first["answer_type"]) == ("Left", "test", "closed")


def test_options_lists_and_words_that_pandas_drops_are_written_so_that_they_stay(tmp_path):
    items = [
        Item("0", "ask", "choice", (lambda: ONE, lambda: TWO), question="Which?", options=("None", "NA", "x"),
             answers=("A",)),
        Item("1", "ask", "open", (lambda: ONE,), question="Which\tone?\n\"This\"", answers=("a", "b")),
        Item("2", "ask", "open", (lambda: ONE, lambda: TWO), question="Which?", answers=("None",)),
    ]  # fmt: skip
    assert write_tsv(items, tmp_path / "Demo.tsv") == 3
    with (tmp_path / "Demo.tsv").open(newline="") as lines:
        written = list(csv.DictReader(lines, delimiter="\t"))
    assert (written[0]["A"], written[0]["B"], written[2]["answer"]) == ("None ", "NA ", "None ")
    assert written[2]["image"] == "0"
    rows = list(read_tsv(tmp_path / "Demo.tsv"))
    assert [row.options for row in rows] == [("None", "NA", "x"), (), ()]
    assert [row.answers for row in rows] == [("A",), ("a", "b"), ("None",)]
    assert rows[1].cell("question") == items[1].question and len(rows[2].images) == 2


@pytest.mark.parametrize(
    ("item", "told"),
    [
        (Item("a/b", "ask", "open", (lambda: ONE,), answers=("x",)), "an index is"),
        (Item("007", "ask", "open", (lambda: ONE,), answers=("x",)), "an index is"),
        (Item("NA", "ask", "open", (lambda: ONE,), answers=("x",)), "an index is"),
        (Item("1", "ask", "open", (), answers=("x",)), "no image"),
        (Item("1", "ask", "open", (lambda: b"tiny",), answers=("x",)), "taken for a row's index"),
        (Item("1", "generate", "image", (lambda: ONE,)), "of kind image"),
    ],
)
def test_an_item_that_no_table_can_hold_leaves_no_file(tmp_path, item, told):
    with pytest.raises(EvaluationError, match=told):
        write_tsv([item], tmp_path / "Demo.tsv")
    assert not list(tmp_path.iterdir())


def test_only_what_vlmevalkit_lacks_is_written_as_a_table_of_its_own(tmp_path):
    with pytest.raises(EvaluationError, match="pathvqa: no table of it is written; there are vqa-rad, slake"):
        write_table(PATHVQA, tmp_path, tmp_path)
    with pytest.raises(EvaluationError, match="no items"):
        write_tsv([], tmp_path / "Demo.tsv")


def test_tables_in_parts_are_read_by_their_numbers(table, tmp_path):
    image = coded(encoded(picture("mri", 1)))
    row = {"index": "0", "image": image, "question": "Which?", "A": "x", "B": "y", "answer": "B", "modality": "MR scan"}
    for number in (10, 2):
        table(row, name=f"omnimedbench_part_{number}.tsv")
    table({"index": "0", "image_path": "0.png", "question": "?"}, name="omnimedbench_part_2_local.tsv")
    items = list(OMNIMEDVQA.read(tmp_path))
    assert [item.id for item in items] == ["omnimedbench_part_2-0", "omnimedbench_part_10-0"]
    assert dict(items[0].groups) == {"modality": "mri"} and items[0].answers == ("B",)


def test_an_answer_that_is_no_option_and_a_hint(table, tmp_path):
    row = {"index": "0", "image": coded(ONE), "question": "Which?", "A": "x", "B": "y", "answer": "C", "hint": "Look."}
    table(row, row | {"index": "1", "answer": "A"}, name="OmniMedVQA.tsv")
    broken, item = OMNIMEDVQA.read(tmp_path)
    assert broken.reason == "answer: expected one of A, B, found 'C'"
    assert item.text.startswith("Hint: Look.\nQuestion: Which?\nOptions:\nA. x\n")


def test_the_folder_of_tables_is_that_of_vlmevalkit(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("LMUData", raising=False)
    assert lmu_data() is None
    (tmp_path / "LMUData").mkdir()
    assert lmu_data() == tmp_path / "LMUData"
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("LMUData", str(tmp_path / "other"))
    assert lmu_data() == tmp_path / "other"
    monkeypatch.setenv("LMUData", str(tmp_path / "missing"))
    assert lmu_data() == tmp_path / "LMUData"


def test_vlmevalkits_own_table_of_pathvqa_is_read_from_its_folder(table, tmp_path, monkeypatch):
    table(
        {"index": "0", "image": coded(ONE), "question": "What is dense?", "answer": "Stroma", "split": "test"},
        {"index": "1", "image": "0", "question": "Are glands shown?", "answer": "No", "split": "test"},
        name="PathVQA_TEST.tsv",
    )
    monkeypatch.setenv("LMUData", str(tmp_path))
    first, second = PATHVQA.read(None)
    assert (first.kind, first.answers, dict(first.groups)) == (
        "open", ("Stroma",), {"answer type": "open", "category": "what"},
    )  # fmt: skip
    assert (second.kind, second.answers, second.images[0]()) == ("closed", ("no",), ONE)
    assert second.groups["category"] == "whether or other"
