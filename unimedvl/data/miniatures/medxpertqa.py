"""MedXpertQA in miniature: both parts, questions that end with their options, several images, an archive of them."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile, ZipInfo

from unimedvl.data.miniatures.paint import encoded, picture

_FIVE = ("Liver", "Heart", "Lung", "Brain", "Kidney")
_TEN = tuple(f"Simulated remedy {number}" for number in range(1, 11))
# File: id, question, options, answer, images, task, system, kind.
_FILES = {
    "MM/dev.jsonl": (
        ("MM-0", "Which organ is shown?", _FIVE, "C", ("MM-0-a.jpeg",), "Diagnosis", "Respiratory", "Understanding"),
    ),
    "MM/test.jsonl": (
        ("MM-0", "What do the three show?", _FIVE, "D", ("MM-0-x.png", "MM-0-y.jpeg", "MM-0-z.JPG"), "Diagnosis",
         "Nervous", "Reasoning"),
    ),
    "Text/dev.jsonl": (("Text-0", "Which is given first?", _TEN, "A", (), "Treatment", "Other", "Reasoning"),),
    "Text/test.jsonl": (
        ("Text-1", "Two remarks.\nWhich is given last?", _TEN, "J", (), "Treatment", "Other", "Reasoning"),
    ),
}  # fmt: skip


def write(root: Path) -> None:
    images = []
    for name, rows in _FILES.items():
        file = root / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("".join(json.dumps(_record(*row)) + "\n" for row in rows))
        images += [image for row in rows for image in row[4]]
    with ZipFile(root / "images.zip", "w") as archive:
        for number, image in enumerate(images):
            kind = "PNG" if image.endswith("png") else "JPEG"
            data = encoded(picture("mri" if number else "cxr", 950 + number), kind)
            archive.writestr(ZipInfo(f"images/{image}", (2020, 1, 1, 0, 0, 0)), data)


def _record(name: str, asked: str, options: tuple[str, ...], right: str, images: tuple[str, ...], task: str,
            system: str, kind: str) -> dict:  # fmt: skip
    lettered = dict(zip("ABCDEFGHIJ", options, strict=False))
    listed = " ".join(f"({letter}) {text}" for letter, text in lettered.items())
    record = {
        "id": name,
        "question": f"{asked}\nAnswer Choices: {listed}",
        "options": lettered,
        "label": right,
    }
    record |= {"images": list(images)} if images else {}
    return record | {"medical_task": task, "body_system": system, "question_type": kind}
