"""Each benchmark on a miniature of its published form: items, wording, and the figures of predictors that are known."""

from __future__ import annotations

import json
import math
import pickle
import random
from pathlib import Path

import pytest

from unimedvl.data.miniatures.paint import picture, save
from unimedvl.evaluation.benchmark import Broken
from unimedvl.evaluation.benchmarks.gmai_mmbench import GMAI_MMBENCH, GMAI_MMBENCH_TEST
from unimedvl.evaluation.benchmarks.medxpertqa import MEDXPERTQA
from unimedvl.evaluation.benchmarks.omnimedvqa import OMNIMEDVQA
from unimedvl.evaluation.benchmarks.pathvqa import PATHVQA
from unimedvl.evaluation.benchmarks.pmc_vqa import PMC_VQA, PMC_VQA_2
from unimedvl.evaluation.benchmarks.slake import SLAKE
from unimedvl.evaluation.benchmarks.vqa_rad import VQA_RAD
from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.item import LETTERS, Prediction
from unimedvl.evaluation.published import published as figures

# Benchmark, the source whose miniature it reads, and the answers to its items there.
SCORED = (
    (VQA_RAD, "vqa-rad", ["yes", "left frontal lobe"]),
    (SLAKE, "slake", ["Left", "Cough"]),
    (PATHVQA, "pathvqa", ["4"]),
    (OMNIMEDVQA, "omnimedvqa", ["B", "B", "C"]),
    (GMAI_MMBENCH, "gmai-mmbench", ["E", "D", "B"]),
    (PMC_VQA, "pmc-vqa", ["A"]),
    (PMC_VQA_2, "pmc-vqa", ["A"]),
    (MEDXPERTQA, "medxpertqa", ["D"]),
)
ALL = (*SCORED, (GMAI_MMBENCH_TEST, "gmai-mmbench", []))
IDS = [benchmark.name for benchmark, *_ in ALL]


@pytest.mark.parametrize(("benchmark", "name", "answers"), SCORED, ids=IDS[:-1])
def test_the_published_form_gives_the_items_of_its_part(published, benchmark, name, answers):
    items = list(benchmark.read(published(name)))
    assert [item.answers[0] for item in items] == answers
    assert len({item.id for item in items}) == len(items)
    for item in items:
        assert item.task == "ask" and item.question in item.text
        assert item.images and all(len(load()) > 1000 for load in item.images)
        assert all(text in item.text for text in item.options)


@pytest.mark.parametrize(("benchmark", "name", "answers"), SCORED, ids=IDS[:-1])
def test_an_oracle_is_always_right(published, predicted, benchmark, name, answers):
    items = list(benchmark.read(published(name)))
    scored = benchmark.score(predicted(items, lambda item: item.answers[0]))
    assert all(score.value == 1.0 for score in scored.scores)
    assert scored.scores[0].metric == "accuracy" and scored.scores[0].group == ""
    assert scored.scores[0].n == len(items)
    assert all(value["accuracy"] == 1.0 for value in scored.values)


@pytest.mark.parametrize(("benchmark", "name", "answers"), SCORED, ids=IDS[:-1])
def test_what_always_says_the_same_gets_the_share_of_it(published, predicted, benchmark, name, answers):
    items = list(benchmark.read(published(name)))
    for said in ("A", "B", "C") if items[0].kind == "choice" else ("yes", "no", "4"):
        scored = benchmark.score(predicted(items, lambda item, said=said: said))
        assert scored.scores[0].value == pytest.approx(answers.count(said) / len(answers))


@pytest.mark.parametrize(("benchmark", "name", "answers"), SCORED, ids=IDS[:-1])
def test_answers_that_cannot_be_read_and_failures_are_wrong_and_counted(published, predicted, benchmark, name, answers):
    items = list(benchmark.read(published(name)))
    nothing = benchmark.score(predicted(items, lambda item: "<think>I wonder")).scores[0]
    assert (nothing.value, nothing.unparsed, nothing.failed) == (0.0, len(items), 0)
    broken = benchmark.score(predicted(items, lambda item: Prediction(error="out of memory"))).scores[0]
    assert (broken.value, broken.unparsed, broken.failed) == (0.0, 0, len(items))


@pytest.mark.parametrize("benchmark", [b for b, *_ in ALL], ids=IDS)
def test_a_benchmark_declares_its_protocol(benchmark):
    told = benchmark.protocol.to_dict()
    assert all(told[key] for key in ("split", "prompt", "extraction", "closed", "judge", "source"))
    assert benchmark.area == "understanding" and benchmark.home.startswith("https://") and benchmark.licence
    assert benchmark.expected > 0 and benchmark.needs_data and not benchmark.simulated
    assert f"{benchmark.expected:,}" in benchmark.protocol.split


