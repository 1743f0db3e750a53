"""Simulated breast histology: an H&E patch and the HER2 immunostain of the same tissue, registered.

Lengths are micrometres; the patch is 128 um wide. Cells are laid out by compartment (ducts, stroma, lesions)
and coloured by the Beer-Lambert law, I = 255 * 10**-(c @ M), with the stain vectors M of Ruifrok and
Johnston, Anal Quant Cytol Histol 23:291, 2001.

HER2 is a property of the case, ``anatomy["her2"]`` in 0..3, that the H&E does not show; replace it to render
the same tissue at another level. A simplification: at every level all epithelium stains alike, normal ducts
too, so that the level is defined in every patch. (In patients only tumour cells are scored.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from unimedvl.phantoms.study import Case, Finding, Grading, Severity, Study
from unimedvl.tasks import HER2_LEVELS

MODALITY = "his"
VIEWS = ("he", "ihc")
FINDINGS = ("invasive carcinoma", "ductal carcinoma in situ", "inflammation", "necrosis")
SIDED: frozenset[str] = frozenset()

FIELD = 128.0  # um, square
NATIVE = 128  # smaller images are rendered finer and averaged, against aliasing

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
EPITHELIUM_SHARE = (0.40, 0.56)  # of the patch, kept so by sampling, so that levels stay apart


# ---- the case ----------------------------------------------------------------------------------------


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
        normal = Case(MODALITY, seed, (), {"her2": her2, **stains, **_ducts(rng)}, noise_seed)
        if not _in_range(_epithelium_share(normal)):
            continue
        for _ in range(25):
            case = normal.with_findings(_findings(rng, names, radii))
            whole = not any(_bitten(case, i) for i in range(int(case.anatomy["ducts"])))
            if whole and (not names or _in_range(_epithelium_share(case))):
                return case


def _overlap(case: Case, duct: int) -> float:
    """How deep the deepest finding reaches into a duct, over the duct's radius; below 0 where apart."""
    a = case.anatomy
    x, y, radius = (a[f"duct{duct}_{k}"] for k in ("x", "y", "radius"))
    depths = [f.shape[2] + radius - np.hypot(f.shape[0] - x, f.shape[1] - y) for f in case.findings]
    return max(depths, default=-1.0) / radius


def _removed(case: Case, duct: int) -> bool:
    """Whether a finding has taken the place of a whole duct: it reaches at least its middle."""
    return _overlap(case, duct) > 0.9


def _bitten(case: Case, duct: int) -> bool:
    """Whether a finding would cut a duct in two, which tissue does not do."""
    return 0.35 < _overlap(case, duct) <= 0.9


def _in_range(share: float) -> bool:
    return EPITHELIUM_SHARE[0] <= share <= EPITHELIUM_SHARE[1]


def _ducts(rng: np.random.Generator) -> dict[str, float]:
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
    return all(_removed(before, i) == _removed(after, i) and not _bitten(after, i) for i in ducts)


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


def _epithelium_share(case: Case) -> float:
    """Share of the patch that is epithelium, on a coarse grid."""
    axis = (np.arange(28, dtype=np.float32) + 0.5) * (FIELD / 28)
    return float((_layout(case, axis[None, :], axis[:, None]).epithelium < 0).mean())


# ---- the layout --------------------------------------------------------------------------------------


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


def _outline(dx: np.ndarray, dy: np.ndarray, phases: tuple[float, ...], depth: float) -> np.ndarray:
    """Relative radius of a rounded irregular outline in the direction (dx, dy).

    1 + sum of depth / (k - 1) * cos(k angle + phase) for k = 2, 3, 4, by complex powers, which is faster.
    """
    z = (dx + 1j * dy).astype(np.complex64)
    z /= np.maximum(np.abs(z), 1e-6)
    a, b, c = (depth / (k + 1) * np.exp(1j * p) for k, p in enumerate(phases[:3]))
    return 1 + (z * z * (np.complex64(a) + z * (np.complex64(b) + z * np.complex64(c)))).real


def _duct_phases(case: Case) -> np.ndarray:
    return np.random.default_rng((1, case.noise_seed)).uniform(0, 2 * np.pi, (8, 3))


