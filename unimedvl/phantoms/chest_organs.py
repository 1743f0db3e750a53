"""Organs of the simulated chest as solids, and their attenuation: wall, bones, mediastinum, upper abdomen.

Coordinates and sources as in `unimedvl.phantoms.chest`. Every function takes the points of a plane and the patient's
build, and paints Hounsfield units or gives signed distances [mm], positive inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from unimedvl.phantoms.shapes import ramp
from unimedvl.phantoms.solids import Ellipsoid, Points, Solid, Tube, blended, path, union, waves
from unimedvl.phantoms.study import Case

FAT, MUSCLE, BLOOD, HEART, LIVER, SPLEEN, AIR = -100.0, 52.0, 42.0, 45.0, 58.0, 48.0, -1000.0
MARROW, CORTEX, CARTILAGE, FLUID = 210.0, 950.0, 95.0, 12.0
SKIN = 2.0  # mm
SPINE_Y = 46.0  # middle of the vertebral bodies
VERTEBRA, ARCH, CANAL = (18.5, 14.5), (16, 14), (10.5, 8.5)  # half widths and half depths
BLADE = range(-44, 76, 6)  # heights of the pieces of a scapula's blade
BLADE_RADII = (2.0, 3.4)  # half its thickness at the medial and the lateral edge

Anatomy = dict[str, float]


@dataclass(frozen=True)
class Ring:
    """Coordinates about the thorax: ``inside`` is the signed distance to the pleura, positive within; ``back`` and
    ``aside`` are direction cosines, 1 straight back and 1 straight aside."""

    inside: np.ndarray
    back: np.ndarray
    aside: np.ndarray


def paint(hu: np.ndarray, cover: np.ndarray, value: float | np.ndarray) -> None:
    """Lay a tissue over what is there, as opaque as its coverage."""
    hu += cover * (value - hu)


def taper(z: np.ndarray, a: Anatomy) -> np.ndarray:
    """Width of the thorax at height z [mm], relative to its greatest."""
    s = np.clip((a["apex"] + 4 - z) / 170, 0.0, 1.0)
    return np.sqrt(np.clip(1 - (1 - s) ** 2.3, 1e-4, 1))


def section(z: np.ndarray, a: Anatomy) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half width, half depth and the middle's y [mm] of the pleural cavity at height z."""
    narrow = taper(z, a)
    return (a["half_width"] * narrow, a["half_depth"] * (0.45 + 0.55 * narrow) * np.minimum(1, 3 * narrow),
            22 * (1 - narrow))  # fmt: skip


def ring(p: Points, a: Anatomy) -> Ring:
    """Where each point lies about the thorax."""
    half_width, half_depth, middle = section(p.z, a)
    y = p.y - middle
    # Flatter in front than behind, and hollowed beside the spine: an ellipse of a power near 2.4.
    q = (np.abs(p.x / half_width) ** 2.4 + np.abs(y / half_depth) ** 2.4) ** (1 / 2.4)
    r = np.sqrt(p.x**2 + y**2) + 1e-3
    inside = r * (1 / np.maximum(q, 0.05) - 1)
    return Ring(np.clip(inside, -120, 120), y / r, np.abs(p.x) / r)


def _skin(p: Points, a: Anatomy, erect: bool) -> np.ndarray:
    """Signed distance to the skin: trunk with shoulders, and the neck of who stands."""
    wide = a["half_width"] + 27 + a["fat"] + (30 if erect else 14) * ramp(p.z, -10, 95)
    deep = a["half_depth"] + 19 + 0.75 * a["fat"] + 0 * p.z
    y = p.y - 6 - 8 * ramp(p.z, 20, 100)
    if erect:
        up = ramp(p.z, 78, 150)
        wide, deep = wide * (1 - up) + 62 * up, deep * (1 - up) + 66 * up
    q = (np.abs(p.x / wide) ** 2.6 + np.abs(y / deep) ** 2.6) ** (1 / 2.6)
    r = np.sqrt(p.x**2 + y**2) + 1e-3
    trunk = r * (1 / np.maximum(q, 0.05) - 1)
    if a["breast"]:
        trunk = blended([trunk, union(p, _breasts(a))], 4.0)
    return trunk


