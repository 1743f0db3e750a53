"""A simulated chest in three dimensions: attenuation at any plane.

The patient is a set of solids whose surfaces are formulas, so a plane is evaluated as finely as it is looked at. `ct`
shows an axial slice of it, `cxr` its projection along the diverging rays of a radiograph (`projection`). Patient axes
in millimetres: x to the left, y to the back, z to the head; the carina is the origin. Lying on the back (CT) fluid
runs to the back and free air to the front; standing (radiograph) they run down and up, by the same volume.

Sizes are round figures of adults (Gray's Anatomy, 41st ed., 2015; aorta and heart after Wolak et al., JACC Imaging
1:200, 2008, and the cardiothoracic ratio of Danzer, Am J Med Sci 157:513, 1919). Hounsfield values are the usual
ones of textbooks (Hofer, *CT Teaching Manual*, 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from unimedvl.phantoms import chest_organs as organs
from unimedvl.phantoms.chest_findings import Lung, Places, apply_to_lungs, node_solids
from unimedvl.phantoms.solids import Points, waves
from unimedvl.phantoms.study import Case

SIDES = ("right", "left")
WATER = 0.0193  # attenuation of water at about 70 keV, 1/mm (Hubbell and Seltzer, NIST XCOM)


@dataclass
class Plane:
    """What a plane of the body holds.

    hu: attenuation [H, W] in Hounsfield units, without noise. bone: the part of it above soft tissue, that a
    radiograph's spectrum sees better. masks: name -> coverage [H, W] in 0..1 of lungs, heart, aorta and findings.
    """

    hu: np.ndarray
    bone: np.ndarray
    masks: dict[str, np.ndarray] = field(default_factory=dict)


def sample_anatomy(rng: np.random.Generator) -> dict[str, float]:
    """Draw a patient's build: millimetres, unless a comment says otherwise."""
    female = float(rng.random() < 0.5)
    return {
        "female": female,
        "half_width": rng.uniform(122, 132) if female else rng.uniform(130, 142),  # inside the ribs
        "half_depth": rng.uniform(82, 92) if female else rng.uniform(88, 101),
        "apex": rng.uniform(104, 118),
        "dome": rng.uniform(-120, -96),  # top of the right hemidiaphragm
        "ratio": rng.uniform(40, 46),  # cardiothoracic ratio, percent
        "fat": rng.uniform(5, 22),
        "muscle": rng.uniform(0.75, 1.2) * (0.8 if female else 1.0),  # relative
        "breast": rng.uniform(0.6, 1.2) * female,  # relative
        "pitch": rng.uniform(22.0, 24.5),  # between vertebrae
        "rib_phase": rng.uniform(0, 1),  # of a pitch
        "rib_slope": rng.uniform(78, 100),  # how far a rib falls from back to front
        "mineral": rng.uniform(0.7, 1.15),  # relative: falls with age
        "calcified": rng.uniform(0, 1),  # above 0.6 the aortic wall is
        "gas": rng.uniform(0, 1),  # in the stomach, relative
        "aorta": rng.uniform(0.9, 1.15),  # relative
        "contrast": rng.uniform(90, 240) * (rng.random() < 0.65),  # HU that iodine adds to blood; often none
        "inspiration": rng.uniform(-885, -835),  # HU of lung
    }


def plane(case: Case, p: Points, erect: bool = False, layer: float = 0.0, vessels: bool = True) -> Plane:
    """The body at the points of a plane.

    erect: standing, as for a radiograph, with arms down; else lying on the back with arms raised.
    layer: thickness of the slice [mm], over which small vessels are averaged.
    vessels: draw the vessels of the lung, which takes an axial plane (a projection adds them itself).
    """
    a = case.anatomy
    ring = organs.ring(p, a)
    hu = np.full(p.shape, -1000.0, np.float32)
    wall = organs.paint_wall(hu, p, a, ring, erect, vessels)
    heart_ratio = next((f.size for f in case.findings if f.name == "cardiomegaly"), a["ratio"])
    inner = organs.mediastinum(p, a, heart_ratio, node_solids(case))
    dome = organs.diaphragm(p, a)
    cavity = p.cover(ring.inside)
    organs.paint_abdomen(hu, p, a, cavity, dome, erect)
    outline = np.minimum(-inner.outline, np.minimum(ring.inside, dome))
    lungs = _lungs(case, p, outline, ring.inside, erect)
    masks = apply_to_lungs(hu, case, p, lungs, Places(erect, vessels, layer))
    organs.paint_mediastinum(hu, p, a, inner, cavity * p.cover(dome + 6), case)
    organs.paint_bones(hu, p, a, ring, erect)
    for lung in lungs:
        masks[f"{lung.side} lung"] = lung.cover
    masks["heart"] = p.cover(inner.heart) * cavity
    masks["aorta"] = p.cover(inner.aorta)
    if "cardiomegaly" in (f.name for f in case.findings):
        masks["cardiomegaly"] = masks["heart"]
    if inner.nodes is not None:
        masks["lymphadenopathy"] = p.cover(inner.nodes) * cavity * organs.room_for_nodes(p, inner)
    return Plane(hu, np.maximum(hu - 130, 0) * wall, masks)


def _lungs(case: Case, p: Points, outline: np.ndarray, inside: np.ndarray, erect: bool) -> list[Lung]:
    """Both lungs healthy: their extent and the attenuation of air, blood and tissue in them."""
    rng = np.random.default_rng((1, case.noise_seed))
    down = -p.z if erect else p.y
    base = case.anatomy["inspiration"] + 0.35 * np.clip(down, -90, 110)
    if not erect:  # averages out along rays
        base = base + 12 * waves(rng, p, 25, 70, 6)
    # Fissures: two sheets that fall from the back of the upper zone to the front of the base.
    sheet = p.z + 1.05 * p.y + 20 + 4 * np.sin(p.x / 37)
    base = base + 90 * np.clip(1 - np.abs(sheet) / (1.4 + p.edge), 0, 1) * (1.4 / (1.4 + p.edge))
    sides = ((side, p.cover(sign * p.x)) for side, sign in (("right", -1), ("left", 1)))
    cover = p.cover(outline)
    return [Lung(side, cover * half, outline, inside, base.astype(np.float32)) for side, half in sides]


def outlines(
    anatomy: dict[str, float], ratio: float, heights: Sequence[float] | None = None
) -> list[tuple[Points, np.ndarray, np.ndarray]]:
    """Axial planes of a patient without findings on a grid of 6 mm: where a finding has room.

    ratio: cardiothoracic, percent. heights: z [mm] of the planes, every 18 mm of the lungs if None. Gives for each
    its points and the signed distances [H, W] to the lungs' border and to the pleura of the chest wall.
    """
    axis = np.arange(-144, 144.1, 6, dtype=np.float32)
    found = []
    for z in np.arange(-185.0, 115.0, 18.0) if heights is None else heights:
        p = Points(axis[None, :], axis[:, None], np.full((1, 1), z, np.float32), 6.0)
        inside = organs.ring(p, anatomy).inside
        inner = organs.mediastinum(p, anatomy, ratio, [])
        found.append((p, np.minimum(-inner.outline, np.minimum(inside, organs.diaphragm(p, anatomy))), inside))
    return found
