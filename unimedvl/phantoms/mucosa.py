"""The colon's wall as rays meet it, healthy and diseased: reflectance, relief, wetness, and what stands before it.

The mucosa reflects R0 exp(-b x absorption), b being its blood (see `unimedvl.phantoms.endoscopy`). Each finding
changes the scene near itself and returns where it is seen. Lengths are millimetres; N is the number of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unimedvl.phantoms.colon import HALF_FIELD, PERIOD, Tube, look_up, rays, rough, tube, vessel_texture
from unimedvl.phantoms.shapes import ramp
from unimedvl.phantoms.study import Case, Finding

TISSUE = np.array([0.95, 0.80, 0.60], np.float32)             # reflectance of mucosa without blood
BLOOD = np.array([0.15, 1.00, 1.10], np.float32)              # absorption by one unit of mucosal blood
POOL = np.array([0.36, 0.018, 0.014], np.float32)             # reflectance of blood too deep to see through
FIBRIN = np.array([0.86, 0.74, 0.44], np.float32)             # of the coat of an ulcer
STOOL = np.array([0.50, 0.33, 0.07], np.float32)              # of fluid left by the preparation

# ------------------------------------------------------------------------------------------- the wall


@dataclass
class Scene:
    """What each pixel's ray meets, [N] or [3, N] each.

    d: the ray. t: how far it goes. p: the point. n: its normal; plain: without the fine relief. around, along: where
    on the wall. albedo: reflectance. gloss: of the highlight. shade: how much light gets there. front: how much of
    the pixel a polyp covers.
    """

    tube: Tube
    d: np.ndarray
    t: np.ndarray
    p: np.ndarray
    n: np.ndarray
    plain: np.ndarray
    around: np.ndarray
    along: np.ndarray
    albedo: np.ndarray
    gloss: np.ndarray
    shade: np.ndarray
    front: np.ndarray

    def disc(self, finding: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """About a wall's point: offsets of all points from it, the wall's normal and the distance, [3, N] [3] [N]."""
        centre = np.array(finding[:3], np.float32)[:, None]
        away = self.p - centre
        return away, self.tube.normals(centre)[:, 0], np.sqrt((away * away).sum(0))


def wall_scene(case: Case, size: int) -> tuple[Scene, np.random.Generator]:
    """The wall as it would be without local findings; colitis is in it."""
    wall = tube(case.anatomy, case.noise_seed)
    d = rays(size)
    t = wall.hits(d)
    p = d * t
    around, along = wall.on_wall(p)
    n = plain = wall.normals(p)
    rng = np.random.default_rng([case.noise_seed, 2])
    vessels, clouds, broad = vessel_texture(rng), rough(rng, 7), rough(rng, 28)
    grain, ripple = rough(rng, 1.2), rough(rng, 2.6)
    # Textures finer than a pixel's patch of wall fade instead of flickering.
    patch = t * np.float32(2 * HALF_FIELD / size) / np.maximum(-(n * d).sum(0), 0.15)
    sharp = (1.2 / np.maximum(patch, 1.2)) ** 2
    colitis = next((f for f in case.findings if f.name == "colitis"), None)
    extent = inflamed(colitis, around, along) if colitis else np.zeros_like(t)
    grade = {"mild": 0, "moderate": 1, "severe": 2}[colitis.severity] if colitis else 0
    a = case.anatomy
    drawn = np.clip(look_up(vessels, around, along), 0, 1) * sharp * (1 - extent * (0.75, 0.97, 1.0)[grade])
    cloud = look_up(clouds, around, along)
    blood = a["blood"] * (1 + 0.07 * cloud + 0.10 * look_up(broad, around, along)) + 0.8 * a["vessels"] * drawn
    grains = look_up(grain, around, along) * (0.7 / np.maximum(patch, 0.7))
    blood = blood + extent * ((0.60, 0.78, 0.98)[grade] + (0.08, 0.17, 0.26)[grade] * (cloud + grains))
    albedo = TISSUE[:, None] * np.exp(-BLOOD[:, None] * np.maximum(blood, 0.2))
    if colitis:
        _exudate_and_petechiae(albedo, extent, grains, look_up(ripple, around + 31, along), grade)
    n = _rippled(n, ripple, around, along, 0.11 * sharp * (1 + extent * (0.3, 0.6, 0.9)[grade]))
    n = _rippled(n, grain, around, along, 0.02 * sharp * (1 + extent * (1.0, 2.0, 3.0)[grade]))
    gloss = (a["wet"] * np.clip(0.65 + 0.5 * cloud, 0, 1.3)).astype(np.float32)
    return Scene(wall, d, t, p, n, plain, around, along, albedo, gloss, np.ones_like(t), np.zeros_like(t)), rng


def inflamed(finding: Finding, around: np.ndarray, along: np.ndarray) -> np.ndarray:
    """How much the wall at each point is inflamed: patches that cover the finding's share, 0 to 1."""
    texture = rough(np.random.default_rng(int(finding.shape[0])), 30)
    level = np.quantile(texture, 1 - min(finding.size, 99.9) / 100)
    return ramp(look_up(texture, around, along), level - 0.45, level + 0.45)


