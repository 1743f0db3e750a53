"""Simulated breast histology: an H&E patch and the HER2 immunostain of the same tissue, registered.

Lengths are micrometres; the patch is 128 um wide. The tissue is laid out in `breast`, its cells in `breast_cells`, and
stained in `breast_stains`.

HER2 is a property of the case, ``anatomy["her2"]`` in 0..3, that the H&E does not show; replace it to render
the same tissue at another level. A simplification: at every level all epithelium stains alike, normal ducts
too, so that the level is defined in every patch. (In patients only tumour cells are scored.)
"""

from __future__ import annotations

import numpy as np

from unimedvl.phantoms.breast import FIELD, FINDINGS, bitten, draw_ducts, layout_of, removed
from unimedvl.phantoms.breast_cells import cells
from unimedvl.phantoms.breast_stains import (
    he_density,
    ihc_density,
    inside,
    membrane_distance,
    paint_nuclei,
    texture_of,
)
from unimedvl.phantoms.shapes import block_mean
from unimedvl.phantoms.study import Case, Finding, Grading, Severity, Study
from unimedvl.tasks import HER2_LEVELS

MODALITY = "his"
VIEWS = ("he", "ihc")
SIDED: frozenset[str] = frozenset()
NATIVE = 128  # smaller images are rendered finer and averaged, against aliasing
EPITHELIUM_SHARE = (0.40, 0.56)  # of the patch, kept so by sampling, so that levels stay apart


def sample(seed: int) -> Case:
    """Draw a case: a quarter normal, else one finding, or sometimes two that lie apart.

    ``Finding.size`` is in micrometres.
    """
    rng = np.random.default_rng((0x4151, seed))
    number = int(rng.choice([0, 1, 2], p=[0.25, 0.65, 0.10]))
    names = [str(n) for n in rng.permutation(FINDINGS)[:number]]
    her2 = float(rng.integers(4))
    stains = {"haematoxylin": rng.uniform(0.88, 1.12), "eosin": rng.uniform(0.85, 1.15)}
    noise_seed = int(rng.integers(2**31))
    radii = [_radius(rng, name, alone=number == 1) for name in names]
    while True:
        # The patch must hold enough epithelium, and not too much, both with its findings and without.
        normal = Case(MODALITY, seed, (), {"her2": her2, **stains, **draw_ducts(rng)}, noise_seed)
        if not _in_range(_epithelium_share(normal)):
            continue
        for _ in range(25):
            case = normal.with_findings(_findings(rng, names, radii))
            whole = not any(bitten(case, i) for i in range(int(case.anatomy["ducts"])))
            if whole and (not names or _in_range(_epithelium_share(case))):
                return case


def _in_range(share: float) -> bool:
    return EPITHELIUM_SHARE[0] <= share <= EPITHELIUM_SHARE[1]


def _epithelium_share(case: Case) -> float:
    """Share of the patch that is epithelium, on a coarse grid."""
    axis = (np.arange(28, dtype=np.float32) + 0.5) * (FIELD / 28)
    return float((layout_of(case, axis[None, :], axis[:, None]).epithelium < 0).mean())


# Range of radii [um]; the thirds of the range are mild, moderate and severe.
RADIUS = {
    "invasive carcinoma": (42.0, 56.0),
    "ductal carcinoma in situ": (32.0, 44.0),
    "inflammation": (22.0, 31.0),
    "necrosis": (22.0, 31.0),
}


def _radius(rng: np.random.Generator, name: str, alone: bool) -> float:
    """Drawn before anything may be rejected, so that all severities stay equally frequent."""
    low, high = RADIUS[name]
    return float(rng.uniform(low, high if alone else 0.6 * low + 0.4 * high))


def _severity(name: str, radius: float) -> Severity:
    low, high = RADIUS[name]
    third = 3 * (radius - low) / (high - low)
    return "mild" if third < 1 else "moderate" if third < 2 else "severe"


def _thirds(low: float, high: float) -> tuple[tuple[float, float], ...]:
    """The diameters of mild, moderate and severe ones by the range of radii."""
    step = 2 * (high - low) / 3
    return tuple((2 * low + k * step, 2 * low + (k + 1) * step) for k in range(3))


def _same_ducts(before: Case, after: Case) -> bool:
    """Whether what has become smaller frees no duct and cuts none in two."""
    ducts = range(int(before.anatomy["ducts"]))
    return all(removed(before, i) == removed(after, i) and not bitten(after, i) for i in ducts)


GRADING = {name: Grading(_thirds(*radii), lengths=(2,), fits=_same_ducts) for name, radii in RADIUS.items()}


def _findings(rng: np.random.Generator, names: list[str], radii: list[float]) -> tuple[Finding, ...]:
    """One finding anywhere but at the edge, or two in opposite corners."""
    findings = []
    turn = rng.uniform(0, 2 * np.pi)
    for i, (name, radius) in enumerate(zip(names, radii, strict=True)):
        if len(names) == 1:
            x, y = rng.uniform(34, FIELD - 34, 2)
        else:
            x, y = (FIELD / 2 + 44 * f(turn + np.pi * i) for f in (np.cos, np.sin))
        shape = (float(x), float(y), radius, *rng.uniform(0, 2 * np.pi, 6).tolist())
        findings.append(Finding(name, None, _severity(name, radius), round(2 * radius, 1), 1, "", shape))
    return tuple(findings)


def render(case: Case, size: int = 128) -> Study:
    """Render a case at size x size pixels. Masks: ``nuclei``, ``epithelium``, and one per finding.

    Raises:
        ValueError: size is not in 64..512, or anatomy["her2"] is not 0, 1, 2 or 3.
    """
    if not 64 <= size <= 512:
        raise ValueError(f"size is {size}; it must be 64 to 512")
    level = int(case.anatomy["her2"])
    if level not in (0, 1, 2, 3):
        raise ValueError(f'anatomy["her2"] is {case.anatomy["her2"]}; it must be 0, 1, 2 or 3')
    finer = -(-NATIVE // size)
    n = size * finer
    axis = (np.arange(n, dtype=np.float32) + 0.5) * np.float32(FIELD / n)
    x, y = axis[None, :], axis[:, None]
    layout = layout_of(case, x, y)
    epithelial, others = cells(case)
    nuclei = paint_nuclei(np.concatenate([epithelial, others]), axis)
    membrane = membrane_distance(layout.epithelium, epithelial, axis)
    texture = texture_of(case, x, y)
    he = he_density(case, layout, nuclei, membrane, texture)
    ihc = ihc_density(case, layout, nuclei, membrane, texture, level)
    images = {v: _photograph(case, v, density, finer) for v, density in (("he", he), ("ihc", ihc))}
    soft = {"nuclei": np.minimum(2 * nuclei, 1), "epithelium": inside(layout.epithelium)}
    soft |= {name: inside(d) for name, d in layout.findings.items()}
    masks = {name: block_mean(opacity, finer) > 0.5 for name, opacity in soft.items()}
    return Study(case, images, masks, {"organ": "breast", "stain": "H&E", "her2": HER2_LEVELS[level]})


def _photograph(case: Case, view: str, density: np.ndarray, finer: int) -> np.ndarray:
    """Beer-Lambert transmission [H, W, 3] uint8 with slight sensor noise."""
    light = block_mean(250.0 * 10.0 ** -density.astype(np.float32), finer)
    rng = np.random.default_rng((7, case.noise_seed, VIEWS.index(view), light.shape[0]))
    return np.round(np.clip(light + rng.normal(0, 1.0, light.shape), 0, 255)).astype(np.uint8)