def _breasts(a: Anatomy) -> list[Solid]:
    size = a["breast"] * (0.75 + a["fat"] / 44)
    y = -a["half_depth"] - 4 - 0.5 * a["fat"]
    return [Ellipsoid((s * 80, y, -62), (60, 21 + 11 * size, 54), -0.3 * s) for s in (-1, 1)]


def paint_wall(hu: np.ndarray, p: Points, a: Anatomy, around: Ring, erect: bool, fine: bool) -> np.ndarray:
    """Skin, fat and muscles of the trunk, with their texture if fine. Returns the coverage of the body."""
    skin = _skin(p, a, erect)
    body = p.cover(skin)
    paint(hu, body, 35.0)
    paint(hu, p.cover(skin - SKIN), FAT)
    rng = np.random.default_rng((11, int(1000 * a["half_width"])))
    beyond = -around.inside
    back, aside = around.back, around.aside
    upper = ramp(p.z, -60, 30)
    thick = 5 + 26 * np.exp(-(((aside - 0.28) / 0.22) ** 2)) * (back > 0)
    thick = thick + 20 * np.exp(-(((back + 0.72) / 0.24) ** 2)) * ramp(p.z, -35, 25)  # pectorals
    thick = thick + 12 * np.exp(-(((back - 0.25) / 0.3) ** 2)) * ramp(p.z, -160, -20)  # latissimus, serratus
    thick = thick + 26 * np.exp(-(((back - 0.6) / 0.22) ** 2)) * upper  # about the scapula
    thick = thick + 12 * np.exp(-((back / 0.45) ** 2)) * ramp(p.z, 10, 80)  # the armpit's folds
    thick = thick * a["muscle"]
    if fine:
        thick = thick * (1 + 0.09 * waves(rng, p, 30, 60, 5))
    muscle = p.cover(np.minimum(9 + thick - beyond, skin - SKIN - 2 - 0.35 * a["fat"]))
    if not fine:
        paint(hu, muscle, MUSCLE)
        return body
    # Muscles lie in layers with fat between; the striae are thin.
    plane = np.abs(beyond - 12.5 - 2.0 * waves(rng, p, 40, 90, 4))
    layers = np.clip(1 - plane / (1.2 + p.edge), 0, 1) * (1.6 / (1.2 + p.edge)) * (thick > 8)
    paint(hu, muscle, MUSCLE + 5 * waves(rng, p, 8, 16, 6))
    paint(hu, muscle * np.clip(layers, 0, 0.8), FAT + 40)
    if a["breast"]:
        gland = p.cover(union(p, [e.scaled(0.62) for e in _breasts(a)]), 3.0) * (beyond > 22)
        paint(hu, gland * ramp(waves(rng, p, 9, 26, 8), -0.4, 0.9), 30.0)
    return body


# --------------------------------------------------------------------------------------------- bones


def paint_bones(hu: np.ndarray, p: Points, a: Anatomy, around: Ring, erect: bool) -> None:
    """Ribs, spine, sternum, scapulae and clavicles; the humeral heads of who stands with arms down."""
    _ribs(hu, p, a, around)
    _spine(hu, p, a)
    for cortex, solids in loose_bones(a, erect):
        _bone(hu, p, union(p, solids), a, cortex)


def loose_bones(a: Anatomy, erect: bool, blades: bool = True) -> list[tuple[float, list[Solid]]]:
    """Bones other than ribs and spine: the thickness of the cortex [mm] and the solids of each.

    The sternum comes first; then of each side the scapula, the clavicle, and the arm of who stands.
    blades: with the pieces of the scapulae's blades, which are thin sheets (see `blade`).
    """
    front = -a["half_depth"] * (0.45 + 0.55 * taper(np.float32(-20), a)) - 6
    body = Ellipsoid((0, front, -52), (17, 6.5, 78))
    manubrium = Ellipsoid((0, front + 12, 42), (26, 7.5, 30))
    found: list[tuple[float, list[Solid]]] = [(1.2, [body, manubrium])]
    for s in (-1, 1):
        out, roll = _scapula(erect)
        scapula = [_moved(Ellipsoid((s * (134 + out), 44, 70), (9, 11, 17)), s * roll),
                   _moved(Tube((s * (80 + out), 92, 52), (s * (140 + out), 66, 74), 4, 6), s * roll)]  # fmt: skip
        if blades:
            scapula += [Tube(*blade(s, z, erect), *BLADE_RADII) for z in BLADE]
        found.append((1.3, scapula))
        points = [(s * 14, front + 14, 70), (s * 50, front + 8, 83), (s * 95, -8, 98), (s * 140, 18, 104)]
        found.append((1.5, path(points, [8, 5.5, 5.5, 6])))
        if erect:
            arm = [Ellipsoid((s * 162, 30, 74), (23, 23, 24)), Tube((s * 166, 30, 64), (s * 184, 28, -60), 14, 11)]
            found.append((2.2, arm))
    return found


