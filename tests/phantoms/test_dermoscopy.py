from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from unimedvl.phantoms import dermoscopy, lesions, parser, skin, vocabulary
from unimedvl.phantoms.reports import report
from unimedvl.phantoms.study import Case, Finding
from unimedvl.phantoms.words import dermoscopy as words

GRADES = ("mild", "moderate", "severe")
# How far beyond its outline, in mm, a lesion may fade or reach out.
RIM = {"melanocytic naevus": 0.4, "melanoma": 0.9, "seborrhoeic keratosis": 0.5, "basal cell carcinoma": 0.4,
       "vascular lesion": 0.3, "dermatofibroma": 0.7}


@cache
def cases() -> list[Case]:
    return [dermoscopy.sample(seed) for seed in range(1000)]


def alone(name: str, grade: str) -> list[Case]:
    return [c for c in cases() if [(f.name, f.severity) for f in c.findings] == [(name, grade)]]


def clear(case: Case) -> Case:
    """The same skin with nothing on it, well in view."""
    return replace(case, anatomy=case.anatomy | {"hairs": 0.0, "bubbles": 0.0, "ruler": 0.0, "plate": 1.5})


def picture(case: Case, size: int = 128) -> np.ndarray:
    return dermoscopy.render(case, size).images["dermoscopy"]


def colour(**layers: float) -> np.ndarray:
    """Reflectance of an even skin made of the given layers, [3]."""
    plain = {"melanin": 0.02, "deep": 0.0, "blood": 0.005, "fibre": 1.0, "top": 1.0, "keratin": 0.1} | layers
    maps = {name: np.full((1, 1), value, np.float32) for name, value in plain.items()}
    return skin.reflectance(skin.Layers(6.0, **maps))[0, 0]


def test_equal_cases_render_to_the_same_bytes():
    assert dermoscopy.sample(7) == dermoscopy.sample(7)
    assert np.array_equal(picture(dermoscopy.sample(7)), picture(dermoscopy.sample(7)))
    assert not np.array_equal(picture(dermoscopy.sample(7)), picture(dermoscopy.sample(8)))


def test_studies_have_what_the_protocol_promises():
    for case in cases()[:30]:
        study = dermoscopy.render(case)
        assert set(study.images) == set(dermoscopy.VIEWS)
        assert set(study.masks) == {"lesion", "hairs", "skin"} | {f.name for f in case.findings}
        image = study.images["dermoscopy"]
        assert image.shape == (128, 128, 3) and image.dtype == np.uint8
        for name, mask in study.masks.items():
            assert mask.shape == (128, 128) and mask.dtype == bool
            assert mask.any() or name == "hairs" or not case.findings
        assert study.masks["lesion"].any() == bool(case.findings)
        assert not (study.masks["lesion"] & study.masks["skin"]).any()
        assert all(f.side is None for f in case.findings)


def test_findings_and_grades_are_evenly_spread():
    drawn = [case.findings for case in cases()]
    assert 0.21 < np.mean([not findings for findings in drawn]) < 0.29
    names = Counter(f.name for findings in drawn for f in findings)
    assert set(names) == set(dermoscopy.FINDINGS) and max(names.values()) < 1.4 * min(names.values())
    grades = Counter((f.name, f.severity) for findings in drawn for f in findings if len(findings) == 1)
    assert len(grades) == 3 * len(dermoscopy.FINDINGS) and max(grades.values()) < 2.2 * min(grades.values())


@pytest.mark.parametrize("name", dermoscopy.FINDINGS)
def test_a_finding_is_seen_and_changes_nothing_beyond_itself(name):
    for grade in ("mild", "severe"):
        for case in map(clear, alone(name, grade)[:3]):
            mask = dermoscopy.render(case).masks[name]
            changed = np.abs(picture(case).astype(int) - picture(case.with_findings(()))).max(2)
            reach = int(np.ceil(RIM[name] / case.anatomy["half_field"] * 64)) + 2  # and what the lens blurs
            assert not changed[~binary_dilation(mask, np.ones((3, 3)), reach)].any(), case.seed
            assert np.median(changed[mask]) > 12 and mask.sum() > 200, case.seed


@pytest.mark.parametrize("name", dermoscopy.FINDINGS)
def test_sizes_told_are_the_longest_extents_of_the_masks(name):
    for grade, (low, high) in zip(GRADES, dermoscopy.SIZES[name], strict=True):
        case = clear(alone(name, grade)[0])
        finding = replace(case.findings[0], shape=(0.0, 0.0, *case.findings[0].shape[2:]))
        rows, columns = np.nonzero(dermoscopy.render(case.with_findings((finding,)), 200).masks[name])
        ends = np.stack([rows, columns], 1)[::7] * 2 * case.anatomy["half_field"] / 200
        longest = np.sqrt(((ends[:, None] - ends[None]) ** 2).sum(2).max())
        assert low - 0.05 <= finding.size <= high + 0.05
        assert abs(longest - finding.size) < 0.08 * finding.size + 0.3, (grade, case.seed)


