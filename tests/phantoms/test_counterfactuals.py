"""Prior and follow-up of simulated patients: a finding changes by a grade, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, distance_transform_edt

from unimedvl.phantoms import SIMULATORS, Study
from unimedvl.phantoms.counterfactuals import Counterfactual, counterfactual, easing, gradings
from unimedvl.phantoms.edits import change_told, edit_reply, edit_request
from unimedvl.phantoms.parser import parse
from unimedvl.phantoms.study import SEVERITIES, Case, Finding
from unimedvl.phantoms.vocabulary import MODALITIES

SIZE = 96
GRADED = [(code, name) for code in SIMULATORS for name in gradings(code)]
# How far what a finding does to its surroundings reaches, in pixels: oedema, cells on its border, its foot in shade.
REACH = {"cxr": 8, "mri": 5, "his": 10, "cfp": 3, "ct": 8, "endoscopy": 13, "dermoscopy": 7}


def cases_with(code: str, name: str, *severities: str) -> Iterator[tuple[Case, Finding]]:
    for seed in range(2000):
        case = SIMULATORS[code].sample(seed)
        yield from ((case, f) for f in case.findings if f.name == name and f.severity in severities)


def milder(code: str, name: str, *severities: str) -> tuple[Case, Finding, Case]:
    """A case, its finding, and the first milder case that there is."""
    for case, finding in cases_with(code, name, *severities):
        after = gradings(code)[name].milder(case, finding, np.random.default_rng(1))
        if after is not None:
            return case, finding, after
    raise AssertionError(f"no {severities} {name} of {code} can be milder")


def eased(code: str, name: str) -> tuple[Counterfactual, Study]:
    case, finding, _ = milder(code, name, "moderate", "severe")
    study = SIMULATORS[code].render(case, SIZE)
    return easing(study, finding, np.random.default_rng(1)), study


def untouched(code: str, made: Counterfactual) -> np.ndarray:
    """Where nothing that the finding does can be seen, [H, W] bool."""
    covered = made.where | made.after.masks[made.finding.name]
    if code == "oct":  # layers are lifted, and light is lost on the way down
        return ~np.broadcast_to(binary_dilation(covered.any(0), iterations=28), covered.shape)
    if code == "us":  # sound is changed beyond it
        return np.broadcast_to((np.arange(SIZE) < np.argmax(covered.any(1)) - 3)[:, None], covered.shape)
    if made.finding.name == "pneumothorax":  # the lung that is left holds less air
        side = f"{made.finding.side} lung"
        covered = covered | made.before.masks[side] | made.after.masks[side]
        covered = covered | made.before.masks.get("heart", False)  # and a film shows that behind the heart too
    # Round the place, as distances are.
    return distance_transform_edt(~covered) > (20 if made.finding.name == "colitis" else REACH[code])


def test_a_simulator_that_grades_grades_all_its_findings():
    graded = {code for code, _ in GRADED}
    assert graded >= {"mri", "his", "cfp", "ct", "oct", "us", "endoscopy", "dermoscopy"}
    for code in graded:
        assert set(gradings(code)) >= set(SIMULATORS[code].FINDINGS), code


@pytest.mark.parametrize(("code", "name"), GRADED)
def test_a_milder_finding_is_a_grade_less_where_it_was_and_all_else_stays(code, name):
    made, study = eased(code, name)
    old = next(f for f in study.findings if f.name == name)
    assert SEVERITIES.index(old.severity) - SEVERITIES.index(made.finding.severity) == 1
    assert (made.finding.side, made.finding.place) == (old.side, old.place)
    assert made.after.masks[name].sum() < study.masks[name].sum() or name == "hepatic steatosis"
    others = [f for f in study.findings if f is not old]
    assert [f for f in made.after.findings if f is not made.finding] == others
    view = next(iter(study.images))
    changed = (made.before.images[view] != made.after.images[view]).any(-1)
    assert changed.any() and not (changed & untouched(code, made)).any()
    assert (made.after.case.anatomy, made.after.case.noise_seed) == (study.case.anatomy, study.case.noise_seed)


@pytest.mark.parametrize(("code", "name"), GRADED)
def test_sizes_and_counts_are_of_the_grade_that_is_said(code, name):
    grading = gradings(code)[name]
    for severity in ("moderate", "severe"):
        case, finding, after = milder(code, name, severity)
        less = after.findings[case.findings.index(finding)]
        low, high = grading.ranges[SEVERITIES.index(less.severity)]
        if name != "hydronephrosis":  # which is told in mm and graded by its degree
            assert low <= getattr(less, grading.by) <= high
        assert getattr(less, grading.by) < getattr(finding, grading.by)
    mild, finding = next(cases_with(code, name, "mild"))
    assert grading.milder(mild, finding, np.random.default_rng(1)) is None


@pytest.mark.parametrize("code", sorted({code for code, _ in GRADED}))
def test_better_and_worse_are_drawn_and_worded_by_what_the_finding_becomes(code):
    found = {}
    for seed in range(60):
        study = SIMULATORS[code].render(SIMULATORS[code].sample(seed), 64)
        made = counterfactual(study, np.random.default_rng(seed), graded=1.0)
        if made is None or made.change not in ("better", "worse") or made.change in found:
            continue
        found[made.change] = made
        assert study is (made.before if made.change == "better" else made.after)
        prior, became = ([f for f in s.findings if f.name == made.finding.name] for s in (made.before, made.after))
        step = SEVERITIES.index(became[0].severity) - SEVERITIES.index(prior[0].severity)
        assert became == [made.finding] and step == (1 if made.change == "worse" else -1)
        wishes = {"modality": code, "finding": made.finding, "change": made.change}
        grade = MODALITIES[code].term(made.finding.name).grades[SEVERITIES.index(made.finding.severity)]
        reply = edit_reply("counterfactual", np.random.default_rng(0), **wishes)
        assert f"{made.change} and now {grade};" in reply
        (said,) = {(f.name, f.side, f.negated) for f in parse(reply, code)}
        assert said == (made.finding.name, made.finding.side, False)
        assert made.finding.name in edit_request("counterfactual", np.random.default_rng(0), **wishes)
        assert change_told(code, made.finding, made.change)[0].endswith(f"{grade}.")
    assert set(found) == {"better", "worse"}


def test_a_share_of_none_leaves_the_other_examples_as_they_are():
    for seed in range(30):
        study = SIMULATORS["mri"].render(SIMULATORS["mri"].sample(seed), 64)
        plain, some = (counterfactual(study, np.random.default_rng(seed), share) for share in (0.0, 0.5))
        if plain is None:
            assert some is None
            continue
        assert plain.change in ("resolved", "new")
        if some.change == plain.change:
            assert np.array_equal(plain.after.images["t2"], some.after.images["t2"])