def _scapula(erect: bool) -> tuple[int, int]:
    """How far raised arms carry the scapulae aside, and how far the shoulders are rolled forward for a radiograph,
    which carries the blades off the lungs, mm."""
    return (6, 26) if erect else (18, 0)


def blade(s: int, z: float, erect: bool) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """The medial and the lateral edge of the left (s = 1) or right (-1) scapula's blade at height z."""
    out, roll = _scapula(erect)
    return ((s * (68 + out) + s * roll, 92, z),
            (s * (112 + out + 0.12 * z) + s * roll, 64 - 0.12 * z, z))  # fmt: skip


def _moved(solid: Solid, by: float) -> Solid:
    if isinstance(solid, Tube):
        return Tube((solid.start[0] + by, *solid.start[1:]), (solid.end[0] + by, *solid.end[1:]), solid.r0, solid.r1)
    return Ellipsoid((solid.centre[0] + by, *solid.centre[1:]), solid.radii, solid.turn)


def _bone(hu: np.ndarray, p: Points, distance: np.ndarray, a: Anatomy, cortex: float) -> None:
    """A bone: a cortex this thick [mm] about marrow."""
    paint(hu, p.cover(distance), CORTEX * a["mineral"])
    paint(hu, p.cover(distance - cortex), MARROW * a["mineral"])


def _ribs(hu: np.ndarray, p: Points, a: Anatomy, around: Ring) -> None:
    """Twelve bands about the thorax, each falling from back to front, cartilage at its end."""
    inside, front, number, bony = rib_bands(p.z, around.back, around.inside, a)
    cover = p.cover(inside)
    dense = a["mineral"] * (1 - 0.35 * front)
    paint(hu, cover * bony, CORTEX * dense)
    paint(hu, p.cover(inside - 1.4) * bony, MARROW * dense)
    paint(hu, cover * (1 - bony) * (front > 0.5) * (number < 8), CARTILAGE)


