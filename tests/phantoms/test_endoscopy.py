from __future__ import annotations

import random
from collections import Counter
from functools import cache

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from unimedvl.phantoms import colon, endoscopy, parser, vocabulary
from unimedvl.phantoms.reports import report
from unimedvl.phantoms.study import Case, Finding
from unimedvl.phantoms.vocabulary import place
from unimedvl.phantoms.words import endoscopy as words

GRADES = ("mild", "moderate", "severe")
# How far, in pixels at 128, a finding's rim, groove or soft edge may reach beyond its mask.
RIM = {"ulcer": 12, "polyp": 14, "mucosal bleeding": 9, "diverticula": 10, "colitis": 6}


@cache
def cases() -> list[Case]:
    return [endoscopy.sample(seed) for seed in range(400)]


def alone(name: str, grade: str) -> list[Case]:
    return [c for c in cases() if [(f.name, f.severity) for f in c.findings] == [(name, grade)]]


def picture(case: Case, size: int = 128) -> np.ndarray:
    return endoscopy.render(case, size).images["colonoscopy"]


def test_equal_cases_render_to_the_same_bytes():
    assert endoscopy.sample(7) == endoscopy.sample(7)
    assert np.array_equal(picture(endoscopy.sample(7)), picture(endoscopy.sample(7)))
    assert not np.array_equal(picture(endoscopy.sample(7)), picture(endoscopy.sample(8)))


def test_studies_have_what_the_protocol_promises():
    for case in cases()[:20]:
        study = endoscopy.render(case)
        assert set(study.images) == set(endoscopy.VIEWS)
        assert set(study.masks) == {"lumen", "folds"} | {f.name for f in case.findings}
        assert study.images["colonoscopy"].shape == (128, 128, 3)
        assert study.images["colonoscopy"].dtype == np.uint8
        for name, mask in study.masks.items():
            assert mask.shape == (128, 128) and mask.dtype == bool and mask.sum() > 12, (case.seed, name)
        assert all(f.side is None for f in case.findings)


def test_findings_grades_and_hours_are_evenly_spread():
    drawn = [case.findings for case in cases()]
    assert 0.19 < np.mean([not findings for findings in drawn]) < 0.31
    names = Counter(f.name for findings in drawn for f in findings)
    assert set(names) == set(endoscopy.FINDINGS) and max(names.values()) < 1.4 * min(names.values())
    grades = Counter((f.name, f.severity) for findings in drawn for f in findings)
    assert len(grades) == 3 * len(endoscopy.FINDINGS) and max(grades.values()) < 2.5 * min(grades.values())
    hours = Counter(f.place for findings in drawn for f in findings if f.place)
    assert set(hours) == set(words.HOURS) and max(hours.values()) < 1.6 * min(hours.values())


@pytest.mark.parametrize("name", endoscopy.FINDINGS)
def test_a_finding_is_seen_and_changes_nothing_beyond_itself(name):
    for case in alone(name, "mild")[:2]:
        mask = reach = endoscopy.render(case).masks[name]
        if name == "colitis":  # it fades into the healthy wall
            scene, _ = endoscopy.wall_scene(case, 128)
            reach = (endoscopy.inflamed(case.findings[0], scene.around, scene.along) > 0).reshape(128, 128)
        changed = np.abs(picture(case).astype(int) - picture(case.with_findings(()))).max(2)
        assert not changed[~binary_dilation(reach, np.ones((3, 3)), RIM[name])].any(), case.seed
        assert np.median(changed[mask]) > 12, case.seed


@pytest.mark.parametrize("name", endoscopy.FINDINGS)
def test_graver_findings_cover_more(name):
    areas = [np.mean([endoscopy.render(c, 64).masks[name].sum() for c in alone(name, grade)[:5]]) for grade in GRADES]
    assert 10 < areas[0] < areas[1] < areas[2]


def test_findings_lie_in_the_direction_of_their_hour():
    direction = {"12 o'clock": (0, -1), "3 o'clock": (1, 0), "6 o'clock": (0, 1), "9 o'clock": (-1, 0)}
    for name in ("polyp", "ulcer"):
        for case in alone(name, "mild")[:6]:
            rows, columns = np.nonzero(endoscopy.render(case).masks[name])
            across, down = direction[case.findings[0].place]
            toward = across * (columns.mean() - 63.5) + down * (rows.mean() - 63.5)
            assert toward > 0.7 * np.hypot(columns.mean() - 63.5, rows.mean() - 63.5), case.seed


def test_light_falls_off_along_the_tube():
    for case in cases()[:20]:
        if not case.findings:
            study = endoscopy.render(case)
            grey = study.images["colonoscopy"].mean(2)
            assert grey[study.masks["lumen"]].mean() < 0.6 * grey[~study.masks["lumen"] & (grey > 10)].mean()


