"""VQA-RAD in miniature: the JSON of the OSF form, with its integers, blanks, NULLs and missing keys."""

from __future__ import annotations

import json
from pathlib import Path

from unimedvl.data.miniatures.paint import picture, save

_ORDER = ("qid", "phrase_type", "qid_linked_id", "image_case_url", "image_name", "image_organ", "evaluation",
          "question", "question_rephrase", "question_relation", "question_frame", "question_type", "answer",
          "answer_type")  # fmt: skip


def write(root: Path) -> None:
    folder = root / "VQA_RAD Image Folder"
    for number, modality in enumerate(("cxr", "cxr", "mri", "mri")):
        save(folder / f"synpic9000{number}.jpg", picture(modality, number))
    rows = [
        ("0", "freeform", 0, "CHEST", "Is there a nodule?", "NULL", "PRES", "No", "CLOSED"),
        (1, "test_freeform", 0, "CHEST", "Is the heart enlarged?", "Is there cardiomegaly?", "SIZE", "Yes", "CLOSED "),
        (2, "para", 1, "CHEST", "How many nodules are there?", "NULL", "COUNT", 2, "OPEN"),
        (3, "freeform", 2, "HEAD", "Which plane is shown?", "NULL", "PLANE", "\taxial ", "OPEN"),
        (4, "test_para", 3, "HEAD", "Where is the lesion?", None, "POS, PRES", "left frontal lobe", "OPEN"),
    ]
    records = []
    for qid, kind, image, organ, asked, rephrased, about, said, closed in rows:
        cells = (qid, kind, f"0a1b-{qid}", f"https://medpix.example/case?id={image}", f"synpic9000{image}.jpg", organ,
                 "not evaluated", asked, rephrased, "NULL", "NULL", about, said, closed)  # fmt: skip
        record = dict(zip(_ORDER, cells, strict=True))
        if rephrased is None:
            del record["question_rephrase"]
        records.append(record)
    (root / "VQA_RAD Dataset Public.json").write_text(json.dumps(records, indent=1))
