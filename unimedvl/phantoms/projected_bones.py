"""Bones and gas along the rays of a radiograph: [H, W] mm of the water that they add or replace."""

from __future__ import annotations

import numpy as np

from unimedvl.phantoms import chest_organs as organs
from unimedvl.phantoms.rays import CENTRE, DETECTOR, SOURCE, Rays, halves
from unimedvl.phantoms.shapes import ramp

BONE_GAIN = 0.5  # bone attenuates more on a radiograph's softer spectrum than CT's HU say
# Signed distances [mm] to the pleura at which ribs are looked for: they lie between the first and the last.
LEVELS = (-9.7, -7.4, -5.0, -2.6, -0.3)


def gas(rays: Rays, a: organs.Anatomy) -> np.ndarray:
    """Air in trachea, main bronchi and stomach, [H, W] mm of the water that it replaces."""
    total = np.maximum.reduce([rays.chord(t) for t in organs.LUMEN])
    stomach, level = organs.stomach(a), organs.gas_level(a)
    bubble = rays.interval(organs.shrunk(stomach, 4))
    if bubble is not None:
        window, _, half = bubble
        above = np.clip((rays.z(stomach.centre[1])[window[0]] - level) / rays.pixel + 0.5, 0, 1)
        total[window] += 2 * half * above
    return total * np.float32(1.03)


def _dense(hu: float) -> float:
    """What bone of these HU adds to soft tissue, relative to water."""
    return (hu - 40 + BONE_GAIN * max(hu - 130, 0.0)) / 1000


def bones(rays: Rays, a: organs.Anatomy) -> np.ndarray:
    """[H, W] mm of water that bones add."""
    total = _spine(rays, a) + _ribs(rays, a)
    cortical, marrow = (_dense(hu * a["mineral"]) for hu in (organs.CORTEX, organs.MARROW))
    for cortex, solids in organs.loose_bones(a, True, blades=False):
        outer = np.zeros_like(total)
        inner = np.zeros_like(total)
        for solid in solids:
            met = rays.interval(solid)
            if met is not None:
                window, _, half = met
                np.maximum(outer[window], half, out=outer[window])
                thin = rays.interval(organs.shrunk(solid, cortex))
                if thin is not None:
                    np.maximum(inner[thin[0]], thin[2], out=inner[thin[0]])
        total += 2 * (outer * cortical + inner * (marrow - cortical))
    return total + _blades(rays, a)


def _blades(rays: Rays, a: organs.Anatomy) -> np.ndarray:
    """The scapulae's blades as sheets, [H, W] mm of water."""
    low, high = organs.BLADE[0] - 3, organs.BLADE[-1] + 3
    z = rays.z(78.0)
    there = np.clip((high - low) / 2 - np.abs(z - (low + high) / 2), 0, rays.pixel) / rays.pixel
    cortical, marrow = (_dense(hu * a["mineral"]) for hu in (organs.CORTEX, organs.MARROW))
    total = np.zeros((rays.size, rays.size), np.float32)
    for s, half in zip((-1, 1), halves(rays.size), strict=True):
        (x0, y0, _), (x1, y1, _) = organs.blade(s, z, True)
        x = rays.x(78.0)[:, half]
        t = (x - x0) / (x1 - x0)
        thick = 2 * (organs.BLADE_RADII[0] + (organs.BLADE_RADII[1] - organs.BLADE_RADII[0]) * np.clip(t, 0, 1))
        slant = np.hypot(x1 - x0, y1 - y0) / np.abs(x1 - x0)
        within = np.clip((0.5 - np.abs(t - 0.5)) * np.abs(x1 - x0) / rays.pixel + 0.5, 0, 1) * there
        inner = np.maximum(thick - 2.6, 0)
        total[:, half] = within * slant * 0.85 * (thick * cortical + inner * (marrow - cortical))
    return total


