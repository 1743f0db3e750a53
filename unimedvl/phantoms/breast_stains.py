"""Breast tissue stained: H&E and the HER2 immunostain as optical densities, and the stained share read back.

Colours follow the Beer-Lambert law, I = 250 * 10**-(c @ M), with the stain vectors M of Ruifrok and Johnston, Anal
Quant Cytol Histol 23:291, 2001.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial import cKDTree

from unimedvl.phantoms.breast import Layout
from unimedvl.phantoms.breast_cells import Nuclei
from unimedvl.phantoms.study import Case
from unimedvl.tasks import HER2_LEVELS

# Optical density of red, green and blue per unit of stain: Ruifrok and Johnston 2001; eosin as in the
# "H&E" set of Landini's Colour Deconvolution, which is closer to the pink of today's slides.
HAEMATOXYLIN = np.array([0.650, 0.704, 0.286])
EOSIN = np.array([0.093, 0.954, 0.283])
DAB = np.array([0.268, 0.570, 0.776])
# Membrane staining by HER2 level: half width of the membrane [um], its DAB, that of the cytoplasm, and the
# share of each cell's border that stains (1+ is faint and incomplete, 3+ strong and complete).
MEMBRANE = ((0.0, 0.0, 0.0, 0.0), (1.0, 0.31, 0.0, 0.60), (1.3, 0.58, 0.05, 1.0), (2.3, 1.05, 0.44, 1.0))
# Stained share of the patch [0..1] that separates the levels 0 | 1+ | 2+ | 3+; see dab_share.
LEVEL_BOUNDS = (0.02, 0.14, 0.315)


def he_density(case: Case, layout: Layout, nuclei: np.ndarray, membrane: np.ndarray, texture: dict) -> np.ndarray:
    """Optical density [H, W, 3] of the H&E."""
    eosin = 0.19 + 0.06 * texture["fibre"]
    haematoxylin = np.full_like(eosin, 0.02)
    epithelium, lumen = inside(layout.epithelium), inside(layout.lumen)
    border = np.clip(1 - membrane / 1.4, 0, 1)
    eosin += epithelium * (0.20 + 0.02 * texture["mottle"] + 0.07 * border - eosin)
    haematoxylin += epithelium * (0.13 + 0.02 * texture["mottle"] - haematoxylin)
    if "necrosis" in layout.findings:
        dead = inside(layout.findings["necrosis"], 4.0)
        eosin += dead * (0.40 + 0.05 * texture["mottle"] - eosin)
        haematoxylin += dead * (0.04 - haematoxylin)
    if "inflammation" in layout.findings:
        oedema = inside(layout.findings["inflammation"], 4.0)
        eosin += oedema * (0.13 - eosin)
        haematoxylin += oedema * (0.10 - haematoxylin)
    if "ductal carcinoma in situ" in layout.findings:
        rim = np.exp(-(((layout.findings["ductal carcinoma in situ"] - 2.2) / 1.5) ** 2))
        eosin += 0.22 * rim
    eosin, haematoxylin = eosin * (1 - 0.93 * lumen), haematoxylin * (1 - lumen)
    haematoxylin = np.maximum(haematoxylin, nuclei)
    strength = case.anatomy
    return (
        strength["haematoxylin"] * haematoxylin[..., None] * HAEMATOXYLIN
        + strength["eosin"] * eosin[..., None] * EOSIN
    )


def ihc_density(
    case: Case, layout: Layout, nuclei: np.ndarray, membrane: np.ndarray, texture: dict, level: int
) -> np.ndarray:
    """Optical density [H, W, 3] of the HER2 immunostain: pale haematoxylin and DAB on the membranes."""
    half, strength, cytoplasm, complete = MEMBRANE[level]
    epithelium = inside(layout.epithelium)
    haematoxylin = 0.045 + 0.012 * texture["fibre"] + 0.03 * epithelium
    haematoxylin = np.maximum(haematoxylin * (1 - inside(layout.lumen)), 0.55 * nuclei)
    line = np.clip((half - membrane) / 0.9 + 0.5, 0, 1) if level else np.zeros_like(nuclei)
    if complete < 1:
        # Incomplete staining: a smooth pattern decides where a border stains at all.
        line = line * np.clip(4 * (texture["mottle"] + 2 * complete - 1) + 0.5, 0, 1)
    brown = np.maximum(strength * line, cytoplasm * epithelium * (1 - np.clip(1.2 * nuclei, 0, 1)))
    return case.anatomy["haematoxylin"] * haematoxylin[..., None] * HAEMATOXYLIN + brown[..., None] * DAB


def paint_nuclei(nuclei: Nuclei, axis: np.ndarray) -> np.ndarray:
    """Haematoxylin [H, W] of all nuclei: soft ellipses, paler inside, with nucleoli; the darker wins."""
    stain = np.zeros((len(axis), len(axis)), np.float32)
    step = axis[1] - axis[0]
    reach = nuclei[:, 2:3] + 1.5
    low = np.clip((nuclei[:, :2] - reach) / step, 0, len(axis)).astype(int)
    high = np.clip((nuclei[:, :2] + reach) / step + 1, 0, len(axis)).astype(int)
    seen = np.nonzero((low < high).all(axis=1))[0]
    for i, (left, top), (right, bottom) in zip(seen, low[seen], high[seen], strict=True):
        cx, cy, length, width, turn, strength, nucleolus = nuclei[i].tolist()
        dx, dy = axis[None, left:right] - cx, axis[top:bottom, None] - cy
        c, s = math.cos(turn), math.sin(turn)
        rho = np.sqrt((c / length * dx + s / length * dy) ** 2 + (c / width * dy - s / width * dx) ** 2)
        opacity = np.minimum(np.maximum((1 - rho) * (width / 1.3) + 0.5, 0), 1)
        shade = 0.84 + 0.16 * np.minimum(rho, 1) ** 2
        if nucleolus:
            shade = shade + 0.30 * np.exp(-(dx**2 + dy**2) / (2 * 1.1**2))
        window = stain[top:bottom, left:right]
        np.maximum(window, strength * opacity * shade, out=window)
    return stain


def membrane_distance(epithelium: np.ndarray, cells: Nuclei, axis: np.ndarray) -> np.ndarray:
    """Distance [um] to the nearest cell border, [H, W], inf outside the epithelium.

    Borders are those of the Voronoi cells of the epithelial nuclei, and of the epithelium itself.
    """
    out = np.full(epithelium.shape, np.inf, np.float32)
    rows, columns = np.nonzero(epithelium < 0)
    if len(cells) < 2 or not len(rows):
        return out
    points = np.stack([axis[columns], axis[rows]], axis=1)
    distance, index = cKDTree(cells[:, :2]).query(points, k=2)
    apart = np.hypot(*(cells[index[:, 0], :2] - cells[index[:, 1], :2]).T)
    bisector = (distance[:, 1] ** 2 - distance[:, 0] ** 2) / (2 * np.maximum(apart, 1e-3))
    out[rows, columns] = np.minimum(bisector, -epithelium[rows, columns])
    return out


def texture_of(case: Case, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Smooth fields [H, W] in about -1..1: ``fibre`` of the stroma, ``mottle`` of cytoplasm and debris."""
    rng = np.random.default_rng((6, case.noise_seed))
    base = np.random.default_rng((3, case.noise_seed)).uniform(0, 2 * np.pi, 3)[0]
    across = y * np.cos(base) - x * np.sin(base)
    along = x * np.cos(base) + y * np.sin(base)
    p = rng.uniform(0, 2 * np.pi, 8)
    bend = 5 * np.sin(along / 17 + p[0]) + 3 * np.sin(along / 9 + across / 25 + p[1])
    fibre = 0.6 * np.sin((across + bend) / 1.25 + p[2]) + 0.4 * np.sin((across + 1.3 * bend) / 2.3 + p[3])
    fibre = fibre * (0.6 + 0.4 * np.sin(along / 8 + across / 6 + p[4]))
    mottle = 0.5 * np.sin(x / 3.1 + 1.5 * np.sin(y / 4.3 + p[5]) + p[6]) + 0.5 * np.sin(
        y / 2.7 + np.sin(x / 5 + p[7])
    )
    return {"fibre": fibre.astype(np.float32), "mottle": mottle.astype(np.float32)}


