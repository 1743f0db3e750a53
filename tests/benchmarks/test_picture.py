"""The README's picture shows the first rows of each sheet."""

from __future__ import annotations

import numpy as np
from PIL import Image

from benchmarks.picture import ROWS, main
from benchmarks.sheets import contact_sheet


def test_the_picture_is_the_tops_of_the_sheets(tmp_path):
    for n, name in enumerate(ROWS):
        image = np.full((128, 128, 3), 40 * n + 20, np.uint8)
        rows = [((image, image), f"{name} {i}") for i in range(12)]
        contact_sheet(tmp_path / f"{name}.png", ("drawn", "truth"), rows)
    assert main([str(tmp_path), str(tmp_path / "out.png")]) == 0
    pixels = np.asarray(Image.open(tmp_path / "out.png").convert("RGB"))
    sheet = np.asarray(Image.open(tmp_path / "text-to-image.png"))
    assert np.array_equal(pixels[:300], sheet[:300]) and pixels.shape[0] == 370 + 5 * 200
    assert [((pixels == 40 * n + 20).all(-1)).any() for n in range(len(ROWS))] == [True] * len(ROWS)
