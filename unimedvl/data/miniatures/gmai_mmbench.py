"""GMAI-MMBench in miniature: tables with images in base64, four or five options, and test parts without answers."""

from __future__ import annotations

import base64
import csv
from pathlib import Path

from unimedvl.data.miniatures.paint import encoded, picture

_COLUMNS = ("index", "image", "question", "A", "B", "C", "D", "E", "answer", "category", "clinical VQA task",
            "department", "modality", "perceptual granularity")  # fmt: skip
# Kind of image, question, options, answer, and what it is about.
_VAL = (
    ("cfp", "Which grade is it?", ("0", "1", "2", "3", "4"), "E", "grade 4", "Severity Grading", "Ophthalmology",
     "fundus photography", "image"),
    # A fifth option that isn't there is the word None or nothing, and a fourth may be that word.
    ("mri", "Which lesion is shown?", ("Cyst", "Glioma", "Edema", "None", "None"), "D", "None", "Disease Diagnosis",
     "Neurology", "MR", "mask"),
    ("his", "What is\nin the box?", ("Gland", "Stroma", "\"Mucus\"", "Fat", ""), "B", "Stroma", "Organ Recognition",
     "Pathology", "Histopathology", "bounding box"),
)  # fmt: skip
_TEST = (("cxr", "What is shown?", ("Chest", "Hand", "Knee", "Foot", "None"), "", "", "Organ Recognition", "Radiology",
          "X-ray", "image"),)  # fmt: skip


def write(root: Path) -> None:
    _table(root / "GMAI_mm_bench_VAL.tsv", _VAL, _COLUMNS)
    # The tenth part comes after the second. Some copies have no column of answers, and some an empty one.
    without = tuple(name for name in _COLUMNS if name != "answer")
    _table(root / "GMAI_mm_bench_TEST_part_2.tsv", _TEST, without)
    _table(root / "GMAI_mm_bench_TEST_part_10.tsv", _TEST, _COLUMNS)


def _table(file: Path, rows: tuple, columns: tuple[str, ...]) -> None:
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, columns, delimiter="\t", lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        for number, (kind, asked, options, *rest) in enumerate(rows):
            image = base64.b64encode(encoded(picture(kind, 940 + number), "PNG")).decode()
            writer.writerow(dict(zip(_COLUMNS, (number, image, asked, *options, *rest), strict=True)))
