"""Medical-Diff-VQA in miniature: its tables beside the image tree of the miniature of MIMIC-CXR."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from unimedvl.data.miniatures.mimic_cxr import LABELS, STUDIES, dicom, write_images

_VIEWS = ("postero-anterior", "antero-posterior", "postero-anterior", "postero-anterior")
# Study, subject, reference, kind, question, answer, split: every row has a reference, whatever its kind.
_QUESTIONS = (
    ("50000902", "10000901", "50000901", "difference", "what has changed compared to the reference image?",
     "the main image is missing the finding of edema than the reference image. ", "train"),
    ("50000902", "10000901", "50000901", "presence", "is there evidence of edema in this image?", "no", "val"),
    ("50000901", "10000901", "50000902", "location", "where in the image is the edema located?",
     "left lung, right lung", "test"),
    ("50000901", "10000901", "50000902", "view", "which view is this image taken?", "PA view", "train"),
)  # fmt: skip


def write(root: Path) -> None:
    write_images(root / "mimic-cxr-jpg/2.0.0")
    names = ("study_id", "subject_id", "ref_id", "question_type", "question", "answer", "split")
    _table(root / "mimic_pair_questions.csv", names, _QUESTIONS)
    rows = [
        (subject, study, *(stated.get(label, "") for label in LABELS), dicom(study, 0), view, split,
         f"{date[:4]}-{date[4:6]}-{date[6:]}", number)
        for number, ((subject, study, split, date, _, stated), view) in enumerate(zip(STUDIES, _VIEWS, strict=True))
    ]  # fmt: skip
    names = ("subject_id", "study_id", *LABELS, "dicom_id", "view", "split", "study_date", "study_order")
    _table(root / "mimic_all.csv", names, rows)
    finding = {"entity_name": "edema", "location": [], "type": None, "level": ["mild"]}
    diseases = [
        {"study_id": "50000901", "subject_id": "10000901", "entity": {"edema": finding}, "no_entity": ["pneumonia"]}
    ]
    (root / "all_diseases.json").write_text(json.dumps(diseases))


def _table(file: Path, names: tuple[str, ...], rows) -> None:
    with file.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([names, *rows])