def rib_bands(
    z: np.ndarray, back: np.ndarray, inside: np.ndarray | float, a: Anatomy, power: Callable = np.power
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The ribs at heights z, where ``back`` and ``inside`` are as in `Ring`.

    Gives the signed distance [mm] to the nearest rib's surface, how far round to the front that is (0 at the spine,
    1 at the sternum), the rib's number from 0, and how bony it is there, 0 to 1, else cartilage. power: x ** y, for who
    needs it fast.
    """
    front = (1 - back) / 2
    drop = a["rib_slope"] * power(front, 1.15) - 70 * np.clip(front - 0.82, 0, 1)
    w = (96 + a["rib_phase"] * a["pitch"] - z - drop) / a["pitch"]
    number = np.clip(np.round(w), 0, 11)
    beside = np.abs(w - number) * a["pitch"]
    depth = np.abs(-inside - 5.0)
    distance = (1 - np.sqrt((beside / 7.2) ** 2 + (depth / 4.8) ** 2)) * 4.8
    last = np.where(number > 7, 0.95 - 0.12 * (number - 7), 0.90)
    return distance, front, number, ramp(last - front, -0.01, 0.03) * (front > 0.02)


def shrunk(solid: Solid, by: float) -> Solid:
    """A solid whose surface lies this many mm deeper."""
    if isinstance(solid, Tube):
        return Tube(solid.start, solid.end, max(solid.r0 - by, 0.0), max(solid.r1 - by, 0.0))
    return Ellipsoid(solid.centre, tuple(max(r - by, 0.1) for r in solid.radii), solid.turn)


def _spine(hu: np.ndarray, p: Points, a: Anatomy) -> None:
    """Vertebral bodies and discs, canal, and the arches behind."""
    phase = (p.z / a["pitch"] + a["rib_phase"]) % 1.0
    disc = p.cover(2.6 - np.abs(phase - 0.5) * a["pitch"])
    y = SPINE_Y
    column = _prism(p, (0, y), VERTEBRA)
    bone = p.cover(column)
    paint(hu, bone, (CORTEX * 0.7 * (1 - disc) + 85 * disc) * a["mineral"])
    paint(hu, p.cover(column - 1.3), (0.75 * MARROW * (1 - disc) + 85 * disc) * a["mineral"])
    arch = _prism(p, (0, y + 24), ARCH)
    level = 1 - 0.75 * ramp(np.abs(phase - 0.1), 0.22, 0.42)
    paint(hu, p.cover(arch) * level, CORTEX * 0.5 * a["mineral"])
    paint(hu, p.cover(_prism(p, (0, y + 23.5), CANAL)), FLUID + 12)
    for s in (-1, 1):  # transverse processes slant backward to the ribs
        t = np.clip((s * p.x - 12) / 24, 0, 1)
        slant = np.hypot(s * p.x - 12 - 24 * t, p.y - (y + 24 + 13 * t))
        paint(hu, p.cover(4.5 - slant) * level, 0.45 * CORTEX * a["mineral"])
    thorn = np.minimum(3.0 - np.abs(p.x), 17 - np.abs(p.y - (y + 46)))
    paint(hu, p.cover(thorn) * level, CORTEX * 0.5 * a["mineral"])


def _prism(p: Points, centre: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    """Signed distance to an upright column of elliptic section."""
    dx, dy = p.x - centre[0], p.y - centre[1]
    q = np.sqrt((dx / radii[0]) ** 2 + (dy / radii[1]) ** 2)
    return (1 - q) * min(radii) * np.where(q < 1, 1, 1.2) + 0 * p.z


# --------------------------------------------------------------------------------------- mediastinum


@dataclass(frozen=True)
class Mediastinum:
    """Signed distances [H, W] of what lies between the lungs, and of the whole with its fat (``outline``); the heart's
    chambers as solids."""

    outline: np.ndarray
    heart: np.ndarray
    chambers: dict[str, list[Solid]]
    aorta: np.ndarray
    pulmonary: np.ndarray
    veins: np.ndarray
    arteries: np.ndarray
    airway: np.ndarray
    oesophagus: np.ndarray
    nodes: np.ndarray | None


AIRWAY = [  # trachea and main bronchi, with their walls
    *path([(0, 8, 180), (0, 10, 4), (0, 11, 0)], [9, 9, 9]),
    *path([(-3, 11, -1), (-26, 16, -20), (-42, 18, -42)], [8.5, 7.5, 5.5]),
    *path([(3, 11, -1), (28, 18, -24), (50, 24, -38)], [8, 7, 5]),
]
LUMEN = [Tube(t.start, t.end, t.r0 - 1.5, t.r1 - 1.3) for t in AIRWAY]


def heart_solids(a: Anatomy, ratio: float) -> tuple[list[Solid], dict[str, list[Solid]]]:
    """The heart's muscle as a whole, and its chambers; its width is ratio percent of the thorax."""
    width = ratio / 100 * 2 * a["half_width"]
    k = width / 116
    tilt = 0.62
    short = 42 * k
    long = np.sqrt((0.47 * width) ** 2 - (short * np.sin(tilt)) ** 2) / np.cos(tilt)
    z = a["dome"] + 36
    whole: list[Solid] = [
        Ellipsoid((0.16 * width, -26, z), (float(long), short, 50 * k), tilt),
        Ellipsoid((-0.16 * width, -18, z + 6), (0.20 * width, 31 * k, 42 * k)),
        Ellipsoid((0.02 * width, 8, z + 24), (0.28 * width, 19 * k, 27 * k)),
    ]
    chambers: dict[str, list[Solid]] = {
        "left ventricle": [Ellipsoid((0.31 * width, -26, z - 2), (30 * k, 18 * k, 30 * k), tilt)],
        "right ventricle": [Ellipsoid((0.12 * width, -44 * k - 4, z - 2), (36 * k, 14 * k, 34 * k), 0.45)],
        "right atrium": [Ellipsoid((-0.17 * width, -20, z + 6), (0.165 * width, 25 * k, 37 * k))],
        "left atrium": [Ellipsoid((0.02 * width, 9, z + 24), (0.25 * width, 15.5 * k, 24 * k))],
    }
    return whole, chambers


