"""SLAKE in miniature: three lists in two languages, whose keys have no order, and an image in train and test."""

from __future__ import annotations

import json
from pathlib import Path

from unimedvl.data.miniatures.paint import picture, save

_KINDS = {900: ("cxr", "X-Ray"), 901: ("mri", "MRI"), 902: ("cxr", "X-Ray")}
_ORDER = ("img_id", "img_name", "question", "answer", "q_lang", "location", "modality", "answer_type", "base_type",
          "content_type", "triple", "qid")  # fmt: skip
# Image, question, answer, language, place, answer type, what it is about; what the knowledge graph has of it.
_PARTS = {
    "train": (
        (900, "Is the heart enlarged?", "Yes", "en", "Chest_heart", "CLOSED", "Abnormality", None),
        (901, "Which organ is shown?", "Brain ", "en", "Brain", "OPEN", "Organ", None),
        # The same image is in the English test part.
        (902, "图中有肺吗", "有", "zh", "Lung", "CLOSED", "Organ", None),
    ),
    "validate": ((901, "Is it T1 or T2 weighted?", "T2", "en", "Brain", "CLOSED", "Modality", None),),
    "test": (
        (902, "Which side is the lesion on?", "Left", "en", "Chest_lung", "CLOSED", "Position", None),
        (902, "What may follow?", "Cough", "en", "Lung", "OPEN", "KG", ["Pneumonia", "symptom", "_"]),
    ),
}


def write(root: Path) -> None:
    number = 0
    for part, rows in _PARTS.items():
        records = [_record(number + place, *row) for place, row in enumerate(rows)]
        number += len(rows)
        (root / f"{part}.json").write_text(
            json.dumps(records, ensure_ascii=False, indent=1), encoding="utf-8"
        )
    (root / "mask.txt").write_text("1:Lung\n2:Heart\n")
    for image, (kind, _) in _KINDS.items():
        folder = root / f"imgs/xmlab{image}"
        save(folder / "source.jpg", picture(kind, image))
        # What lies beside the image and is not read.
        save(folder / "mask.png", picture(kind, image) // 128)
        (folder / "detection.json").write_text('[{"Lung": [10, 20, 30, 40]}]')
        (folder / "question.json").write_text("[]")


def _record(qid: int, image: int, asked: str, said: str, language: str, place: str, closed: str, about: str,
            triple: list[str] | None) -> dict:  # fmt: skip
    cells = (image, f"xmlab{image}/source.jpg", asked, said, language, place, _KINDS[image][1], closed,
             "kvqa" if triple else "vqa", about, triple or ["vhead", "_", "_"], qid)  # fmt: skip
    record = dict(zip(_ORDER, cells, strict=True))
    return record if qid % 2 else dict(reversed(record.items()))
