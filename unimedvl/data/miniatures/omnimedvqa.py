"""OmniMedVQA in miniature: lists of two parts, answers as text, two to four options, blanks in names."""

from __future__ import annotations

import json
from pathlib import Path

from unimedvl.data.miniatures.paint import picture, save

# By part and data set: image, question, its kind, options, answer, modality.
_SETS = {
    ("Open-access", "DemoFundus"): (
        ("eyes/left/f_01.png", "Is the disc pale?", "Disease Diagnosis", ("Yes", "No, it is not."), "no, it is not. ",
         "Fundus Photography"),
        # Options that differ in case only: the one that is the same counts.
        ("eyes/left/f_01.png", "Which code is on it?", "Other Biological Attributes", ("ab", "AB", "Ab"), "Ab",
         "Fundus Photography"),
    ),
    ("Open-access", "Demo MR Scan"): (
        ("m_01.jpg", "What modality is this?", "Modality Recognition", ("CT", "MRI", "X-ray", "Ultrasound"), "MRI",
         "MR (Mag-netic Resonance Imaging)"),
    ),
    ("Restricted-access", "DemoChest"): (
        ("c_01.jpg", "Which part is shown?", "Anatomy Identification", ("Hand", "Chest", "Knee"), "Chest", "X-Ray"),
    ),
}  # fmt: skip
_KINDS = {"DemoFundus": "cfp", "Demo MR Scan": "mri", "DemoChest": "cxr"}


def write(root: Path) -> None:
    for (part, name), rows in _SETS.items():
        file = root / f"OmniMedVQA/QA_information/{part}/{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps([_record(name, n, *row) for n, row in enumerate(rows)], indent=1))
        for image in {row[0] for row in rows}:
            save(root / f"OmniMedVQA/Images/{name}/{image}", picture(_KINDS[name], 930))


def _record(name: str, number: int, image: str, asked: str, kind: str, options: tuple[str, ...], right: str,
            modality: str) -> dict:  # fmt: skip
    return {
        "dataset": name,
        "question_id": f"{name}_{number:04d}",
        "question_type": kind,
        "question": asked,
        "gt_answer": right,
        "image_path": f"Images/{name}/{image}",
        **{f"option_{letter}": text for letter, text in zip("ABCD", options, strict=False)},
        "modality_type": modality,
    }
