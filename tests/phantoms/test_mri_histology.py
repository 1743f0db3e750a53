"""Simulated MR and histology: what the docstrings promise of physics, sides, levels and determinism."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from unimedvl.phantoms import histology, mri
from unimedvl.phantoms.breast_stains import dab_share, level_from_dab
from unimedvl.tasks import HER2_LEVELS

SIMULATORS = pytest.mark.parametrize("simulator", [mri, histology], ids=["mri", "his"])


def _with_her2(case, level):
    return replace(case, anatomy=case.anatomy | {"her2": float(level)})


def _case(simulator, name, start=0):
    """The first case from ``start`` on whose one finding has this name."""
    return next(
        c for c in map(simulator.sample, range(start, start + 400)) if [f.name for f in c.findings] == [name]
    )


@SIMULATORS
def test_equal_seeds_render_equal_bytes(simulator):
    for seed in (3, 11):
        a, b = (simulator.render(simulator.sample(seed)) for _ in range(2))
        assert a.case == b.case
        assert all(a.images[v].tobytes() == b.images[v].tobytes() for v in simulator.VIEWS)


@SIMULATORS
@pytest.mark.parametrize("size", [64, 100, 128, 512])
def test_every_size_gives_views_and_masks_of_that_size_that_look_the_same(simulator, size):
    case = _case(simulator, simulator.FINDINGS[0])
    study, usual = simulator.render(case, size), simulator.render(case, 128)
    assert tuple(study.images) == simulator.VIEWS
    for view, image in study.images.items():
        assert image.shape == (size, size, 3) and image.dtype == np.uint8
        assert abs(image.mean() - usual.images[view].mean()) < 2
    for name, mask in study.masks.items():
        assert mask.shape == (size, size) and mask.dtype == bool
        assert abs(mask.mean() - usual.masks[name].mean()) < 0.03


@SIMULATORS
def test_other_sizes_are_refused(simulator):
    with pytest.raises(ValueError, match="64 to 512"):
        simulator.render(simulator.sample(0), 63)


@SIMULATORS
def test_findings_are_about_equally_frequent_and_a_quarter_of_cases_normal(simulator):
    cases = [simulator.sample(seed) for seed in range(160)]
    normal = np.mean([not c.findings for c in cases])
    counts = Counter(f.name for c in cases for f in c.findings)
    assert 0.12 < normal < 0.38
    assert set(counts) == set(simulator.FINDINGS)
    assert max(counts.values()) < 2 * min(counts.values())


@SIMULATORS
def test_every_finding_has_a_mask_that_shows_and_a_side_only_where_it_has_one(simulator):
    for seed in range(30):
        study = simulator.render(simulator.sample(seed))
        for f in study.findings:
            assert study.masks[f.name].sum() >= 40
            assert (f.side is not None) == (f.name in simulator.SIDED)


@SIMULATORS
def test_taking_a_finding_away_changes_the_picture_only_near_it(simulator):
    case = _case(simulator, simulator.FINDINGS[2])
    ill, well = simulator.render(case), simulator.render(case.with_findings(()))
    view = simulator.VIEWS[0]
    changed = (np.abs(ill.images[view].astype(int) - well.images[view]) > 12).any(axis=2)
    mask = ill.masks[case.findings[0].name]
    assert changed[mask].mean() > 0.3
    rows, columns = np.nonzero(changed)
    middle = np.argwhere(mask).mean(axis=0)
    assert np.hypot(rows - middle[0], columns - middle[1]).max() < 80
    assert changed.mean() < 0.6


# ---- magnetic resonance -------------------------------------------------------------------------------


def test_signals_order_as_the_sequences_are_known_for():
    s = {(t, v): mri.signal(t, v) for t in mri.RELAXATION for v in mri.VIEWS}
    assert s["csf", "t2"] > s["grey", "t2"] > s["white", "t2"] > s["bone", "t2"]
    assert s["csf", "flair"] < 0.01 < s["white", "flair"] < s["grey", "flair"] < s["oedema", "flair"]
    assert s["fat", "t1"] > s["white", "t1"] > s["grey", "t1"] > s["csf", "t1"]
    assert s["haemorrhage", "t1"] > s["white", "t1"] and s["haemorrhage", "t2"] < 0.3 * s["white", "t2"]
    assert s["white matter lesions", "flair"] > 2 * s["white", "flair"]


def test_pictures_show_the_contrast_of_their_sequences():
    study = next(
        s
        for s in (mri.render(mri.sample(seed).with_findings(())) for seed in range(50))
        if s.masks.get("ventricles", np.zeros(1)).sum() > 150
    )
    mean = {
        (m, v): study.images[v][study.masks[m]].mean()
        for m in ("ventricles", "white matter")
        for v in mri.VIEWS
    }
    grey = study.masks["brain"] & ~study.masks["white matter"] & ~study.masks["ventricles"]
    assert mean["ventricles", "t2"] > 1.8 * mean["white matter", "t2"]
    assert mean["ventricles", "flair"] < 0.7 * mean["white matter", "flair"]
    assert mean["white matter", "t1"] > study.images["t1"][grey].mean()
    assert mean["white matter", "t2"] < study.images["t2"][grey].mean()
    assert study.images["t1"][~study.masks["brain"]].max() > 240  # scalp fat


@pytest.mark.parametrize("name", sorted(mri.SIDED))
def test_the_patients_right_is_at_the_images_left(name):
    seen = set()
    for start in range(0, 180, 30):
        case = _case(mri, name, start)
        columns = np.nonzero(mri.render(case).masks[name])[1]
        assert (columns.mean() < 64) == (case.findings[0].side == "right")
        seen.add(case.findings[0].side)
    assert seen == {"left", "right"}


def test_upsampling_from_a_quarter_loses_much():
    for seed in range(10):
        image = Image.fromarray(mri.render(mri.sample(seed)).images["t2"])
        coarse = image.resize((32, 32), Image.Resampling.BICUBIC).resize((128, 128), Image.Resampling.BICUBIC)
        error = np.mean((np.asarray(image, float) - np.asarray(coarse, float)) ** 2)
        assert 10 * np.log10(255**2 / error) < 25


# ---- histology ----------------------------------------------------------------------------------------


def _jpeg(image):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=50)
    return Image.open(file)


DAMAGE = {
    "none": lambda image: image,
    "half and back": lambda image: image.resize((64, 64), Image.Resampling.BICUBIC).resize((128, 128)),
    "jpeg at 50": _jpeg,
    "blur of 1 px": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
}


def test_her2_levels_are_told_apart_by_stained_share_even_from_damaged_pictures():
    right = Counter()
    for seed in range(9000, 9012):
        for level in range(4):
            image = Image.fromarray(histology.render(_with_her2(histology.sample(seed), level)).images["ihc"])
            for name, damage in DAMAGE.items():
                share = dab_share(np.asarray(damage(image)))
                right[name] += level_from_dab(share) == HER2_LEVELS[level]
    assert right["none"] == 48
    assert all(right[name] >= 46 for name in DAMAGE)


@pytest.mark.parametrize("size", [64, 256])
def test_her2_level_reads_the_same_at_other_sizes(size):
    for seed, level in ((1, 0), (2, 1), (3, 2), (4, 3)):
        study = histology.render(_with_her2(histology.sample(seed), level), size)
        assert level_from_dab(dab_share(study.images["ihc"])) == study.attributes["her2"]


def test_the_he_does_not_depend_on_her2():
    case = histology.sample(5)
    pictures = {histology.render(_with_her2(case, level)).images["he"].tobytes() for level in range(4)}
    assert len(pictures) == 1


def test_other_her2_levels_are_refused():
    with pytest.raises(ValueError, match="her2"):
        histology.render(_with_her2(histology.sample(0), 4))


def test_stains_show_where_they_belong():
    study = histology.render(_with_her2(_case(histology, "invasive carcinoma"), 3))
    he, ihc = (study.images[v].astype(float) for v in histology.VIEWS)
    nuclei, epithelium = study.masks["nuclei"], study.masks["epithelium"]
    assert he[nuclei].mean() < he[~nuclei].mean() - 50  # haematoxylin is dark
    brown = ihc[..., 0] - ihc[..., 2]
    assert brown[epithelium].mean() > 20 > brown[~epithelium].mean()  # DAB only on epithelium