def _exudate_and_petechiae(albedo: np.ndarray, extent: np.ndarray, grains: np.ndarray, coarse: np.ndarray,
                           grade: int) -> None:
    """Mucopus, and from moderate on bleeding points, on the inflamed wall; changes albedo."""
    pus = extent * ramp(coarse + 0.35 * grains, *((9.0, 9.5), (1.7, 2.3), (1.05, 1.7))[grade])
    albedo += (0.9 * FIBRIN[:, None] - albedo) * (0.75 * pus)
    red = extent * (1 - pus) * ramp(0.6 * grains - coarse, *((1.9, 2.6), (1.5, 2.2), (1.1, 1.8))[grade])
    albedo += (POOL[:, None] - albedo) * (0.65 * red)


def _rippled(n: np.ndarray, texture: np.ndarray, around: np.ndarray, along: np.ndarray,
             amount: np.ndarray) -> np.ndarray:
    """Normals of a wall with a relief: tilted along and around by the texture's differences."""
    here = look_up(texture, around, along)
    step = 150.0 / texture.shape[0]
    side, ahead = (look_up(texture, around + step, along) - here), (look_up(texture, around, along + step) - here)
    tangent = np.stack([-n[1], n[0]]) / np.maximum(np.hypot(n[0], n[1]), 0.2)
    out = n.copy()
    out[:2] += tangent * (3 * amount * side)
    out[2] += 3 * amount * ahead
    return out / np.sqrt((out * out).sum(0))


def leave_fluid(scene: Scene, anatomy: dict[str, float], rng: np.random.Generator) -> None:
    """Yellowish fluid that the preparation left along the lowest line of the tube."""
    if anatomy["fluid"] <= 0:
        return
    half = PERIOD / 2
    low = (scene.around - anatomy["gravity"] / (2 * np.pi) * PERIOD + half) % PERIOD - half
    puddle = look_up(rough(rng, 22), scene.around, scene.along)
    amount = ramp(7.0 * (anatomy["fluid"] - 0.9) + 7.0 * puddle - 0.7 * np.abs(low), 0.0, 3.5)
    through = np.exp(-0.6 * amount * np.float32([0.3, 0.6, 1.5])[:, None])
    scene.albedo = scene.albedo * through + 0.5 * STOOL[:, None] * (1 - through)


# ------------------------------------------------------------------------------------------- findings


