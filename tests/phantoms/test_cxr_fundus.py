from __future__ import annotations

from collections import Counter
from functools import cache
from types import ModuleType

import numpy as np
import pytest

from unimedvl.phantoms import cxr, fundus, shapes
from unimedvl.phantoms.study import Case, Finding

MODULES = [cxr, fundus]
STRUCTURES = {"cxr": {"left lung", "right lung", "heart"}, "cfp": {"vessels", "optic disc", "optic cup"}}
# How far, in pixels at 128, soft edges may carry a change beyond what the finding covers.
SPILL = {"consolidation": 8, "pleural effusion": 8, "cardiomegaly": 6}


@cache
def cases(module: ModuleType) -> list[Case]:
    return [module.sample(seed) for seed in range(1000)]


def lone(module: ModuleType, name: str, severity: str | None = None, side: str | None = None) -> Case:
    """The first case whose only finding is the one asked for."""
    for case in cases(module):
        if [f.name for f in case.findings] != [name]:
            continue
        finding = case.findings[0]
        if severity in (None, finding.severity) and side in (None, finding.side):
            return case
    raise AssertionError(f"no {severity} {side} {name} among 1000 cases")


def image(module: ModuleType, case: Case, size: int = 128) -> np.ndarray:
    return module.render(case, size).images[module.VIEWS[0]]


def change(module: ModuleType, case: Case) -> np.ndarray:
    """Largest change of any channel when the findings go, [H, W]."""
    before = image(module, case).astype(int)
    return np.abs(before - image(module, case.with_findings(()))).max(2)


def grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    """The mask widened by a square of the given reach."""
    out = mask.copy()
    for dy in range(-pixels, pixels + 1):
        for dx in range(-pixels, pixels + 1):
            out |= np.roll(mask, (dy, dx), (0, 1))
    return out


ALL = [(module, name) for module in MODULES for name in module.FINDINGS]


@pytest.mark.parametrize("module", MODULES)
def test_equal_cases_render_to_the_same_bytes(module):
    for seed in range(3):
        assert module.sample(seed) == module.sample(seed)
        assert np.array_equal(image(module, module.sample(seed)), image(module, module.sample(seed)))
    assert not np.array_equal(image(module, module.sample(1)), image(module, module.sample(2)))


@pytest.mark.parametrize("module", MODULES)
def test_studies_have_what_the_protocol_promises(module):
    for seed in range(15):
        case = module.sample(seed)
        study = module.render(case)
        assert set(study.images) == set(module.VIEWS)
        assert set(study.masks) == STRUCTURES[module.MODALITY] | {f.name for f in case.findings}
        for picture in study.images.values():
            assert picture.shape == (128, 128, 3) and picture.dtype == np.uint8
        for name, mask in study.masks.items():
            assert mask.shape == (128, 128) and mask.dtype == bool and mask.any(), name
        for finding in case.findings:
            assert (finding.side is not None) == (finding.name in module.SIDED)


@pytest.mark.parametrize("module", MODULES)
def test_findings_and_sides_are_evenly_spread(module):
    drawn = [case.findings for case in cases(module)]
    assert 0.21 < np.mean([not findings for findings in drawn]) < 0.29
    assert 0.13 < np.mean([len(findings) == 2 for findings in drawn]) < 0.24
    names = Counter(f.name for findings in drawn for f in findings)
    assert set(names) == set(module.FINDINGS) and max(names.values()) < 1.3 * min(names.values())
    grades = Counter((f.name, f.severity) for findings in drawn for f in findings)
    assert len(grades) == 3 * len(module.FINDINGS) and max(grades.values()) < 2 * min(grades.values())
    for name in module.SIDED:
        left = np.mean([f.side == "left" for findings in drawn for f in findings if f.name == name])
        assert 0.4 < left < 0.6, name


@pytest.mark.parametrize(("module", "name"), ALL)
def test_a_finding_is_seen_and_changes_nothing_beyond_itself(module, name):
    case = lone(module, name, "mild")
    masks = module.render(case).masks
    changed = change(module, case)
    reach = masks[name]
    if name == "pneumothorax":  # the collapsed lung is denser too
        reach = reach | masks[f"{case.findings[0].side} lung"] | masks["heart"]
    assert not changed[~grown(reach, SPILL.get(name, 3))].any()
    covered = masks[name]
    if name in ("cardiomegaly", "glaucomatous cupping"):  # only what was added is new
        healthy = module.render(case.with_findings(())).masks
        covered = covered & ~healthy["heart" if name == "cardiomegaly" else "optic cup"]
    assert np.median(changed[covered]) > 15
    assert covered.sum() > 40


@pytest.mark.parametrize("name", sorted(cxr.SIDED))
@pytest.mark.parametrize("side", ["left", "right"])
def test_chest_findings_lie_on_the_patients_side(name, side):
    mask = cxr.render(lone(cxr, name, side=side)).masks[name]
    half = mask[:, 64:] if side == "left" else mask[:, :64]
    assert half.sum() > 0.95 * mask.sum()


