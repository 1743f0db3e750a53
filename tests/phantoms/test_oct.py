"""Simulated OCT: what the docstrings promise of layers, optics, masks, findings and determinism."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from unimedvl.phantoms import oct, retina
from unimedvl.phantoms.study import Case, Finding, Study

STRUCTURES = {"retina", "retinal pigment epithelium", "choroid"}


@cache
def cases() -> list[Case]:
    return [oct.sample(seed) for seed in range(1500)]


def lone(name: str, severity: str | None = None, place: str | None = None) -> Case:
    """The first case whose only finding is the one asked for."""
    for case in cases():
        if [f.name for f in case.findings] != [name]:
            continue
        finding = case.findings[0]
        if severity in (None, finding.severity) and place in (None, finding.place):
            return case
    raise AssertionError(f"no {severity} {place} {name} among 1500 cases")


@cache
def largest(name: str) -> Study:
    return oct.render(lone(name), 512)


def grey(case: Case, size: int = 128) -> np.ndarray:
    return oct.render(case, size).images["b-scan"][:, :, 0].astype(float)


def test_equal_cases_render_to_the_same_bytes():
    for seed in (1, 2):
        a, b = (oct.render(oct.sample(seed)) for _ in range(2))
        assert a.case == b.case and a.images["b-scan"].tobytes() == b.images["b-scan"].tobytes()
    assert not np.array_equal(grey(oct.sample(1)), grey(oct.sample(2)))


def test_studies_have_what_the_protocol_promises():
    for case in cases()[:24]:
        study = oct.render(case)
        assert set(study.images) == set(oct.VIEWS)
        picture = study.images["b-scan"]
        assert picture.shape == (128, 128, 3) and picture.dtype == np.uint8
        assert set(study.masks) == STRUCTURES | {f.name for f in case.findings}
        for name, mask in study.masks.items():
            assert mask.shape == (128, 128) and mask.dtype == bool and mask.sum() >= 25, (case.seed, name)
        assert all(f.side is None for f in case.findings)


def test_findings_and_grades_are_evenly_spread():
    drawn = [case.findings for case in cases()]
    assert 0.22 < np.mean([not findings for findings in drawn]) < 0.28
    names = Counter(f.name for findings in drawn for f in findings)
    assert set(names) == set(oct.FINDINGS) and max(names.values()) < 1.3 * min(names.values())
    grades = Counter((f.name, f.severity) for findings in drawn for f in findings)
    assert len(grades) == 18 and max(grades.values()) < 2 * min(grades.values())


@pytest.mark.parametrize("size", [64, 200, 512])
def test_every_size_shows_the_same(size):
    for name in oct.FINDINGS:
        case = lone(name)
        large, small = largest(name), oct.render(case, size)
        assert small.images["b-scan"].shape == (size, size, 3)
        for part, mask in small.masks.items():
            assert mask.any() and abs(mask.mean() - large.masks[part].mean()) < 0.01, part
        assert abs(small.images["b-scan"].mean() - large.images["b-scan"].mean()) < 2


def test_what_cannot_be_rendered_is_refused():
    for size in (63, 513):
        with pytest.raises(ValueError, match="64 to 512"):
            oct.render(oct.sample(0), size)
    with pytest.raises(ValueError, match="halo"):
        oct.render(oct.sample(0).with_findings((Finding("halo"),)))


@pytest.mark.parametrize("name", oct.FINDINGS)
def test_a_finding_is_seen_and_changes_nothing_far_from_it(name):
    case = lone(name, "mild")
    mask = oct.render(case).masks[name]
    changed = np.abs(grey(case) - grey(case.with_findings(())))
    assert np.median(changed[mask]) > 15
    columns = np.flatnonzero(mask.any(0))
    far = np.ones(128, bool)
    reach = 40 if name == "macular hole" else 22  # the retina around a hole is lifted
    far[max(columns[0] - reach, 0) : columns[-1] + reach] = False
    assert (changed[:, far] > 12).mean() < 0.005
    assert not changed[:12].any()


@pytest.mark.parametrize("name", oct.FINDINGS)
def test_graver_findings_cover_more(name):
    grades = ("mild", "moderate", "severe")
    areas = [oct.render(lone(name, grade)).masks[name].sum() for grade in grades]
    sizes = [f.size if name != "drusen" else f.count for f in (lone(name, g).findings[0] for g in grades)]
    assert areas[0] < areas[1] < areas[2] and sizes[0] < sizes[1] < sizes[2]


def test_sizes_read_from_the_masks_are_those_told():
    for name, slack in (("subretinal fluid", 0.08), ("geographic atrophy", 0.1), ("macular hole", 0.05)):
        case = lone(name, place="foveal" if name != "macular hole" else None)
        mask = oct.render(case, 512).masks[name]
        pixels = mask.any(0).sum()
        if name == "macular hole":  # told of where it is narrowest, which is near the middle of the retina
            rows = np.flatnonzero(mask.any(1))
            pixels = mask[rows[len(rows) // 3] : rows[2 * len(rows) // 3]].sum(1).min()
        width = pixels * case.anatomy["width"] / 512
        assert abs(width - case.findings[0].size) < slack, name


def test_places_are_told_from_the_fovea_and_the_eye():
    for name in ("subretinal fluid", "geographic atrophy", "intraretinal fluid"):
        for place in oct.PLACES:
            case = lone(name, place=place)
            at = np.nonzero(oct.render(case).masks[name])[1].mean() / 128 - 0.5
            off = case.anatomy["nasal"] * (at * case.anatomy["width"] - case.anatomy["fovea"])
            assert {"foveal": abs(off) < 0.4, "nasal": off > 0.5, "temporal": off < -0.5}[place], (name, place)


def test_the_nerve_fibres_are_thicker_on_the_nasal_side_which_names_the_eye():
    for case in cases()[:10]:
        healthy = case.with_findings(())
        at = retina.surfaces(healthy, case.anatomy["fovea"] + np.array([-2.0, 2.0]))
        left, right = at.top["gcl"] - at.top["nfl"]
        assert (right > left) == (oct.render(healthy, 64).attributes["eye"] == "right")


def test_the_retina_is_as_thick_as_published_and_thinnest_at_the_fovea():
    thickness = []
    for case in cases()[:50]:
        u = case.anatomy["fovea"] + np.array([0.0, 1.2])
        at = retina.surfaces(case.with_findings(()), u)
        thickness.append(at.bruch - at.top["nfl"])
    centre, ring = np.mean(thickness, axis=0)
    assert 200 < centre < 250 and 320 < ring < 360  # um, as normal eyes on spectral-domain OCT


def test_layers_have_the_order_of_brightness_they_are_known_for():
    case = replace(oct.sample(1), findings=())
    picture, u = grey(case, 256), retina.columns(case, 256)
    at = retina.surfaces(case, u)
    row = np.arange(256)[:, None] * case.anatomy["depth"] / 256

    def mean(top: np.ndarray, bottom: np.ndarray) -> float:
        band = (row > top + 5) & (row < bottom - 5)
        return picture[band].mean()

    fibres, nuclei = mean(at.top["nfl"], at.top["gcl"]), mean(at.top["onl"], at.top["elm"])
    plexus, rpe = mean(at.top["ipl"], at.top["inl"]), mean(at.rpe, at.rpe_end)
    assert rpe > plexus > nuclei + 20 and fibres > nuclei + 20
    assert picture[:20].mean() < 0.5 * nuclei


def test_light_passes_into_the_choroid_where_the_pigment_epithelium_is_lost():
    case = lone("geographic atrophy", "severe")
    study, healthy = oct.render(case), case.with_findings(())
    lost = study.masks["geographic atrophy"].any(0)
    choroid = study.masks["choroid"]
    gain = grey(case) - grey(healthy)
    assert gain[:, lost][choroid[:, lost]].mean() > 15
    assert abs(gain[:, ~lost][choroid[:, ~lost]].mean()) < 3


def test_vessels_throw_shadows_to_the_bottom():
    case = replace(oct.sample(1), findings=(), anatomy=oct.sample(1).anatomy | {"looks": 5.0})
    below = grey(case)[100:].mean(0)
    assert below.min() < 0.75 * np.median(below)


def test_averaging_frames_smooths_the_speckle():
    one, five = (
        grey(replace(oct.sample(1), findings=(), anatomy=oct.sample(1).anatomy | {"looks": looks}), 256)[-40:]
        for looks in (1.0, 5.0)
    )
    rough = [np.abs(np.diff(image, axis=1)).mean() for image in (one, five)]
    assert rough[1] < 0.6 * rough[0]
