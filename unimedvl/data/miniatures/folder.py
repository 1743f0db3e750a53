"""A folder with tables: a CSV with a byte order mark and a cell over two lines, and JSON lines of captions."""

from __future__ import annotations

import json
from pathlib import Path

from unimedvl.data.miniatures.paint import picture, save

_TABLE = """image,question,answer,modality,licence,patient,id,site
xrays/a.png,Is there a nodule?,No,CXR,CC0-1.0,p1,first,north
xrays/b.png,"Where is it,
and how large?","Left, 2 cm",cxr,,p2,,
"""


def write(root: Path) -> None:
    for number, name in enumerate("ab"):
        save(root / f"xrays/{name}.png", picture("cxr", 600 + number))
    save(root / "fundus.jpg", picture("cfp", 600))
    (root / "train.csv").write_bytes(b"\xef\xbb\xbf" + _TABLE.encode())
    rows = [
        {"image": "fundus.jpg", "caption": "A healthy fundus.", "modality": "cfp", "split": "val", "year": 2020},
        {"image": "xrays/a.png", "caption": "A chest radiograph.", "id": 7},
    ]
    (root / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
