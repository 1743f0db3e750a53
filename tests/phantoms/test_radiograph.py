"""The chest in three dimensions: one patient, seen by CT lying and by a radiograph standing."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from unimedvl.phantoms import chest, ct, radiograph
from unimedvl.phantoms.chest_findings import zone
from unimedvl.phantoms.solids import Ellipsoid, Points, Tube, union
from unimedvl.phantoms.study import Case

SIZE = 80


@cache
def lone(name: str, severity: str = "severe") -> Case:
    """The first case whose only finding is the one asked for, of this severity."""
    for case in map(ct.sample, range(600)):
        if [(f.name, f.severity) for f in case.findings] == [(name, severity)]:
            return case
    raise AssertionError(name)


@cache
def film(case_of: str) -> radiograph.Radiograph:
    return radiograph.frontal(lone(case_of), SIZE)


@cache
def lengths(case_of: str) -> dict[str, np.ndarray]:
    return chest.projection(lone(case_of), SIZE)[1]


def middle(mask: np.ndarray) -> tuple[float, float]:
    """Column and row of a mask's centre, in -1..1."""
    rows, columns = np.nonzero(mask)
    return tuple(float(2 * (v.mean() + 0.5) / mask.shape[0] - 1) for v in (columns, rows))


@pytest.mark.parametrize("name", ["nodule", "consolidation"])
def test_ct_and_radiograph_show_a_finding_at_the_same_place_of_the_patient(name):
    case = lone(name)
    finding = case.findings[0]
    x, y, z = finding.shape[:3]
    # In CT: the mask's centre is at the patient's x and y.
    column, row = middle(ct.render(case).masks[name])
    half = case.anatomy["field"] / 2
    assert np.hypot(column * half - x, row * half + case.anatomy["shift_y"] - y) < 0.25 * finding.size
    # In the radiograph: where the ray through x, y, z falls.
    seen = np.array(middle(film(name).masks[name]))
    meant = np.array(chest.detector(x, y, z))
    assert np.hypot(*(seen - meant)) * chest.FRONTAL_FIELD / 2 < 0.25 * finding.size + 2
    assert (seen[0] > 0) == (finding.side == "left") == (x > 0)
    assert finding.place == zone(z) if name == "nodule" else finding.place
    lungs = np.nonzero((film(name).masks["left lung"] | film(name).masks["right lung"]).any(1))[0]
    third = (seen[1] / 2 + 0.5 - lungs[0] / SIZE) * SIZE / np.ptp(lungs)
    low, high = {"upper zone": (0.0, 0.45), "middle zone": (0.25, 0.75), "lower zone": (0.5, 1.0)}[finding.place]
    assert low < third < high


@pytest.mark.parametrize("name", ["nodule", "consolidation", "pleural effusion", "pneumothorax", "cardiomegaly"])
def test_findings_of_the_ct_show_on_the_radiograph_and_little_else_changes(name):
    case = lone(name)
    well = radiograph.frontal(case.with_findings(()), SIZE)
    change = film(name).image[:, :, 0].astype(int) - well.image[:, :, 0]
    mask = film(name).masks[name]
    new = mask & ~well.masks["heart"] if name in ("cardiomegaly", "pleural effusion") else mask
    assert new.sum() > 15
    sign = -1 if name == "pneumothorax" else 1
    assert np.median(sign * change[new]) > (4 if name == "pneumothorax" else 8)
    side = case.findings[0].side
    if side:
        reach = binary_dilation(mask | well.masks[f"{side} lung"], iterations=4)
        other = well.masks["right lung" if side == "left" else "left lung"] & ~reach
        assert np.abs(change[other]).max() < 6
        assert (middle(mask)[0] > 0) == (side == "left")


