"""Simulated chest CT: what its docstrings promise of levels, masks, windows, noise and words."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from unimedvl.phantoms import ct, parser, vocabulary
from unimedvl.phantoms.reports import report
from unimedvl.phantoms.study import Case, Finding
from unimedvl.phantoms.vocabulary import as_seen
from unimedvl.phantoms.words.ct import WORDS

STRUCTURES = {"left lung", "right lung", "heart", "aorta"}


@cache
def cases() -> list[Case]:
    return [ct.sample(seed) for seed in range(300)]


def lone(name: str, severity: str | None = None, side: str | None = None) -> Case:
    """The first case whose only finding is the one asked for."""
    for case in cases():
        if [f.name for f in case.findings] != [name]:
            continue
        finding = case.findings[0]
        if severity in (None, finding.severity) and side in (None, finding.side):
            return case
    raise AssertionError(f"no {severity} {side} {name} among 300 cases")


def at(case: Case, level: float, **anatomy: float) -> Case:
    return replace(case, anatomy=case.anatomy | {"level": level} | anatomy)


def pictures(case: Case, size: int = 128) -> np.ndarray:
    """Both windows, [2, H, W] int."""
    study = ct.render(case, size)
    return np.stack([study.images[view][:, :, 0].astype(int) for view in ct.VIEWS])


def test_equal_cases_render_to_the_same_bytes():
    assert ct.sample(7) == ct.sample(7)
    assert np.array_equal(pictures(ct.sample(7)), pictures(ct.sample(7)))
    assert not np.array_equal(pictures(ct.sample(7)), pictures(ct.sample(8)))


def test_studies_have_what_the_protocol_promises():
    for case in cases()[:24]:
        study = ct.render(case)
        assert tuple(study.images) == ct.VIEWS
        assert {f.name for f in case.findings} <= set(study.masks) <= STRUCTURES | {f.name for f in case.findings}
        assert {"left lung", "right lung"} <= set(study.masks)
        for picture in study.images.values():
            assert picture.shape == (128, 128, 3) and picture.dtype == np.uint8
        for name, mask in study.masks.items():
            assert mask.shape == (128, 128) and mask.dtype == bool and mask.sum() >= 12, name
        for finding in case.findings:
            assert (finding.side is not None) == (finding.name in ct.SIDED)


def test_findings_grades_and_sides_are_evenly_spread():
    drawn = [case.findings for case in cases()]
    assert 0.2 < np.mean([not findings for findings in drawn]) < 0.3
    names = Counter(f.name for findings in drawn for f in findings)
    assert set(names) == set(ct.FINDINGS) and max(names.values()) < 1.9 * min(names.values())
    grades = Counter(f.severity for findings in drawn for f in findings)
    assert max(grades.values()) < 1.4 * min(grades.values())
    for name in ct.SIDED:
        left = np.mean([f.side == "left" for findings in drawn for f in findings if f.name == name])
        assert 0.35 < left < 0.65, name


@pytest.mark.parametrize("size", [64, 200, 512])
def test_every_size_shows_the_same(size):
    case = lone("consolidation")
    usual, other = ct.render(case, 128), ct.render(case, size)
    for view in ct.VIEWS:
        assert other.images[view].shape == (size, size, 3)
        assert abs(other.images[view].mean() - usual.images[view].mean()) < 2
    for name, mask in other.masks.items():
        assert abs(mask.mean() - usual.masks[name].mean()) < 0.01, name


def test_wrong_requests_are_refused():
    with pytest.raises(ValueError, match="64 to 512"):
        ct.render(ct.sample(0), 63)
    with pytest.raises(ValueError, match="halo"):
        ct.hounsfield(ct.sample(0).with_findings((Finding("halo"),)))
    with pytest.raises(ValueError, match="left or right"):
        ct.render(ct.sample(0).with_findings((Finding("nodule"),)))


@pytest.mark.parametrize("name", ct.FINDINGS)
def test_a_finding_is_seen_and_changes_little_beyond_itself(name):
    case = lone(name, "moderate")
    mask = ct.render(case).masks[name]
    changed = np.abs(pictures(case) - pictures(case.with_findings(()))).max(0)
    reach = binary_dilation(mask, iterations=6)
    if name == "pneumothorax":  # the lung that is left is denser
        reach |= ct.render(case).masks[f"{case.findings[0].side} lung"]
    assert (changed[~reach] > 12).sum() < 15
    healthy = ct.render(case.with_findings(())).masks
    new = mask & ~healthy["heart"] if name == "cardiomegaly" else mask
    assert np.median(changed[new]) > 12


@pytest.mark.parametrize("name", sorted(ct.SIDED))
@pytest.mark.parametrize("side", ["left", "right"])
def test_findings_lie_on_the_patients_side(name, side):
    mask = ct.render(lone(name, side=side)).masks[name]
    half = mask[:, 64:] if side == "left" else mask[:, :64]
    assert half.sum() > 0.95 * mask.sum()


@pytest.mark.parametrize("name", ["pleural effusion", "pneumothorax", "consolidation", "nodule", "cardiomegaly"])
def test_graver_findings_cover_more(name):
    def area(severity: str) -> float:
        found = [c for c in cases() if [(f.name, f.severity) for f in c.findings] == [(name, severity)]]
        return float(np.mean([ct.render(c, 64).masks[name].mean() for c in found[:4]]))

    assert area("mild") < area("moderate") < area("severe")


def test_the_patient_lies_on_the_back_fluid_behind_and_free_air_in_front():
    for name, behind in (("pleural effusion", True), ("pneumothorax", False)):
        case = lone(name, "moderate")
        masks = ct.render(case).masks
        rows = np.nonzero(masks[name])[0].mean(), np.nonzero(masks[f"{case.findings[0].side} lung"])[0].mean()
        assert (rows[0] > rows[1]) == behind


def test_hounsfield_units_are_those_of_the_tissues():
    case = at(ct.sample(3).with_findings(()), -70.0, contrast=0.0, calcified=0.0)
    hu, masks = ct.hounsfield(case, 256), ct.render(case, 256).masks
    assert hu.dtype == np.float32 and hu.shape == (256, 256) and hu.min() >= -1024
    assert 30 < np.median(hu[masks["heart"]]) < 60
    assert -900 < np.median(hu[masks["left lung"] | masks["right lung"]]) < -780
    assert abs(np.median(hu[:20]) + 1000) < 25
    assert (hu > 500).mean() > 0.002  # bone
    full = at(case, -70.0, contrast=200.0, calcified=0.0)
    assert np.median(ct.hounsfield(full, 256)[masks["aorta"]]) > 180
    for name, low, high in (("pleural effusion", 0, 20), ("pneumothorax", -1024, -975), ("nodule", 20, 90)):
        found = lone(name, "severe")
        assert low < np.median(ct.hounsfield(found, 256)[ct.render(found, 256).masks[name]]) < high, name


def test_the_windows_are_those_of_their_names():
    case = lone("nodule")
    hu, study = ct.hounsfield(case), ct.render(case)
    lung, soft = (study.images[view][:, :, 0] for view in ct.VIEWS)
    assert (lung[hu > 150] == 255).all() and (soft[hu > 240] == 255).all() and (soft[hu < -160] == 0).all()
    inside = (hu > -1000) & (hu < 100)
    assert np.abs(lung[inside] - (hu[inside] + 1350) * (255 / 1500)).max() <= 0.51


def test_noise_falls_with_dose_and_rises_with_the_kernels_sharpness_and_runs_from_side_to_side():
    case = ct.sample(3).with_findings(())

    def noise(**anatomy: float) -> np.ndarray:
        return ct._noise(at(case, 60.0, field=360.0, **anatomy), 512, 360 / 512)

    usual = noise(dose=1.0, sharpness=0.5)
    assert 4 < usual.std() < 30
    assert abs(noise(dose=0.25, sharpness=0.5).std() / usual.std() - 2) < 0.01
    assert noise(dose=1.0, sharpness=0.7).std() > 1.2 * usual.std()
    steps = [np.abs(np.diff(usual, axis=axis)).mean() for axis in (0, 1)]
    assert steps[0] > 1.1 * steps[1]  # it changes faster from row to row: streaks lie across


def test_the_aorta_is_cut_twice_under_its_arch_and_the_heart_only_below():
    from scipy.ndimage import label

    case = ct.sample(3).with_findings(())
    below = ct.render(at(case, 0.0), 256).masks
    assert label(below["aorta"])[1] == 2 and "heart" not in below
    assert label(ct.render(at(case, 32.0), 256).masks["aorta"])[1] == 1  # the arch itself
    assert "heart" in ct.render(at(case, -70.0), 256).masks


def test_reports_are_read_back_as_they_were_meant(monkeypatch):
    monkeypatch.setitem(vocabulary.MODALITIES, "ct", WORDS)
    parser._lexicon.cache_clear()
    try:
        for case in cases()[:30]:
            study = ct.render(case, 64)
            for view in ct.VIEWS:
                text = report(study, random.Random(case.seed), view)
                for modality in ("ct", None):
                    read = {(f.name, f.side) for f in parser.parse(text, modality) if not f.negated}
                    assert read == {(f.name, f.side) for f in as_seen(study, view).findings}, text
    finally:
        parser._lexicon.cache_clear()


def test_every_term_is_a_finding_and_every_structure_a_mask():
    assert {term.name for term in WORDS.terms} == set(ct.FINDINGS)
    assert {term.name for term in WORDS.terms if term.sided} == set(ct.SIDED)
    assert set(WORDS.structures) == STRUCTURES
    assert tuple(view.name for view in WORDS.views) == ct.VIEWS
