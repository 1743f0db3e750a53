"""The words for histopathology and its immunostains."""

from __future__ import annotations

from unimedvl.phantoms.terms import SPREAD, Modality, Term, View

WORDS = Modality(
    code="his",
    module="histology",
    said="histopathology",
    aliases=("histology", "microscopy", "biopsy slide"),
    an="a histopathology image",
    organ="breast",
    scene="glands in stroma",
    views=(
        View("he", "histopathology", "H&E histopathology of {organ}", stain="H&E"),
        View("ihc", "HER2 immunohistochemistry", "HER2 immunohistochemistry of {organ}", stain="HER2",
             code="ihc", an="an immunohistochemistry image"),
    ),
    terms=(
        Term("invasive carcinoma", said=("invasive ductal carcinoma",), short="carcinoma", number="mass",
             grades=SPREAD, heard=("invasive breast cancer", "infiltrating carcinoma", "invasive cancer")),
        Term("ductal carcinoma in situ", said=("DCIS",), number="mass", grades=SPREAD),
        Term("inflammation", number="mass",
             heard=("inflammatory infiltrate", "lymphocytic infiltrate", "inflammatory cells")),
        Term("necrosis", heard=("necrotic tissue", "necrotic area"), number="mass", grades=SPREAD),
    ),
    structures=("nuclei", "epithelium"),
    attributes=(("stain", ("H&E",)), ("her2", ("0", "1+", "2+", "3+"))),
)
