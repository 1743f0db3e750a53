"""Words to codes: titles of reports, procedures, regions of the body, and what a mask outlines.

Every code here is in the tables of PS3.16 that pydicom ships (a test looks each up), so none is private. What has
no code gets a general one, and its words stand beside it as text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydicom.sr.coding import Code

# CID 7000 by modality; then by modality and part of the body. The rest is a diagnostic imaging report.
_TITLE = Code("18748-4", "LN", "Diagnostic Imaging Report")
_TITLES = {
    "CT": Code("25045-6", "LN", "CT Report"),
    "MR": Code("25056-3", "LN", "MRI Report"),
    "US": Code("25061-3", "LN", "Ultrasound Report"),
    "PT": Code("44136-0", "LN", "PET Scan Report"),
    "NM": Code("49118-3", "LN", "Nuclear Medicine Report"),
    "RF": Code("49512-7", "LN", "Fluoroscopy Study Report"),
    "MG": Code("111400", "DCM", "Breast Imaging Report"),
    **dict.fromkeys(("CR", "DX", "RG", "PX", "IO"), Code("43468-8", "LN", "X-Ray Report")),
}
_TITLES_OF_PARTS = {
    ("CT", "CHEST"): Code("24627-2", "LN", "CT Chest Report"),
    ("CT", "ABDOMEN"): Code("41806-1", "LN", "CT Abdomen Report"),
    **dict.fromkeys((("CT", "HEAD"), ("CT", "BRAIN")), Code("24725-4", "LN", "CT Head Report")),
    **dict.fromkeys((("MR", "HEAD"), ("MR", "BRAIN")), Code("24590-2", "LN", "MRI Head Report")),
    **dict.fromkeys((("MR", p) for p in ("SPINE", "CSPINE", "TSPINE", "LSPINE")),
                    Code("18756-7", "LN", "MRI Spine Report")),
    ("US", "LIVER"): Code("28614-6", "LN", "US Liver Report"),
    ("US", "KIDNEY"): Code("38036-0", "LN", "US Kidney Report"),
    ("US", "THYROID"): Code("25010-0", "LN", "US Thyroid Report"),
    ("US", "BREAST"): Code("24601-7", "LN", "US Breast Report"),
}  # fmt: skip
# CID 100, of measurement reports.
_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
_PROCEDURES = {
    "CT": Code("25045-6", "LN", "CT unspecified body region"),
    "MR": Code("25056-3", "LN", "MRI unspecified body region"),
    "PT": Code("44136-0", "LN", "PET unspecified body region"),
    "NM": Code("49118-3", "LN", "NM unspecified body region"),
    **dict.fromkeys(("CR", "DX", "RG"), Code("43468-8", "LN", "XR unspecified body region")),
}
# CID 29: these modalities are codes of their own.
_ACQUISITIONS = {
    "CR": "Computed Radiography", "CT": "Computed Tomography", "DMS": "Dermoscopy", "DX": "Digital Radiography",
    "ES": "Endoscopy", "XC": "External-camera Photography", "GM": "General Microscopy", "IO": "Intra-oral Radiography",
    "MR": "Magnetic Resonance", "MG": "Mammography", "NM": "Nuclear Medicine", "OP": "Ophthalmic Photography",
    "OPT": "Ophthalmic Tomography", "PX": "Panoramic X-Ray", "PT": "Positron emission tomography",
    "RF": "Radiofluoroscopy", "RG": "Radiographic imaging", "SM": "Slide Microscopy", "US": "Ultrasound",
    "XA": "X-Ray Angiography",
}  # fmt: skip
# Body Part Examined (PS3.16 annex L) to the code of the region.
_REGIONS = {
    "ABDOMEN": ("818981001", "Abdomen"), "BRAIN": ("12738006", "Brain"), "BREAST": ("76752008", "Breast"),
    "CHEST": ("816094009", "Chest"), "COLON": ("71854001", "Colon"), "CSPINE": ("122494005", "Cervical spine"),
    "EYE": ("81745001", "Eye"), "FOOT": ("56459004", "Foot"), "HAND": ("85562004", "Hand"),
    "HEAD": ("69536005", "Head"), "HEART": ("80891009", "Heart"), "HIP": ("29836001", "Hip"),
    "KIDNEY": ("64033007", "Kidney"), "KNEE": ("72696002", "Knee"), "LIVER": ("10200004", "Liver"),
    "LSPINE": ("122496007", "Lumbar spine"), "LUNG": ("39607008", "Lung"), "NECK": ("45048000", "Neck"),
    "PELVIS": ("816092008", "Pelvis"), "PROSTATE": ("41216001", "Prostate"), "RETINA": ("5665001", "Retina"),
    "SHOULDER": ("16982005", "Shoulder"), "SKIN": ("39937001", "Skin"), "SKULL": ("89546000", "Skull"),
    "SPINE": ("421060004", "Spine"), "STOMACH": ("69695003", "Stomach"), "THYROID": ("69748006", "Thyroid"),
    "TSPINE": ("122495006", "Thoracic spine"),
}  # fmt: skip
# Parts of which a person has one: an image of another needs a side to be well described (PS3.3 C.7.3.1).
UNPAIRED = frozenset(
    ("ABDOMEN", "ABDOMENPELVIS", "AORTA", "BLADDER", "BRAIN", "CHEST", "CHESTABDOMEN", "CHESTABDPELVIS", "COCCYX",
     "COLON", "CSPINE", "CTSPINE", "ESOPHAGUS", "GALLBLADDER", "HEAD", "HEADNECK", "HEART", "JAW", "LIVER", "LSPINE",
     "LSSPINE", "MEDIASTINUM", "NECK", "NECKCHEST", "NECKCHESTABDOMEN", "PANCREAS", "PELVIS", "PROSTATE", "RECTUM",
     "SKULL", "SPINE", "SPLEEN", "SSPINE", "STERNUM", "STOMACH", "THYROID", "TLSPINE", "TRACHEA", "TSPINE", "UTERUS",
     "WHOLEBODY")
)  # fmt: skip
# Where the images say no part of the body, what the modality shows.
_PART_OF = {"OP": "EYE", "OPT": "EYE", "OAM": "EYE", "OPM": "EYE", "MG": "BREAST", "DMS": "SKIN"}

ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
TISSUE = Code("85756007", "SCT", "Tissue")
_SIDES = {"left": Code("7771000", "SCT", "Left"), "right": Code("24028007", "SCT", "Right")}
# What can be outlined, with other names after bars. Plurals are known too.
_STRUCTURES = {
    "aorta": ("15825003", "Aorta"), "bladder|urinary bladder": ("89837001", "Bladder"), "bone": ("272673000", "Bone"),
    "brain": ("12738006", "Brain"), "breast": ("76752008", "Breast"), "cell": ("4421005", "Cell"),
    "cerebellum": ("113305005", "Cerebellum"), "chest|thorax": ("816094009", "Chest"),
    "choroid": ("68703001", "Choroid of eye"), "clavicle": ("51299004", "Clavicle"), "colon": ("71854001", "Colon"),
    "cornea": ("28726007", "Cornea"), "diaphragm": ("5798000", "Diaphragm"),
    "esophagus|oesophagus": ("32849002", "Esophagus"), "eye": ("81745001", "Eye"),
    "fovea": ("67046006", "Fovea centralis"), "gallbladder": ("28231008", "Gallbladder"), "hair": ("386045008", "Hair"),
    "heart": ("80891009", "Heart"), "iris": ("41296002", "Iris"), "kidney": ("64033007", "Kidney"),
    "lens": ("78076003", "Lens"), "liver": ("10200004", "Liver"), "lumen": ("113342003", "Lumen"),
    "lung": ("39607008", "Lung"), "mediastinum": ("72410000", "Mediastinum"),
    "nucleus|nuclei": ("84640000", "Nucleus"), "optic disc|optic disk|optic nerve head": ("81016008",
                                                                                      "Optic nerve head"),
    "pancreas": ("15776009", "Pancreas"), "prostate": ("41216001", "Prostate"), "retina": ("5665001", "Retina"),
    "rib": ("113197003", "Rib"), "scapula": ("79601000", "Scapula"), "skin": ("39937001", "Skin"),
    "spine": ("421060004", "Spine"), "spleen": ("78961009", "Spleen"), "stomach": ("69695003", "Stomach"),
    "thyroid": ("69748006", "Thyroid"), "trachea": ("44567001", "Trachea"), "uterus": ("35039007", "Uterus"),
    "ventricle|brain ventricle|lateral ventricle": ("35764002", "Brain ventricle"),
    "vertebra|vertebrae": ("51282000", "Vertebra"),
    "vessel|blood vessel|retinal vessel": ("59820001", "Blood Vessel"),
    "white matter": ("389080008", "White Matter"),
}  # fmt: skip
_ABNORMALITIES = {
    "carcinoma|invasive carcinoma": ("1187425009", "Carcinoma"), "cardiomegaly": ("287272002", "Cardiomegaly"),
    "cyst|liver cyst": ("367643001", "Cyst"), "diverticulum|diverticula": ("31113003", "diverticulum"),
    "edema|oedema": ("79654002", "Edema"), "effusion": ("41699000", "Effusion"),
    "haemorrhage|hemorrhage|bleeding": ("50960005", "Hemorrhage"), "hematoma|haematoma": ("35566002", "Hematoma"),
    "inflammation": ("409774005", "Inflammation"), "lesion": ("52988006", "Lesion"),
    "lymphadenopathy": ("30746006", "Lymphadenopathy"), "mass|liver mass": ("4147007", "Mass"),
    "melanoma": ("1162635006", "Malignant melanoma"), "necrosis": ("6574001", "Necrosis"),
    "nodule|lung nodule": ("27925004", "Nodule"), "pericardial effusion": ("373945007", "Pericardial effusion"),
    "pleural effusion": ("60046008", "Pleural effusion"), "pneumothorax": ("36118008", "Pneumothorax"),
    "pulmonary edema|pulmonary oedema": ("19242006", "Pulmonary edema"),
    "tumor|tumour|neoplasm": ("108369006", "Neoplasm"), "ulcer": ("56208002", "Ulcer"),
}  # fmt: skip


def _spread(table: dict[str, tuple[str, str]]) -> dict[str, Code]:
    return {name: Code(value, "SCT", meaning) for names, (value, meaning) in table.items() for name in names.split("|")}


STRUCTURES, ABNORMALITIES = _spread(_STRUCTURES), _spread(_ABNORMALITIES)


@dataclass(frozen=True)
class Named:
    """What words name, as SEG and measurements say it. side: where the words name one."""

    category: Code
    kind: Code
    side: Code | None = None


def named(words: str) -> Named:
    """The codes of a structure or finding in words; (tissue, tissue) where its name is not known."""
    plain = re.sub(r"[^a-z]+", " ", words.lower()).strip()
    plain = plain.removeprefix("the ")
    side = next((s for s in _SIDES if re.search(rf"\b{s}\b", plain)), None)
    bare = " ".join(re.sub(r"\b(left|right)\b", " ", plain).split())
    for table, category in ((STRUCTURES, ANATOMY), (ABNORMALITIES, _ABNORMAL)):
        for name in (bare, bare.removesuffix("s"), bare.removesuffix("es")):
            if name in table:
                both = side is not None and {"left", "right"} <= set(plain.split())
                return Named(category, table[name], _SIDES[side] if side and not both else None)
    return Named(TISSUE, TISSUE)


def report_title(modality: str, part: str) -> Code:
    """The title of a report (CID 7000)."""
    return _TITLES_OF_PARTS.get((modality, part)) or _TITLES.get(modality, _TITLE)


def procedure(modality: str) -> Code:
    """What was done, as measurement reports say it (CID 100)."""
    return _PROCEDURES.get(modality, _PROCEDURE)


def acquisition(modality: str) -> Code | None:
    """The device that acquired the images (CID 29)."""
    return Code(modality, "DCM", _ACQUISITIONS[modality]) if modality in _ACQUISITIONS else None


def part_of(modality: str, part: str) -> str:
    """The part of the body: as the images say it, else what the modality always shows; empty where unknown."""
    return part or _PART_OF.get(modality, "")


def region(part: str) -> Code | None:
    """The code of a part of the body."""
    return Code(_REGIONS[part][0], "SCT", _REGIONS[part][1]) if part in _REGIONS else None
