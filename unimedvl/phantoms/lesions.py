"""Skin lesions as dermoscopy describes them: outline, network, globules, streaks, veil, vessels and the rest.

Each lesion changes the layers of the skin (`unimedvl.phantoms.skin.Layers`) within its outline and returns its mask.
The criteria are those of dermoscopy's pattern analysis (Argenziano et al., J Am Acad Dermatol 48:679, 2003): a naevus
is symmetric with one regular pattern; a melanoma asymmetric with an atypical network, blotches, streaks, blue-white
veil and regression; a seborrhoeic keratosis sharply bordered with milia-like cysts and comedo-like openings; a basal
cell carcinoma has branching vessels and blue-grey ovoid nests; a vascular lesion red lacunae; a dermatofibroma a
central white patch in a delicate network. The network's meshes are drawn 0.45 to 0.6 mm wide, about twice the size
that they have in skin, so that small images show them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unimedvl.phantoms.shapes import grid, ramp, smooth_noise, spots, strokes
from unimedvl.phantoms.skin import Layers
from unimedvl.phantoms.study import Finding

GRADE = {"mild": 0, "moderate": 1, "severe": 2}


@dataclass
class Lesion:
    """A lesion's frame, in which its parts are drawn.

    x, y: mm from its middle, turned to its long axis. inside: mm within the outline, negative outside. rho: 0 in the
    middle, 1 on the outline. phi: angle. rim: half lengths [360] by degree of phi. rng: its own. grade: 0 to 2.
    """

    size: int
    half: float
    centre: tuple[float, float]
    turn: float
    x: np.ndarray
    y: np.ndarray
    inside: np.ndarray
    rho: np.ndarray
    phi: np.ndarray
    rim: np.ndarray
    rng: np.random.Generator
    grade: int

    def noise(self, feature: float) -> np.ndarray:
        """Smooth noise, deviation near 1, with features of about the given mm."""
        return smooth_noise(self.rng, max(round(2 * self.half / feature), 2), self.size)

    def area(self, softness: float) -> np.ndarray:
        """The lesion, 0 to 1, fading over softness mm on both sides of the outline."""
        return ramp(self.inside, -softness, softness)

    def at(self, points: np.ndarray) -> np.ndarray:
        """Image places of points [N, 2] in mm of the lesion's frame."""
        c, s = np.cos(self.turn), np.sin(self.turn)
        turned = np.stack([c * points[:, 0] - s * points[:, 1], s * points[:, 0] + c * points[:, 1]], 1)
        return turned / self.half + np.array(self.centre) / self.half

    def reach(self, angle: np.ndarray) -> np.ndarray:
        """The outline's distance from the middle in directions of the lesion's frame, mm."""
        return self.rim[(np.degrees(angle) % 360).astype(int) % 360]

    def scattered(self, count: int, low: float = 0.0, high: float = 0.85, gap: float = 0.0) -> np.ndarray:
        """At most count points [N, 2] in mm at low to high of the way out, at least gap apart."""
        kept: list[np.ndarray] = []
        for _ in range(4 * count):
            angle, out = self.rng.uniform(0, 2 * np.pi), np.sqrt(self.rng.uniform(low**2, high**2))
            p = out * self.reach(np.array([angle]))[0] * np.array([np.cos(angle), np.sin(angle)])
            if all(np.hypot(*(p - q)) > gap for q in kept):
                kept.append(p)
            if len(kept) == count:
                break
        return np.array(kept).reshape(-1, 2)

    def dots(self, points: np.ndarray, radii: np.ndarray, softness: float = 0.08) -> np.ndarray:
        """Round spots at points with radii in mm, coverage [H, W]."""
        places = np.column_stack([self.at(points), radii / self.half])
        return spots(self.size, places, softness / self.half)

    def near(self, point: np.ndarray, radius: float, wave: np.ndarray) -> np.ndarray:
        """A blurred patch about a point in mm, its edge moved by wave (deviation 1), 0 to 1."""
        r = np.hypot(self.x - point[0], self.y - point[1])
        return ramp(radius * (1 + 0.25 * wave) - r, -0.25 * radius, 0.25 * radius)