def mediastinum(p: Points, a: Anatomy, ratio: float, nodes: list[Solid]) -> Mediastinum:
    """All organs between the lungs at the points of a plane; enlarged nodes push the outline."""
    whole, parts = heart_solids(a, ratio)
    heart = union(p, whole)
    k = a["aorta"]
    root = a["dome"] + 66
    rise = path([(4, -22, root), (-14, -26, root + 24), (-19, -20, 8), (-13, -14, 27), (0, 4, 38), (14, 22, 34),
                 (22, 36, 20), (24, 40, -10), (18, 44, -120), (10, 40, -260)],
                [16 * k, 16 * k, 16 * k, 15.5 * k, 14.5 * k, 13.5 * k, 12.5 * k, 12 * k, 11 * k, 10 * k])  # fmt: skip
    trunk = path([(12, -40, root), (14, -34, -22), (22, -12, -8)], [14, 14, 12.5])
    trunk += path([(18, -16, -10), (-4, -2, -12), (-40, 2, -14), (-54, 6, -26)], [12, 11, 9.5, 7])
    trunk += path([(22, -12, -6), (36, 6, 0), (48, 20, -10), (52, 24, -28)], [12, 10.5, 8.5, 6.5])
    veins = path([(-28, -16, root + 4), (-31, -16, 0), (-28, -18, 48), (-34, -14, 76)], [9, 9, 8.5, 7])
    veins += path([(-27, -22, 46), (4, -30, 56), (34, -16, 76)], [6.5, 6, 6])
    heads = path([(-6, -8, 40), (-14, -6, 62), (-24, 2, 84), (-30, 8, 110)], [7, 7, 6, 4])
    heads += path([(4, 4, 42), (10, -2, 64), (18, 6, 110)], [4.5, 4.5, 4])
    heads += path([(14, 18, 38), (20, 14, 64), (30, 14, 100)], [5.5, 5.5, 5])
    # Pulmonary veins: from both sides into the left atrium.
    heads += [Tube((s * 24, 10, a["dome"] + d), (s * 58, 16, a["dome"] + d + 8), 7, 5) for s in (-1, 1)
              for d in (58, 74)]  # fmt: skip
    gullet = path([(4, 24, 120), (6, 27, 20), (5, 26, -30), (12, 27, -140)], [7, 7, 7, 8])
    aorta, pulmonary = union(p, rise), union(p, trunk)
    wall = union(p, AIRWAY)
    fields = [heart, aorta, pulmonary, union(p, veins), union(p, heads), wall, union(p, gullet),
              _prism(p, (0, SPINE_Y), VERTEBRA), _fat_pad(p, a)]  # fmt: skip
    enlarged = union(p, nodes) if nodes else None
    swollen = blended(fields if enlarged is None else [*fields, enlarged], 3.5) + 2.5
    behind = np.minimum(19 + 0.5 * np.maximum(p.y - 60, 0) - np.abs(p.x), p.y - SPINE_Y)
    return Mediastinum(np.maximum(swollen, behind), heart, parts, aorta, pulmonary, fields[3], fields[4], wall,
                       fields[6], enlarged)  # fmt: skip


def _fat_pad(p: Points, a: Anatomy) -> np.ndarray:
    """Fat behind the sternum and about the great vessels: a column that narrows to the front."""
    front = np.clip((-p.y - 15) / (a["half_depth"] - 15), 0, 1)
    half = 5 + (15 + 0.3 * a["fat"]) * (1 - front) ** 1.6
    middle = 3 + 5 * front * np.sin(p.z / 31)
    return np.minimum(half - np.abs(p.x - middle), np.minimum(p.y + a["half_depth"] + 2, 22 - p.y)) + 0 * p.z


def room_for_nodes(p: Points, m: Mediastinum) -> np.ndarray:
    """Coverage of all that an enlarged node doesn't displace: heart, aorta and airway stay."""
    return (1 - p.cover(m.heart)) * (1 - p.cover(m.aorta)) * (1 - p.cover(m.airway))


