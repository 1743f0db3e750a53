"""The words for chest X-rays."""

from __future__ import annotations

from unimedvl.phantoms.terms import EXTENT, Modality, Term, View

ZONES = ("upper zone", "middle zone", "lower zone")

WORDS = Modality(
    code="cxr",
    module="cxr",
    said="chest X-ray",
    aliases=("chest radiograph", "CXR"),
    an="a chest X-ray",
    organ="chest",
    scene="the heart and both lungs",
    views=(View("frontal", "chest X-ray", "chest X-ray"),),
    terms=(
        Term("cardiomegaly", number="mass",
             heard=("enlarged heart", "heart is enlarged", "enlargement of the heart", "cardiac enlargement",
                    "enlarged cardiac silhouette")),
        Term("pleural effusion", heard=("effusion", "pleural fluid", "hydrothorax"), short="effusion",
             grades=EXTENT, sided=True),
        Term("pneumothorax", heard=("pneumothoraces", "collapsed lung"), grades=EXTENT, sided=True),
        Term("consolidation", said=("airspace consolidation",), number="mass", sided=True, places=ZONES,
             heard=("airspace opacity", "airspace disease", "pneumonic infiltrate")),
        Term("nodule", said=("lung nodule",), heard=("pulmonary nodule", "coin lesion"), grades=EXTENT,
             sided=True, measured=True, places=ZONES),
    ),
    structures=("left lung", "right lung", "heart"),
    attributes=(("plane", ("frontal",)),),
)