def test_fluid_and_free_air_keep_their_volume_when_the_patient_stands_up():
    for name, low in (("pleural effusion", True), ("pneumothorax", False)):
        case = lone(name)
        finding = case.findings[0]
        standing = lengths(name)[name]
        # Each ray stands for its pixel at the patient's depth, not the detector's.
        pixel = chest.FRONTAL_FIELD / SIZE / chest.magnification(0.0)
        assert abs(standing.sum() * pixel**2 / 1000 / finding.size - 1) < 0.25
        axis = np.arange(-150, 150, 6, dtype=np.float32)
        lying = 0.0
        for z in np.arange(-185, 118, 9):
            p = Points(axis[None, :], axis[:, None], np.full((1, 1), z, np.float32), 6.0)
            lying += chest.plane(case, p, layer=4).masks[name].sum() * 6 * 6 * 9 / 1000
        assert abs(lying / finding.size - 1) < 0.25
        lung = lengths(name)[f"{finding.side} lung"]
        rows = np.arange(SIZE)[:, None]
        assert ((standing * rows).sum() / standing.sum() > (lung * rows).sum() / lung.sum()) == low


def test_the_cardiothoracic_ratio_on_the_radiograph_is_the_one_told():
    masks = film("cardiomegaly").masks
    heart = np.flatnonzero(masks["heart"].any(0))
    thorax = np.flatnonzero((masks["left lung"] | masks["right lung"]).any(0))
    assert abs(100 * np.ptp(heart) / np.ptp(thorax) - lone("cardiomegaly").findings[0].size) < 7


def test_optical_depth_adds_up_along_rays():
    case = lone("nodule").with_findings(())
    tau, seen = chest.projection(case, SIZE)
    assert tau.dtype == np.float32 and tau.shape == (SIZE, SIZE)
    assert np.array_equal(tau, chest.project(case, SIZE))
    assert abs(float(tau[:4, :4].mean())) < 0.1  # beside the neck there is air
    lung = (seen["right lung"] > 80) & (seen["heart"] == 0)
    heart = seen["heart"] > 70
    abdomen = np.zeros_like(lung)
    abdomen[-4:, SIZE // 4 : SIZE // 3] = True
    assert np.median(tau[lung]) + 0.8 < np.median(tau[heart]) < np.median(tau[abdomen]) + 1.5
    depth = 2 * case.anatomy["half_depth"] + 38 + 1.5 * case.anatomy["fat"]
    assert abs(np.median(tau[abdomen]) / (chest.WATER * depth) - 1) < 0.35


def test_sizes_look_alike_and_others_are_refused():
    case = lone("nodule")
    small, large = chest.project(case, 64), chest.project(case, 192)
    assert np.abs(large.reshape(64, 3, 64, 3).mean((1, 3)) - small).mean() < 0.08
    with pytest.raises(ValueError, match="64 to 512"):
        radiograph.frontal(case, 600)


def test_equal_patients_give_the_same_bytes():
    again = radiograph.frontal(lone("nodule"), SIZE)
    assert again.image.tobytes() == film("nodule").image.tobytes()
    assert again.image.shape == (SIZE, SIZE, 3) and again.image.dtype == np.uint8


def test_solids_are_found_in_planes_that_run_up_or_down():
    axis = np.linspace(-50, 50, 101, dtype=np.float32)
    ball = Ellipsoid((10, 0, 20), (12, 12, 12))
    tube = Tube((-30, 0, -20), (0, 0, -20), 5, 5)
    zero = np.zeros((1, 1), np.float32)
    plane = Points(axis[None], zero, axis[:, None], 1.0)
    up = union(plane, [ball, tube])
    down = union(Points(axis[None], zero, axis[::-1][:, None], 1.0), [ball, tube])
    assert np.array_equal(up.clip(-5), down[::-1].clip(-5))  # a box may end a row earlier
    assert up[70, 60] == pytest.approx(12) and up[30, 35] == pytest.approx(5) and up[0, 100] == pytest.approx(-60)
    assert abs(plane.cover(up).sum() - np.pi * 144 - 300 - np.pi * 25) < 8
