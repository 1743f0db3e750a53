"""The language of simulated studies: what is written of a study can be read back from it."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unimedvl.phantoms.corpus import corpus, edits, imagine, texts
from unimedvl.phantoms.language import (
    MODALITIES,
    REPLY_FIRST,
    VocabularyError,
    caption,
    edit_reply,
    edit_request,
    parse,
    parse_findings,
    plan,
    questions,
    report,
)
from unimedvl.phantoms.study import Case, Finding, Study
from unimedvl.phantoms.terms import DEGREE
from unimedvl.phantoms.vocabulary import place
from unimedvl.tokenizer import train_tokenizer

fast = settings(max_examples=60, deadline=None)


def study_of(modality: str, *findings: Finding, **attributes: str) -> Study:
    view = MODALITIES[modality].views[0].name
    blank = np.zeros((8, 8, 3), np.uint8)
    return Study(Case(modality, 0, findings), {view: blank}, {}, attributes)


@st.composite
def studies(draw, code: str | None = None) -> Study:
    """Any findings of a modality, several of one name among them."""
    modality = MODALITIES[code or draw(st.sampled_from(sorted(MODALITIES)))]
    findings = []
    for term in draw(st.lists(st.sampled_from(modality.terms), max_size=5)):
        finding = Finding(
            term.name,
            side=draw(st.sampled_from(("left", "right"))) if term.sided else None,
            severity=draw(st.sampled_from(DEGREE)),
            size=float(draw(st.integers(0, 40))),
            place=draw(st.sampled_from(term.places or ("", "posterior pole"))),
        )
        findings.append(finding)
    attributes = {name: draw(st.sampled_from(values)) for name, values in modality.attributes}
    return study_of(modality.code, *findings, **attributes)


seeds = st.integers(0, 2**32).map(random.Random)


def stated(study: Study) -> set[tuple]:
    terms = MODALITIES[study.modality]
    return {(f.name, f.side, f.severity, place(terms.term(f.name), f)) for f in study.findings}


@fast
@given(studies(), seeds, st.booleans())
def test_findings_are_read_back_from_reports_captions_and_plans(study, rng, told):
    modality = study.modality if told else None
    for view in MODALITIES[study.modality].views:
        name = view.name
        for text in (report(study, rng, name), caption(study, name, rng), plan(study, name, rng)):
            parsed = parse(text, modality)
            assert {(p.name, p.side, p.severity, p.place) for p in parsed} == stated(study), text
            assert not any(p.negated for p in parsed)
            assert parse_findings(text, modality) == {f.name for f in study.findings}


@fast
@given(studies(), seeds)
def test_reports_are_short(study, rng):
    text = report(study, rng)
    assert text.startswith("Findings: ") and " Impression: " in text and len(text.split()) <= 60
    if len(study.findings) <= 3:
        assert len(text.split()) <= 50


@fast
@given(studies(), seeds)
def test_closed_questions_are_answered_yes_as_often_as_no(study, rng):
    answers = Counter(q.answer for q in questions(study, rng) if q.kind == "closed")
    assert set(answers) == {"yes", "no"} and answers["yes"] == answers["no"]


@fast
@given(studies(), seeds)
def test_presence_questions_tell_the_truth(study, rng):
    present = {f.name for f in study.findings}
    for question in questions(study, rng):
        if question.topic == "presence":
            asked = parse_findings(question.text, study.modality)
            assert len(asked) == 1 and (asked <= present) == (question.answer == "yes")


@fast
@given(studies(), seeds)
def test_choices_have_one_right_option_and_show_it_under_their_letter(study, rng):
    asked = questions(study, rng)
    for question in asked:
        assert (question.kind == "choice") == bool(question.options)
        if question.options:
            assert len(set(question.options)) == len(question.options) >= 2
            right = question.options["ABCD".index(question.answer)]
            assert f"{question.answer}) {right}" in question.text
            if question.topic == "finding":
                present = {f.name for f in study.findings} or {"no abnormality"}
                assert set(question.options) & present == {right}
        assert question.text[0].isupper() and question.answer


@pytest.mark.parametrize("code", sorted(MODALITIES))
def test_the_letters_are_equally_often_right(code):
    rng, letters = random.Random(0), Counter()
    for _ in range(300):
        asked = questions(imagine(MODALITIES[code], rng), rng)
        letters.update(q.answer for q in asked if len(q.options) == 4)
    shares = [letters[letter] / letters.total() for letter in "ABCD"]
    assert max(shares) - min(shares) < 0.08


def test_questions_cover_what_is_known():
    rng = random.Random(1)
    tumour = Finding("tumour", "left", "severe", place="frontal lobe")
    by_topic = {q.topic: q for q in questions(study_of("mri", tumour), rng) if q.kind == "open"}
    assert by_topic["finding"].answer == "tumour" and by_topic["side"].answer == "left"
    assert by_topic["severity"].answer == "large" and by_topic["place"].answer == "left frontal lobe"
    assert by_topic["modality"].answer == "brain MRI" and by_topic["plane"].answer == "axial"
    assert by_topic["sequence"].answer == "T2-weighted" and by_topic["organ"].answer == "brain"
    stained = questions(study_of("his", her2="3+"), rng, view="ihc")
    assert {"3+", "HER2 immunohistochemistry"} <= {q.answer for q in stained if q.kind == "open"}
    eye = [q for q in questions(study_of("cfp", eye="left"), rng) if q.topic == "eye"]
    assert [q.answer for q in eye] == ["left", "yes", "no"]


def test_a_finding_on_both_sides_is_not_asked_for_as_if_it_had_one():
    both = [Finding("pleural effusion", side) for side in ("left", "right")]
    asked = [q for q in questions(study_of("cxr", *both), random.Random(0)) if q.topic == "side"]
    assert [(q.kind, q.answer) for q in asked] == [("open", "both")]


@pytest.mark.parametrize(
    ("study", "view", "texts_allowed"),
    [
        (
            study_of("cxr", Finding("pleural effusion", "right", "severe", place="base")),
            None,
            {"Chest X-ray with a large right pleural effusion"},
        ),
        (study_of("mri", plane="axial"), "t2", {"Axial T2-weighted brain MRI, normal"}),
        (study_of("his", Finding("necrosis")), "he", {"H&E histopathology of breast with moderate necrosis"}),
        (study_of("his", her2="3+"), "ihc", {"HER2 immunohistochemistry of breast, level 3+, normal"}),
        (
            study_of("cfp", Finding("drusen", severity="mild"), eye="right"),
            "fundus",
            {"Colour fundus photograph of the right eye with a few drusen"},
        ),
        (study_of("cfp"), None, {"Colour fundus photograph, normal", "Normal colour fundus photograph"}),
        (
            study_of("mri", Finding("infarct", "left", place="frontal"), plane="axial"),
            "flair",
            {"Generate an axial FLAIR brain MRI with a moderate left frontal lobe infarct"},
        ),
    ],
)
def test_captions_read_as_expected(study, view, texts_allowed):
    assert texts_allowed & {caption(study, view, random.Random(seed)) for seed in range(200)}


@pytest.mark.parametrize(
    ("text", "present", "absent"),
    [
        ("There is no pleural effusion.", set(), {"pleural effusion"}),
        ("No effusion or nodule is seen.", set(), {"pleural effusion", "nodule"}),
        ("No effusion, nodule or consolidation.", set(), {"pleural effusion", "nodule", "consolidation"}),
        ("Cardiomegaly without effusion.", {"cardiomegaly"}, {"pleural effusion"}),
        ("No pneumothorax, but a large left effusion.", {"pleural effusion"}, {"pneumothorax"}),
        ("No pneumothorax is seen, a nodule is present.", {"nodule"}, {"pneumothorax"}),
        ("No effusion and a small nodule.", {"nodule"}, {"pleural effusion"}),
        ("No pneumothorax. Consolidation.", {"consolidation"}, {"pneumothorax"}),
        ("Neither nodule nor consolidation is seen.", set(), {"nodule", "consolidation"}),
        ("Pneumothorax is absent.", set(), {"pneumothorax"}),
        ("The pneumothorax is not seen.", set(), {"pneumothorax"}),
        ("Pneumothorax: none", set(), {"pneumothorax"}),
        ("The right pleural effusion is gone; the rest is unchanged.", set(), {"pleural effusion"}),
        ("There is no change in the effusion.", {"pleural effusion"}, set()),
        ("Pneumonia cannot be told. A pericardial effusion.", set(), set()),
        ("The heart is enlarged.", {"cardiomegaly"}, set()),
        ("NO PLEURAL EFFUSIONS; LUNG NODULES", {"nodule"}, {"pleural effusion"}),
        ("A notable nodule; an unknown.", {"nodule"}, set()),
        ("", set(), set()),
    ],
)
def test_denials_are_told_from_statements(text, present, absent):
    parsed = parse(text, "cxr")
    assert {p.name for p in parsed if not p.negated} == present == parse_findings(text, "cxr")
    assert {p.name for p in parsed if p.negated} == absent


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A pleural effusion on the left and a nodule on the right.",
         {("pleural effusion", "left"), ("nodule", "right")}),
        ("Bilateral pleural effusions.", {("pleural effusion", "left"), ("pleural effusion", "right")}),
        ("Left and right effusion.", {("pleural effusion", "left"), ("pleural effusion", "right")}),
        ("Left-sided pneumothorax, right nodule", {("pneumothorax", "left"), ("nodule", "right")}),
        ("Effusion in the right hemithorax", {("pleural effusion", "right")}),
        ("Left nodule. Nodule is small.", {("nodule", "left")}),
        ("Cardiomegaly, left effusion", {("cardiomegaly", None), ("pleural effusion", "left")}),
    ],
)  # fmt: skip
def test_sides_go_to_the_finding_that_they_stand_by(text, found):
    assert {(p.name, p.side) for p in parse(text, "cxr")} == found


def test_american_spelling_means_the_same():
    assert parse("A large left tumor.", "mri") == parse("A large left tumour.", "mri")
    assert parse_findings("Hemorrhage, ischemic stroke", "mri") == {"haemorrhage", "infarct"}


@pytest.mark.parametrize(("code", "view", "kind", "an"), [
    (code, v.name, v.kind, v.an or modality.an) for code, modality in MODALITIES.items() for v in modality.views
])  # fmt: skip
def test_every_kind_of_image_is_asked_for_by_name_and_told_from_the_others(code, view, kind, an):
    blank = np.zeros((64, 64, 3), np.uint8)
    study = Study(Case(code, 0, ()), {v.name: blank for v in MODALITIES[code].views}, {})
    wrong, options = set(), set()
    for seed in range(200):
        asked = [q for q in questions(study, random.Random(seed), view) if q.topic == "modality"]
        assert {q.answer for q in asked if q.kind == "open"} == {kind}
        assert [q.text for q in asked if q.answer == "yes"] == [f"Is this {an}?"]
        wrong |= {q.text for q in asked if q.answer == "no"}
        options |= {o for q in asked for o in q.options}
    everything = {(v.kind, v.an or m.an) for m in MODALITIES.values() for v in m.views}
    assert len({an for _, an in everything}) == 10  # all modalities there are
    assert options == {k for k, _ in everything} and wrong == {f"Is this {a}?" for _, a in everything if a != an}


def test_the_longest_name_wins_and_the_modality_decides():
    assert parse_findings("ductal carcinoma in situ") == {"ductal carcinoma in situ"}
    assert parse_findings("invasive ductal carcinoma") == {"invasive carcinoma"}
    assert parse_findings("haemorrhage", "mri") == {"haemorrhage"} == parse_findings("haemorrhages", "mri")
    assert parse_findings("retinal hemorrhage", "cfp") == {"haemorrhages"}
    assert parse_findings("a nodule", "mri") == set()


def test_edits_speak_of_the_change():
    rng = random.Random(0)
    effusion = Finding("pleural effusion", "right", "severe")
    wishes = {"modality": "cxr", "finding": effusion, "change": "resolved"}
    reply = edit_reply("counterfactual", rng, **wishes)
    assert reply == "The right pleural effusion is gone; the rest is unchanged."
    requests = {edit_request("counterfactual", rng, **wishes) for _ in range(20)}
    assert "Show this image with resolution of the right pleural effusion." in requests
    assert all(parse_findings(request, "cxr") == set() for request in requests)
    left = {"modality": "cxr", "finding": Finding("consolidation", "left"), "change": "new"}
    assert parse_findings(edit_request("counterfactual", rng, **left)) == {"consolidation"}
    assert edit_reply("stain", rng, her2="3+") == "Here is the HER2 stain at level 3+."
    assert {"stain", "upscale", "segment"} <= REPLY_FIRST and "translate" not in REPLY_FIRST


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: report(study_of("cxr", Finding("drusen")), random.Random(0)), "drusen"),
        (lambda: report(Study(Case("xyz", 0, ()), {}, {}), random.Random(0)), "xyz"),
        (lambda: caption(study_of("mri"), "dwi", random.Random(0)), "dwi"),
        (lambda: parse("", "xyz"), "xyz"),
        (lambda: edit_request("stain", random.Random(0)), "her2"),
        (lambda: edit_request("dance", random.Random(0)), "dance"),
        (lambda: edit_reply("counterfactual", random.Random(0), modality="cxr"), "finding"),
    ],
)
def test_unknown_words_are_named(call, named):
    with pytest.raises(VocabularyError, match=named):
        call()


def test_numpy_generators_serve_as_well_and_equal_seeds_give_equal_texts():
    study = study_of("cfp", Finding("drusen"), eye="left")
    first, second = (list(texts(study, np.random.default_rng(3))) for _ in range(2))
    assert first == second


def test_every_kind_of_edit_occurs():
    rng = random.Random(0)
    kinds = {k for m in MODALITIES.values() for _ in range(20) for k, _ in edits(imagine(m, rng), rng)}
    assert kinds == {"stain", "upscale", "translate", "segment", "counterfactual", "reconstruct"}


def test_the_vocabulary_has_all_words_of_the_simulators():
    for modality in MODALITIES.values():
        simulator = pytest.importorskip(f"unimedvl.phantoms.{modality.module}")
        assert {t.name for t in modality.terms} == set(simulator.FINDINGS)
        assert {t.name for t in modality.terms if t.sided} == set(simulator.SIDED)
        assert modality.code == simulator.MODALITY
        assert tuple(view.name for view in modality.views) == simulator.VIEWS


def test_a_small_tokenizer_makes_the_texts_short():
    sample = list(corpus(800, seed=0))
    assert sample == list(corpus(800, seed=0)) and len(sample) == 800
    tokenizer = train_tokenizer(sample, 1024)
    rng = random.Random(1)
    drawn = [imagine(m, rng) for m in MODALITIES.values() for _ in range(50)]
    lengths = np.array([len(tokenizer.encode(report(study, rng))) for study in drawn])
    assert np.quantile(lengths, 0.9) < 52  # 45 to 50 by the seed of the corpus