def lesion(finding: Finding, half: float, size: int) -> Lesion:
    """The frame of a finding; shape: middle x, y in mm, turn, stretch, irregularity, pattern, private seed."""
    cx, cy, turn, stretch, irregular, _, private = finding.shape
    rng = np.random.default_rng([int(private), 7])
    gx, gy = grid(size)
    dx, dy = gx * half - cx, gy * half - cy
    x, y = np.cos(turn) * dx + np.sin(turn) * dy, np.cos(turn) * dy - np.sin(turn) * dx
    angle = np.radians(np.arange(360))
    rim = 1 / np.hypot(np.cos(angle), stretch * np.sin(angle))
    for k in range(1, 8):
        rim = rim * (1 + irregular * rng.normal(0, 0.9) / k**0.75 * np.cos(k * angle + rng.uniform(0, 2 * np.pi)))
    rim = np.maximum(rim, 0.25 * rim.max())
    ends = np.stack([rim * np.cos(angle), rim * np.sin(angle)], 1)[::4]
    rim = rim * finding.size / np.sqrt(((ends[:, None] - ends[None]) ** 2).sum(2).max())
    r, phi = np.hypot(x, y), np.arctan2(y, x)
    degrees = np.degrees(phi) % 360
    low = degrees.astype(int) % 360
    outline = rim[low] + (degrees - np.floor(degrees)) * (rim[(low + 1) % 360] - rim[low])
    return Lesion(size, half, (cx, cy), turn, x, y, outline - r, r / outline, phi, rim, rng, GRADE[finding.severity])


def network(spot: Lesion, mesh: float, disorder: float) -> np.ndarray:
    """A pigment network: lines 1, holes 0, [H, W].

    Three plane waves 60 degrees apart make a honeycomb of the given mesh in mm; disorder (0 to 1) bends it.
    """
    bend = (0.30 + 0.4 * disorder) * mesh
    x = spot.x + bend * spot.noise(2.1 * mesh) + 0.35 * mesh * spot.noise(6 * mesh)
    y = spot.y + bend * spot.noise(2.1 * mesh) + 0.35 * mesh * spot.noise(6 * mesh)
    k = 4 * np.pi / (np.sqrt(3) * mesh)
    waves = sum(np.cos(k * (np.cos(a) * x + np.sin(a) * y)) for a in (0.3, 0.3 + np.pi / 3, 0.3 + 2 * np.pi / 3))
    waves = waves + (0.35 + 0.5 * disorder) * spot.noise(0.6 * mesh)  # meshes of unlike width
    thick = -0.15 + (0.25 + 0.75 * disorder) * spot.noise(1.7)
    clear = np.clip(1 + (0.22 + 0.25 * disorder) * spot.noise(2.3), 0.2, 1.3)  # here and there it fades
    return (1 - ramp(waves, -1.25 + thick, 0.55 + thick)) * clear


def naevus(skin: Layers, spot: Lesion, pattern: int) -> np.ndarray:
    """Symmetric, evenly coloured; pattern 0 reticular, 1 globular, 2 homogeneous, 3 globules about a network."""
    area = spot.area(0.35)
    tone = spot.rng.uniform(0.10, 0.17)
    even = tone * (1.0 - 0.4 * ramp(spot.rho, 0.2, 1.0)) * (1 + 0.10 * spot.noise(1.3) + 0.06 * spot.noise(0.5))
    skin.melanin = skin.melanin + area * even
    skin.blood = skin.blood * (1 + 0.25 * area)
    if pattern in (0, 3):
        lines = network(spot, 0.48, 0.1) * area * (1 - 0.5 * ramp(spot.rho, 0.75, 1.05))
        skin.melanin = skin.melanin + lines * tone * 1.2 - (area - lines).clip(0, 1) * 0.3 * even
    if pattern in (1, 3):
        low = 0.0 if pattern == 1 else 0.78
        points = spot.scattered(150 if pattern == 1 else 46, low, 0.95, 0.46)
        drawn = spot.dots(points, spot.rng.uniform(0.11, 0.22, len(points)), 0.14)
        skin.melanin = skin.melanin + area * drawn * tone * 1.6 * np.clip(1 + 0.35 * spot.noise(0.8), 0.3, 2)
    return spot.inside > 0