@pytest.mark.parametrize("name", ["vqa-rad", "slake", "pathvqa", "omnimedvqa", "gmai-mmbench"])
def test_the_headline_stands_beside_the_published_figure(published, predicted, name):
    benchmark = next(b for b, *_ in ALL if b.name == name)
    headline = benchmark.score(predicted(list(benchmark.read(published(name))), lambda item: "")).scores[0]
    assert "UniMedVL (14B)" in [p.model for p in figures(benchmark.name, headline.metric, headline.group)]


def test_multiple_choice_is_worded_as_by_vlmevalkit(published):
    item = next(iter(OMNIMEDVQA.read(published("omnimedvqa"))))
    assert item.text == (
        "Question: What modality is this?\nOptions:\nA. CT\nB. MRI\nC. X-ray\nD. Ultrasound\n"
        "Please select the correct answer from the options above. \n"
    )


def test_short_answers_are_asked_for_as_by_vlmevalkit(published):
    item = next(iter(PATHVQA.read(published("pathvqa"))))
    assert item.text == "How many glands are there?\nPlease directly provide a short answer to the question. "


def test_random_letters_get_about_one_in_four_of_four_options(tmp_path, predicted):
    rng = random.Random(1)
    rows = []
    for number in range(400):
        options = dict(zip("ABCD", ("Cyst", "Edema", "Glioma", "Fat"), strict=True))
        rows.append({
            "dataset": "Demo", "question_id": f"Demo_{number}", "question_type": "Disease Diagnosis",
            "question": "Which simulated lesion is shown?", "gt_answer": rng.choice(list(options.values())),
            "image_path": "Images/Demo/a.png", **{f"option_{k}": v for k, v in options.items()}, "modality_type": "MR",
        })  # fmt: skip
    folder = tmp_path / "QA_information" / "Open-access"
    folder.mkdir(parents=True)
    (folder / "Demo.json").write_text(json.dumps(rows))
    save(tmp_path / "Images/Demo/a.png", picture("mri", 1))
    pairs = predicted(list(OMNIMEDVQA.read(tmp_path)), lambda item: rng.choice(LETTERS[: len(item.options)]))
    headline = OMNIMEDVQA.score(pairs).scores[0]
    # Four standard deviations of a binomial share.
    assert abs(headline.value - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 400)
    assert headline.low < 0.25 < headline.high and headline.n == 400


def test_the_answers_of_the_gmai_test_part_are_not_published(published, predicted, tmp_path):
    from unimedvl.evaluation.benchmarks.gmai_mmbench import write_predictions

    items = list(GMAI_MMBENCH_TEST.read(published("gmai-mmbench")))
    # Parts in the order of their numbers, each counting from the same one.
    assert [item.id for item in items] == ["GMAI_mm_bench_TEST_part_2-0", "GMAI_mm_bench_TEST_part_10-0"]
    assert all(not item.answers and item.options for item in items)
    said = iter(["The answer is B.", "no idea"])
    pairs = predicted(items, lambda item: next(said))
    scored = GMAI_MMBENCH_TEST.score(pairs)
    assert scored.scores[0].n == 0 and math.isnan(scored.scores[0].value) and "submit" in scored.scores[0].beside
    assert scored.values == [{}, {}]
    assert write_predictions(pairs, tmp_path / "test.tsv") == 1
    lines = (tmp_path / "test.tsv").read_text().splitlines()
    assert lines[0].split("\t") == ["id", "index", "question", "prediction", "said"]
    assert [line.split("\t")[1:4:2] for line in lines[1:]] == [["0", "B"], ["0", ""]]


def test_the_restricted_part_of_omnimedvqa_is_left_out(published):
    assert not [item for item in OMNIMEDVQA.read(published("omnimedvqa")) if item.id.startswith("DemoChest")]


def test_medxpertqa_has_the_questions_with_images_alone_and_their_options_once(published):
    (item,) = MEDXPERTQA.read(published("medxpertqa"))
    assert len(item.images) == 3 and item.text.count("Kidney") == 1
    assert dict(item.groups) == {"category": "Diagnosis", "question type": "Reasoning", "body system": "Nervous"}


def test_closed_questions_may_have_other_answers_than_yes_and_no(published, predicted):
    items = list(SLAKE.read(published("slake")))
    assert [(item.kind, item.groups["answer type"]) for item in items] == [("open", "closed"), ("open", "open")]
    scores = SLAKE.score(predicted(items, lambda item: "The left.")).scores
    by = {(score.metric, score.group): score for score in scores}
    assert by["accuracy", "answer type: closed"].value == 1.0
    assert by["accuracy", "answer type: open"].value == 0.0
    assert by["token recall", "answer type: open"].n == 1


