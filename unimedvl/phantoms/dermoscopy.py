"""Simulated dermoscopy images: one skin lesion, sometimes two, under a lit lens.

`unimedvl.phantoms.skin` says how pigment, blood and scar colour the skin, `unimedvl.phantoms.lesions` what each kind
of lesion is made of. The picture is 10 to 14 mm wide. Sizes of findings are their longest extent in millimetres;
severity grades that size, and for melanoma also how many of the suspicious structures there are.
"""

from __future__ import annotations

import numpy as np

from unimedvl.phantoms import lesions
from unimedvl.phantoms.lesions import Lesion
from unimedvl.phantoms.skin import Layers, bubbles, camera, hairs, healthy_skin, lens, reflectance, ruler
from unimedvl.phantoms.study import Case, Finding, Grading, Severity, Study

MODALITY = "dermoscopy"
VIEWS = ("dermoscopy",)
FINDINGS = ("melanocytic naevus", "melanoma", "seborrhoeic keratosis", "basal cell carcinoma", "vascular lesion",
            "dermatofibroma")
SIDED: frozenset[str] = frozenset()

# Longest extent in mm, mild, moderate and severe; and how irregular the outline is.
SIZES = {
    "melanocytic naevus": ((2.8, 3.8), (4.6, 5.8), (6.6, 8.0)),
    "melanoma": ((4.4, 5.6), (6.4, 7.6), (8.4, 9.8)),
    "seborrhoeic keratosis": ((3.6, 4.8), (5.6, 7.0), (7.8, 9.6)),
    "basal cell carcinoma": ((3.4, 4.6), (5.4, 6.8), (7.6, 9.4)),
    "vascular lesion": ((2.4, 3.4), (4.2, 5.4), (6.2, 7.8)),
    "dermatofibroma": ((3.6, 4.6), (5.4, 6.4), (7.2, 8.4)),
}
IRREGULAR = {"melanocytic naevus": 0.035, "melanoma": 0.15, "seborrhoeic keratosis": 0.07,
             "basal cell carcinoma": 0.08, "vascular lesion": 0.06, "dermatofibroma": 0.04}
GRADING = {name: Grading(sizes) for name, sizes in SIZES.items()}
HAIR = np.array([0.035, 0.024, 0.018], np.float32)  # reflectance of dark hair
BLOND = np.array([0.28, 0.19, 0.09], np.float32)

# ------------------------------------------------------------------------------------------ sampling


def sample(seed: int) -> Case:
    """Draw a case: a quarter healthy skin, otherwise one lesion or, for one in ten, two small ones."""
    rng = np.random.default_rng([seed, 0xDE])
    anatomy = {
        "half_field": rng.uniform(5.0, 7.0),                        # half of the image's width, mm
        "melanin": float(np.exp(rng.uniform(np.log(0.012), np.log(0.09)))),  # of the epidermis, volume fraction
        "blood": rng.uniform(0.003, 0.012),                         # of the dermis, volume fraction
        "furrows": rng.uniform(0.1, 1.0),                           # how deep
        "furrow_way": rng.uniform(0, np.pi),
        "hairs": float(max(rng.integers(-6, 16), 0)),
        "hair_way": rng.uniform(0, 2 * np.pi),
        "hair_width": rng.uniform(0.7, 1.5),
        "blond": float(rng.random() < 0.25),
        "bubbles": float(rng.integers(-6, 9)),
        "ruler": float(rng.choice((0, 0, 0, 1, 2))),                # 0 none, 1 along the bottom, 2 along the right
        "plate": float(rng.choice((1.02, 1.12, 1.5, 1.5, 1.5))),    # radius of the round opening, above 1.4 none
        "vignette": rng.uniform(0.08, 0.35),
        "tilt": rng.uniform(-0.06, 0.06),
        "warmth": rng.uniform(-1.0, 1.0),
        "exposure": rng.uniform(0.95, 1.12),
        "focus": rng.uniform(0.004, 0.008),
    }
    # The camera's exposure makes up for much of the skin's tone.
    anatomy["exposure"] *= float((0.03 / anatomy["melanin"]) ** -0.10)
    noise_seed = int(rng.integers(2**31))
    names = sorted(rng.permutation(FINDINGS)[: rng.choice(3, p=(0.25, 0.65, 0.10))], key=FINDINGS.index)
    way = rng.uniform(0, 2 * np.pi)
    findings = []
    for k, name in enumerate(names):
        away = 0.48 * anatomy["half_field"] * (len(names) - 1)
        middle = away * np.array([np.cos(way + k * np.pi), np.sin(way + k * np.pi)])
        findings.append(_sample_finding(rng, str(name), middle + rng.uniform(-0.5, 0.5, 2), len(names) == 2))
    return Case(MODALITY, seed, tuple(findings), anatomy, noise_seed)