def test_cardiothoracic_ratio_read_from_the_masks_is_the_one_told():
    def measured(case: Case) -> float:
        masks = cxr.render(case, 256).masks
        heart = np.flatnonzero(masks["heart"].any(0))
        chest = np.flatnonzero((masks["left lung"] | masks["right lung"]).any(0))
        return 100 * float(np.ptp(heart) / np.ptp(chest))

    ratios = []
    for severity in ("mild", "moderate", "severe"):
        case = lone(cxr, "cardiomegaly", severity)
        ratios.append(measured(case))
        assert abs(ratios[-1] - case.findings[0].size) < 3
        assert measured(case.with_findings(())) < 50
    assert 52 < ratios[0] < ratios[1] < ratios[2]


@pytest.mark.parametrize("name", ["pleural effusion", "pneumothorax", "consolidation", "nodule"])
def test_graver_chest_findings_cover_more(name):
    areas = [np.mean([cxr.render(lone(cxr, name, grade, side)).masks[name].sum() for side in ("left", "right")])
             for grade in ("mild", "moderate", "severe")]
    assert areas[0] < areas[1] < areas[2]


def test_opacities_are_brighter_and_free_air_is_darker():
    for name, sign in (("pleural effusion", 1), ("consolidation", 1), ("nodule", 1), ("pneumothorax", -1)):
        case = lone(cxr, name)
        mask = cxr.render(case).masks[name]
        difference = image(cxr, case).astype(int) - image(cxr, case.with_findings(()))
        assert sign * difference[mask].mean() > 15, name


def test_zones_of_the_lung_go_from_above_downward():
    heights: dict[str, list[float]] = {zone: [] for zone in cxr.ZONES}
    for case in cases(cxr):
        for finding in case.findings:
            if finding.place:
                heights[finding.place].append(-finding.shape[2])
    upper, middle, lower = (heights[zone] for zone in ("upper zone", "middle zone", "lower zone"))
    assert max(upper) < min(middle) and max(middle) < min(lower)


def test_the_disc_is_nasal():
    for seed in range(20):
        study = fundus.render(fundus.sample(seed), 64)
        columns = np.flatnonzero(study.masks["optic disc"].any(0))
        assert (columns.mean() > 32) == (study.attributes["eye"] == "right")


def test_cup_to_disc_ratio_read_from_the_masks_is_the_one_told():
    for severity in ("mild", "moderate", "severe"):
        case = lone(fundus, "glaucomatous cupping", severity)
        masks = fundus.render(case, 256).masks
        cup, disc = (np.flatnonzero(masks[name].any(1)) for name in ("optic cup", "optic disc"))
        assert abs(100 * len(cup) / len(disc) - case.findings[0].size) < 4
        healthy = fundus.render(case.with_findings(()), 256).masks
        assert healthy["optic cup"].sum() < masks["optic cup"].sum()


def test_counted_lesions_are_as_many_as_told():
    for name in ("microaneurysms", "haemorrhages", "drusen", "hard exudates"):
        finding = lone(fundus, name).findings[0]
        assert finding.count == len(finding.shape) // 3 >= 3


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("size", [64, 200, 512])
def test_every_size_shows_the_same(module, size):
    case = module.sample(3)
    large, small = module.render(case, 512), module.render(case, size)
    assert small.images[module.VIEWS[0]].shape == (size, size, 3)
    for name, mask in small.masks.items():
        assert abs(mask.mean() - large.masks[name].mean()) < 0.03, name
    means = [study.images[module.VIEWS[0]].mean((0, 1)) for study in (large, small)]
    assert np.abs(means[0] - means[1]).max() < 4


@pytest.mark.parametrize("module", MODULES)
def test_noise_is_below_two_grey_levels(module):
    # Immerkaer, "Fast noise variance estimation", 1996: the mask answers to noise, not to smooth shapes.
    picture = image(module, module.sample(5), 512)[156:356, 156:356, 0].astype(float)
    edges = picture[:, :-2] - 2 * picture[:, 1:-1] + picture[:, 2:]
    answer = edges[:-2] - 2 * edges[1:-1] + edges[2:]
    assert 0.3 < 1.4826 * np.median(np.abs(answer)) / 6 < 2.0


def test_strokes_cover_what_they_should():
    disc = shapes.spots(256, np.array([[0.1, -0.2, 0.3]]))
    assert abs(disc.mean() * 4 - np.pi * 0.3**2) < 0.01
    bar = shapes.strokes(256, [[-0.5, 0.0]], [[0.5, 0.0]], [0.1])
    assert abs(bar.mean() * 4 - (0.2 + np.pi * 0.1**2)) < 0.01
    assert not shapes.strokes(64, np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0)).any()


def test_smooth_noise_is_one_field_at_every_size():
    fields = [shapes.smooth_noise(np.random.default_rng(0), 8, size) for size in (64, 256)]
    assert np.abs(fields[1].reshape(64, 4, 64, 4).mean((1, 3)) - fields[0]).max() < 0.05
    assert 0.6 < fields[0].std() < 1.5


def test_an_unknown_finding_is_refused():
    for module in MODULES:
        case = module.sample(0).with_findings((Finding("halo"),))
        with pytest.raises(ValueError, match="halo"):
            module.render(case)