def test_the_headline_of_slake_is_of_english_questions(tmp_path, published, predicted):
    _slake_in_two_languages(tmp_path, published("slake"))
    items = list(SLAKE.read(tmp_path))
    assert [item.groups["language"] for item in items] == ["en", "en", "zh"]
    assert items[2].text.startswith("图中有肺吗\n请")
    scored = SLAKE.score(predicted(items, lambda item: "有。" if item.groups["language"] == "zh" else "left"))
    by = {(score.metric, score.group): score for score in scored.scores}
    assert (by["accuracy", ""].value, by["accuracy", ""].n) == (0.5, 2)
    assert by["accuracy", ""].beside == "language en only"
    assert (by["accuracy", "language: zh"].value, by["accuracy", "language: zh"].n) == (1.0, 1)
    assert by["accuracy", "modality: cxr"].n == 2
    assert [sorted(value) for value in scored.values] == [
        ["accuracy"], ["accuracy", "token recall"], ["accuracy, language: zh"],
    ]  # fmt: skip


def _slake_in_two_languages(root: Path, miniature: Path) -> None:
    rows = json.loads((miniature / "test.json").read_text())
    other = next(row for row in json.loads((miniature / "train.json").read_text()) if row["q_lang"] == "zh")
    (root / "test.json").write_text(json.dumps([*rows, other]))
    (root / "imgs").symlink_to(miniature / "imgs")


def test_kinds_of_vqa_rad_questions_are_spelled_one_way(tmp_path, published):
    name = "VQA_RAD Dataset Public.json"
    rows = json.loads((published("vqa-rad") / name).read_text())
    rows[1]["question_type"], rows[4]["question_type"] = "Other", "PRSE, ATRIB"
    (tmp_path / name).write_text(json.dumps(rows))
    (tmp_path / "VQA_RAD Image Folder").symlink_to(published("vqa-rad") / "VQA_RAD Image Folder")
    groups = [item.groups for item in VQA_RAD.read(tmp_path)]
    assert [group["category"] for group in groups] == ["OTHER", "ATTRIB, PRES"]
    assert [group["modality"] for group in groups] == ["cxr", "head ct or mri"]


def test_a_broken_entry_is_told_where_it_is_of_the_part(tmp_path, published):
    rows = json.loads((published("slake") / "test.json").read_text())
    rows[0]["answer"] = ""
    (tmp_path / "test.json").write_text(json.dumps(rows))
    train = json.loads((published("slake") / "train.json").read_text())
    train[0]["answer"] = ""
    (tmp_path / "train.json").write_text(json.dumps(train))
    (tmp_path / "imgs").symlink_to(published("slake") / "imgs")
    broken = [item for item in SLAKE.read(tmp_path) if isinstance(item, Broken)]
    assert [b.reason for b in broken] == ["answer: empty"] and "test.json: entry 0" in broken[0].where


def test_a_folder_without_the_data_is_named(tmp_path, published, monkeypatch):
    with pytest.raises(EvaluationError, match="expected train.json or"):
        list(SLAKE.read(tmp_path))
    (tmp_path / "train.json").write_text("[]")
    (tmp_path / "imgs").mkdir()
    with pytest.raises(EvaluationError, match="nothing of the test part of slake"):
        list(SLAKE.read(tmp_path))
    monkeypatch.delenv("LMUData", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(EvaluationError, match=r"set LMUData to one with SLAKE\.tsv"):
        list(SLAKE.read(None))
    monkeypatch.setenv("LMUData", str(tmp_path))
    with pytest.raises(EvaluationError, match=r"no SLAKE\.tsv in it"):
        list(SLAKE.read(None))


@pytest.mark.parametrize("benchmark", [VQA_RAD, PATHVQA], ids=["vqa-rad", "pathvqa"])
def test_the_parquet_form_tells_no_modality_and_calls_closed_what_is_yes_or_no(tmp_path, benchmark):
    import pyarrow
    import pyarrow.parquet

    (tmp_path / "data").mkdir()
    save(tmp_path / "one.png", picture("his", 1))
    image = {"bytes": (tmp_path / "one.png").read_bytes(), "path": None}
    rows = [("What is shown?", "glands"), ("Is it the left one?", "Yes"), ("Where is it?", "")]
    for split in ("train", "test"):
        table = pyarrow.Table.from_pylist([{"image": image, "question": q, "answer": a} for q, a in rows])
        pyarrow.parquet.write_table(table, tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    *items, broken = benchmark.read(tmp_path)
    assert [(item.id, item.kind, item.answers) for item in items] == [
        ("test-0", "open", ("glands",)), ("test-1", "closed", ("yes",)),
    ]  # fmt: skip
    assert all("modality" not in item.groups for item in items)
    assert broken.reason == "answer: empty" and "test-00000" in broken.where


def test_items_can_be_sent_to_other_processes(published):
    items = [next(iter(b.read(published(name)))) for b, name, _ in SCORED if name in ("slake", "gmai-mmbench")]
    for item, again in zip(items, pickle.loads(pickle.dumps(items)), strict=True):
        assert again.text == item.text and again.images[0]() == item.images[0]()