def _sample_finding(rng: np.random.Generator, name: str, middle: np.ndarray, small: bool) -> Finding:
    grade = 0 if small else int(rng.integers(3))
    severity: Severity = ("mild", "moderate", "severe")[grade]
    size = round(float(rng.uniform(*SIZES[name][grade])), 1)
    stretch = rng.uniform(1.0, 1.25) if name != "melanoma" else rng.uniform(1.1, 1.6)
    shape = (*middle, rng.uniform(0, np.pi), stretch, IRREGULAR[name] * rng.uniform(0.7, 1.3), rng.integers(4),
             rng.integers(2**20))
    return Finding(name, None, severity, size, shape=tuple(round(float(v), 3) for v in shape))


# ----------------------------------------------------------------------------------------- rendering


def render(case: Case, size: int = 128) -> Study:
    """Render a case at size x size pixels (64 to 512).

    Masks: ``"lesion"`` (all of them), ``"hairs"``, ``"skin"`` (what neither covers), and one for each finding.
    Those of lesions reach under hairs. Raises ValueError for a size out of range or a finding not of FINDINGS.
    """
    if not 64 <= size <= 512:
        raise ValueError(f"cannot render {size} px; sizes are 64 to 512")
    for finding in case.findings:
        if finding.name not in FINDINGS:
            raise ValueError(f"no finding {finding.name!r} in {MODALITY}; known are {', '.join(FINDINGS)}")
    anatomy = case.anatomy
    light, opening = lens(case, size)
    layers = healthy_skin(case, size)
    open_field = opening > 0.5
    masks = {name: np.zeros((size, size), bool) for name in ("lesion", "hairs", "skin")}
    for finding in case.findings:
        spot = lesions.lesion(finding, anatomy["half_field"], size)
        masks[finding.name] = _put(layers, spot, finding) & open_field
        masks["lesion"] |= masks[finding.name]
    body, gleam = hairs(case, size)
    masks["hairs"] = (body > 0.5) & open_field
    masks["skin"] = open_field & ~masks["lesion"] & ~masks["hairs"]
    linear = reflectance(layers)
    colour = BLOND if anatomy["blond"] else HAIR
    linear = linear + (colour - linear) * (0.92 * body)[:, :, None] + (0.05 * gleam)[:, :, None]
    linear = linear + bubbles(case, size)[:, :, None]
    if anatomy["ruler"]:
        linear = linear * (1 - 0.93 * ruler(case, size))[:, :, None]
    image = camera(linear, case, size, light, opening)
    return Study(case, {"dermoscopy": image}, masks, {"organ": "skin"})


def _put(layers: Layers, spot: Lesion, finding: Finding) -> np.ndarray:
    """Bring a lesion into the skin; its mask [H, W]."""
    pattern = int(finding.shape[5])
    if finding.name == "melanocytic naevus":
        return lesions.naevus(layers, spot, pattern)
    if finding.name == "vascular lesion":
        return lesions.vascular(layers, spot, pattern)
    kinds = {"melanoma": lesions.melanoma, "seborrhoeic keratosis": lesions.keratosis,
             "basal cell carcinoma": lesions.carcinoma, "dermatofibroma": lesions.dermatofibroma}
    return kinds[finding.name](layers, spot)
