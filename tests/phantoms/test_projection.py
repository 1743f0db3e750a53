"""The chest in three dimensions: one patient, seen lying by CT and standing by a radiograph."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from unimedvl.phantoms import chest, ct, cxr, rays
from unimedvl.phantoms.chest_findings import zone
from unimedvl.phantoms.chest_vessels import VEILS, tree
from unimedvl.phantoms.projected_bones import BONE_GAIN
from unimedvl.phantoms.projection import CROWDED, Projection, project
from unimedvl.phantoms.rays import Grid, Inside, Rays
from unimedvl.phantoms.solids import Ellipsoid, Points, Tube, union
from unimedvl.phantoms.study import Case, Study

SIZE = 96
FINE = 4.0  # mm between the planes of the march


@cache
def lone(name: str, severity: str = "severe", simulator=cxr) -> Case:
    """The first case whose only finding is the one asked for, of this severity."""
    for case in map(simulator.sample, range(900)):
        if [(f.name, f.severity) for f in case.findings] == [(name, severity)]:
            return case
    raise AssertionError(name)


@cache
def film(name: str) -> Study:
    return cxr.render(lone(name), SIZE)


@cache
def fast(name: str) -> Projection:
    return project(lone(name), SIZE)


def marched(case: Case, size: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Optical depth [size, size] of a standing patient without contrast medium, and lengths of the rays in mm: by
    marching through fine coronal planes, as slow as it is plain. The fast projection is held to it."""
    case = replace(case, anatomy=case.anatomy | {"contrast": 0.0})
    grid = rays.Rays(size)
    tau = np.zeros((size, size), np.float32)
    lengths: dict[str, np.ndarray] = {}
    for y in np.arange(-128.0, 150.0, FINE, dtype=np.float32):
        p = Points(grid.x(float(y)), y.reshape(1, 1), grid.z(float(y)), grid.pixel)
        seen = chest.plane(case, p, erect=True, vessels=False)
        tau += (1 + (seen.hu + BONE_GAIN * seen.bone) / 1000) * np.float32(chest.WATER * FINE)
        for name, cover in seen.masks.items():
            lengths[name] = lengths.get(name, 0) + cover * np.float32(FINE)
    vessels = grid.deposited(*tree(case))
    vessels = CROWDED * (1 - np.exp(-vessels / CROWDED))
    for side, columns in (("right", slice(0, size // 2)), ("left", slice(size // 2, size))):
        lung = lengths[f"{side} lung"][:, columns]
        veiled = sum(lengths[f.name][:, columns] for f in case.findings if f.side == side and f.name in VEILS)
        share = np.clip(1 - veiled / np.maximum(lung, 1), 0, 1) * np.clip(lung / 20, 0, 1)
        tau[:, columns] += chest.WATER * vessels[:, columns] * share
    return tau, lengths


@cache
def slow(name: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    return marched(lone(name), SIZE)


def middle(mask: np.ndarray) -> tuple[float, float]:
    """Column and row of a mask's centre, in -1..1."""
    rows, columns = np.nonzero(mask)
    return tuple(float(2 * (v.mean() + 0.5) / mask.shape[0] - 1) for v in (columns, rows))


# --------------------------------------------------------------------------- one patient, film and slice


@pytest.mark.parametrize("name", ["nodule", "consolidation"])
@pytest.mark.parametrize("first", [cxr, ct])
def test_ct_and_film_show_a_finding_at_the_same_place_of_the_patient(name, first):
    case = lone(name, simulator=first)
    finding = case.findings[0]
    x, y, z = finding.shape[:3]
    # In the slice: the mask's centre is at the patient's x and y.
    slice_of = case if first is ct else ct.of(case)
    column, row = middle(ct.render(slice_of).masks[name])
    half = slice_of.anatomy["field"] / 2
    assert np.hypot(column * half - x, row * half + slice_of.anatomy["shift_y"] - y) < 0.25 * finding.size
    # On the film: where the ray through x, y, z falls.
    shot = film(name) if first is cxr else cxr.render(cxr.of(case), SIZE)
    seen = np.array(middle(shot.masks[name]))
    assert np.hypot(*(seen - rays.detector(x, y, z))) * rays.FIELD / 2 < 0.25 * finding.size + 2
    assert (seen[0] > 0) == (finding.side == "left") == (x > 0)
    assert finding.place == zone(z)
    lungs = np.nonzero((shot.masks["left lung"] | shot.masks["right lung"]).any(1))[0]
    third = (seen[1] / 2 + 0.5 - lungs[0] / SIZE) * SIZE / np.ptp(lungs)
    low, high = {"upper zone": (0.0, 0.45), "middle zone": (0.25, 0.75), "lower zone": (0.5, 1.0)}[finding.place]
    assert low < third < high


def test_a_slice_cuts_what_the_film_shows_at_its_height_and_not_elsewhere():
    case = lone("nodule")
    z, size = case.findings[0].shape[2], case.findings[0].size
    there = ct.render(ct.of(case, z)).masks["nodule"]
    off = ct.render(ct.of(case, z + 0.8 * size)).masks
    assert there.any() and not off["nodule"].any()
    axial = ct.of(case)
    assert axial.modality == "ct" and (axial.findings, axial.seed) == (case.findings, case.seed)
    assert cxr.of(axial).modality == "cxr" and axial.anatomy["level"] == z
    assert np.array_equal(cxr.render(cxr.of(axial), 64).images["frontal"], cxr.render(case, 64).images["frontal"])


def test_every_patient_of_the_films_can_be_sliced_and_the_other_way_round():
    for seed in range(6):
        film_of, slice_of = cxr.of(ct.sample(seed)), ct.of(cxr.sample(seed))
        assert set(cxr.render(film_of, 64).masks) >= {"heart", *(f.name for f in film_of.findings)}
        study = ct.render(slice_of, 64)
        assert study.findings == slice_of.findings and study.modality == "ct"


@pytest.mark.parametrize("name", cxr.FINDINGS)
def test_findings_show_on_the_film_and_little_else_changes(name):
    case = lone(name)
    well = cxr.render(case.with_findings(()), SIZE)
    change = film(name).images["frontal"][:, :, 0].astype(int) - well.images["frontal"][:, :, 0]
    mask = film(name).masks[name]
    new = mask & ~well.masks["heart"] if name in ("cardiomegaly", "pleural effusion") else mask
    assert new.sum() > 40
    assert np.median((-1 if name == "pneumothorax" else 1) * change[new]) > 20
    side = case.findings[0].side
    if side:
        reach = binary_dilation(mask | well.masks[f"{side} lung"], iterations=4)
        other = well.masks["right lung" if side == "left" else "left lung"] & ~reach
        assert not change[other].any()
        assert (middle(mask)[0] > 0) == (side == "left")


def test_fluid_and_free_air_keep_their_volume_when_the_patient_stands_up():
    for name, low in (("pleural effusion", True), ("pneumothorax", False)):
        case = lone(name)
        finding = case.findings[0]
        standing = fast(name).lengths[name]
        # Each ray stands for its pixel at the patient's depth, not the detector's.
        pixel = rays.FIELD / SIZE / rays.magnification(0.0)
        assert abs(standing.sum() * pixel**2 / 1000 / finding.size - 1) < 0.25
        axis = np.arange(-150, 150, 6, dtype=np.float32)
        lying = 0.0
        for z in np.arange(-185, 118, 9):
            p = Points(axis[None, :], axis[:, None], np.full((1, 1), z, np.float32), 6.0)
            lying += chest.plane(case, p, layer=4).masks[name].sum() * 6 * 6 * 9 / 1000
        assert abs(lying / finding.size - 1) < 0.25
        lung = fast(name).lengths[f"{finding.side} lung"]
        rows = np.arange(SIZE)[:, None]
        assert ((standing * rows).sum() / standing.sum() > (lung * rows).sum() / lung.sum()) == low


def test_contrast_medium_is_not_on_the_film():
    case = lone("nodule")
    images = [cxr.render(cxr.of(Case("ct", case.seed, (), case.anatomy | {"contrast": c}, 1)), 64).images["frontal"]
              for c in (0.0, 200.0)]  # fmt: skip
    assert np.array_equal(*images)


# ------------------------------------------------------------------------------- the fast projection holds


@pytest.mark.parametrize("name", cxr.FINDINGS)
def test_the_fast_projection_agrees_with_the_march_through_fine_planes(name):
    tau, lengths = slow(name)
    off = fast(name).tau - tau
    assert np.corrcoef(fast(name).tau.ravel(), tau.ravel())[0, 1] > 0.993
    assert np.abs(off).mean() < 0.09  # optical depths go to 6
    for place in ("left lung", "right lung", "heart", name):
        inside = lengths[place] > 8
        assert np.abs(off[inside]).mean() < 0.10, place
        assert abs(off[inside].mean()) < 0.08, place
    for place in ("left lung", "right lung", "heart"):
        away = (fast(name).lengths[place] - lengths[place])[lengths[place] > 8]
        assert np.abs(away).mean() < 2.5 and abs(away.mean()) < 1.5, place  # mm, of 60 to 110


def test_bones_lie_where_the_march_meets_them():
    case = lone("nodule").with_findings(())
    bare = Case(case.modality, case.seed, (), case.anatomy | {"mineral": 0.15}, case.noise_seed)
    bones = [project(c, SIZE).tau for c in (case, bare)]
    met = [marched(c, SIZE)[0] for c in (case, bare)]
    ours, theirs = bones[0] - bones[1], met[0] - met[1]
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.9
    assert abs(ours.mean() / theirs.mean() - 1) < 0.12


def test_optical_depth_adds_up_along_rays():
    case = lone("nodule").with_findings(())
    seen = project(case, SIZE)
    assert seen.tau.dtype == np.float32 and seen.tau.shape == (SIZE, SIZE)
    assert np.array_equal(seen.tau, seen.healthy)
    assert abs(float(seen.tau[:4, :4].mean())) < 0.1  # beside the neck there is air
    lung = (seen.lengths["right lung"] > 80) & (seen.lengths["heart"] == 0)
    heart = seen.lengths["heart"] > 60
    abdomen = np.zeros_like(lung)
    abdomen[-4:, SIZE // 4 : SIZE // 3] = True
    assert np.median(seen.tau[lung]) + 0.8 < np.median(seen.tau[heart]) < np.median(seen.tau[abdomen]) + 1.5
    depth = 2 * case.anatomy["half_depth"] + 38 + 1.5 * case.anatomy["fat"]
    assert abs(np.median(seen.tau[abdomen]) / (chest.WATER * depth) - 1) < 0.35


def test_sizes_look_alike_and_others_are_refused():
    case = lone("nodule")
    small, large = project(case, 64).tau, project(case, 192).tau
    assert np.abs(large.reshape(64, 3, 64, 3).mean((1, 3)) - small).mean() < 0.08
    for size in (63, 513):
        with pytest.raises(ValueError, match="64 to 512"):
            cxr.render(case, size)


def test_twenty_films_take_less_than_a_second():
    cases = [cxr.sample(seed) for seed in range(20)]
    cxr.render(cases[0])
    spent = []
    for _ in range(3):  # of a machine that others use as well, the quietest time
        begin = time.process_time()
        for case in cases:
            cxr.render(case)
        spent.append(time.process_time() - begin)
        if spent[-1] < 1:
            break
    assert min(spent) < 1


# --------------------------------------------------------------------------------------------------- rays


def test_chords_of_solids_are_those_of_geometry():
    grid = Rays(257)
    centre = (20.0, -30.0, 10.0)
    ball = grid.chord(Ellipsoid(centre, (30, 30, 30)))
    assert ball.max() == pytest.approx(60, rel=0.01)
    area = (rays.FIELD / 257 / rays.magnification(centre[1])) ** 2
    assert ball.sum() * area == pytest.approx(4 / 3 * np.pi * 30**3, rel=0.02)
    turned = grid.chord(Ellipsoid(centre, (40, 15, 20), 0.6))
    assert turned.sum() * area == pytest.approx(4 / 3 * np.pi * 40 * 15 * 20, rel=0.02)
    tube = grid.chord(Tube((-40, 0, 0), (40, 0, 0), 6, 6))
    area = (rays.FIELD / 257 / rays.magnification(0.0)) ** 2
    assert tube.max() == pytest.approx(12, rel=0.03)
    assert tube.sum() * area == pytest.approx(np.pi * 36 * 80 + 4 / 3 * np.pi * 6**3, rel=0.03)
    assert not grid.chord(Ellipsoid((400, 0, 0), (10, 10, 10))).any()


def test_vessels_keep_their_volume_at_every_size():
    starts, ends = np.array([[-30.0, 0, 0], [10, 5, 20]]), np.array([[30.0, 0, 10], [40, -5, 20]])
    radii = np.array([[3.0, 3.0], [0.5, 0.5]])
    volume = (np.pi * radii[:, 0] ** 2 * np.linalg.norm(ends - starts, axis=1)).sum()
    for size in (64, 128, 512):
        area = (rays.FIELD / size / rays.magnification(0.0)) ** 2
        assert Rays(size).deposited(starts, ends, radii).sum() * area == pytest.approx(volume, rel=0.02)


def test_borders_between_planes_are_met_where_the_distance_crosses_zero():
    inside = Inside(10.0)
    for y in (-20.0, -10.0, 0.0, 10.0, 20.0):
        inside.step(np.full((1, 1), 13.0 - abs(y)))
    assert inside.length[0, 0] == pytest.approx(26.0, rel=1e-3)


def test_coarse_values_are_interpolated_at_the_fine_rays():
    grid = Grid(60, (6, 50), (10, 40))
    u, v = grid.middles()
    plane = (0.5 * u[None, :] - 0.2 * v[:, None])[None].astype(np.float32)
    fine = Rays(128)
    rows, columns = grid.part_of(fine)
    (found,) = grid.finer(plane, fine)
    meant = 0.5 * fine.axis[None, columns] - 0.2 * fine.axis[rows, None]
    assert np.abs(found - meant)[6:-6, 6:-6].max() < 0.01  # the border repeats


def test_a_coarse_beam_windows_as_its_points_lie():
    p = rays.beam(Rays(60).axis, Rays(60).axis, np.arange(-100.0, 101, 10), 6.0)
    ball = Ellipsoid((40, 20, -50), (25, 25, 25))
    assert np.array_equal(union(p, [ball]) > 0, np.broadcast_to(ball.distance(p) > 0, p.shape))


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
