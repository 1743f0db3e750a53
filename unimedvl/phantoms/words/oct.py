"""The words for optical coherence tomography of the macula."""

from __future__ import annotations

from unimedvl.phantoms.terms import AMOUNT, EXTENT, SPREAD, Modality, Term, View

PLACES = ("foveal", "nasal", "temporal")

WORDS = Modality(
    code="oct",
    module="oct",
    said="optical coherence tomography",
    aliases=("OCT", "OCT scan", "OCT B-scan"),
    an="an OCT scan",
    organ="retina",
    scene="the layers of the retina over the choroid",
    views=(View("b-scan", "retinal OCT", "retinal OCT of the {eye} eye"),),
    terms=(
        Term("intraretinal fluid", number="mass", places=PLACES,
             heard=("intraretinal cyst", "cystoid macular oedema", "macular oedema", "cystoid fluid")),
        Term("subretinal fluid", number="mass", places=PLACES,
             heard=("neurosensory detachment", "neurosensory retinal detachment", "serous retinal detachment")),
        Term("drusen", number="many", grades=AMOUNT),
        Term("geographic atrophy", short="atrophy", number="mass", grades=SPREAD, places=PLACES,
             heard=("macular atrophy", "RPE atrophy", "outer retinal atrophy")),
        Term("epiretinal membrane", short="membrane", heard=("ERM", "macular pucker", "preretinal membrane")),
        Term("macular hole", said=("full-thickness macular hole",), short="hole", grades=EXTENT),
    ),
    structures=("retina", "retinal pigment epithelium", "choroid"),
    attributes=(("eye", ("left", "right")), ("plane", ("horizontal",))),
)
