"""PMC-VQA in miniature: the tables of both releases, choices with their letters before them, images in archives."""

from __future__ import annotations

import csv
from pathlib import Path
from zipfile import ZipFile, ZipInfo

from unimedvl.data.miniatures.paint import encoded, picture

_CHOICES = ("Choice A", "Choice B", "Choice C", "Choice D")
# In the first release Answer is text and Answer_label the letter; in the second Answer is the letter.
_FIRST = ("Figure_path", "Question", "Answer", *_CHOICES, "Answer_label")
_SECOND = ("index", "Figure_path", "Caption", "Question", *_CHOICES, "Answer", "split")
_TRAIN = (
    ("PMC9000001_F1.jpg", "Which organ is shown?", "Heart", " A:Liver ", " B:Heart ", " C:Lung", " D:Brain", "B"),
    ("PMC9000001_F1.jpg", "Which finding, if any?", "A nodule: small", "A:None", "B:Edema", "C :A nodule: small",
     "D:Fracture, old", "C"),
)  # fmt: skip
_TEST = (
    ("PMC9000002_F2.jpg", "Which\nplane?", "Axial", " A:Axial", " B:Sagittal", " C:Coronal", " D:Oblique", "A"),
)  # fmt: skip
_TABLES = {
    "train.csv": (_FIRST, _TRAIN),
    "test.csv": (_FIRST, _TEST),
    "test_clean.csv": (_FIRST, _TEST),
    "train_2.csv": (_SECOND, (
        ("17", "PMC9000003_Fig1_2.jpg", "Stained section, \"simulated\".", "What is it?", " A:Vitamin D: low", " B:CT",
         " C:Histology", " D:MRI", "C", "train"),
    )),
    "test_2.csv": (_SECOND, (
        ("3", "PMC9000003_Fig1_2.jpg", "", "Is it stained?", " A:Yes", " B:No", " C:Both", " D:Neither", " A", "test"),
    )),
}  # fmt: skip
_ARCHIVES = {
    "images.zip": (("PMC9000001_F1.jpg", "cxr"), ("PMC9000002_F2.jpg", "mri")),
    "images_2.zip": (("PMC9000003_Fig1_2.jpg", "his"),),
}


def write(root: Path) -> None:
    for name, (columns, rows) in _TABLES.items():
        with (root / name).open("w", encoding="utf-8", newline="") as out:
            csv.writer(out, lineterminator="\n").writerows((columns, *rows))
    for name, images in _ARCHIVES.items():
        with ZipFile(root / name, "w") as archive:
            for number, (image, kind) in enumerate(images):
                info = ZipInfo(f"figures/{image}", (2020, 1, 1, 0, 0, 0))
                archive.writestr(info, encoded(picture(kind, 920 + number)))
