"""The words of OCT and ultrasound: reports say what was found, and the parser reads it back."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from unimedvl.phantoms import oct, parser, ultrasound, vocabulary
from unimedvl.phantoms.captions import caption, plan
from unimedvl.phantoms.corpus import texts
from unimedvl.phantoms.reports import report
from unimedvl.phantoms.study import Study
from unimedvl.phantoms.words import oct as oct_words
from unimedvl.phantoms.words import us as us_words

BOTH = pytest.mark.parametrize(
    ("simulator", "words"), [(oct, oct_words.WORDS), (ultrasound, us_words.WORDS)], ids=["oct", "us"]
)


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both modalities in the table, whether or not it has them."""
    for words in (oct_words.WORDS, us_words.WORDS):
        monkeypatch.setitem(vocabulary.MODALITIES, words.code, words)
    parser._lexicon.cache_clear()
    yield
    parser._lexicon.cache_clear()


def study_of(simulator, seed: int) -> Study:
    """A study without its images, which words do not need."""
    case = simulator.sample(seed)
    return Study(case, {}, {}, {"eye": "left"} if simulator is oct else {})


@BOTH
def test_the_words_are_those_of_the_simulator(simulator, words):
    assert words.code == simulator.MODALITY
    assert f"unimedvl.phantoms.{words.module}" == simulator.__name__
    assert {t.name for t in words.terms} == set(simulator.FINDINGS)
    assert {t.name for t in words.terms if t.sided} == set(simulator.SIDED)
    assert tuple(view.name for view in words.views) == simulator.VIEWS
    study = simulator.render(simulator.sample(0), 64)
    assert set(words.structures) <= set(study.masks)
    for name, values in words.attributes:
        assert study.attributes[name] in values
    assert study.attributes["organ"] == words.organ


@BOTH
def test_reports_and_captions_are_read_back_whole(simulator, words):
    rng = random.Random(0)
    for seed in range(150):
        study = study_of(simulator, seed)
        told = {f.name: f for f in study.findings}
        for text in (report(study, rng), caption(study, None, rng), plan(study, None, rng)):
            read = parser.parse(text, words.code)
            assert {p.name for p in read} == set(told), text
            assert not any(p.negated for p in read)
            for p in read:
                place = told[p.name].place if words.term(p.name).places else ""
                assert p.severity == told[p.name].severity and p.place == place, text


@BOTH
def test_every_name_means_its_own_term_and_can_be_denied(simulator, words):
    for term in words.terms:
        for name in (*term.names, *term.heard):
            assert parser.parse_findings(f"There is {name}.", words.code) == {term.name}, name
            assert parser.parse_findings(f"There is no {name}.", words.code) == set(), name


def test_names_keep_their_meaning_among_all_modalities():
    for words in (oct_words.WORDS, us_words.WORDS):
        for term in words.terms:
            assert parser.parse_findings(f"There is {term.name}.") == {term.name}
    # The liver's tumour is not the brain's.
    assert parser.parse_findings("A liver tumour.") == {"liver mass"}
    assert parser.parse_findings("A large left frontal lobe tumour.") == {"tumour"}
    assert parser.parse_findings("Macular edema", "oct") == {"intraretinal fluid"}


@BOTH
def test_all_templates_take_the_words(simulator, words):
    for seed in range(12):
        for text in texts(study_of(simulator, seed), random.Random(seed)):
            assert text and "{" not in text and "  " not in text, text