def inside(distance: np.ndarray, edge: float = 1.2) -> np.ndarray:
    """Opacity of the inside of a signed distance [um], with an edge this soft."""
    return np.clip(0.5 - distance / edge, 0, 1)


def dab_share(ihc: np.ndarray) -> float:
    """Share of the patch [0..1] that DAB stains, by colour deconvolution (Ruifrok and Johnston 2001).

    ihc: [H, W, 3] uint8. A pixel counts from a DAB amount of 0.08, and wholly from 0.28: a soft threshold,
    so that blur and compression move the share little.

    Raises:
        ValueError: ihc is not [H, W, 3].
    """
    if ihc.ndim != 3 or ihc.shape[2] != 3:
        raise ValueError(f"the immunostain has shape {ihc.shape}; it must be [H, W, 3]")
    density = -np.log10((np.clip(ihc.astype(np.float32), 1, 250)) / 250.0)
    stains = np.stack([HAEMATOXYLIN, DAB, np.cross(HAEMATOXYLIN, DAB)])
    brown = (density @ np.linalg.inv(stains).astype(np.float32))[..., 1]
    return float(np.clip((brown - 0.08) / 0.20, 0, 1).mean())


def level_from_dab(share: float) -> str:
    """HER2 level "0", "1+", "2+" or "3+" of a share from ``dab_share``."""
    return HER2_LEVELS[int(np.searchsorted(LEVEL_BOUNDS, share))]