def _spine(rays: Rays, a: organs.Anatomy) -> np.ndarray:
    """Bodies, discs, arches and processes: upright columns, [H, W] mm of water."""

    def column(y: float, across: float, deep: float) -> np.ndarray:
        return 2 * deep * np.sqrt(np.maximum(1 - (rays.x(y) / across) ** 2, 0))

    y, m = organs.SPINE_Y, a["mineral"]
    z = rays.z(y)
    phase = (z / a["pitch"] + a["rib_phase"]) % 1.0
    disc = np.clip((2.6 - np.abs(phase - 0.5) * a["pitch"]) / rays.pixel + 0.5, 0, 1)
    level = 1 - 0.75 * ramp(np.abs(phase - 0.1), 0.22, 0.42)
    outer, inner = column(y, *organs.VERTEBRA), column(y, *(r - 1.3 for r in organs.VERTEBRA))
    shell = outer - inner
    disc_like = _dense(85 * m) * disc
    total = shell * (_dense(organs.CORTEX * 0.7 * m) * (1 - disc) + disc_like)
    total = total + inner * (_dense(0.75 * organs.MARROW * m) * (1 - disc) + disc_like)
    arch = column(y + 24, *organs.ARCH) - column(y + 23.5, *organs.CANAL)
    total += np.maximum(arch, 0) * level * _dense(organs.CORTEX * 0.5 * m)
    # Transverse processes slant backward by 13 mm in 24; the arch covers their roots.
    x = np.abs(rays.x(y + 30))
    rounded = np.sqrt(np.maximum(1 - (np.maximum(x - 36, 0) / 4.5) ** 2, 0))
    process = rounded * (9 * float(np.hypot(1, 13 / 24))) * (x > 14)
    total += process * level * _dense(0.45 * organs.CORTEX * m)
    thorn = 34 * np.clip((3.0 - np.abs(rays.x(y + 46))) / rays.pixel + 0.5, 0, 1)
    return total + thorn * level * _dense(organs.CORTEX * 0.5 * m)


def _ribs(rays: Rays, a: organs.Anatomy) -> np.ndarray:
    """Behind and in front, met at depths across the wall, [H, W] mm of water."""
    total = np.zeros((rays.size, rays.size), np.float32)
    for side in (1, -1):
        bone, soft = np.float32(0), np.float32(0)
        before = None
        for level in LEVELS:
            y, middle = wall_depth(rays, a, side, level)
            s = (np.float32(SOURCE) - y) * np.float32(1 / (SOURCE - DETECTOR))
            x, z = rays.axis[None, :] * s, np.float32(CENTRE) - rays.axis[:, None] * s
            deep = y - middle
            back = deep / np.sqrt(x * x + deep * deep + np.float32(1e-3))
            inside, front, _, bony = organs.rib_bands(z, back, level, a, _power)
            dense = bony * (1 - 0.35 * front)
            if before is not None:
                way = np.abs(y - before[0])
                for k, (now, then) in enumerate(((inside, before[1]), (inside - 1.4, before[1] - 1.4))):
                    share = (np.maximum(now, 0) + np.maximum(then, 0)) / (np.abs(now) + np.abs(then) + 1e-6)
                    if k:
                        soft = soft + share * way * dense
                    else:
                        bone = bone + share * way * dense
            before = (y, inside)
        total += bone * _dense(organs.CORTEX * a["mineral"])
        total += soft * (_dense(organs.MARROW * a["mineral"]) - _dense(organs.CORTEX * a["mineral"]))
    return total


def _power(x: np.ndarray, y: float) -> np.ndarray:
    """x ** y of single precision for x >= 0, several times as fast."""
    return np.exp(np.float32(y) * np.log(x + np.float32(1e-12)))


def wall_depth(rays: Rays, a: organs.Anatomy, side: int, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Depth y [H, W] where the rays meet the surface at this signed distance to the pleura, behind (1) or in front.

    And the middle's depth there, [H, 1]."""
    y = np.float32(side * 0.8 * a["half_depth"])
    half_width, half_depth, middle = organs.section(rays.z(float(y)), a)
    half_width, half_depth = (np.maximum(v - level, 1).astype(np.float32) for v in (half_width, half_depth))
    middle = middle.astype(np.float32)
    for _ in range(2):
        x = rays.axis[None, :] * ((np.float32(SOURCE) - y) * np.float32(1 / (SOURCE - DETECTOR)))
        q = np.abs(x) / half_width
        np.minimum(q, np.float32(0.99999), out=q)
        root = _power(1 - _power(q, 2.4), 1 / 2.4)
        y = middle + np.float32(side) * half_depth * root
    return y, middle
