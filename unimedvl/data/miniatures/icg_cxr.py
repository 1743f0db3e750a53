"""ICG-CXR in miniature: pairs of both branches, with -100, null and missing keys, and one stem of two patients."""

from __future__ import annotations

import json
from pathlib import Path

from unimedvl.data.miniatures.paint import picture, save

_STATED = {"Edema": 1.0, "Pneumonia": -1.0, "Pneumothorax": 0.0}
_UNSTATED = ("Atelectasis", "Cardiomegaly", "Consolidation", "Fracture", "No Finding")
_PLUS, _MIMIC = "icg-cxr-v1/chexpertplus/pa/1", "icg-cxr-v1/mimic_cxr/pa/1"
_PERSON = {"age": 61.0, "sex": "Female", "race": "Other", "ethnicity": "Unknown", "recent_bmi": None, "deceased": "No"}
# Folder, stem, patient, split, progression, changes, what else its JSON says.
_PAIRS = (
    (f"{_PLUS}/train/p90001", "i01s0001-i04s0002", "patient90001", "train", "Edema develops over both lungs.",
     "New bilateral opacities that were not there before.", _PERSON | {"time-interval": None}),
    (f"{_PLUS}/valid/p90002", "i01s0001-i04s0002", "patient90002", "valid", "The effusion resolves.",
     "The right costophrenic angle is sharp again.", _PERSON | {"time-interval": None}),
    (f"{_MIMIC}/p10/p10000901", "i01s50000901-i02s50000902", "10000901", "validate", "The edema clears.",
     "Lungs are clear; the heart is smaller.", {"time-interval": 55}),
)  # fmt: skip


def write(root: Path) -> None:
    for number, (folder, stem, patient, split, progression, changes, more) in enumerate(_PAIRS):
        place = root / folder / stem
        save(place / f"{stem}-ref-reg.png", picture("cxr", 300 + number, 512))
        save(place / f"{stem}-flu-reg.png", picture("cxr", 310 + number, 512))
        before, after = ("".join(c for c in part[3:] if c.isdigit()) for part in stem.split("-"))
        report = {"findings": "Invented.", "impression": "Invented."}
        content = {
            "changes-of-findings": changes,
            "progression-description": progression,
            "comment": {"confidence": 4, "reason": "Both reports agree."},
            "reference-report": report,
            "followup-report": report,
            "view": "PA",
            "subject-id": patient,
            "reference-study-id": before,
            "followup-study-id": after,
            "reference-study-order": 1,
            "followup-study-order": 2,
            "split": split,
            "reg_metric": 0.93,
            "reference-diseases": dict.fromkeys((*_STATED, *_UNSTATED), -100),
            "followup-diseases": dict.fromkeys(_UNSTATED, -100) | _STATED,
            **more,
        }
        (place / f"{stem}.json").write_text(json.dumps(content, indent=1))
