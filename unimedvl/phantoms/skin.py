"""Skin as a dermatoscope sees it: what colours it, its texture, and what lies on it.

Light passes the epidermis, whose melanin absorbs it (Beer and Lambert, there and back), and comes back from the
dermis: a thin papillary layer that only scatters over a deep one that scatters and absorbs (Kubelka and Munk's
infinitely thick layer). So melanin in the epidermis is brown to black, melanin below the papillary layer blue-grey,
blood red, and scar white. All is reckoned at 610, 540 and 450 nm for red, green and blue, with figures of S. L.
Jacques, "Optical properties of biological tissues: a review", Phys Med Biol 58:R37, 2013: scattering of skin
46 /cm x (0.409 (nm / 500)^-4 + 0.591 (nm / 500)^-0.702), a melanosome's absorption 6.6e11 x nm^-3.33 /cm, and whole
blood of 150 g/l haemoglobin, seven tenths of it with oxygen.

Maps are [H, W] float32 over the image; lengths are millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unimedvl.phantoms.shapes import blur, cover, grid, ramp, smooth_noise, strokes
from unimedvl.phantoms.study import Case

WAVELENGTHS = np.array([610.0, 540.0, 450.0])
SCATTERING = (46 * (0.409 * (WAVELENGTHS / 500) ** -4 + 0.591 * (WAVELENGTHS / 500) ** -0.702)).astype(np.float32)
MELANOSOME = (6.6e11 * WAVELENGTHS**-3.33).astype(np.float32)   # 1/cm
WHOLE_BLOOD = np.array([20.8, 274.0, 400.0], np.float32)        # 1/cm, from S. Prahl's tabulated spectra
BLOODLESS = np.array([0.3, 0.5, 0.9], np.float32)               # 1/cm, of skin without blood and melanin
KERATIN = np.array([0.12, 0.38, 1.05], np.float32)              # absorption of a layer of horn, here and back
# How much of each wavelength (rows) the camera's red, green and blue (columns) see: its bands overlap.
OVERLAP = np.array([[0.93, 0.05, 0.02], [0.05, 0.87, 0.08], [0.02, 0.08, 0.90]], np.float32)
EPIDERMIS = 0.012                                               # cm, there and back
PAPILLARY = 0.011                                               # cm


@dataclass
class Layers:
    """What each place of the skin is made of.

    half: half of the image's width in mm. melanin: volume fraction in the epidermis (0.01 to 0.7, the latter black).
    deep: the same under the papillary layer. blood: volume fraction in the dermis. fibre: scattering over that of
    skin. top: thickness of the papillary layer over that of skin. keratin: thickness of horn, 1 yellowish brown.
    """

    half: float
    melanin: np.ndarray
    deep: np.ndarray
    blood: np.ndarray
    fibre: np.ndarray
    top: np.ndarray
    keratin: np.ndarray

    def mix(self, amount: np.ndarray, **values: np.ndarray | float) -> None:
        """Move the named maps towards values, all the way where amount is 1."""
        for name, value in values.items():
            old = getattr(self, name)
            setattr(self, name, old + amount * (value - old))


def reflectance(layers: Layers) -> np.ndarray:
    """The share of light that comes back, [H, W, 3] in 0 to 1."""

    def bands(a: np.ndarray) -> np.ndarray:
        # One precision for all, so that where a lesion leaves the skin alone not a bit changes.
        return np.asarray(a, np.float32)[:, :, None]

    scattering = SCATTERING * bands(layers.fibre).clip(0.2)
    absorbed = BLOODLESS + WHOLE_BLOOD * bands(layers.blood).clip(0) + MELANOSOME * bands(layers.deep).clip(0)
    ratio = 2 * absorbed / (0.75 * scattering)
    low = 1 + ratio - np.sqrt(ratio * ratio + 2 * ratio)
    s = 0.75 * scattering * PAPILLARY * bands(layers.top).clip(0)
    top = s / (1 + s)
    dermis = top + (1 - top) ** 2 * low / (1 - top * low)
    back = dermis * np.exp(-EPIDERMIS * MELANOSOME * bands(layers.melanin) - KERATIN * bands(layers.keratin))
    return back @ OVERLAP


def healthy_skin(case: Case, size: int) -> Layers:
    """Skin without a lesion: tone, mottling, furrows and follicles."""
    a = case.anatomy
    half = a["half_field"]
    rng = np.random.default_rng([case.noise_seed, 1])

    def noise(feature: float) -> np.ndarray:
        return smooth_noise(rng, max(round(2 * half / feature), 2), size)

    mottle, patches, blush, grain = noise(0.9), noise(4.0), noise(3.0), noise(0.30)
    # Primary furrows cross the skin in two directions and part it into small fields.
    x, y = grid(size)
    way = a["furrow_way"]
    across = [half * (np.cos(way + t) * x + np.sin(way + t) * y) + 0.22 * noise(1.4) for t in (0.0, 1.15)]
    lines = [np.abs(np.sin(np.pi * u / gap)) * gap for u, gap in zip(across, (0.62, 0.74), strict=True)]
    furrows = a["furrows"] * np.clip((1 - ramp(np.minimum(*lines), 0.0, 0.22)) * (0.7 + 0.5 * noise(1.8)), 0, 1.2)
    melanin = a["melanin"] * (1 + 0.10 * mottle + 0.12 * patches + 0.10 * grain + 0.22 * furrows)
    blood = a["blood"] * (1 + 0.22 * blush + 0.15 * mottle + 0.16 * grain - 0.22 * furrows)
    flat = np.ones((size, size), np.float32)
    return Layers(half, melanin.astype(np.float32), 0 * flat, np.maximum(blood, 1e-4).astype(np.float32),
                  1 + 0.04 * mottle + 0.03 * grain, flat.copy(), 0.12 * flat)


def hairs(case: Case, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Curved hairs on the skin: how much of each pixel they cover and their gleam, both [H, W]."""
    a = case.anatomy
    rng = np.random.default_rng([case.noise_seed, 2])
    count = int(a["hairs"])
    if not count:
        return np.zeros((size, size), np.float32), np.zeros((size, size), np.float32)
    pieces = 14
    at = rng.uniform(-1.1, 1.1, (count, 2))
    way = a["hair_way"] + rng.normal(0, 0.45, count)
    bend, step = rng.normal(0, 0.07, count), rng.uniform(0.06, 0.15, count)
    thick = rng.uniform(0.035, 0.065, count) * a["hair_width"] / a["half_field"]
    rows = [at]
    for k in range(pieces):
        turned = way + bend * k
        rows.append(rows[-1] + step[:, None] * np.stack([np.cos(turned), np.sin(turned)], 1))
    path = np.stack(rows)
    starts, ends = path[:-1].reshape(-1, 2), path[1:].reshape(-1, 2)
    taper = np.linspace(1.0, 0.45, pieces + 1)
    radii = np.stack([taper[:-1, None] * thick, taper[1:, None] * thick], -1).reshape(-1, 2)
    body = strokes(size, starts, ends, radii, softness=0.004)
    gleam = strokes(size, starts, ends, 0.35 * radii, softness=0.003)
    return body, gleam