def test_irradiance_falls_with_the_square_of_the_distance():
    case = cases()[0].with_findings(())
    scene, _ = endoscopy.wall_scene(case, 64)
    lit = []
    for far in (40.0, 80.0):  # a plate that faces the camera, on the axis
        scene.p = np.tile(np.float32([[0], [0], [far]]), (1, 4))
        scene.n = np.tile(np.float32([[0], [0], [-1]]), (1, 4))
        scene.d, scene.t = -scene.n, np.full(4, far, np.float32)
        lit.append(float(endoscopy.irradiance(scene, scene.n)[0][0]))
    assert 3.9 < lit[0] / lit[1] < 4.15


def test_blood_is_red_fibrin_is_pale_and_pouches_are_dark():
    for name, sign in (("ulcer", 1), ("mucosal bleeding", -1), ("diverticula", -1), ("colitis", -1)):
        case = alone(name, "severe")[0]
        mask = endoscopy.render(case).masks[name]
        before, after = picture(case.with_findings(()))[mask].astype(int), picture(case)[mask].astype(int)
        assert sign * (after - before)[:, 1].mean() > 15, name
        if name in ("mucosal bleeding", "colitis"):  # haemoglobin takes green, not red
            assert np.median(after[:, 0] / np.maximum(after[:, 1], 1)) > 1.15 * np.median(before[:, 0] / before[:, 1])


def test_rays_end_on_the_wall():
    case = cases()[1]
    wall = colon.tube(case.anatomy, case.noise_seed)
    d = colon.rays(64)
    t = wall.hits(d)
    near = t < 60
    gaps = np.abs(wall.gap(d * t)[near])
    assert np.quantile(gaps, 0.95) < 0.15
    # On the wall near the camera, no point is farther from the tube's middle than its radius allows.
    assert np.allclose((wall.normals(d * t)[:, near] ** 2).sum(0), 1, atol=1e-3)


def test_diverticula_are_as_many_as_told():
    for grade, few, many in (("mild", 2, 3), ("moderate", 4, 6), ("severe", 5, 11)):
        finding = alone("diverticula", grade)[0].findings[0]
        assert few <= finding.count <= many and len(finding.shape) == 4 * finding.count


@pytest.mark.parametrize("seed", [1000958, 1001335])
def test_diverticula_find_room_where_little_of_the_wall_faces_the_camera(seed):
    finding = next(f for f in endoscopy.sample(seed).findings if f.name == "diverticula")
    fewest, most = {"mild": (2, 3), "moderate": (5, 6), "severe": (8, 11)}[finding.severity]
    rows = np.array(finding.shape).reshape(-1, 4)
    assert fewest <= finding.count <= most and len(rows) == finding.count
    assert len(np.unique(rows, axis=0)) == len(rows)


@pytest.mark.parametrize("size", [64, 200, 512])
def test_every_size_shows_the_same(size):
    case = next(c for c in cases() if {f.name for f in c.findings} == {"polyp", "diverticula"})
    large, small = endoscopy.render(case, 256), endoscopy.render(case, size)
    for name, mask in small.masks.items():
        assert abs(mask.mean() - large.masks[name].mean()) < 0.02, name
    means = [study.images["colonoscopy"].mean((0, 1)) for study in (large, small)]
    assert np.abs(means[0] - means[1]).max() < 4


def test_bad_sizes_and_findings_are_refused():
    for size in (63, 513):
        with pytest.raises(ValueError, match="64 to 512"):
            endoscopy.render(cases()[0], size)
    with pytest.raises(ValueError, match="halo"):
        endoscopy.render(cases()[0].with_findings((Finding("halo"),)))


def test_reports_are_read_back(monkeypatch):
    monkeypatch.setitem(vocabulary.MODALITIES, "endoscopy", words.WORDS)
    parser._lexicon.cache_clear()
    try:
        rng = random.Random(0)
        for case in cases()[:200]:
            study = endoscopy.Study(case, {"colonoscopy": np.zeros((8, 8, 3), np.uint8)}, {})
            told = {(f.name, f.severity, place(words.WORDS.term(f.name), f)) for f in case.findings}
            for modality in ("endoscopy", None):
                read = parser.parse(report(study, rng), modality)
                assert {(p.name, p.severity, p.place) for p in read} == told
        for term in words.WORDS.terms:
            for name in (*term.names, *term.heard):
                assert parser.parse_findings(f"There is {name}.", "endoscopy") == {term.name}, name
    finally:
        parser._lexicon.cache_clear()
