"""The words for colour fundus photographs."""

from __future__ import annotations

from unimedvl.phantoms.terms import AMOUNT, Modality, Term, View

WORDS = Modality(
    code="cfp",
    module="fundus",
    said="colour fundus photograph",
    aliases=("fundus photograph", "fundus image", "retinal photograph"),
    an="a fundus photograph",
    organ="retina",
    scene="the optic disc, macula and vessels",
    views=(View("fundus", "colour fundus photograph", "colour fundus photograph of the {eye} eye"),),
    terms=(
        Term("microaneurysms", heard=("microaneurysm",), number="many", grades=AMOUNT),
        Term("hard exudates", heard=("hard exudate", "exudates", "exudate"), short="exudates",
             number="many", grades=AMOUNT),
        Term("haemorrhages", said=("retinal haemorrhages",), number="many", grades=AMOUNT,
             heard=("haemorrhage", "retinal haemorrhage", "blot haemorrhages", "dot haemorrhages")),
        Term("glaucomatous cupping", said=("optic disc cupping",), short="cupping", number="mass",
             heard=("cupping", "glaucomatous optic disc", "enlarged cup")),
        Term("drusen", number="many", grades=AMOUNT),
    ),
    structures=("vessels", "optic disc", "optic cup"),
    attributes=(("eye", ("left", "right")),),
)
