"""The README's picture: the first rows of contact sheets, one under the other.

    python -m benchmarks.picture SHEETS FILE.jpg
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from benchmarks.sheets import GAP, LINE, PAPER

# Sheets in order, and how many rows of each are shown: the first ones, not picked.
ROWS = {
    "text-to-image": 2, "super-resolution": 1, "translation": 1, "staining": 1, "counterfactual": 1, "segmentation": 1,
}  # fmt: skip
SIDE = 128  # of the images on the sheets, in pixels


def picture(sheets: Path) -> Image.Image:
    """The top of each sheet, cut after its rows. Raises OSError where a sheet is missing."""
    tops = []
    for name, rows in ROWS.items():
        with Image.open(sheets / f"{name}.png") as sheet:
            height = 2 * LINE + GAP + rows * (SIDE + 3 * LINE + GAP)
            tops.append(sheet.crop((0, 0, sheet.width, min(height, sheet.height))))
    whole = Image.new("RGB", (max(t.width for t in tops), sum(t.height for t in tops)), PAPER)
    y = 0
    for top in tops:
        whole.paste(top, (0, y))
        y += top.height
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    sheets, file = map(Path, sys.argv[1:] if arguments is None else arguments)
    picture(sheets).save(file, quality=92, subsampling=0, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
