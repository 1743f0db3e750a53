"""Quilt-1M in miniature: one table, images in two archives, several texts of an image, lists written out, NaN."""

from __future__ import annotations

import csv
from pathlib import Path
from zipfile import ZipFile, ZipInfo

from unimedvl.data.miniatures.paint import encoded, picture

_COLUMNS = ("", "caption", "image_path", "subset", "split", "pathology", "roi_text", "noisy_text", "corrected_text",
            "med_umls_ids", "magnification", "height", "width", "single_wsi", "not_histology")  # fmt: skip
# A video's id may hold underscores itself.
_VIDEO = "aB_c-9xYz01_image_0f0f0f0f-0000-4000-8000-000000000001.jpg"
_ROWS = (
    ("0", "Glands with mild atypia.", _VIDEO, "quilt", "train", "['Gastrointestinal', 'Cytopathology']",
     "['glands', \"the pathologist's mark\"]", "['so here we see']", "['Here we see glands.']", "[['C0000001'], []]",
     "1.0", "128", "128", "1", "0"),
    ("1", "The same field, of which more is said,\nin two lines.", _VIDEO, "quilt", "train", "[]", "[]", "[]", "[]",
     "[]", "nan", "128", "128", "1", "0"),
    ("2", "Stained section.", "0000123.jpg", "openpath", "val", "", "", "", "", "", "", "128", "128", "0", "0"),
    ("3", "A bar chart.", "0000124.jpg", "pubmed", "", "Dermatopathology", "", "", "", "", "", "128", "128", "0", "1"),
)  # fmt: skip


def write(root: Path) -> None:
    with (root / "quilt_1M_lookup.csv").open("w", encoding="utf-8", newline="") as out:
        csv.writer(out, lineterminator="\n").writerows((_COLUMNS, *_ROWS))
    for part, names in enumerate(((_VIDEO, "0000123.jpg"), ("0000124.jpg",)), 1):
        with ZipFile(root / f"images_part_{part}_resized.zip", "w") as archive:
            for number, name in enumerate(names):
                image = encoded(picture("his", 420 + 2 * part + number))
                archive.writestr(ZipInfo(f"quilt_1m/{name}", (2020, 1, 1, 0, 0, 0)), image)
