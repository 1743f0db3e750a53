"""Simulated colonoscopy images.

Rays of a wide-angle lens meet a bent, folded tube (`unimedvl.phantoms.colon`). Two light guides beside the lens
light it: irradiance falls with the square of the distance, with the cosine at the wall and with that at the guide,
and what the wall throws back lights the rest a little (redder, having met blood twice). The mucosa reflects
R0 exp(-b x absorption), b being its blood; vessels, polyps, inflammation and spilt blood are more of it. As
haemoglobin does, it absorbs little red and much green and blue; how much of each is set by the look of such images
and not reckoned from spectra. Water on the wall mirrors the guides (Blinn and Phong's highlight on a rippled
surface). The camera sets its exposure by the healthy wall, so that a finding changes only the pixels that it covers
and those just around it.

Sizes of findings are in millimetres, save colitis's, which is the share of the wall inflamed in percent. Places are
hours of the clock face as the image shows it; that of a bleeding is its source's, from which the blood runs down,
wherever the colon's down lies in the image. One image unit is 66 degrees of the lens.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter

from unimedvl.phantoms.colon import Tube, ray_to, tube
from unimedvl.phantoms.mucosa import (
    Scene,
    inflamed,
    leave_fluid,
    put_bleeding,
    put_diverticula,
    put_polyp,
    put_ulcer,
    shade_foot,
    wall_scene,
)
from unimedvl.phantoms.shapes import blur, cover, grid, ramp, strokes
from unimedvl.phantoms.study import Case, Finding, Grading, Severity, Study

MODALITY = "endoscopy"
VIEWS = ("colonoscopy",)
FINDINGS = ("polyp", "ulcer", "mucosal bleeding", "diverticula", "colitis")
SIDED: frozenset[str] = frozenset()

HOURS = {"12 o'clock": -0.5 * np.pi, "3 o'clock": 0.0, "6 o'clock": 0.5 * np.pi, "9 o'clock": np.pi}
LUMEN_AT = 75.0                                               # mm from which on the far, dark tube is "lumen"
GUIDES = np.array([[-3.8, 0.6, 0.0], [3.8, 0.6, 0.0]], np.float32)  # where the light guides end, mm

# ------------------------------------------------------------------------------------------ sampling


def sample(seed: int) -> Case:
    """Draw a case: a quarter normal, otherwise one finding or, for one in five, two."""
    rng = np.random.default_rng([seed, 0xE0])
    radius = rng.uniform(19.0, 24.0)
    aside, way = radius * rng.uniform(0.0, 0.35), rng.uniform(0, 2 * np.pi)
    anatomy = {
        "radius": radius,                         # of the lumen between folds, mm
        "camera_x": aside * np.cos(way),          # of the camera from the lumen's middle, mm
        "camera_y": aside * np.sin(way),
        "slope_x": rng.uniform(-0.22, 0.22),      # of the lumen against the camera's axis
        "slope_y": rng.uniform(-0.22, 0.22),
        "bend": 1 / rng.uniform(110.0, 320.0),    # curvature, 1/mm
        "bend_angle": rng.uniform(0, 2 * np.pi),
        "fold_gap": rng.uniform(15.0, 24.0),      # mm
        "fold_height": rng.uniform(5.0, 8.5),     # mm
        "taenia": rng.uniform(0, 2 * np.pi / 3),  # direction of one of the three
        "blood": rng.uniform(0.85, 1.25),         # of the healthy mucosa
        "vessels": rng.uniform(0.55, 1.0),        # how clearly they show
        "wet": rng.uniform(0.5, 1.0),             # of the highlights
        "fluid": rng.uniform(-1.0, 1.0),          # left in the lowest part; below 0 there is none
        "gravity": rng.uniform(0, 2 * np.pi),     # where down is in the image
        "warmth": rng.uniform(-1.0, 1.0),         # of the camera's white balance
        "exposure": rng.uniform(0.88, 1.12),
        "blur": rng.uniform(0.004, 0.009),        # of the lens, image units
        "edges": rng.uniform(0.0, 0.5),           # the processor's enhancement of edges
        "mask": float(rng.integers(3)),           # 0 round, 1 cut corners, 2 round with flat sides
        "bubbles": float(rng.integers(-4, 9)),
    }
    noise_seed = int(rng.integers(2**31))
    names = list(rng.permutation(FINDINGS)[: rng.choice(3, p=(0.25, 0.57, 0.18))])
    hours = list(rng.permutation(list(HOURS)))
    wall = tube(anatomy, noise_seed)
    findings: list[Finding] = []
    if "mucosal bleeding" in names:  # blood is best told where it has a way to run
        hours.sort(key=lambda h: np.cos(HOURS[str(h)] - anatomy["gravity"]))
    for name in sorted(names, key=lambda n: (n != "mucosal bleeding", FINDINGS.index(n))):
        findings.append(_sample_finding(rng, str(name), str(hours.pop(0)), wall, findings))
    findings.sort(key=lambda f: FINDINGS.index(f.name))
    return Case(MODALITY, seed, tuple(findings), anatomy, noise_seed)


def _sample_finding(rng: np.random.Generator, name: str, hour: str, wall: Tube, others: list[Finding]) -> Finding:
    grade = int(rng.integers(3))
    severity: Severity = ("mild", "moderate", "severe")[grade]
    private = float(rng.integers(2**20))
    if name == "colitis":
        return Finding(name, None, severity, round(rng.uniform(*((45, 60), (70, 85), (96, 100))[grade]), 1),
                       shape=(private,))
    if name == "diverticula":
        return _sample_diverticula(rng, grade, wall, others)
    if name == "polyp":
        size = rng.uniform(*((5, 7), (8.5, 11.5), (14, 19))[grade])
        stalk = rng.uniform(4.0, 8.0) if rng.random() < 0.4 else 0.0
        own = (stalk, rng.uniform(0.45, 0.70), rng.uniform(-0.8, 0.8), private)
    elif name == "ulcer":
        size, own = rng.uniform(*((5, 7), (9, 12), (15, 20))[grade]), (rng.uniform(0.75, 1.3), private)
    else:
        size, own = rng.uniform(*((11, 15), (20, 27), (34, 46))[grade]), (private,)
    far = (26, 32, 40)[grade]
    spot = _seen_spot(rng, wall, HOURS[hour], (17, 18, 24)[grade], far)
    return Finding(name, None, severity, round(float(size), 1), place=hour,
                   shape=tuple(round(float(v), 3) for v in (*spot, *own)))


# mm, save colitis, the inflamed part of the wall in percent, and how many diverticula.
GRADING = {
    "polyp": Grading(((5, 7), (8.5, 11.5), (14, 19))),
    "ulcer": Grading(((5, 7), (9, 12), (15, 20))),
    "colitis": Grading(((45, 60), (70, 85), (96, 100))),
    "mucosal bleeding": Grading(((11, 15), (20, 27), (34, 46))),
    "diverticula": Grading(((2, 3), (5, 6), (8, 11)), "count", row=4, lengths=(3,)),
}


def _seen_spot(rng: np.random.Generator, wall: Tube, angle: float, near: float, far: float) -> np.ndarray:
    """A point of the wall in an hour's direction of the image that the camera sees well, in mm."""
    angles, radii = angle + rng.uniform(-0.5, 0.5, 60), rng.uniform(0.36, 0.74, 60)
    d = np.hstack([ray_to(r * np.cos(a), r * np.sin(a)) for r, a in zip(radii, angles, strict=True)])
    t = wall.hits(d)
    facing = -(wall.normals(d * t) * d).sum(0)
    good = np.flatnonzero((t > near) & (t < far) & (facing > 0.45))
    best = good[0] if len(good) else int(np.argmax(facing - 0.05 * np.clip(t - far, 0, None)))
    return d[:, best] * t[best]


