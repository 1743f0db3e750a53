"""PubMedVision in miniature: two JSON arrays with the same ids, lists of images, no marks, images in two archives."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile, ZipInfo

from unimedvl.data.miniatures.paint import encoded, picture

# Images, what is said, modality, body part.
_ALIGNMENT = (
    ((0,), ("Describe it.", "A section of the head."), "Magnetic Resonance Imaging", "Head"),
    ((1, 2), ("What do both show?", "The chest, twice."), "Digital Radiography", "Chest"),
)
_INSTRUCTION = (
    ((0,), ("What is it?", "MRI.", "Of what?", "Of the head."), "Magnetic Resonance Imaging", "Head"),
    # Now and then there is a mark after all.
    ((2,), ("<image>\nIs it normal?", "It is a hand."), "Digital Radiography", "Hand"),
)
_KINDS = ("mri", "cxr", "cxr")


def write(root: Path) -> None:
    for name, rows in (("Alignment", _ALIGNMENT), ("InstructionTuning", _INSTRUCTION)):
        records = [_record(str(number), *row) for number, row in enumerate(rows)]
        (root / f"PubMedVision_{name}_VQA.json").write_text(json.dumps(records, indent=1))
    for part, numbers in enumerate(((0, 1), (2,))):
        with ZipFile(root / f"images_{part}.zip", "w") as archive:
            for number in numbers:
                image = encoded(picture(_KINDS[number], 440 + number))
                archive.writestr(ZipInfo(_path(number), (2020, 1, 1, 0, 0, 0)), image)


def _record(name: str, images: tuple[int, ...], texts: tuple[str, ...], modality: str, part: str) -> dict:
    turns = [{"from": "gpt" if n % 2 else "human", "value": text} for n, text in enumerate(texts)]
    return {
        "id": name,
        "image": list(map(_path, images)),
        "conversations": turns,
        "modality": modality,
        "body_part": part,
    }


def _path(number: int) -> str:
    return f"images/pmc_90_{number}.jpg"