def melanoma(skin: Layers, spot: Lesion) -> np.ndarray:
    """Asymmetric in outline, colour and structure; the graver, the more of veil, blotches and regression."""
    area, rng, size = spot.area(0.16), spot.rng, float(spot.rim.mean())
    colours = spot.noise(2.6)
    tone = 0.17 + 0.04 * spot.grade
    skin.melanin = skin.melanin + area * np.clip(tone * (1 + 0.5 * colours + 0.2 * spot.noise(0.8)), 0.07, None)
    skin.blood = skin.blood * (1 + area * np.clip(0.8 - 0.6 * colours, 0, 2))
    lines = network(spot, 0.60, 0.8)
    where = ramp(spot.noise(3.0), -0.5, 0.5) * area
    skin.melanin = skin.melanin + where * (lines - 0.3).clip(0, 1) * 0.34
    way = rng.uniform(0, 2 * np.pi)
    blotch = spot.near(0.45 * size * np.array([np.cos(way), np.sin(way)]), (0.3 + 0.05 * spot.grade) * size,
                       spot.noise(1.2)) * area
    skin.mix(0.9 * blotch, melanin=0.52 + 0.06 * colours)
    other = way + rng.uniform(1.7, 2.6)
    if spot.grade >= 1:
        radius = (0.0, 0.36, 0.46)[spot.grade] * size
        veil = spot.near(0.35 * size * np.array([np.cos(other), np.sin(other)]), radius, spot.noise(1.4)) * area
        skin.mix(0.90 * veil, melanin=0.006, deep=np.clip(0.16 + 0.08 * spot.noise(0.7), 0.03, 0.5),
                 top=1.7 + 0.3 * spot.noise(0.9), blood=0.004, keratin=0.0)
        third = other + rng.uniform(1.3, 1.9)
        scar = spot.near(0.6 * size * np.array([np.cos(third), np.sin(third)]), 0.32 * size, spot.noise(1.1)) * area
        skin.mix(0.85 * scar, melanin=0.012, fibre=2.0, blood=0.0015)
        pepper = spot.scattered(60, 0.3, 0.9)
        skin.mix(scar * spot.dots(pepper, rng.uniform(0.05, 0.09, len(pepper)), 0.05), deep=0.12)
    points = spot.scattered(16 + 12 * spot.grade, 0.35, 1.0, 0.3)
    one_side = points[np.cos(np.arctan2(points[:, 1], points[:, 0]) - way) > -0.3]
    globules = spot.dots(one_side, rng.uniform(0.08, 0.24, len(one_side)))
    skin.mix(0.9 * globules * spot.area(0.3), melanin=0.55)
    _streaks(skin, spot, way, 6 + 4 * spot.grade)
    return spot.inside > 0


def _streaks(skin: Layers, spot: Lesion, way: float, count: int) -> None:
    """Radial streaks and pseudopods across the outline in one sector."""
    angle = way + spot.rng.uniform(-1.1, 1.1, count)
    reach = spot.reach(angle)
    out = np.stack([np.cos(angle), np.sin(angle)], 1)
    starts, ends = out * (reach - 0.55)[:, None], out * (reach + spot.rng.uniform(-0.1, 0.42, count))[:, None]
    ends = ends + spot.rng.normal(0, 0.12, ends.shape)
    width = spot.rng.uniform(0.05, 0.10, count) / spot.half
    thirds = [starts + (ends - starts) * f for f in (0, 1 / 3, 2 / 3, 1)]
    a, b = (spot.at(np.concatenate(p)) for p in (thirds[:-1], thirds[1:]))
    drawn = strokes(spot.size, a, b, np.tile(width, 3), softness=0.01)
    bulbs = spot.dots(ends, 1.4 * width * spot.half)
    skin.mix(0.8 * np.maximum(drawn, bulbs), melanin=0.48)


