"""The words for dermoscopy."""

from __future__ import annotations

from unimedvl.phantoms.terms import EXTENT, Modality, Term, View

WORDS = Modality(
    code="dermoscopy",
    module="dermoscopy",
    said="dermoscopy",
    aliases=("dermatoscopy", "dermoscopic image", "dermatoscopic image", "dermoscopy image"),
    an="a dermoscopy image",
    organ="skin",
    scene="the skin with its furrows and hairs",
    views=(View("dermoscopy", "dermoscopy", "dermoscopy of the {organ}"),),
    terms=(
        Term("melanocytic naevus", short="naevus", grades=EXTENT, measured=True,
             heard=("naevus", "nevus", "melanocytic nevus", "melanocytic naevi", "melanocytic nevi", "benign mole")),
        Term("melanoma", said=("malignant melanoma",), grades=EXTENT, measured=True,
             heard=("cutaneous melanoma", "melanoma in situ")),
        Term("seborrhoeic keratosis", short="keratosis", grades=EXTENT, measured=True,
             heard=("seborrheic keratosis", "seborrhoeic keratoses", "seborrheic keratoses", "seborrhoeic wart")),
        Term("basal cell carcinoma", said=("BCC",), grades=EXTENT, measured=True,
             heard=("basal cell carcinomas", "basalioma", "rodent ulcer")),
        Term("vascular lesion", said=("vascular skin lesion",), grades=EXTENT, measured=True,
             heard=("haemangioma", "hemangioma", "cherry angioma", "angioma", "angiokeratoma")),
        Term("dermatofibroma", said=("fibrous histiocytoma",), grades=EXTENT, measured=True,
             heard=("dermatofibromas", "benign fibrous histiocytoma")),
    ),
    structures=("lesion", "hairs", "skin"),
)
