"""How much burned-in text is blanked, and how much anatomy with it: names drawn onto images without text.

    python -m benchmarks.burned_in

Images are simulated studies and pydicom's own ultrasound and CT test files. Onto each a name, a number and a date are
drawn in several fonts, sizes, colours and places; then the detector's boxes are compared with the pixels drawn.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image, ImageDraw, ImageFont
from pydicom.data import get_testdata_file

from unimedvl.data.privacy.burned_in import text_mask
from unimedvl.phantoms import SIMULATORS, simulate

WORDS = ("MUSTERMANN^ERIKA", "ID 4711-0815", "Müller, Jörg  1957-03-21", "O'Neil Sean 12:45")
SIZES = (9, 12, 16, 24, 40)
FONTS = ("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono-Bold.ttf", "DejaVuSans-Bold.ttf", "pillow")
# Ink, and the box behind it, if any.
INKS = ((255, None), (230, 0), (0, 255), (170, None))
FILES = ("examples_rgb_color.dcm", "CT_small.dcm", "MR_small.dcm")


def backgrounds(count: int, side: int) -> list[tuple[str, np.ndarray]]:
    """uint8 images without text, [H, W] or [H, W, 3], with the names of their kinds."""
    found = []
    for modality in SIMULATORS:
        for seed in range(count):
            pixels = next(iter(simulate(modality, seed, side).images.values()))
            found.append((f"simulated {modality}", np.asarray(pixels)))
    for name in FILES:
        file = get_testdata_file(name, download=False)
        data = pydicom.dcmread(file)
        pixels = data.pixel_array.astype(np.float32)
        pixels = (255 * (pixels - pixels.min()) / np.ptp(pixels)).astype(np.uint8)
        size = (max(side, pixels.shape[1]), max(side, pixels.shape[0]))
        found.append((Path(name).stem, np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))))
    return found


def drawn(image: np.ndarray, words: str, font: str, size: int, ink: tuple, place: tuple[float, float]) -> tuple:
    """The image with the words on it, and bool [H, W]: the pixels of their strokes."""
    face = ImageFont.load_default(size) if font == "pillow" else ImageFont.truetype(font, size)
    left, top, right, bottom = face.getbbox(words)
    height, width = image.shape[:2]
    x = round(place[0] * max(width - (right - left) - 4, 0)) + 2 - left
    y = round(place[1] * max(height - (bottom - top) - 4, 0)) + 2 - top
    letters = Image.new("L", (width, height))
    ImageDraw.Draw(letters).text((x, y), words, 255, face)
    cover = np.asarray(letters, np.float32)[..., None] / 255
    out = image.reshape(height, width, -1).astype(np.float32)
    if ink[1] is not None:
        out[max(y + top - 2, 0) : y + bottom + 2, max(x + left - 2, 0) : x + right + 2] = ink[1]
    out = out * (1 - cover) + ink[0] * cover
    return out.round().astype(np.uint8).reshape(image.shape), cover[..., 0] >= 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1, help="simulated studies of each modality")
    parser.add_argument("--side", type=int, default=320, help="of the images, in pixels")
    options = parser.parse_args()
    random = np.random.default_rng(0)
    by: dict[str, list[tuple[float, float]]] = defaultdict(list)
    clean: dict[str, list[float]] = defaultdict(list)
    for kind, image in backgrounds(options.count, options.side):
        clean[kind].append(text_mask(image).mean())
        for font in FONTS:
            for size in SIZES:
                for ink in INKS:
                    words = WORDS[random.integers(len(WORDS))]
                    if size == 40:
                        words = words[:10]
                    with_text, strokes = drawn(image, words, font, size, ink, random.random(2))
                    mask = text_mask(with_text)
                    near = np.zeros_like(mask)
                    rows, columns = np.nonzero(strokes)
                    margin = size
                    near[max(rows.min() - margin, 0) : rows.max() + margin,
                         max(columns.min() - margin, 0) : columns.max() + margin] = True  # fmt: skip
                    figures = (float(mask[strokes].mean()), float((mask & ~near).mean()))
                    inked = f"grey {ink[0]}" + ("" if ink[1] is None else f" on {ink[1]}")
                    groups = ("", kind, f"font {font}", f"size {size:2} px", f"ink {inked}")
                    for group in groups:
                        by[group or "all"].append(figures)
    print("| | images | text pixels blanked | all of the text blanked | anatomy blanked elsewhere |")
    print("| --- | --- | --- | --- | --- |")
    for group, figures in sorted(by.items()):
        recall, wrong = np.array(figures).T
        whole = (recall >= 0.99).mean()
        print(f"| {group} | {len(recall)} | {recall.mean():.1%} | {whole:.1%} | {wrong.mean():.2%} |")
    print("\n| image without text | blanked |\n| --- | --- |")
    for kind, shares in clean.items():
        print(f"| {kind} | {np.mean(shares):.2%} |")


if __name__ == "__main__":
    main()
