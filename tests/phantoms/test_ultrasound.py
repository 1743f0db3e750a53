"""Simulated abdominal ultrasound: what the docstrings promise of physics, masks, findings and determinism."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.ndimage import label

from unimedvl.phantoms import ultrasound
from unimedvl.phantoms.study import Case, Finding, Study

STRUCTURES = {"liver", "gallbladder", "kidney"}
# No rib, no bowel gas, no gain that is off: what is left is what the finding does.
PLAIN = {"rib": 9.0, "gas": 99.0, "slope": 0.0, "gain": 0.0, "persistence": 3.0}


@cache
def cases() -> list[Case]:
    return [ultrasound.sample(seed) for seed in range(1000)]


def lone(name: str, severity: str | None = None) -> Case:
    """The first case whose only finding is the one asked for."""
    for case in cases():
        if [f.name for f in case.findings] == [name] and severity in (None, case.findings[0].severity):
            return replace(case, anatomy=case.anatomy | PLAIN)
    raise AssertionError(f"no {severity} {name} among 1000 cases")


@cache
def largest(name: str) -> Study:
    return ultrasound.render(lone(name), 512)


def grey(case: Case, size: int = 128) -> np.ndarray:
    return ultrasound.render(case, size).images["b-mode"][:, :, 0].astype(float)


def below(mask: np.ndarray, case: Case, mm: float) -> np.ndarray:
    """Pixels on the beams through a mask, at least 3 mm and at most so many deeper than its deepest point."""
    size = len(mask)
    _, _, deep, turn, _ = ultrasound._sector(case, size)
    rays = turn[mask]
    behind = deep - deep[mask].max()
    return (np.abs(turn - rays.mean()) < 0.5 * np.ptp(rays) / 2) & (behind > 3) & (behind < mm)


def test_equal_cases_render_to_the_same_bytes():
    for seed in (1, 2):
        a, b = (ultrasound.render(ultrasound.sample(seed)) for _ in range(2))
        assert a.case == b.case and a.images["b-mode"].tobytes() == b.images["b-mode"].tobytes()
    assert not np.array_equal(grey(ultrasound.sample(1)), grey(ultrasound.sample(2)))


def test_studies_have_what_the_protocol_promises():
    for case in cases()[:16]:
        study = ultrasound.render(case)
        assert set(study.images) == set(ultrasound.VIEWS)
        picture = study.images["b-mode"]
        assert picture.shape == (128, 128, 3) and picture.dtype == np.uint8
        assert set(study.masks) == STRUCTURES | {f.name for f in case.findings}
        for name, mask in study.masks.items():
            assert mask.shape == (128, 128) and mask.dtype == bool and mask.sum() >= 20, (case.seed, name)
        assert all(f.side is None for f in case.findings)


def test_findings_and_grades_are_evenly_spread():
    drawn = [case.findings for case in cases()]
    assert 0.22 < np.mean([not findings for findings in drawn]) < 0.29
    names = Counter(f.name for findings in drawn for f in findings)
    assert set(names) == set(ultrasound.FINDINGS) and max(names.values()) < 1.35 * min(names.values())
    grades = Counter((f.name, f.severity) for findings in drawn for f in findings)
    assert len(grades) == 18 and max(grades.values()) < 2 * min(grades.values())


@pytest.mark.parametrize("size", [64, 200, 512])
def test_every_size_shows_the_same(size):
    for name in ultrasound.FINDINGS:
        case = lone(name)
        large, small = largest(name), ultrasound.render(case, size)
        assert small.images["b-mode"].shape == (size, size, 3)
        for part, mask in small.masks.items():
            assert mask.any() and abs(mask.mean() - large.masks[part].mean()) < 0.01, part
        assert abs(small.images["b-mode"].mean() - large.images["b-mode"].mean()) < 2


def test_what_cannot_be_rendered_is_refused():
    for size in (63, 513):
        with pytest.raises(ValueError, match="64 to 512"):
            ultrasound.render(ultrasound.sample(0), size)
    with pytest.raises(ValueError, match="halo"):
        ultrasound.render(ultrasound.sample(0).with_findings((Finding("halo"),)))


@pytest.mark.parametrize("name", ultrasound.FINDINGS)
def test_a_finding_is_seen_and_changes_only_its_own_beams(name):
    case = lone(name, "mild")
    mask = ultrasound.render(case).masks[name]
    changed = np.abs(grey(case) - grey(case.with_findings(())))
    assert np.median(changed[mask]) > 12
    _, _, deep, turn, _ = ultrasound._sector(case, 128)
    beams = turn[mask]
    aside = (turn < beams.min() - 0.12) | (turn > beams.max() + 0.12)
    before = deep < deep[mask].min() - 5
    assert not (changed[aside | before] > 4).any()


@pytest.mark.parametrize("name", ["liver cyst", "liver mass", "ascites", "hydronephrosis", "gallstones"])
def test_graver_findings_are_larger(name):
    found = [lone(name, grade) for grade in ("mild", "moderate", "severe")]
    areas = [ultrasound.render(case).masks[name].sum() for case in found]
    told = [f.count if name == "gallstones" else f.size for f in (case.findings[0] for case in found)]
    assert told[0] < told[1] < told[2] and areas[0] < areas[2]


def test_sizes_and_counts_read_from_the_masks_are_those_told():
    for grade in ("mild", "severe"):
        case = lone("liver cyst", grade)
        mask = ultrasound.render(case, 512).masks["liver cyst"]
        step = ultrasound._sector(case, 512)[-1]
        widest = max(np.ptp(np.argwhere(mask) @ (np.cos(t), np.sin(t))) for t in np.linspace(0, np.pi, 24))
        assert abs(widest * step - case.findings[0].size) < 1.5
        stones = lone("gallstones", grade)
        assert label(ultrasound.render(stones, 512).masks["gallstones"])[1] == stones.findings[0].count


def test_gallstones_lie_in_the_gallbladder_and_dilatation_in_the_kidney():
    masks = ultrasound.render(lone("gallstones"), 256).masks
    assert (masks["gallstones"] & masks["gallbladder"]).sum() > 0.85 * masks["gallstones"].sum()
    for grade in ("mild", "severe"):
        masks = ultrasound.render(lone("hydronephrosis", grade), 256).masks
        assert (masks["hydronephrosis"] & masks["kidney"]).sum() == masks["hydronephrosis"].sum()


def test_fluid_is_black_and_brightens_what_lies_behind_it():
    case = lone("liver cyst", "severe")
    mask = ultrasound.render(case).masks["liver cyst"]
    assert np.median(grey(case)[mask]) < 5
    behind = below(mask, case, 25)
    assert (grey(case) - grey(case.with_findings(())))[behind].mean() > 15


def test_stones_are_bright_and_throw_shadows():
    case = lone("gallstones", "severe")
    rows = np.reshape(case.findings[0].shape, (-1, 3))
    x, y, deep, turn, _ = ultrasound._sector(case, 256)
    with_stones, without = grey(case, 256), grey(case.with_findings(()), 256)
    for cx, cy, radius in rows:
        near = np.hypot(x - cx, y - cy) < radius
        ray = np.arctan2(cx, cy + case.anatomy["probe"]) / case.anatomy["angle"]
        behind = (np.abs(turn - ray) < 0.015) & (deep > deep[near].max() + 6) & (deep < 130)
        assert with_stones[near].max() > 150
        assert with_stones[behind].mean() < 0.5 * without[behind].mean()


def test_a_fatty_liver_is_brighter_above_and_darker_in_the_deep():
    for grade, least in (("mild", 5), ("severe", 15)):
        case = lone("hepatic steatosis", grade)
        masks = ultrasound.render(case).masks
        _, _, deep, _, _ = ultrasound._sector(case, 128)
        liver, change = masks["liver"], grey(case) - grey(case.with_findings(()))
        wall = case.anatomy["wall"]
        assert change[liver & (deep < wall + 15)].mean() > least
        assert change[liver & (deep > 95)].mean() < change[liver & (deep < wall + 15)].mean() - 2 * least


def test_the_healthy_liver_is_a_little_brighter_than_the_kidneys_cortex_and_duller_than_its_sinus():
    liver, cortex, sinus = [], [], []
    for case in cases()[:8]:
        case = replace(case, findings=(), anatomy=case.anatomy | PLAIN)
        study, picture = ultrasound.render(case), grey(case)
        x, y, deep, _, _ = ultrasound._sector(case, 128)
        hidden = below(study.masks["gallbladder"], case, 99)  # behind fluid all is brighter
        inner = ultrasound.abdomen.sinus_inside(case.anatomy, x, y)
        kidney = study.masks["kidney"] & ~hidden
        liver.append(np.median(picture[study.masks["liver"] & (deep > 60)]))
        cortex.append(np.median(picture[kidney & (inner < -3)]))
        sinus.append(np.median(picture[kidney & (inner > 3)]))
    assert np.mean(sinus) > np.mean(liver) > np.mean(cortex) + 4


def test_outside_the_sector_all_is_black():
    for case in cases()[:6]:
        _, _, deep, turn, _ = ultrasound._sector(case, 128)
        outside = (deep < -2) | (deep > case.anatomy["depth"] + 2) | (np.abs(turn) > 1.1)
        assert not grey(case)[outside].any()


def test_speckle_widens_with_depth_as_beams_spread():
    case = ultrasound.sample(1)
    case = replace(case, findings=(), anatomy=case.anatomy | PLAIN | {"persistence": 1.0})
    picture = grey(case, 512)
    x, _, deep, _, _ = ultrasound._sector(case, 512)
    liver = ultrasound.render(case, 512).masks["liver"] & (np.abs(x) < 30)

    def roughness(zone: np.ndarray) -> float:
        both = zone[:, 1:] & zone[:, :-1]
        return np.abs(np.diff(picture, axis=1))[both].mean()

    near = liver & (deep < case.anatomy["wall"] + 20)
    assert roughness(near) > 1.15 * roughness(liver & (deep > 75))