def test_a_melanoma_is_less_symmetric_than_a_naevus():
    def asymmetry(name: str) -> float:
        found = []
        for case in alone(name, "moderate")[:8]:
            finding = replace(case.findings[0], shape=(0.0, 0.0, *case.findings[0].shape[2:]))
            spot = lesions.lesion(finding, 6.0, 128)
            inside = spot.inside > 0
            found.append((inside ^ inside[::-1, ::-1]).sum() / inside.sum())
        return float(np.mean(found))

    assert asymmetry("melanoma") > 2 * asymmetry("melanocytic naevus")


def test_pigment_is_brown_above_and_blue_grey_below_the_papillary_dermis():
    healthy, brown, blue = colour(), colour(melanin=0.25), colour(deep=0.15, melanin=0.006, top=1.7, keratin=0.0)
    assert (np.diff(brown) < 0).all() and (brown < healthy).all()
    assert blue[2] > blue[0] and blue.max() < healthy.max()


def test_blood_takes_green_and_blue_and_scar_is_white():
    healthy, blood, scar = colour(), colour(blood=0.3, top=0.05), colour(fibre=2.0, blood=0.002, melanin=0.01)
    assert blood[0] > 2.5 * blood[1] and blood[0] < healthy[0]
    assert (scar > healthy).all() and scar.min() / scar.max() > healthy.min() / healthy.max()


def test_more_melanin_makes_darker_skin():
    tones = [colour(melanin=m).mean() for m in (0.01, 0.03, 0.09)]
    assert tones[0] > tones[1] > tones[2]


def test_lesions_have_their_colours():
    for name, test in (("vascular lesion", lambda c: 120 * c[0] / c[1]), ("melanoma", lambda c: -c.mean())):
        for case in map(clear, alone(name, "severe")[:4]):
            mask = dermoscopy.render(case).masks[name]
            after, before = (picture(c)[mask].astype(int).mean(0) for c in (case, case.with_findings(())))
            assert test(after) > test(before) + 15, (name, case.seed)


def test_a_millimetre_on_the_ruler_is_one():
    case = replace(cases()[0], anatomy=cases()[0].anatomy | {"half_field": 6.4, "ruler": 1.0})
    row = skin.ruler(case, 512)[int(512 * (1 + 0.90) / 2)]
    marks = np.flatnonzero((row[1:-1] >= row[:-2]) & (row[1:-1] > row[2:])) + 1
    assert np.allclose(np.diff(marks), 512 / 12.8, atol=1.1) and len(marks) == 11


@pytest.mark.parametrize("size", [64, 200, 512])
def test_every_size_shows_the_same(size):
    case = next(c for c in cases() if len(c.findings) == 2 and c.anatomy["hairs"] > 4)
    large, small = dermoscopy.render(case, 256), dermoscopy.render(case, size)
    for name, mask in small.masks.items():
        assert abs(mask.mean() - large.masks[name].mean()) < 0.03, name
    means = [study.images["dermoscopy"].mean((0, 1)) for study in (large, small)]
    assert np.abs(means[0] - means[1]).max() < 4


def test_bad_sizes_and_findings_are_refused():
    for size in (63, 513):
        with pytest.raises(ValueError, match="64 to 512"):
            dermoscopy.render(cases()[0], size)
    with pytest.raises(ValueError, match="halo"):
        dermoscopy.render(cases()[0].with_findings((Finding("halo"),)))


def test_reports_are_read_back(monkeypatch):
    monkeypatch.setitem(vocabulary.MODALITIES, "dermoscopy", words.WORDS)
    parser._lexicon.cache_clear()
    try:
        rng = random.Random(0)
        for case in cases()[:200]:
            study = dermoscopy.Study(case, {"dermoscopy": np.zeros((8, 8, 3), np.uint8)}, {})
            for modality in ("dermoscopy", None):
                read = parser.parse(report(study, rng), modality)
                assert {(p.name, p.severity) for p in read} == {(f.name, f.severity) for f in case.findings}
        for term in words.WORDS.terms:
            for name in (*term.names, *term.heard):
                assert parser.parse_findings(f"There is {name}.", "dermoscopy") == {term.name}, name
    finally:
        parser._lexicon.cache_clear()