def keratosis(skin: Layers, spot: Lesion) -> np.ndarray:
    """Waxy and sharply bordered, with bright milia-like cysts, dark comedo-like openings, and fissures."""
    rng = spot.rng
    wave = spot.noise(0.9)
    inside = spot.inside + 0.13 * wave + 0.05 * spot.noise(0.5)       # a moth-eaten edge
    area = ramp(inside, -0.09, 0.09)
    tone = rng.uniform(0.06, 0.15)
    relief = spot.noise(0.8)
    skin.melanin = skin.melanin + area * tone * (1 + 0.25 * relief + 0.15 * spot.noise(0.35))
    skin.keratin = skin.keratin + area * (rng.uniform(0.5, 0.9) + 0.12 * relief)
    lines = np.minimum(np.abs(spot.noise(1.5)), np.abs(spot.noise(1.9)))
    fissures = (1 - ramp(lines, 0.03, 0.17)) * area * ramp(spot.inside, 0.2, 0.6)
    skin.melanin = skin.melanin + 0.16 * fissures
    skin.keratin = skin.keratin + 0.5 * fissures
    openings = spot.scattered(7 + 6 * spot.grade, 0.0, 0.86, 0.55)
    drawn = spot.dots(openings, rng.uniform(0.10, 0.24, len(openings)), 0.06)
    skin.mix(0.95 * drawn * area, melanin=0.46, keratin=1.6)
    cysts = spot.scattered(9 + 8 * spot.grade, 0.0, 0.88, 0.5)
    milia = spot.dots(cysts, rng.uniform(0.06, 0.17, len(cysts)), 0.10) * (1 - drawn) * area
    skin.mix(0.95 * milia, melanin=0.006, keratin=0.22, fibre=2.2, blood=0.001, top=1.6)
    return inside > 0


def carcinoma(skin: Layers, spot: Lesion) -> np.ndarray:
    """Basal cell carcinoma: pearly pink, with sharp branching vessels, blue-grey nests and, if large, an ulcer."""
    area, rng, size = spot.area(0.30), spot.rng, float(spot.rim.mean())
    skin.mix(0.8 * area, melanin=0.014)
    skin.blood = skin.blood + area * (0.020 + 0.006 * spot.noise(1.3))
    skin.fibre = skin.fibre * (1 + 0.9 * area * ramp(spot.noise(1.2), 0.0, 1.6))
    nests = spot.scattered(4 + 3 * spot.grade, 0.25, 0.86, 0.9)
    drawn = spot.dots(nests, rng.uniform(0.22, 0.46, len(nests)), 0.22) * area
    small = spot.scattered(10 + 8 * spot.grade, 0.1, 0.9, 0.3)
    drawn = np.maximum(drawn, 0.8 * spot.dots(small, rng.uniform(0.06, 0.12, len(small)), 0.1) * area)
    skin.mix(0.95 * drawn, deep=0.20, melanin=0.012, blood=0.004, top=1.35, keratin=0.02)
    vessels = _arborising(spot, 4 + 2 * spot.grade) * spot.area(0.2)
    skin.mix(0.95 * vessels, blood=0.16, top=0.05, deep=0.0, fibre=1.0)
    if spot.grade == 2 or rng.random() < 0.3:
        way = rng.uniform(0, 2 * np.pi)
        sore = spot.near(0.25 * size * np.array([np.cos(way), np.sin(way)]), 0.30 * size, spot.noise(0.9))
        skin.mix(0.92 * sore * area, blood=0.12, keratin=0.7, top=0.15, melanin=0.05, deep=0.0)
    return spot.inside > 0