def _sample_diverticula(rng: np.random.Generator, grade: int, wall: Tube, others: list[Finding]) -> Finding:
    """Openings in the wall, none upon another, shape rows of x, y, z, radius."""
    count = int(rng.integers(*((2, 4), (5, 7), (8, 12))[grade]))
    angles, radii = rng.uniform(0, 2 * np.pi, 400), rng.uniform(0.30, 0.85, 400)
    d = np.hstack([ray_to(r * np.cos(a), r * np.sin(a)) for r, a in zip(radii, angles, strict=True)])
    t = wall.hits(d)
    p = d * t
    facing = -(wall.normals(p) * d).sum(0)
    wide = rng.uniform(1.9, 3.6, 400)
    kept: list[tuple[float, ...]] = []
    taken = [(np.array(f.shape[:3]), 0.8 * f.size) for f in others if f.place]
    for nearest, farthest, slant, gap in ((15, 46, 0.4, 2.5), (15, 60, 0.2, 1.0), (8, 75, 0.0, -2.5)):
        # Where much of the wall is turned away or taken, the grade's number is kept and the view gives way.
        for k in np.flatnonzero((t > nearest) & (t < farthest) & (facing > slant)):
            if len(kept) == count:
                break
            if all(np.linalg.norm(p[:, k] - q) > r + wide[k] + gap for q, r in taken):
                kept.append((*(float(v) for v in p[:, k]), float(wide[k])))
                taken.append((p[:, k], float(wide[k])))
    size = round(2 * max(row[3] for row in kept), 1)
    shape = tuple(round(v, 3) for row in kept for v in row)
    return Finding("diverticula", None, ("mild", "moderate", "severe")[grade], size, len(kept), shape=shape)