def bubbles(case: Case, size: int) -> np.ndarray:
    """Air in the contact gel: light added within, a dark rim and a glint, [H, W]."""
    rng = np.random.default_rng([case.noise_seed, 3])
    x, y = grid(size)
    out = np.zeros((size, size), np.float32)
    for _ in range(int(max(case.anatomy["bubbles"], 0))):
        cx, cy, r = *rng.uniform(-0.95, 0.95, 2), rng.uniform(0.02, 0.075)
        q = np.hypot(x - cx, y - cy)
        out += 0.05 * (1 - ramp(q, r - 0.01, r)) - 0.11 * np.exp(-(((q - r) / 0.009) ** 2))
        out += 0.14 * np.exp(-(((q - r + 0.014) / 0.008) ** 2))
        out += 0.5 * np.exp(-(((x - cx + 0.45 * r) ** 2 + (y - cy + 0.45 * r) ** 2) / (0.2 * r + 0.004) ** 2))
    return out


def ruler(case: Case, size: int) -> np.ndarray:
    """The scale on the contact plate, a line every millimetre and a longer one every five, coverage [H, W]."""
    half = case.anatomy["half_field"]
    x, y = grid(size)
    u, v = (x, y) if case.anatomy["ruler"] < 1.5 else (y, x)
    mm = u * half
    beyond = np.abs(mm - np.round(mm)) / half
    reach = np.where(np.round(mm) % 5 == 0, 0.16, 0.08)
    line = cover(0.011 - beyond, size) * cover(reach - (0.93 - v), size) * cover(0.93 - v, size)
    return line * cover(0.86 - np.abs(u), size)


def lens(case: Case, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Light over the field, and the part of the image that the round plate leaves open, both [H, W]."""
    a = case.anatomy
    x, y = grid(size)
    r = np.hypot(x, y)
    light = 1 - a["vignette"] * ramp(r, 0.5, 1.4) + a["tilt"] * (0.7 * x + 0.5 * y)
    opening = cover(a["plate"] - r, size, 0.02) if a["plate"] < 1.4 else np.ones((size, size), np.float32)
    return light, opening


def camera(linear: np.ndarray, case: Case, size: int, light: np.ndarray, opening: np.ndarray) -> np.ndarray:
    """From reflected light to the picture: white balance, exposure, focus, sRGB's curve, noise; [H, W, 3] uint8."""
    a = case.anatomy
    balance = np.array([1 + 0.04 * a["warmth"], 1.0, 1 - 0.06 * a["warmth"]], np.float32)
    seen = np.clip(a["exposure"] * linear * balance * light[:, :, None], 0, None)
    seen = np.stack([blur(seen[..., k], a["focus"]) for k in range(3)], 2)
    # A shoulder keeps the brightest from clipping.
    seen = np.where(seen > 0.7, 0.7 + 0.3 * np.tanh((seen - 0.7) / 0.3), seen)
    noise = np.random.default_rng([case.noise_seed, 4]).standard_normal((size, size, 3), dtype=np.float32)
    levels = (255 * seen ** (1 / 2.2) + 1.4 * noise) * opening[:, :, None] + 6 * (1 - opening[:, :, None])
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)
