"""The breast tissue of a simulated patch: ducts, stroma and lesions as signed distances.

Lengths are micrometres; the patch is 128 um wide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unimedvl.phantoms.study import Case, Finding

FINDINGS = ("invasive carcinoma", "ductal carcinoma in situ", "inflammation", "necrosis")
FIELD = 128.0  # um, square


@dataclass(frozen=True)
class Layout:
    """Signed distances [um] at given points, negative inside.

    ducts: normal ducts, lumen included, before any finding. lumen: of normal ducts, where no finding lies.
    epithelium: all epithelium. findings: name -> its region.
    """

    ducts: np.ndarray
    lumen: np.ndarray
    epithelium: np.ndarray
    findings: dict[str, np.ndarray]


def draw_ducts(rng: np.random.Generator) -> dict[str, float]:
    """Three to five ducts that do not touch, as numbers: middle, outer radius, lumen over outer radius."""
    numbers: dict[str, float] = {}
    placed: list[tuple[float, float, float]] = []
    for _ in range(60):
        x, y, r = rng.uniform(4, FIELD - 4), rng.uniform(4, FIELD - 4), rng.uniform(23, 34)
        if len(placed) < 5 and all(np.hypot(x - a, y - b) > 1.06 * (r + c) + 4 for a, b, c in placed):
            i = len(placed)
            numbers |= {
                f"duct{i}_x": x,
                f"duct{i}_y": y,
                f"duct{i}_radius": r,
                f"duct{i}_lumen": rng.uniform(0.3, 0.4),
            }
            placed.append((x, y, r))
    return numbers | {"ducts": float(len(placed))}


def duct_phases(case: Case) -> np.ndarray:
    return np.random.default_rng((1, case.noise_seed)).uniform(0, 2 * np.pi, (8, 3))


def _overlap(case: Case, duct: int) -> float:
    """How deep the deepest finding reaches into a duct, over the duct's radius; below 0 where apart."""
    a = case.anatomy
    x, y, radius = (a[f"duct{duct}_{k}"] for k in ("x", "y", "radius"))
    depths = [f.shape[2] + radius - np.hypot(f.shape[0] - x, f.shape[1] - y) for f in case.findings]
    return max(depths, default=-1.0) / radius


def removed(case: Case, duct: int) -> bool:
    """Whether a finding has taken the place of a whole duct: it reaches at least its middle."""
    return _overlap(case, duct) > 0.9


def bitten(case: Case, duct: int) -> bool:
    """Whether a finding would cut a duct in two, which tissue does not do."""
    return 0.35 < _overlap(case, duct) <= 0.9


def outline(dx: np.ndarray, dy: np.ndarray, phases: tuple[float, ...], depth: float) -> np.ndarray:
    """Relative radius of a rounded irregular outline in the direction (dx, dy).

    1 + sum of depth / (k - 1) * cos(k angle + phase) for k = 2, 3, 4, by complex powers, which is faster.
    """
    z = (dx + 1j * dy).astype(np.complex64)
    z /= np.maximum(np.abs(z), 1e-6)
    a, b, c = (depth / (k + 1) * np.exp(1j * p) for k, p in enumerate(phases[:3]))
    return 1 + (z * z * (np.complex64(a) + z * (np.complex64(b) + z * np.complex64(c)))).real


def region(f: Finding, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance from the outline of a finding; for the carcinoma, from its nests."""
    cx, cy, radius, *phases = f.shape
    depth = 0.04 if f.name == "ductal carcinoma in situ" else 0.13
    d = np.hypot(x - cx, y - cy) - radius * outline(x - cx, y - cy, tuple(phases), depth)
    if f.name != "invasive carcinoma":
        return d
    # Nests: where three plane waves add up high, turned into a distance by the slope of their sum.
    waves, slope_x, slope_y = 0.6, 0.0, 0.0
    for i, p in enumerate(phases[3:6]):
        k, turn = 2 * np.pi / (46 + 6 * i), p + i * np.pi / 3
        phase = k * (x * np.cos(turn) + y * np.sin(turn)) + 3 * p
        waves = waves + np.sin(phase)
        slope_x = slope_x + k * np.cos(turn) * np.cos(phase)
        slope_y = slope_y + k * np.sin(turn) * np.cos(phase)
    return np.maximum(d, -waves / np.sqrt(slope_x**2 + slope_y**2 + 0.08**2))


def as_blob(f: Finding) -> Finding:
    """The same outline without the pattern of nests."""
    return Finding("outline", shape=f.shape)


def layout_of(case: Case, x: np.ndarray, y: np.ndarray) -> Layout:
    """The tissue at points x, y [um], which may be arrays that broadcast."""
    a, phases = case.anatomy, duct_phases(case)
    ducts = np.full(np.broadcast_shapes(x.shape, y.shape), 1e3)
    lumen = ducts.copy()
    for i in range(int(a["ducts"])):
        if removed(case, i):
            continue
        dx, dy, radius = x - a[f"duct{i}_x"], y - a[f"duct{i}_y"], a[f"duct{i}_radius"]
        edge = outline(dx, dy, tuple(phases[i]), 0.07)
        distance = np.hypot(dx, dy)
        ducts = np.minimum(ducts, distance - radius * edge)
        lumen = np.minimum(lumen, distance - a[f"duct{i}_lumen"] * radius * edge)
    findings = {f.name: region(f, x, y) for f in case.findings}
    epithelium = np.maximum(ducts, -lumen)
    for f in case.findings:
        # A lesion takes the place of what was there, with a rim of clear stroma.
        d = findings[f.name]
        whole = d if f.name != "invasive carcinoma" else region(as_blob(f), x, y)
        epithelium = np.maximum(epithelium, 3.0 - whole)
        lumen = np.maximum(lumen, 3.0 - whole)
        if f.name in ("invasive carcinoma", "ductal carcinoma in situ"):
            epithelium = np.minimum(epithelium, d)
    return Layout(ducts, lumen, epithelium, findings)