def _frame(n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors across a unit normal [3]."""
    e = np.cross(n, (0.0, 0.0, 1.0) if abs(n[2]) < 0.9 else (1.0, 0.0, 0.0))
    e = e / np.linalg.norm(e)
    return e.astype(np.float32), np.cross(n, e).astype(np.float32)


def shade_foot(scene: Scene, finding: Finding) -> None:
    """The wall around a polyp's foot gets less light."""
    base = 0.12 * finding.size + 0.6 if finding.shape[3] else 0.5 * finding.size
    near = np.clip(scene.disc(finding.shape)[2] / base, 0.75, 3.0)
    scene.shade *= 1 - 0.45 * np.exp(-(((near - 0.75) / 0.5) ** 2)) * (near < 2.0)


def put_polyp(scene: Scene, finding: Finding, blood: float, size: int) -> np.ndarray:
    """Put a polyp before the wall: an ellipsoid on it, or on a stalk; its mask [N]."""
    _, n, _ = scene.disc(finding.shape)
    stalk, squash, lean, private = finding.shape[3:]
    a = finding.size / 2
    e, f = _frame(n)
    axis = n + lean * e * (stalk > 0)
    axis = axis / np.linalg.norm(axis)
    e, f = _frame(axis)
    foot = np.array(finding.shape[:3], np.float32)
    tall = a * (squash + 0.3 * (stalk > 0))
    middle = foot + axis * (stalk + 0.75 * tall if stalk else 0.05 * a)
    rough_seed = np.random.default_rng(int(private))
    nodes, mottle = rough(rough_seed, 9), rough(rough_seed, 2.5)
    mask = np.zeros(len(scene.t), bool)
    if stalk:
        mask |= _stem(scene, foot - axis, axis, stalk + 1.5, 0.24 * a + 0.6)
    axes, radii = np.stack([e, f, axis]), np.array([a, a, tall], np.float32)
    hit, t, q, passes = _ellipsoid(scene, middle, axes, radii)
    reach = 10 + 1.2 * a                       # larger polyps have more nodes, not only larger ones
    x, y = q[0] * reach + 7 * q[2], q[1] * reach - 5 * q[2]
    bump = look_up(nodes, x, y)
    passes = (passes + 0.055 * np.clip(bump, -2, 2) - 0.03) * a / (t * (2 * HALF_FIELD / size))
    hit, t, q, x, y, bump, passes = (v[..., passes > -0.5] for v in (hit, t, q, x, y, bump, passes))
    scene.front[hit] = np.clip(passes + 0.5, scene.front[hit], 1)
    normal = axes.T @ (q / radii[:, None])
    for vector, shift in ((e, (1.5, 0)), (f, (0, 1.5))):
        normal = normal - vector[:, None] * (look_up(nodes, x + shift[0], y + shift[1]) - bump) * (0.75 / a)
    scene.n[:, hit] = normal / np.sqrt((normal * normal).sum(0))
    more = blood * (1.55 + 0.12 * look_up(mottle, x, y) - 0.16 * bump)
    scene.albedo[:, hit] = TISSUE[:, None] * np.exp(-BLOOD[:, None] * more)
    scene.p[:, hit], scene.t[hit] = scene.d[:, hit] * t, t
    # Folds of the polyp's own surface and the groove at its foot get less light.
    scene.shade[hit] = np.clip(0.80 + 0.13 * bump, 0.4, 1.0) * (0.66 + 0.34 * ramp(q[2], -0.4, 0.6))
    scene.gloss[hit] = 0.55
    mask[hit] |= scene.front[hit] > 0.5
    return mask


def _ellipsoid(scene: Scene, middle: np.ndarray, axes: np.ndarray,
               radii: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The rays that meet or narrowly miss an ellipsoid before the wall: their pixels, distances, where on the unit
    sphere [3, M], and how far within the outline they pass (1 in the middle, below 0 outside).

    Where a ray just misses, the pixel is still partly covered.
    """
    o, v = -(axes @ middle) / radii, (axes @ scene.d) / radii[:, None]
    vv, ov = (v * v).sum(0), o @ v
    under = ov * ov - vv * (o @ o - 1)
    t = (-ov - np.sqrt(np.maximum(under, 0))) / vv
    passes = 1 - np.sqrt(np.maximum(o @ o - ov * ov / vv, 0))
    hit = np.flatnonzero((passes > -0.3) & (t > 1) & (t < scene.t))
    q = o[:, None] + t[hit] * v[:, hit]
    return hit, t[hit], q / np.maximum(np.sqrt((q * q).sum(0)), 1e-3), passes[hit]


def _stem(scene: Scene, foot: np.ndarray, axis: np.ndarray, length: float, radius: float) -> np.ndarray:
    """Put a cylinder before the wall, coloured as the wall is at its foot; where it is seen, [N]."""
    along_d, along_o = axis @ scene.d, float(axis @ -foot)
    v, o = scene.d - np.outer(axis, along_d), -foot - along_o * axis
    vv, ov = np.maximum((v * v).sum(0), 1e-6), o @ v
    under = ov * ov - vv * (o @ o - radius * radius)
    t = (-ov - np.sqrt(np.maximum(under, 0))) / vv
    up = along_o + t * along_d
    hit = (under > 0) & (t > 1) & (t < scene.t) & (up > 0) & (up < length)
    scene.p[:, hit], scene.t[hit], scene.front[hit] = scene.d[:, hit] * t[hit], t[hit], 1
    scene.n[:, hit] = (o[:, None] + t[hit] * v[:, hit]) / radius
    scene.albedo[:, hit] = TISSUE[:, None] * np.exp(-1.15 * BLOOD[:, None])
    scene.shade[hit], scene.gloss[hit] = 0.85, 0.6
    return hit


def put_ulcer(scene: Scene, finding: Finding) -> np.ndarray:
    """A crater coated with fibrin in a raised red rim; the crater's mask [N]."""
    away, n, distance = scene.disc(finding.shape)
    long, private = finding.shape[3:]
    e, f = _frame(n)
    a, x, y = finding.size / 2, e @ away, f @ away
    rng = np.random.default_rng(int(private))
    edge, coat = rough(rng, 5), rough(rng, 1.8)
    wave = look_up(edge, x + 40, y + 40)
    r = np.hypot(x / long**0.5, y * long**0.5) / a + 0.17 * wave
    r = np.where((distance < 1.9 * a) & (scene.t < 90), r, 9.0)
    crater, rim = 1 - ramp(r, 0.90, 1.06), np.exp(-((np.maximum(r - 1.08, 0) / 0.30) ** 2))
    spots = look_up(coat, x, y)
    base = FIBRIN[:, None] * np.clip(0.86 + 0.10 * spots + 0.06 * wave, 0.5, 1.1)
    base = base * np.exp(-BLOOD[:, None] * 1.1 * ramp(spots, 0.7, 1.9))
    scene.albedo *= np.exp(-BLOOD[:, None] * (0.85 * rim * (r < 3)))
    scene.albedo += (base - scene.albedo) * (0.96 * crater)
    near = np.flatnonzero(r < 1.7)
    slope = 0.75 * (np.exp(-(((r[near] - 0.98) / 0.12) ** 2)) - np.exp(-(((r[near] - 1.32) / 0.14) ** 2)))
    outward = (away[:, near] - np.outer(n, n @ away[:, near])) / np.maximum(distance[near], 0.3)
    tilted = scene.n[:, near] - outward * slope
    scene.n[:, near] = tilted / np.sqrt((tilted * tilted).sum(0))
    scene.shade *= 1 - 0.18 * crater * ramp(r, 0.55, 0.95)
    scene.gloss *= 1 - 0.6 * crater
    return (crater > 0.5) & (r < 2)


def put_bleeding(scene: Scene, finding: Finding, gravity: float) -> np.ndarray:
    """Blood from a point of the wall that runs down and gathers; where it lies, [N]."""
    centre = np.array(finding.shape[:3], np.float32)[:, None]
    (source_around,), (source_along,) = scene.tube.on_wall(centre)
    rng = np.random.default_rng(int(finding.shape[3]))
    edge, half = rough(rng, 5), PERIOD / 2
    fall = (gravity / (2 * np.pi) * PERIOD - source_around + half) % PERIOD - half
    way = 1.0 if fall >= 0 else -1.0
    s = ((scene.around - source_around + half) % PERIOD - half) * way
    ahead = scene.along - source_along
    wave = look_up(edge, s, ahead)
    size = finding.size
    patch = 0.22 * size * (1 + 0.35 * wave) - np.hypot(s, 0.85 * ahead)
    # It runs no farther than the lowest line of the tube.
    reach = float(min(0.85 * size, max(abs(fall), 0.3 * size)))
    film = patch
    for k in range({"mild": 1, "moderate": 2, "severe": 4}[finding.severity]):
        at, wide = rng.uniform(-0.22, 0.22) * size, rng.uniform(0.9, 1.6) + 0.03 * size
        end = reach * rng.uniform(0.6, 1)
        course = at * (1 - 0.5 * np.clip(s / reach, 0, 1)) + 0.7 * np.sin(s / 3.1 + k) + 0.5 * wave
        run = np.minimum(wide * (1 + 0.2 * wave) - np.abs(ahead - course), np.minimum(s + wide, end - s))
        drop = wide * 1.5 - np.hypot(s - end, ahead - course)
        film = np.maximum(film, np.maximum(run, drop))
    film = np.where((np.sqrt(((scene.p - centre) ** 2).sum(0)) < 1.4 * size) & (scene.t < 100), film, -9)
    amount = ramp(film, -0.5, 0.6)
    depth = amount * (0.9 + 1.6 * ramp(film, 0, 2.2)) * (1 + 0.2 * wave)
    through = np.exp(-depth * np.float32([0.8, 2.6, 2.8])[:, None])
    scene.albedo = scene.albedo * through + POOL[:, None] * (1 - through) * amount
    scene.gloss = scene.gloss + (1.25 - scene.gloss) * amount
    return amount > 0.5


def put_diverticula(scene: Scene, finding: Finding) -> np.ndarray:
    """Mouths of pouches: dark inside, their far side dimly lit, their lips raised; where they open, [N]."""
    mask = np.zeros(len(scene.t), bool)
    for row in np.array(finding.shape).reshape(-1, 4):
        away, n, distance = scene.disc(tuple(row))
        a = float(row[3])
        near = np.flatnonzero((distance < 2.0 * a) & (scene.t < 90))
        away, r = away[:, near], distance[near] / a
        across = scene.d[:, near] - np.outer(n, n @ scene.d[:, near])
        e, f = _frame(n)
        turn = 5.0 * row[0]                    # each mouth is an oval of its own
        u, v = (e * np.cos(turn) + f * np.sin(turn)) @ away, (f * np.cos(turn) - e * np.sin(turn)) @ away
        oval = 1.18 + 0.16 * np.sin(7.0 * row[1])
        r = np.hypot(u / oval, v * oval) / a * (1 + 0.07 * np.sin(3 * np.arctan2(v, u) + turn))
        inner = np.sqrt(((away + 0.75 * a * across) ** 2).sum(0)) / a
        hole = 1 - ramp(r, 0.78, 1.08)
        light = 0.10 + 0.60 * ramp(inner, 0.45, 1.5)
        scene.shade[near] *= 1 - hole * (1 - light)
        scene.albedo[:, near] *= np.exp(-BLOOD[:, None] * (0.9 * hole))
        scene.gloss[near] *= ramp(r, 1.1, 1.7)
        slope = 0.40 * (np.exp(-(((r - 1.04) / 0.18) ** 2)) - 0.6 * np.exp(-(((r - 1.42) / 0.2) ** 2)))
        tilted = scene.n[:, near] - (away - np.outer(n, n @ away)) / (a * np.maximum(r, 0.2)) * slope
        scene.n[:, near] = tilted / np.sqrt((tilted * tilted).sum(0))
        mask[near] |= hole > 0.5
    return mask