def paint_mediastinum(hu: np.ndarray, p: Points, a: Anatomy, m: Mediastinum, within: np.ndarray, case: Case) -> None:
    """Fat first, then organs; blood is as bright as the iodine in it."""
    paint(hu, p.cover(m.outline) * within, FAT + 8)
    iodine = a["contrast"]
    opaque = [(m.heart, HEART + 0.25 * iodine)]
    share = {"left ventricle": 0.85, "right ventricle": 0.8, "right atrium": 0.8, "left atrium": 0.9}
    opaque += [(union(p, m.chambers[name]), BLOOD + share[name] * iodine) for name in share]
    opaque += [(m.oesophagus, 38.0 + 0.1 * iodine), (m.veins, BLOOD + iodine), (m.arteries, BLOOD + 0.85 * iodine)]
    opaque += [(m.pulmonary, BLOOD + iodine), (m.aorta, BLOOD + 0.9 * iodine), (m.airway, 30.0), (union(p, LUMEN), AIR)]
    for distance, value in opaque:
        if distance.max() > -2:
            paint(hu, p.cover(distance) * within, value)
    if m.nodes is not None:  # they push aside what is soft, and are parted from it by a little fat
        free = within * room_for_nodes(p, m)
        paint(hu, p.cover(m.nodes + 1.6) * free, FAT + 8)
        paint(hu, p.cover(m.nodes) * free, 40.0 + 0.12 * iodine)
    if a["calcified"] > 0.6:
        rng = np.random.default_rng((12, case.noise_seed))
        rim = np.clip(1.5 - np.abs(m.aorta - 1) / 1.2, 0, 1) * ramp(waves(rng, p, 14, 40, 8), 0.7, 1.1)
        paint(hu, rim * within * (m.aorta > -3), 650.0)


# -------------------------------------------------------------------------------------------- abdomen


def diaphragm(p: Points, a: Anatomy) -> np.ndarray:
    """Signed distance to the domes, positive above: they fall to the ribs on all sides."""
    left = p.x > 0
    top = np.where(left, a["dome"] - 12, a["dome"])
    u = (np.abs(p.x) - 58) / (a["half_width"] - 50)
    v = (p.y + 12) / (a["half_depth"] + 4)
    fall = 62 * np.abs(u) ** 2.2 * np.where(np.abs(p.x) > 58, 1, 0.15) + 70 * np.abs(v) ** 2.2
    return np.clip((p.z - top + np.minimum(fall, 95)) * 0.75, -90, 90)


def stomach(a: Anatomy) -> Ellipsoid:
    """The stomach's fundus with its wall of 4 mm."""
    return Ellipsoid((56, -4, a["dome"] - 52), (40, 46, 36))


def gas_level(a: Anatomy) -> float:
    """z [mm] above which the stomach of who stands holds gas."""
    return a["dome"] - 20 - 34 * a["gas"]


def paint_abdomen(hu: np.ndarray, p: Points, a: Anatomy, cavity: np.ndarray, dome: np.ndarray, erect: bool) -> None:
    """Liver right, stomach and spleen left, in fat, under a thin muscle; gas is uppermost in the stomach."""
    if dome.min() > p.edge:
        return
    iodine = a["contrast"]
    below = cavity * p.cover(-dome)
    paint(hu, below, MUSCLE)
    deeper = cavity * p.cover(-dome - 3)
    paint(hu, deeper, FAT)
    liver = p.cover(np.minimum(-dome - 3, 26 - p.x + 0.5 * np.clip(-p.y, -40, 80)))
    paint(hu, cavity * liver, LIVER + 0.3 * iodine)
    z = a["dome"]
    spleen = union(p, [Ellipsoid((86, 44, z - 62), (34, 40, 46), -0.5)])
    paint(hu, deeper * p.cover(spleen), SPLEEN + 0.4 * iodine)
    full = union(p, [stomach(a)])
    paint(hu, deeper * p.cover(full), 30.0)
    gas = p.z - gas_level(a) if erect else -12 + 40 * (a["gas"] - 0.5) - p.y
    paint(hu, deeper * p.cover(np.minimum(full - 4, gas)), AIR)
