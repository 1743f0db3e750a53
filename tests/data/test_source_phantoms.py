"""Phantoms as records: every task, from the settings of a file, with the truth of the study."""

from __future__ import annotations

import io
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from unimedvl.data.error import DataError
from unimedvl.data.interleaved.degradation import declared
from unimedvl.data.sources import source
from unimedvl.phantoms import SIMULATORS, simulate
from unimedvl.phantoms.parser import parse_findings
from unimedvl.phantoms.study import FIRST_TRAINING_SEED


@pytest.fixture
def settings(tmp_path):
    def write(**values):
        (tmp_path / "phantoms.json").write_text(json.dumps(values))
        return tmp_path

    return write


def pixels(load) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(load())))


def simulated(record):
    """The study of a record; its id begins with the modality of the whole study."""
    modality, seed = record.study.split("-")
    return simulate(modality, int(seed), 64)


def test_every_modality_and_task_is_there_and_held_out_seeds_are_the_test_split(miniature, read):
    got = read("phantoms", miniature("phantoms"))
    assert not got.faults
    assert {r.modality for r in got.records} == {*SIMULATORS, "ihc"}
    assert {r.sub_task_type for r in got.records} == set(source("phantoms").tasks)
    for r in got.records:
        assert (r.split == "test") == (int(r.study.split("-")[-1]) < FIRST_TRAINING_SEED)
        assert r.attributes["simulated"] == "yes" and r.patient


def test_what_a_record_says_and_shows_is_the_studys(settings, read):
    got = read("phantoms", settings(studies=6, first_seed=40, size=64, modalities=["mri", "his"]))
    for sample in got.samples:
        r = sample.record
        study = simulated(r)
        shown = [pixels(load) for load in sample.images]
        assert all(p.height == a.shape[0] and p.width == a.shape[1] for p, a in zip(r.pictures, shown, strict=True))
        if r.sub_task_type in ("report", "vqa", "text_to_image"):
            assert any(np.array_equal(shown[0], image) for image in study.images.values())
        if r.sub_task_type == "report":
            assert set(parse_findings(r.message[1].value, study.modality)) == {f.name for f in study.findings}
        if r.sub_task_type == "segmentation":
            assert np.array_equal(shown[1] > 0, study.masks[r.attributes["target"]])
        if r.sub_task_type == "staining":
            assert f"level {study.attributes['her2']}" in r.message[0].value
            assert np.array_equal(shown[1], study.images["ihc"])
        if r.sub_task_type == "counterfactual":
            ill = shown[0] if r.attributes["change"] in ("resolved", "better") else shown[1]
            assert np.array_equal(ill, next(iter(study.images.values()))) and not np.array_equal(shown[0], shown[1])
        if r.sub_task_type == "super_resolution":
            assert np.array_equal(declared(r.attributes).applied(shown[1], r.id), shown[0])


def test_what_shows_an_immunostain_alone_is_of_that_modality(settings, read):
    records = read("phantoms", settings(studies=9, first_seed=40, size=64, modalities=["his"])).records
    for r in records:
        drawn = (r.output_img or r.input_img)[0].path
        assert r.modality == ("ihc" if "-ihc" in drawn else "his"), r.id
    assert {r.sub_task_type for r in records if r.modality == "ihc"} == {
        "report", "vqa", "text_to_image", "super_resolution", "staining",
    }  # fmt: skip


def test_a_study_gives_as_many_records_whatever_it_shows(settings, read):
    got = read("phantoms", settings(studies=12, first_seed=40, size=64, modalities=["mri", "his", "cfp"]))
    counts = Counter((r.study.split("-")[0], r.study) for r in got.records)
    assert {(code, n) for (code, _), n in counts.items()} == {("mri", 12), ("his", 10), ("cfp", 9)}
    changed = {r.study for r in got.records if r.sub_task_type == "counterfactual"}
    assert 0 < len(changed) < 12


def test_changes_by_a_grade_are_among_the_records(settings, read):
    got = read("phantoms", settings(studies=16, first_seed=40, size=64, modalities=["cfp", "us"]))
    told = [r for r in got.records if r.sub_task_type == "counterfactual"]
    assert {r.attributes["change"] for r in told} == {"resolved", "new", "better", "worse"}
    for r in told:
        if r.attributes["change"] in ("better", "worse"):
            assert f"{r.attributes['change']} and now" in r.message[1].value


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"studies": 0}, "studies: .*greater than 0"),
        ({"studies": 1, "modalities": ["cxr", "xray"]}, "modalities: .*'xray'; there are cxr"),
        ({"studies": 1, "sice": 64}, "sice: "),
        ({"studies": 1, "size": 32}, "size: .*64"),
        ({"studies": 1, "size": 130}, "size: .*multiple of 4"),
    ],
)
def test_wrong_settings_are_one_line_that_names_the_field(settings, values, message):
    with pytest.raises(DataError, match=message):
        list(source("phantoms").read(settings(**values)))


def test_topics_that_are_left_out_are_not_asked_about(settings, read):
    for left_out in ([], ["presence", "modality"]):
        asked = read("phantoms", settings(studies=8, size=64, leave_out=left_out)).records
        topics = {r.attributes["topic"] for r in asked if r.sub_task_type == "vqa"}
        assert bool(topics & {"presence", "modality"}) == (not left_out)


def test_conversations_have_several_questions(settings, read):
    wanted = {"studies": 8, "size": 64, "questions": 2, "turns": 5}
    asked = [r for r in read("phantoms", settings(**wanted)).records if r.sub_task_type == "vqa"]
    single = {r.message[0].value for r in read("phantoms", settings(studies=8, size=64)).records}
    assert {r.message[0].value for r in asked} - single
    for r in asked:
        said = [m.value for m in r.message]
        assert said[0].startswith("<image>\n") and "<image>" not in "".join(said[1:])
        assert len(said) == 2 if "reasoned" in r.attributes else 2 <= len(said) <= 10
        assert len(set(zip(said[::2], said[1::2], strict=True))) == len(said) // 2
    assert any(len(r.message) > 6 for r in asked)


def test_some_questions_are_thought_through_first(settings, read):
    asked = [r for r in read("phantoms", settings(studies=16, size=64)).records if r.sub_task_type == "vqa"]
    thought = [r for r in asked if "reasoned" in r.attributes]
    assert 0 < len(thought) < len(asked) / 4
    for r in thought:
        assert r.message[0].value.startswith("<image>\nThink first. ")
        assert r.message[1].value.startswith("<think> ") and "</think> " in r.message[1].value


def test_regions_are_the_boxes_of_what_is_asked_for(settings, read):
    records = read("phantoms", settings(studies=9, first_seed=40, size=64)).records
    with_region = [r for r in records if "region" in r.attributes]
    assert {r.sub_task_type for r in with_region} == {"text_to_image", "segmentation", "counterfactual"}
    for r in with_region:
        left, top, right, bottom, *_ = map(float, r.attributes["region"].split())
        assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
        if r.sub_task_type == "segmentation":
            mask = simulated(r).masks[r.attributes["target"]]
            rows, columns = np.nonzero(mask)
            found = [columns.min() / 64, rows.min() / 64, (columns.max() + 1) / 64, (rows.max() + 1) / 64]
            assert (left, top, right, bottom) == pytest.approx(found, abs=1e-3)
    plain = [r for r in records if r.sub_task_type == "text_to_image" and "region" not in r.attributes]
    assert all("normal" in r.message[0].value.lower() or not simulated(r).findings for r in plain)
