"""The words for colonoscopy."""

from __future__ import annotations

from unimedvl.phantoms.terms import AMOUNT, EXTENT, Modality, Term, View

HOURS = ("12 o'clock", "3 o'clock", "6 o'clock", "9 o'clock")

WORDS = Modality(
    code="endoscopy",
    module="endoscopy",
    said="colonoscopy",
    aliases=("endoscopy", "endoscopic image", "colonoscopy image"),
    an="a colonoscopy image",
    organ="colon",
    scene="the lumen with its folds and the mucosa's vessels",
    views=(View("colonoscopy", "colonoscopy", "colonoscopy of the {organ}"),),
    terms=(
        Term("polyp", said=("colonic polyp",), grades=EXTENT, measured=True, places=HOURS,
             heard=("colon polyp", "colorectal polyp", "sessile polyp", "pedunculated polyp", "polypoid lesion")),
        Term("ulcer", said=("mucosal ulcer",), grades=EXTENT, measured=True, places=HOURS,
             heard=("colonic ulcer", "ulceration", "mucosal ulceration")),
        Term("mucosal bleeding", said=("luminal bleeding",), short="bleeding", number="mass", places=HOURS,
             heard=("active bleeding", "oozing", "fresh blood", "blood in the lumen")),
        Term("diverticula", said=("colonic diverticula",), number="many", grades=AMOUNT, counted=True,
             heard=("diverticulum", "diverticulosis", "diverticular openings")),
        Term("colitis", number="mass",
             heard=("inflamed mucosa", "mucosal inflammation", "ulcerative colitis", "inflammatory bowel disease")),
    ),
    structures=("lumen", "folds"),
)
