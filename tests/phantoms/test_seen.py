"""What a view does not show is not spoken of, and what is spoken of is in the image."""

from __future__ import annotations

import random

import numpy as np
import pytest

from unimedvl.evaluation.held_out import HeldOut
from unimedvl.phantoms import SIMULATORS
from unimedvl.phantoms.captions import caption, plan
from unimedvl.phantoms.counterfactuals import resolution
from unimedvl.phantoms.parser import parse_findings
from unimedvl.phantoms.questions import questions
from unimedvl.phantoms.reports import report
from unimedvl.phantoms.vocabulary import MODALITIES, as_seen

UNSEEN = [(m.code, t.name, view) for m in MODALITIES.values() for t in m.terms for view in t.unseen]


def alone(modality: str, name: str, count: int):
    """Studies of this finding alone."""
    simulator = SIMULATORS[modality]
    cases = (simulator.sample(seed) for seed in range(4000))
    found = (c for c in cases if [f.name for f in c.findings] == [name])
    return [simulator.render(next(found)) for _ in range(count)]


def test_two_findings_of_ct_are_not_seen_in_the_soft_tissue_window():
    assert set(UNSEEN) == {("ct", "emphysema", "soft tissue"), ("ct", "pneumothorax", "soft tissue")}


@pytest.mark.parametrize(("modality", "name", "view"), UNSEEN)
def test_texts_on_a_view_speak_of_what_it_shows_alone(modality, name, view):
    study, rng = alone(modality, name, 1)[0], random.Random(1)
    assert not as_seen(study, view).findings and as_seen(study).findings == study.findings
    for text in (report(study, rng, view), caption(study, view, rng), plan(study, view, rng)):
        assert not parse_findings(text, modality)
    asked = questions(study, rng, view)
    assert next(q for q in asked if q.text == "Is this image normal?").answer == "yes"
    assert all(q.answer != "yes" for q in asked if q.topic == "presence")
    shown = next(v.name for v in MODALITIES[modality].views if v.name != view)
    assert set(parse_findings(report(study, rng, shown), modality)) == {name}


@pytest.mark.parametrize("modality", MODALITIES)
def test_what_is_spoken_of_changes_the_view_and_what_is_not_hardly_does(modality):
    """The square root of the sum of squared differences of grey levels, in the median of four studies."""
    for term in MODALITIES[modality].terms:
        for view in MODALITIES[modality].views:
            changes = []
            for study in alone(modality, term.name, 4):
                after = resolution(study, study.findings[0]).after
                change = study.images[view.name].astype(float) - after.images[view.name].astype(float)
                changes.append(np.sqrt((change.mean(-1) ** 2).sum()))
            assert bool(np.median(changes) > 200) == (view.name not in term.unseen), (term.name, view.name, changes)


def test_held_out_looks_are_at_views_that_show_as_many_findings_as_are_asked_for():
    for look in HeldOut().looks(12, "ct", findings=1):
        assert len(look.findings) == 1
        assert not any(("ct", name, look.view.name) in UNSEEN for name in look.findings)