def _arborising(spot: Lesion, stems: int) -> np.ndarray:
    """Branching vessels that come in from the edge and thin, coverage [H, W]."""
    rng = spot.rng
    angle = rng.uniform(0, 2 * np.pi) + np.arange(stems) * 2 * np.pi / stems + rng.normal(0, 0.3, stems)
    point = 0.95 * spot.reach(angle)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    heading, width = angle + np.pi + rng.normal(0, 0.5, stems), np.full(stems, 0.105)
    starts, ends, radii = [], [], []
    for _ in range(13):
        heading = heading + rng.normal(0, 0.28, len(heading))
        reached = point + 0.30 * np.stack([np.cos(heading), np.sin(heading)], 1)
        starts.append(point)
        ends.append(reached)
        radii.append(width)
        fork = rng.random(len(width)) < 0.26
        turn = rng.choice((-1, 1), fork.sum()) * rng.uniform(0.6, 1.1, fork.sum())
        point = np.concatenate([reached, reached[fork]])
        heading = np.concatenate([heading, heading[fork] + turn])
        width = np.concatenate([np.where(fork, 0.85, 0.95) * width, 0.6 * width[fork]])
        keep = width > 0.03
        point, heading, width = point[keep], heading[keep], width[keep]
    a, b = spot.at(np.concatenate(starts)), spot.at(np.concatenate(ends))
    return strokes(spot.size, a, b, np.concatenate(radii) / spot.half, softness=0.006)


def vascular(skin: Layers, spot: Lesion, pattern: int) -> np.ndarray:
    """Haemangioma or angiokeratoma: lacunae, red, purple or (clotted) black, in pale septa."""
    rng = spot.rng
    area = spot.area(0.14)
    skin.mix(0.85 * area, melanin=0.012)
    skin.blood = skin.blood + area * (0.05 + 0.012 * spot.noise(0.8))
    gap = 0.85 if spot.grade else 0.7
    points = spot.scattered(40 + 35 * spot.grade, 0.0, 0.86, gap)
    radii = rng.uniform(0.34, 0.66, len(points)) * gap / 0.85
    wave = spot.noise(0.7)
    lakes = ramp(spot.dots(points, radii, 0.30) + 0.10 * wave, 0.35, 0.75) * area
    purple = pattern % 2 == 1
    skin.mix(0.96 * lakes, blood=0.30 if not purple else 0.55, top=0.0 if not purple else 0.12)
    clots = points[rng.random(len(points)) < (0.0, 0.06, 0.10)[spot.grade]]
    if len(clots):
        clot = spot.dots(clots, np.full(len(clots), 0.36), 0.25) * area
        skin.mix(0.9 * clot, melanin=0.45, blood=0.5)
    skin.mix(0.5 * area * (1 - lakes) * ramp(wave, -0.3, 1.2), fibre=1.8, top=1.3)
    return spot.inside > 0


def dermatofibroma(skin: Layers, spot: Lesion) -> np.ndarray:
    """A central white scar-like patch, a tan to pink zone, and a delicate network that fades outward."""
    area = spot.area(0.55)
    wave = spot.noise(1.0)
    lines = network(spot, 0.46, 0.15)
    ring = ramp(spot.rho + 0.08 * wave, 0.35, 0.7) * area
    skin.melanin = skin.melanin + 0.035 * area + ring * (0.03 + 0.07 * lines) * (1 + 0.12 * wave)
    skin.blood = skin.blood + 0.005 * area * (1 + 0.3 * wave)
    scar = 1 - ramp(spot.rho + 0.12 * wave, 0.22 + 0.03 * spot.grade, 0.58 + 0.03 * spot.grade)
    skin.mix(0.85 * scar * area, melanin=0.016, fibre=1.5 + 0.25 * wave, blood=0.0025, top=1.2)
    strands = 1 - ramp(np.abs(spot.noise(0.9)), 0.0, 0.2)
    skin.fibre = skin.fibre * (1 + 0.3 * scar * strands)
    return spot.inside > 0
