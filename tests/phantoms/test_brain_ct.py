"""The CT that accompanies a brain MR case: on the same grid, with the Hounsfield values it states."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from unimedvl.phantoms import brain_ct, cxr, mri
from unimedvl.phantoms.study import Case


@cache
def lone(name: str | None) -> Case:
    """The first case whose only finding has this name; without one, the first that shows the ventricles well."""
    for case in map(mri.sample, range(400)):
        if [f.name for f in case.findings] != ([name] if name else []):
            continue
        if name or mri.render(case).masks.get("ventricles", np.zeros(1)).sum() > 150:
            return case
    raise AssertionError(name)


def median(case: Case, mask: np.ndarray) -> float:
    return float(np.median(brain_ct.companion_hounsfield(case, mask.shape[0], noise=False)[mask]))


def inner(mask: np.ndarray) -> np.ndarray:
    """The mask without its outermost pixels."""
    return mask & np.roll(mask, 1, 0) & np.roll(mask, -1, 0) & np.roll(mask, 1, 1) & np.roll(mask, -1, 1)


def test_equal_cases_give_the_same_bytes_and_sizes_look_alike():
    case = lone("tumour")
    small, large = brain_ct.companion_ct(case, 128), brain_ct.companion_ct(case, 256)
    assert small.tobytes() == brain_ct.companion_ct(case, 128).tobytes()
    assert small.shape == (128, 128, 3) and small.dtype == np.uint8 and large.shape == (256, 256, 3)
    assert abs(small.mean() - large.mean()) < 3


def test_bone_lies_where_the_t1_shows_none_and_the_brain_within_it():
    study = mri.render(lone(None), 256)
    hu = brain_ct.companion_hounsfield(study.case, 256)
    t1 = study.images["t1"][:, :, 0].astype(float)
    bone = hu > 900  # the tables of the skull, dark on T1
    assert bone.mean() > 0.02 and np.median(t1[bone]) < 40
    brain = inner(inner(study.masks["brain"]))
    assert np.percentile(hu[brain], 99) < 60 and np.percentile(hu[brain], 1) > -10
    # Borders of the ventricles fall together: shifting the CT by two pixels fits worse, whichever way.
    edges = [np.hypot(*np.gradient(np.where(brain, picture, np.median(picture[brain])))) for picture in (t1, hu)]
    fit = [np.corrcoef(edges[0].ravel(), np.roll(edges[1], shift, (0, 1)).ravel())[0, 1]
           for shift in ((0, 0), (2, 0), (-2, 0), (0, 2), (0, -2))]  # fmt: skip
    assert fit[0] > 0.3 and fit[0] > max(fit[1:]) + 0.05


def test_grey_is_a_few_hounsfield_units_denser_than_white_and_csf_near_water():
    study = mri.render(lone(None), 256)
    masks = study.masks
    white = median(study.case, inner(inner(masks["white matter"])))
    fluid = median(study.case, inner(masks["ventricles"]))
    # Grey matter is what is dark on T1 in the brain but not fluid.
    t1 = study.images["t1"][:, :, 0]
    low, high = np.percentile(t1[masks["white matter"]], 10), np.percentile(t1[masks["ventricles"]], 95)
    grey = median(study.case, masks["brain"] & (t1 < low) & (t1 > high + 10) & ~masks["white matter"])
    assert 3 < grey - white < 10
    assert 0 < fluid < 15 and 25 < white < 36


@pytest.mark.parametrize(("name", "low", "high"), [("haemorrhage", 55, 80), ("infarct", 10, 27), ("tumour", 10, 30)])
def test_lesions_have_the_attenuation_they_are_known_for(name, low, high):
    study = mri.render(lone(name), 256)
    mask = inner(study.masks[name])
    assert low < median(study.case, mask) < high
    healthy = median(study.case.with_findings(()), mask)
    assert (median(study.case, mask) > healthy) == (name == "haemorrhage")


def test_oedema_about_a_tumour_is_darker_than_white_matter():
    case = lone("tumour")
    change = brain_ct.companion_hounsfield(case, 256, noise=False) - brain_ct.companion_hounsfield(
        case.with_findings(()), 256, noise=False
    )
    around = (change < -4) & ~mri.render(case, 256).masks["tumour"]
    assert around.sum() > 300
    assert change.max() < 8  # nothing of it is bright but where it displaces fluid


def test_the_window_is_80_wide_about_40_and_noise_is_a_few_units():
    case = lone(None)
    hu, picture = brain_ct.companion_hounsfield(case, 512), brain_ct.companion_ct(case, 512)[:, :, 0]
    assert (picture[hu <= 0] == 0).all() and (picture[hu >= 80] == 255).all()
    middle = np.abs(hu - 40) < 0.2
    assert abs(float(picture[middle].mean()) - 127.5) < 1.5
    noise = hu - brain_ct.companion_hounsfield(case, 512, noise=False)
    assert 2.0 < noise[mri.render(case, 512).masks["brain"]].std() < 4.5


def test_what_it_cannot_do_is_refused():
    with pytest.raises(ValueError, match="64 to 512"):
        brain_ct.companion_ct(lone(None), 40)
    with pytest.raises(ValueError, match="'cxr'"):
        brain_ct.companion_ct(cxr.sample(0), 128)