# ----------------------------------------------------------------------------------------- rendering


def render(case: Case, size: int = 128) -> Study:
    """Render a case at size x size pixels (64 to 512).

    Masks: ``"lumen"`` (the tube 75 mm and more away), ``"folds"`` (of the wall), and one for each finding.
    Raises ValueError for a size out of range or a finding that is not of FINDINGS.
    """
    if not 64 <= size <= 512:
        raise ValueError(f"cannot render {size} px; sizes are 64 to 512")
    for finding in case.findings:
        if finding.name not in FINDINGS:
            raise ValueError(f"no finding {finding.name!r} in {MODALITY}; known are {', '.join(FINDINGS)}")
    anatomy = case.anatomy
    seen = _aperture(anatomy, size)
    scene, rng = wall_scene(case, size)
    leave_fluid(scene, anatomy, rng)
    gain = _exposure(scene, anatomy, seen)
    masks = {"lumen": scene.t > LUMEN_AT, "folds": (scene.tube.fold(scene.p) > 0.45) & (scene.t < LUMEN_AT)}
    far = scene.t.reshape(size, size)
    for finding in case.findings:
        if finding.name != "polyp":
            masks[finding.name] = _put(scene, finding, case)
        else:
            shade_foot(scene, finding)
    light = _smooth_rims(_lit(scene, anatomy, gain).reshape(3, size, size), far)
    for finding in case.findings:
        if finding.name == "polyp":  # it stands before the wall, whatever else is on that
            before = dict(masks)
            masks["polyp"] = put_polyp(scene, finding, anatomy["blood"], size)
            masks |= {name: mask & ~masks["polyp"] for name, mask in before.items()}
            light += scene.front.reshape(size, size) * (_lit(scene, anatomy, gain).reshape(3, size, size) - light)
    masks = {name: mask.reshape(size, size) & (seen > 0.5) for name, mask in masks.items()}
    image = _camera(light, case, seen, size)
    return Study(case, {"colonoscopy": image}, masks, {"organ": "colon"})


