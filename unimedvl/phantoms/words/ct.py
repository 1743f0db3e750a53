"""The words for chest CT."""

from __future__ import annotations

from unimedvl.phantoms.terms import EXTENT, Modality, Term, View
from unimedvl.phantoms.words.cxr import ZONES

WORDS = Modality(
    code="ct",
    module="ct",
    said="chest CT",
    aliases=("CT scan", "computed tomography", "CT"),
    an="a CT",
    organ="chest",
    scene="the mediastinum between both lungs",
    views=(
        View("lung", "chest CT", "{plane} chest CT in the lung window"),
        View("soft tissue", "chest CT", "{plane} chest CT in the soft tissue window"),
    ),
    terms=(
        Term("cardiomegaly", number="mass",
             heard=("enlarged heart", "heart is enlarged", "enlargement of the heart", "cardiac enlargement")),
        Term("pleural effusion", heard=("effusion", "pleural fluid", "hydrothorax"), short="effusion",
             grades=EXTENT, sided=True),
        Term("pneumothorax", heard=("pneumothoraces", "collapsed lung"), grades=EXTENT, sided=True,
             unseen=("soft tissue",)),
        Term("consolidation", said=("airspace consolidation",), number="mass", sided=True, places=ZONES,
             heard=("airspace opacity", "airspace disease", "pneumonic infiltrate")),
        Term("nodule", said=("lung nodule",), heard=("pulmonary nodule", "coin lesion"), grades=EXTENT,
             sided=True, measured=True, places=ZONES),
        Term("emphysema", said=("pulmonary emphysema",), number="mass",
             heard=("centrilobular emphysema", "emphysematous change", "emphysematous lung"),
             unseen=("soft tissue",)),  # air is black there, in the lung as outside it
        Term("lymphadenopathy", said=("mediastinal lymphadenopathy",), number="mass",
             heard=("enlarged lymph node", "lymph node enlargement", "adenopathy", "enlarged node")),
    ),
    structures=("left lung", "right lung", "heart", "aorta"),
    attributes=(("plane", ("axial",)), ("contrast", ("contrast-enhanced", "unenhanced"))),
)
