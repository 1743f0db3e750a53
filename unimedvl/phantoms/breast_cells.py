"""The nuclei of a simulated patch of breast tissue, laid out by compartment: ducts, stroma, lesions."""

from __future__ import annotations

import numpy as np

from unimedvl.phantoms.breast import (
    FIELD,
    FINDINGS,
    as_blob,
    duct_phases,
    layout_of,
    outline,
    region,
    removed,
)
from unimedvl.phantoms.study import Case, Finding

# A nucleus is one row: x, y, half length, half width, direction [radians], haematoxylin, nucleolus (0 or 1).
Nuclei = np.ndarray


def cells(case: Case) -> tuple[Nuclei, Nuclei]:
    """Epithelial nuclei and all others, base cells only where no lesion has taken their place."""
    epithelial, others = _duct_cells(case), _stroma_cells(case)

    def free(n: Nuclei) -> np.ndarray:
        keep = np.ones(len(n), bool)
        for f in case.findings:
            blob = as_blob(f) if f.name == "invasive carcinoma" else f
            keep &= region(blob, n[:, 0], n[:, 1]) > 3.0
        return keep

    stroma_of_nests = np.zeros(len(others), bool)
    for f in case.findings:
        if f.name == "invasive carcinoma":
            x, y = others[:, 0], others[:, 1]
            stroma_of_nests |= (region(as_blob(f), x, y) < 0) & (region(f, x, y) > 2.5)
    outside_ducts = layout_of(case.with_findings(()), others[:, 0], others[:, 1]).ducts > 3.0
    groups = [_lesion_cells(case, f) for f in case.findings]
    epithelial = np.concatenate([epithelial[free(epithelial)], *(g[0] for g in groups)])
    others = np.concatenate(
        [others[(free(others) & outside_ducts) | stroma_of_nests], *(g[1] for g in groups)]
    )
    return epithelial, others


def _duct_cells(case: Case) -> Nuclei:
    """Rings of cells from the basement membrane to the lumen, long axes towards the lumen."""
    rng, a, phases = np.random.default_rng((2, case.noise_seed)), case.anatomy, duct_phases(case)
    xs, ys, turns = [], [], []
    for i in range(int(a["ducts"])):
        gone, radius = removed(case, i), a[f"duct{i}_radius"]
        ring = radius - 5.2
        while ring > a[f"duct{i}_lumen"] * radius + 3.0:
            n = max(4, int(2 * np.pi * ring / 9.6))
            angle = (np.arange(n) + rng.uniform(-0.16, 0.16, n)) * (2 * np.pi / n) + rng.uniform(0, 6.28)
            reach = ring * outline(np.cos(angle), np.sin(angle), tuple(phases[i]), 0.07) + rng.uniform(
                -0.9, 0.9, n
            )
            ring -= 9.8
            if not gone:  # drawn all the same, so that the other ducts keep their cells
                xs.append(a[f"duct{i}_x"] + reach * np.cos(angle))
                ys.append(a[f"duct{i}_y"] + reach * np.sin(angle))
                turns.append(angle)
    if not xs:
        return np.zeros((0, 7))
    x, y, turn = (np.concatenate(v) for v in (xs, ys, turns))
    return _nuclei(rng, x, y, (3.5, 4.1), (2.9, 3.4), (0.58, 0.72), turn)


def _stroma_cells(case: Case) -> Nuclei:
    rng = np.random.default_rng((4, case.noise_seed))
    x, y = _grid(rng, 16.0, 4.0)
    return _nuclei(rng, x, y, (4.8, 6.5), (1.6, 2.1), (0.55, 0.75), fibre_direction(case, x, y))


def _lesion_cells(case: Case, f: Finding) -> tuple[Nuclei, Nuclei]:
    """Cells of one finding: those of its epithelium, and others."""
    rng = np.random.default_rng((5, case.noise_seed, FINDINGS.index(f.name)))
    none = np.zeros((0, 7))

    def filled(spacing: float, jitter: float, margin: float) -> tuple[np.ndarray, np.ndarray]:
        x, y = _grid(rng, spacing, jitter)
        keep = region(f, x, y) < -margin
        return x[keep], y[keep]

    if f.name == "invasive carcinoma":
        x, y = filled(12.0, 1.8, 3.0)
        return _nuclei(rng, x, y, (4.2, 6.2), (3.4, 4.8), (0.48, 0.85), nucleolus=1.0), none
    if f.name == "ductal carcinoma in situ":
        x, y = filled(11.2, 1.7, 5.0)
        cx, cy, radius, *phases = f.shape
        n = int(2 * np.pi * radius / 12)
        angle = np.arange(n) * (2 * np.pi / n)
        reach = radius * outline(np.cos(angle), np.sin(angle), tuple(phases), 0.04) + 1.3
        rim = _nuclei(
            rng,
            cx + reach * np.cos(angle),
            cy + reach * np.sin(angle),
            (4.0, 5.0),
            (1.4, 1.8),
            (0.75, 0.9),
            angle + np.pi / 2,
        )
        return _nuclei(rng, x, y, (4.0, 4.7), (3.6, 4.2), (0.55, 0.7)), rim
    if f.name == "inflammation":
        x, y = filled(6.9, 1.4, 1.0)
        return none, _nuclei(rng, x, y, (2.3, 2.7), (2.2, 2.6), (1.0, 1.2))
    x, y = filled(12.0, 4.0, 3.0)
    keep = rng.random(len(x)) < 0.6
    return none, _nuclei(rng, x[keep], y[keep], (1.2, 1.9), (0.9, 1.4), (0.7, 1.0))


def _grid(rng: np.random.Generator, spacing: float, jitter: float) -> tuple[np.ndarray, np.ndarray]:
    """Jittered hexagonal grid a little larger than the patch."""
    rows = np.arange(-12, FIELD + 12, spacing * 0.866)
    columns = np.arange(-12, FIELD + 12, spacing)
    x = columns[None, :] + (np.arange(len(rows)) % 2)[:, None] * spacing / 2
    y = np.repeat(rows[:, None], len(columns), 1)
    x, y = x.ravel(), y.ravel()
    return x + rng.uniform(-jitter, jitter, x.shape), y + rng.uniform(-jitter, jitter, y.shape)


def _nuclei(
    rng: np.random.Generator,
    x: np.ndarray,
    y: np.ndarray,
    length: tuple[float, float],
    width: tuple[float, float],
    stain: tuple[float, float],
    direction: np.ndarray | None = None,
    nucleolus: float = 0.0,
) -> Nuclei:
    n = len(x)
    turn = rng.uniform(0, np.pi, n) if direction is None else direction + rng.normal(0, 0.15, n)
    return np.stack(
        [
            x,
            y,
            rng.uniform(*length, n),
            rng.uniform(*width, n),
            turn,
            rng.uniform(*stain, n),
            np.full(n, nucleolus),
        ],
        axis=1,
    )


def fibre_direction(case: Case, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Direction of the collagen [radians]: one per patch, gently turning."""
    base, p, q = np.random.default_rng((3, case.noise_seed)).uniform(0, 2 * np.pi, 3)
    return base + 0.5 * np.sin(x / 26 + p) + 0.5 * np.sin(y / 26 + q)