def _smooth_rims(light: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Light [3, H, W] averaged over 3 x 3 pixels where the distance t [H, W] jumps, at the rims of folds."""
    jump = ramp(maximum_filter(t, 3) / minimum_filter(t, 3), 1.15, 1.35)
    smooth = np.stack([gaussian_filter(channel, 0.8, truncate=2) for channel in light])
    return light + jump * (smooth - light)


def _put(scene: Scene, finding: Finding, case: Case) -> np.ndarray:
    """Bring one finding into the scene; its mask [N]."""
    if finding.name == "polyp":
        return put_polyp(scene, finding, case.anatomy["blood"])
    if finding.name == "ulcer":
        return put_ulcer(scene, finding)
    if finding.name == "mucosal bleeding":
        return put_bleeding(scene, finding, case.anatomy["gravity"])
    if finding.name == "diverticula":
        return put_diverticula(scene, finding)
    return (inflamed(finding, scene.around, scene.along) > 0.5) & (scene.t < 140)


def irradiance(scene: Scene, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Light of the guides on surfaces with the normals [3, N], per their output at 20 mm, and the highlight, [N]."""
    light, mirror = np.zeros_like(scene.t), np.zeros_like(scene.t)
    for guide in GUIDES:
        to = guide[:, None] - scene.p
        r2 = (to * to).sum(0)
        to = to / np.sqrt(r2)
        output = (400.0 / r2) * np.clip(-to[2], 0.05, 1) ** 0.6
        light += 0.5 * output * (np.clip((normals * to).sum(0), -0.05, None) + 0.12) / 1.12
        half = to - scene.d
        half = half / np.sqrt((half * half).sum(0))
        mirror += output**0.5 * np.clip((normals * half).sum(0), 0, 1) ** 300
    return light, mirror


def _exposure(scene: Scene, anatomy: dict[str, float], seen: np.ndarray) -> float:
    """The gain that makes the well lit part of the wall bright."""
    light, _ = irradiance(scene, scene.plain)
    return anatomy["exposure"] * 1.25 / float(np.quantile(light[seen.ravel() > 0.5], 0.78))


def _lit(scene: Scene, anatomy: dict[str, float], gain: float) -> np.ndarray:
    """Light that comes back to the camera, [3, N], about 1 where it is bright."""
    light, mirror = irradiance(scene, scene.n)
    back = 0.11 * (400.0 / (scene.t * scene.t + 100)) ** 0.7
    coloured = scene.albedo * (light + back * scene.albedo) * scene.shade
    warmth = anatomy["warmth"]
    tint = np.array([1 + 0.05 * warmth, 1.0, 1 - 0.09 * warmth], np.float32)[:, None]
    return gain * tint * coloured + 2.0 * scene.gloss * mirror * min(gain, 2.0)


def _aperture(anatomy: dict[str, float], size: int) -> np.ndarray:
    """The part of the square image that the endoscope shows, [H, W] in 0 to 1."""
    x, y = grid(size)
    kind = int(anatomy["mask"])
    if kind == 1:
        inside = np.minimum(0.97 - np.maximum(np.abs(x), np.abs(y)), (1.50 - np.abs(x) - np.abs(y)) / 1.414)
    elif kind == 2:
        inside = np.minimum(1.06 - np.hypot(x, y), 0.90 - np.abs(y))
    else:
        inside = 0.97 - np.hypot(x, y)
    return cover(inside, size)


def _camera(light: np.ndarray, case: Case, seen: np.ndarray, size: int) -> np.ndarray:
    """Lens, vignette, tone curve, sharpening, bubbles, noise and mask; [H, W, 3] uint8."""
    x, y = grid(size)
    anatomy = case.anatomy
    vignette = 1 - 0.30 * ramp(np.hypot(x, y), 0.45, 1.35)
    # The camera's tone curve: linear in the dark, bending to white, then sRGB's 1 / 2.2.
    tone = (1 - np.exp(-1.15 * light * vignette)) ** (1 / 2.2)
    noise = np.random.default_rng([case.noise_seed, 3]).standard_normal((size, size, 3), dtype=np.float32)
    levels = np.empty((size, size, 3), np.float32)
    for k in range(3):
        sharp = blur(tone[k], anatomy["blur"])
        levels[..., k] = sharp + anatomy["edges"] * (sharp - blur(sharp, 0.015))
    levels += _bubbles(case, size)[:, :, None]
    levels = 255 * levels + 1.5 * noise
    return np.clip(np.rint(levels * seen[:, :, None]), 0, 255).astype(np.uint8)


def _bubbles(case: Case, size: int) -> np.ndarray:
    """Foam: thin bright rings with a glint, added to the image, [H, W]."""
    rng = np.random.default_rng([case.noise_seed, 4])
    count = int(max(case.anatomy["bubbles"], 0))
    out = np.zeros((size, size), np.float32)
    if not count:
        return out
    x, y = grid(size)
    way = case.anatomy["gravity"] + rng.normal(0, 0.35, count)
    far, radius = rng.uniform(0.45, 0.85, count), rng.uniform(0.015, 0.05, count)
    px, py = far * np.cos(way), far * np.sin(way)
    for cx, cy, r in zip(px, py, radius, strict=True):
        q = np.hypot(x - cx, y - cy)
        out = np.maximum(out, 0.16 * np.exp(-(((q - r) / 0.008) ** 2)))
    glint = np.stack([px - 0.3 * radius, py - 0.3 * radius], 1)
    return np.maximum(out, 0.45 * strokes(size, glint, glint, 0.22 * radius, softness=0.008))
