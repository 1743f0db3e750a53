"""The words that the rules for written texts know: anatomical sites by region, findings, diagnoses, sides, views.

It is small, and stated here in full; what simulated studies show is in `phantoms.vocabulary` and is read by
`phantoms.parser`. A word that is in neither is no fact to the rules, but its side is: see `facts`.
British spelling is canonical.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Literal

Kind = Literal["site", "finding", "diagnosis"]

# Region: sites, each with its other names after bars. The region "any" is in every part of the body.
_SITES: Mapping[str, str] = {
    "chest": "chest|thorax|thoracic, lung|lungs|pulmonary|hemithorax|hemithoraces, pleura|pleural, heart|cardiac, "
    "mediastinum|mediastinal|cardiomediastinal, hilum|hila|hilar, trachea|tracheal, bronchus|bronchi|bronchial, "
    "diaphragm|hemidiaphragm|hemidiaphragms, costophrenic angle|costophrenic angles|costophrenic, rib|ribs, "
    "clavicle|clavicles, sternum|sternal, aorta|aortic, coronary artery|coronary arteries, oesophagus|oesophageal",
    "head": "brain|cerebral|intracranial, frontal lobe|frontal lobes, parietal lobe|parietal lobes, "
    "temporal lobe|temporal lobes, occipital lobe|occipital lobes, basal ganglia, thalamus|thalami|thalamic, "
    "cerebellum|cerebellar, brainstem|brain stem, pons|pontine, white matter, grey matter, corpus callosum, "
    "hippocampus|hippocampal, pituitary, skull|calvarium, sinus|sinuses, orbit|orbits|orbital",
    "eye": "eye|eyes|ocular, retina|retinal, optic disc|optic discs|optic nerve head, optic cup, macula|macular, "
    "fovea|foveal, choroid|choroidal, vitreous, cornea|corneal, iris, lens",
    "abdomen": "abdomen|abdominal, liver|hepatic, spleen|splenic, kidney|kidneys|renal, pancreas|pancreatic, "
    "gallbladder, bile duct|bile ducts|biliary, adrenal|adrenals, stomach|gastric, duodenum|duodenal, "
    "bowel|small bowel|intestine|intestinal, colon|colonic, appendix, peritoneum|peritoneal, bladder, "
    "pelvis|pelvic, prostate|prostatic, uterus|uterine, ovary|ovaries|ovarian, rectum|rectal",
    "spine": "spine|spinal, vertebra|vertebrae|vertebral, spinal cord, intervertebral disc|intervertebral discs, "
    "sacrum|sacral",
    "limbs": "knee|knees, hip|hips, shoulder|shoulders, wrist, hand|hands, foot|feet, ankle, elbow, "
    "femur|femora|femoral, tibia|tibial, fibula, humerus|humeral, ulna, meniscus|menisci, joint|joints",
    "neck": "neck, thyroid, larynx|laryngeal, pharynx|pharyngeal, carotid|carotids, parotid",
    "breast": "breast|breasts, nipple, axilla|axillary",
    "skin": "skin|cutaneous, epidermis|epidermal, dermis|dermal",
    "any": "ventricle|ventricles|ventricular, lymph node|lymph nodes, artery|arteries|arterial, vein|veins|venous, "
    "vessel|vessels|vascular, gland|glands|glandular, stroma|stromal, epithelium|epithelial, nucleus|nuclei",
}
_FINDINGS = (
    "opacity|opacities|opacification, ground-glass|ground glass, atelectasis|atelectases, oedema|oedematous, "
    "infiltrate|infiltrates, mass|masses, lesion|lesions, cyst|cysts|cystic, calcification|calcifications|calcified, "
    "fracture|fractures, thickening, dilatation|dilation|dilated, stenosis|stenoses|narrowing, occlusion|occluded, "
    "aneurysm|aneurysms, ulcer|ulcers|ulceration, polyp|polyps, lymphadenopathy, scar|scarring, fibrosis|fibrotic, "
    "hyperintensity|hyperintensities|hyperintense, hypointensity|hypointensities|hypointense, "
    "enhancement|enhancing, hydrocephalus, midline shift, mass effect, ascites, stone|stones|calculus|calculi, "
    "free air, neovascularisation, cotton wool spots|cotton-wool spots, tear|tears, hernia|herniation, atrophy, "
    "joint effusion, pericardial effusion, catheter|catheters, endotracheal tube, pacemaker|support devices"
)
_DIAGNOSES = (
    "pneumonia|pneumonias, tuberculosis|tb, cancer|cancers|cancerous, malignancy|malignant, benign, "
    "metastasis|metastases|metastatic, leukaemia, stroke|strokes, heart failure, myocardial infarction, copd, asthma, "
    "emphysema|emphysematous, covid-19|covid, embolism|embolus|emboli, retinopathy, macular degeneration, "
    "cirrhosis|cirrhotic, osteoporosis, sclerosis, dementia, abscess|abscesses, sepsis, diabetes|diabetic, "
    "hypertension|hypertensive, psoriasis, eczema, nevus|naevus, hyperplasia, dysplasia, syndrome, "
    "disease|diseases, disorder|disorders, infection|infections"
)
# Words in -itis and -oma name diagnoses, but for these.
_NAMED_SO = re.compile(r"[a-z]{3,}(?:itis|omas?)")
_NO_DIAGNOSIS = frozenset({"stroma", "haematoma", "haematomas", "stoma", "stomas", "coma", "aroma", "diploma"})
# Of what `phantoms.vocabulary` calls findings, those that name a disease.
DIAGNOSES_OF_PHANTOMS = frozenset({"tumour", "infarct", "invasive carcinoma", "ductal carcinoma in situ"})

# Regions that every image of a modality shows.
IMPLIED: Mapping[str, frozenset[str]] = {
    code: frozenset({place})
    for code, place in {"cxr": "chest", "cfp": "eye", "oct": "eye", "dermoscopy": "skin"}.items()
}

_BOTH = frozenset({"left", "right"})
# Sides as they are written. What is relative to another side is a side of its own.
SIDES: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("left and right", "right and left", "left or right", "right or left", "both", "bilateral",
                     "bilaterally", "either side", "ou"), _BOTH),
    **dict.fromkeys(("left", "leftward", "left-sided", "left-hand", "os"), frozenset({"left"})),
    **dict.fromkeys(("right", "rightward", "right-sided", "right-hand", "od"), frozenset({"right"})),
    **{word: frozenset({word}) for word in ("contralateral", "ipsilateral", "unilateral")},
}  # fmt: skip
# What excludes each other: along one line of a body, or of an acquisition.
AXES: tuple[frozenset[str], ...] = tuple(
    frozenset(words.split())
    for words in ("upper middle lower", "superior inferior", "apical basal", "anterior posterior", "medial lateral",
                  "proximal distal", "central peripheral")
)  # fmt: skip
ACQUISITION: tuple[frozenset[str], ...] = tuple(
    frozenset(words.split(","))
    for words in ("axial,coronal,sagittal", "t1,t2,flair", "pa,ap", "frontal view,lateral view")
)

_BRITISH = (
    (r"tumor", "tumour"), (r"hemorrhag", "haemorrhag"), (r"hematoma", "haematoma"), (r"ischemi", "ischaemi"),
    (r"(?<![a-z])edema", "oedema"), (r"(?<!o)esophag", "oesophag"), (r"leukemi", "leukaemi"), (r"\bgray\b", "grey"),
    (r"vascularization", "vascularisation"), (r"optic disk", "optic disc"),
)  # fmt: skip


def canonical(text: str) -> str:
    """Lower-case text in British spelling, with single spaces but line breaks kept."""
    text = re.sub(r"[^\S\n]+", " ", text.lower()).replace(" & ", " and ")
    for american, british in _BRITISH:
        text = re.sub(american, british, text)
    return text


def any_of(words: Iterable[str]) -> re.Pattern[str]:
    """Finds any of these as whole words, the longest first."""
    longest_first = sorted(words, key=lambda w: (-len(w), w))
    return re.compile(r"(?<![\w])(?:" + "|".join(map(re.escape, longest_first)) + r")(?![\w])")


def _names(table: str) -> dict[str, str]:
    """Every name in such a table, and what it is called."""
    groups = [entry.strip().split("|") for entry in table.split(",")]
    return {name: group[0] for group in groups for name in group}


@cache
def terms() -> dict[str, tuple[Kind | None, str]]:
    """Every known name: its kind, and what it is called. None is what `phantoms.parser` reads."""
    from unimedvl.phantoms.vocabulary import MODALITIES

    known: dict[str, tuple[Kind | None, str]] = {}
    for table in _SITES.values():
        known |= {name: ("site", called) for name, called in _names(table).items()}
    known |= {name: ("finding", called) for name, called in _names(_FINDINGS).items()}
    known |= {name: ("diagnosis", called) for name, called in _names(_DIAGNOSES).items()}
    found = [term for modality in MODALITIES.values() for term in modality.terms]
    # A canonical name goes before the same word as another name of something else, as in the parser.
    read = {canonical(term.name): (None, term.name) for term in found}
    for term in found:
        for name in (*term.said, *term.heard):
            read.setdefault(canonical(name), (None, term.name))
    return known | read


@cache
def pattern() -> re.Pattern[str]:
    """Finds the names of `terms`, and what is named like a diagnosis."""
    return re.compile(any_of(terms()).pattern + rf"|\b{_NAMED_SO.pattern}\b")


def meaning(name: str) -> tuple[Kind | None, str]:
    """Kind and canonical name of what `pattern` has found; the name is empty where it is none."""
    if name in terms():
        return terms()[name]
    if name in _NO_DIAGNOSIS:
        return None, ""
    return "diagnosis", name.removesuffix("s") if name.endswith("omas") else name


@cache
def region(site: str) -> str:
    """Where a site lies; "any" for what is in every part of the body."""
    return next(place for place, table in _SITES.items() if site in _names(table).values())


@cache
def modality_names() -> dict[str, str]:
    """Names of modalities, in words, and their codes as in `tasks.MODALITY_NAMES`."""
    from unimedvl.phantoms.vocabulary import MODALITIES
    from unimedvl.tasks import MODALITY_NAMES

    codes = {name.lower(): code for code, name in MODALITY_NAMES.items()}
    for modality in MODALITIES.values():
        for name in (modality.said, *modality.aliases):
            codes.setdefault(name.lower(), modality.code)
    # What is plural, or said in other words, or is a word for tissue as much as for its image.
    more = {"chest x-rays": "cxr", "radiograph": "cxr", "computed tomography": "ct", "mr": "mri", "ihc": "ihc",
            "ultrasonography": "us", "optical coherence tomography": "oct", "h&e": "his",
            "endoscopic image": "endoscopy", "magnetic resonance imaging": "mri"}  # fmt: skip
    return {n: c for n, c in (codes | more).items() if n != "microscopy"}
