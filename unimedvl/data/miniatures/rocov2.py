"""ROCOv2 in miniature: a byte order mark, blanks in header names, one split zipped, and a row without concepts.

Captions hold commas, quotes and line breaks.
"""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile, ZipInfo

from unimedvl.data.miniatures.paint import encoded, picture, save

_NAME = "ROCOv2_2023_{}_{:06d}"
# Split, number, simulator, caption as a cell, concepts, concepts by hand, article.
_FIGURES = (
    ("train", 1, "mri", '"Axial MRI, T2: a ""bright"" lesion."', "C0024485;C0221198", "C0024485", "PMC9000001"),
    ("train", 2, "cxr", "Chest X-ray with a nodule.", "C1306645", "C1306645;C0817096", "PMC9000001"),
    ("train", 3, "cxr", '"Radiograph of a hand\nafter a fall."', "C1306645", "C1306645", "PMC9000002"),
    ("valid", 1, "mri", "Simulated section.", None, None, "PMC9000003"),
    ("test", 1, "cxr", "Simulated CT.", "C0040405", "C0040405", "PMC9000004"),
)  # fmt: skip
_CONCEPTS = (
    ("C0024485", "Magnetic Resonance Imaging"),
    ("C0040405", "X-Ray Computed Tomography"),
    ("C0817096", "Chest"),
    ("C1306645", "Plain x-ray"),
    ("C0221198", '"Lesion, NOS"'),
)


def write(root: Path) -> None:
    for split in ("train", "valid", "test"):
        figures = [(_NAME.format(split, number), *rest) for s, number, *rest in _FIGURES if s == split]
        _table(root / f"{split}_captions.csv", "ID,Caption", [(f[0], f[2]) for f in figures])
        _table(root / f"{split}_concepts.csv", "ID,CUIs", [(f[0], f[3]) for f in figures if f[3]])
        _table(root / f"{split}_concepts_manual.csv", "ID, CUIs", [(f[0], f[4]) for f in figures if f[4]])
    _table(root / "cui_mapping.csv", "CUI,Canonical name", _CONCEPTS)
    rows = [(_NAME.format(s, n), article, "CC BY [Nobody et al. (2020)]", f"https://example.org/{article}")
            for s, n, *_, article in _FIGURES]  # fmt: skip
    _table(root / "license_information.csv", "ID,PMCID,Attribution,Link", rows)
    with ZipFile(root / "valid_images.zip", "w") as archive:
        for seed, (split, number, kind, *_) in enumerate(_FIGURES):
            name, image = f"{split}/{_NAME.format(split, number)}.jpg", picture(kind, 400 + seed)
            if split == "valid":
                archive.writestr(ZipInfo(name, (2020, 1, 1, 0, 0, 0)), encoded(image))
            else:
                save(root / name, image)


def _table(file: Path, header: str, rows: object) -> None:
    lines = [header, *(",".join(row) for row in rows)]
    # Some of the published tables begin with a byte order mark.
    file.write_bytes("\n".join(lines).encode("utf-8-sig") + b"\n")