def _region(f: Finding, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance from the outline of a finding; for the carcinoma, from its nests."""
    cx, cy, radius, *phases = f.shape
    depth = 0.04 if f.name == "ductal carcinoma in situ" else 0.13
    d = np.hypot(x - cx, y - cy) - radius * _outline(x - cx, y - cy, tuple(phases), depth)
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


def _layout(case: Case, x: np.ndarray, y: np.ndarray) -> Layout:
    a, phases = case.anatomy, _duct_phases(case)
    ducts = np.full(np.broadcast_shapes(x.shape, y.shape), 1e3)
    lumen = ducts.copy()
    for i in range(int(a["ducts"])):
        if _removed(case, i):
            continue
        dx, dy, radius = x - a[f"duct{i}_x"], y - a[f"duct{i}_y"], a[f"duct{i}_radius"]
        outline = _outline(dx, dy, tuple(phases[i]), 0.07)
        distance = np.hypot(dx, dy)
        ducts = np.minimum(ducts, distance - radius * outline)
        lumen = np.minimum(lumen, distance - a[f"duct{i}_lumen"] * radius * outline)
    findings = {f.name: _region(f, x, y) for f in case.findings}
    epithelium = np.maximum(ducts, -lumen)
    for f in case.findings:
        # A lesion takes the place of what was there, with a rim of clear stroma.
        d = findings[f.name]
        whole = d if f.name != "invasive carcinoma" else _region(_as_blob(f), x, y)
        epithelium = np.maximum(epithelium, 3.0 - whole)
        lumen = np.maximum(lumen, 3.0 - whole)
        if f.name in ("invasive carcinoma", "ductal carcinoma in situ"):
            epithelium = np.minimum(epithelium, d)
    return Layout(ducts, lumen, epithelium, findings)


def _as_blob(f: Finding) -> Finding:
    """The same outline without the pattern of nests."""
    return Finding("outline", shape=f.shape)


# ---- the cells ---------------------------------------------------------------------------------------

# A nucleus is one row: x, y, half length, half width, direction [radians], haematoxylin, nucleolus (0 or 1).
Nuclei = np.ndarray


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


def _duct_cells(case: Case) -> Nuclei:
    """Rings of cells from the basement membrane to the lumen, long axes towards the lumen."""
    rng, a, phases = np.random.default_rng((2, case.noise_seed)), case.anatomy, _duct_phases(case)
    xs, ys, turns = [], [], []
    for i in range(int(a["ducts"])):
        gone, radius = _removed(case, i), a[f"duct{i}_radius"]
        ring = radius - 5.2
        while ring > a[f"duct{i}_lumen"] * radius + 3.0:
            n = max(4, int(2 * np.pi * ring / 9.6))
            angle = (np.arange(n) + rng.uniform(-0.16, 0.16, n)) * (2 * np.pi / n) + rng.uniform(0, 6.28)
            reach = ring * _outline(np.cos(angle), np.sin(angle), tuple(phases[i]), 0.07) + rng.uniform(
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


def _fibre_direction(case: Case, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Direction of the collagen [radians]: one per patch, gently turning."""
    base, p, q = np.random.default_rng((3, case.noise_seed)).uniform(0, 2 * np.pi, 3)
    return base + 0.5 * np.sin(x / 26 + p) + 0.5 * np.sin(y / 26 + q)


def _stroma_cells(case: Case) -> Nuclei:
    rng = np.random.default_rng((4, case.noise_seed))
    x, y = _grid(rng, 16.0, 4.0)
    return _nuclei(rng, x, y, (4.8, 6.5), (1.6, 2.1), (0.55, 0.75), _fibre_direction(case, x, y))


def _lesion_cells(case: Case, f: Finding) -> tuple[Nuclei, Nuclei]:
    """Cells of one finding: those of its epithelium, and others."""
    rng = np.random.default_rng((5, case.noise_seed, FINDINGS.index(f.name)))
    none = np.zeros((0, 7))

    def filled(spacing: float, jitter: float, margin: float) -> tuple[np.ndarray, np.ndarray]:
        x, y = _grid(rng, spacing, jitter)
        keep = _region(f, x, y) < -margin
        return x[keep], y[keep]

    if f.name == "invasive carcinoma":
        x, y = filled(12.0, 1.8, 3.0)
        return _nuclei(rng, x, y, (4.2, 6.2), (3.4, 4.8), (0.48, 0.85), nucleolus=1.0), none
    if f.name == "ductal carcinoma in situ":
        x, y = filled(11.2, 1.7, 5.0)
        cx, cy, radius, *phases = f.shape
        n = int(2 * np.pi * radius / 12)
        angle = np.arange(n) * (2 * np.pi / n)
        reach = radius * _outline(np.cos(angle), np.sin(angle), tuple(phases), 0.04) + 1.3
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


def _cells(case: Case) -> tuple[Nuclei, Nuclei]:
    """Epithelial nuclei and all others, base cells only where no lesion has taken their place."""
    epithelial, others = _duct_cells(case), _stroma_cells(case)

    def free(n: Nuclei) -> np.ndarray:
        keep = np.ones(len(n), bool)
        for f in case.findings:
            blob = _as_blob(f) if f.name == "invasive carcinoma" else f
            keep &= _region(blob, n[:, 0], n[:, 1]) > 3.0
        return keep

    stroma_of_nests = np.zeros(len(others), bool)
    for f in case.findings:
        if f.name == "invasive carcinoma":
            x, y = others[:, 0], others[:, 1]
            stroma_of_nests |= (_region(_as_blob(f), x, y) < 0) & (_region(f, x, y) > 2.5)
    outside_ducts = _layout(case.with_findings(()), others[:, 0], others[:, 1]).ducts > 3.0
    groups = [_lesion_cells(case, f) for f in case.findings]
    epithelial = np.concatenate([epithelial[free(epithelial)], *(g[0] for g in groups)])
    others = np.concatenate(
        [others[(free(others) & outside_ducts) | stroma_of_nests], *(g[1] for g in groups)]
    )
    return epithelial, others


# ---- the pictures ------------------------------------------------------------------------------------


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
    layout = _layout(case, x, y)
    epithelial, others = _cells(case)
    nuclei = _paint_nuclei(np.concatenate([epithelial, others]), axis)
    membrane = _membrane_distance(layout.epithelium, epithelial, axis)
    texture = _texture(case, x, y)
    he = _he(case, layout, nuclei, membrane, texture)
    ihc = _ihc(case, layout, nuclei, membrane, texture, level)
    images = {v: _photograph(case, v, density, finer) for v, density in (("he", he), ("ihc", ihc))}
    soft = {"nuclei": np.minimum(2 * nuclei, 1), "epithelium": _inside(layout.epithelium)}
    soft |= {name: _inside(d) for name, d in layout.findings.items()}
    masks = {name: _average(opacity, finer) > 0.5 for name, opacity in soft.items()}
    return Study(case, images, masks, {"organ": "breast", "stain": "H&E", "her2": HER2_LEVELS[level]})


def _average(image: np.ndarray, block: int) -> np.ndarray:
    """Mean over block x block pixels of [H, W] or [H, W, C]."""
    if block == 1:
        return image
    n = image.shape[0] // block
    return image.reshape(n, block, n, block, *image.shape[2:]).mean((1, 3))


def _paint_nuclei(nuclei: Nuclei, axis: np.ndarray) -> np.ndarray:
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


def _membrane_distance(epithelium: np.ndarray, cells: Nuclei, axis: np.ndarray) -> np.ndarray:
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


def _texture(case: Case, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
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


def _inside(distance: np.ndarray, edge: float = 1.2) -> np.ndarray:
    """Opacity of the inside of a signed distance [um], with an edge this soft."""
    return np.clip(0.5 - distance / edge, 0, 1)


def _he(case: Case, layout: Layout, nuclei: np.ndarray, membrane: np.ndarray, texture: dict) -> np.ndarray:
    """Optical density [H, W, 3] of the H&E."""
    eosin = 0.19 + 0.06 * texture["fibre"]
    haematoxylin = np.full_like(eosin, 0.02)
    epithelium, lumen = _inside(layout.epithelium), _inside(layout.lumen)
    border = np.clip(1 - membrane / 1.4, 0, 1)
    eosin += epithelium * (0.20 + 0.02 * texture["mottle"] + 0.07 * border - eosin)
    haematoxylin += epithelium * (0.13 + 0.02 * texture["mottle"] - haematoxylin)
    if "necrosis" in layout.findings:
        dead = _inside(layout.findings["necrosis"], 4.0)
        eosin += dead * (0.40 + 0.05 * texture["mottle"] - eosin)
        haematoxylin += dead * (0.04 - haematoxylin)
    if "inflammation" in layout.findings:
        oedema = _inside(layout.findings["inflammation"], 4.0)
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


def _ihc(
    case: Case, layout: Layout, nuclei: np.ndarray, membrane: np.ndarray, texture: dict, level: int
) -> np.ndarray:
    """Optical density [H, W, 3] of the HER2 immunostain: pale haematoxylin and DAB on the membranes."""
    half, strength, cytoplasm, complete = MEMBRANE[level]
    epithelium = _inside(layout.epithelium)
    haematoxylin = 0.045 + 0.012 * texture["fibre"] + 0.03 * epithelium
    haematoxylin = np.maximum(haematoxylin * (1 - _inside(layout.lumen)), 0.55 * nuclei)
    line = np.clip((half - membrane) / 0.9 + 0.5, 0, 1) if level else np.zeros_like(nuclei)
    if complete < 1:
        # Incomplete staining: a smooth pattern decides where a border stains at all.
        line = line * np.clip(4 * (texture["mottle"] + 2 * complete - 1) + 0.5, 0, 1)
    brown = np.maximum(strength * line, cytoplasm * epithelium * (1 - np.clip(1.2 * nuclei, 0, 1)))
    return case.anatomy["haematoxylin"] * haematoxylin[..., None] * HAEMATOXYLIN + brown[..., None] * DAB


def _photograph(case: Case, view: str, density: np.ndarray, finer: int) -> np.ndarray:
    """Beer-Lambert transmission [H, W, 3] uint8 with slight sensor noise."""
    light = _average(250.0 * 10.0 ** -density.astype(np.float32), finer)
    rng = np.random.default_rng((7, case.noise_seed, VIEWS.index(view), light.shape[0]))
    return np.round(np.clip(light + rng.normal(0, 1.0, light.shape), 0, 255)).astype(np.uint8)


# ---- the score ---------------------------------------------------------------------------------------


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
