"""Contact sheets: what went in, what came out and what is true, side by side, for people to look at."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

MARK = "Simulated and synthetic images. Not for clinical use."
GAP, LINE, BLOCKS = 6, 12, 4
INK, PAPER = (30, 30, 30), (255, 255, 255)


def contact_sheet(
    path: Path, columns: Sequence[str], rows: Sequence[tuple[Sequence[np.ndarray], str]], limit: int = 24
) -> None:
    """Write a PNG of at most `limit` rows: images under the names of `columns`, each row with its words below.

    Rows stand in blocks beside each other, so that a sheet fits a screen.
    """
    rows = rows[:limit]
    if not rows:
        return
    side = max(image.shape[1] for images, _ in rows for image in images)
    width = len(columns) * (side + GAP) + 2 * GAP
    height = side + 3 * LINE + GAP
    blocks = min(BLOCKS, len(rows))
    lines = -(-len(rows) // blocks)
    sheet = Image.new("RGB", (blocks * width, lines * height + 3 * LINE), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, 1), MARK, INK)
    for block in range(blocks):
        for i, name in enumerate(columns):
            pen.text((block * width + GAP + i * (side + GAP), LINE + 3), name, INK)
    for number, (images, words) in enumerate(rows):
        x, y = number % blocks * width + GAP, number // blocks * height + 2 * LINE + GAP
        for i, image in enumerate(images):
            sheet.paste(Image.fromarray(image), (x + i * (side + GAP), y))
        for i, line in enumerate(textwrap.wrap(words, width // 6)[:3]):
            pen.text((x, y + side + 1 + i * LINE), line, INK)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
