"""CheXpert Plus in miniature: its table, out of order and with a nameless index, PNG files and JSON-lines labels."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from unimedvl.data.miniatures.paint import picture, save

_COLUMNS = (
    "path_to_image", "path_to_dcm", "frontal_lateral", "ap_pa", "deid_patient_id", "patient_report_date_order",
    "report", "section_narrative", "section_clinical_history", "section_history", "section_comparison",
    "section_technique", "section_procedure_comments", "section_findings", "section_impression",
    "section_end_of_impression", "section_summary", "section_accession_number", "age", "sex", "race", "ethnicity",
    "interpreter_needed", "insurance_type", "recent_bmi", "deceased", "split",
)  # fmt: skip
# Path without suffix, order, findings, impression, and what else the row says. The rows of a study lie apart.
_BASE = {"age": "61.0", "sex": "Female", "deceased": "No"}
_ROWS = (
    ("train/patient90002/study5/view1_frontal", "5", "Low lung volumes,\nwith \"mild\" edema.",
     "1. Mild edema.\n2. No effusion.", _BASE),
    ("valid/patient90001/study1/view1_frontal", "1", "", "Normal chest.", {"sex": "Unknown"}),
    ("train/patient90002/study5/view2_lateral", "5", "Low lung volumes,\nwith \"mild\" edema.",
     "1. Mild edema.\n2. No effusion.", _BASE),
    ("train/patient90002/study6/view1_frontal", "6", "The edema has cleared.", "", _BASE),
)  # fmt: skip
_LABELS = ({"Edema": 1, "Pleural Effusion": 0, "Pneumonia": -1, "Fracture": None}, {"No Finding": 1}, {"Edema": 1}, {})


def write(root: Path) -> None:
    with (root / "df_chexpert_plus_240401.csv").open("w", encoding="utf-8", newline="") as file:
        out = csv.DictWriter(file, ("", *_COLUMNS), restval="")
        out.writeheader()
        for number, (path, order, findings, impression, more) in enumerate(_ROWS):
            split, patient, _, view = path.split("/")
            out.writerow(
                {"": number, "path_to_image": f"{path}.jpg", "path_to_dcm": f"{path}.dcm", "split": split,
                 "frontal_lateral": view.split("_")[1].title(), "deid_patient_id": patient,
                 "patient_report_date_order": order, "report": f"NARRATIVE:\n{findings}\n{impression}",
                 "section_findings": findings, "section_impression": impression, **more}
            )  # fmt: skip
            save(root / f"PNG/{path}.png", picture("cxr", 100 + number))
    (root / "chexbert_labels").mkdir()
    lines = [
        json.dumps({"path_to_image": f"{row[0]}.jpg", **labels}) for row, labels in zip(_ROWS, _LABELS, strict=True)
    ]
    for name in ("report", "findings", "impression"):
        (root / f"chexbert_labels/{name}_fixed.json").write_text("\n".join(lines) + "\n")
