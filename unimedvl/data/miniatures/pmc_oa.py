"""PMC-OA in miniature: JSON lines and one archive, in a folder of whose name nobody is sure; keys that may miss."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile, ZipInfo

from unimedvl.data.miniatures.paint import encoded, picture

FOLDER = "caption_T060_filtered_top4_sep_v0_subfigures"
_ROWS = (
    {"image": "PMC9000011_Fig1_0.jpg", "caption": "A. Simulated section, “axial”."},
    {"image": "PMC9000011_Fig1_1.jpg", "caption": "B. The same, after contrast."},
    {"image": "PMC9000012_Fig2_4.jpg", "caption": "Nodule in the left lung.", "pmcid": "PMC9000012", "url_name": "x"},
)


def write(root: Path) -> None:
    # Blank lines are no rows.
    lines = [json.dumps(row, ensure_ascii=False) for row in _ROWS]
    (root / "pmc_oa.jsonl").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    # The whole captions stand beside those that are cut up, and are not read with them.
    whole = {"image": "PMC9000011_Fig1.jpg", "caption": "A. Simulated section. B. The same, after contrast."}
    (root / "pmc_oa_beta.jsonl").write_text(json.dumps(whole) + "\n")
    # What a download leaves behind.
    (root / ".cache").mkdir()
    with ZipFile(root / "images.zip", "w") as archive:
        archive.writestr(ZipInfo(f"{FOLDER}/", (2020, 1, 1, 0, 0, 0)), b"")
        for seed, (row, kind) in enumerate(zip(_ROWS, ("mri", "mri", "cxr"), strict=True)):
            name = ZipInfo(f"{FOLDER}/{row['image']}", (2020, 1, 1, 0, 0, 0))
            archive.writestr(name, encoded(picture(kind, 410 + seed)))
