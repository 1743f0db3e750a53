"""How much burned-in text is blanked, and how much anatomy with it: names drawn onto images without text.

    python -m benchmarks.burned_in

Images are simulated studies and pydicom's own ultrasound, CT and MR test files. Onto each a name, a number or a date is
drawn in several fonts, sizes, greys and places; then the detector's boxes are compared with the pixels drawn. The
ultrasound file has text of its own, so that what is blanked there elsewhere is text as well as anatomy.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
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


def drawn(
    image: np.ndarray, words: str, font: str, size: int, ink: tuple[int, int | None], place: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
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


@dataclass(frozen=True)
class Drawing:
    """How words are drawn: all its fields but the first are drawn at random."""

    image: str
    font: str
    size: int
    ink: tuple[int, int | None]

    def groups(self) -> tuple[str, ...]:
        """The rows of the table that count it."""
        grey, box = self.ink
        ink = f"grey {grey}" + ("" if box is None else f" on {box}")
        return "all", self.image, f"font {self.font}", f"size {self.size:2} px", f"ink {ink}"


def measured(image: np.ndarray, how: Drawing, words: str, place: tuple[float, float]) -> tuple[float, float]:
    """Shares in [0, 1]: of the words' pixels, those blanked; of the image, what is blanked away from the words."""
    with_text, strokes = drawn(image, words, how.font, how.size, how.ink, place)
    mask, away = text_mask(with_text), np.ones(strokes.shape, bool)
    rows, columns = np.nonzero(strokes)
    away[max(rows.min() - how.size, 0) : rows.max() + how.size,
         max(columns.min() - 2 * how.size, 0) : columns.max() + 2 * how.size] = False  # fmt: skip
    return float(mask[strokes].mean()), float((mask & away).mean())


def drawings(images: list[tuple[str, np.ndarray]], count: int) -> Iterator[tuple[Drawing, tuple[float, float]]]:
    """`count` drawings on each image, measured."""
    random = np.random.default_rng(0)
    for kind, image in images:
        for number in range(count):
            # Sizes and inks take turns, so that each has its share.
            size, ink = SIZES[number % len(SIZES)], INKS[number // len(SIZES) % len(INKS)]
            how = Drawing(kind, FONTS[random.integers(len(FONTS))], size, ink)
            words = WORDS[random.integers(len(WORDS))][: 10 if size == max(SIZES) else None]
            yield how, measured(image, how, words, tuple(random.random(2)))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=1, help="simulated studies of each modality")
    parser.add_argument("--drawings", type=int, default=20, help="on each image")
    parser.add_argument("--side", type=int, default=320, help="of the images, in pixels")
    options = parser.parse_args(arguments)
    images = backgrounds(options.studies, options.side)
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for how, figures in drawings(images, options.drawings):
        for group in how.groups():
            found[group].append(figures)
    print("| | drawings | text pixels blanked | all of the text blanked | blanked elsewhere |")
    print("| --- | --- | --- | --- | --- |")
    for group, figures in sorted(found.items()):
        recall, wrong = np.array(figures).T
        whole = (recall >= 0.99).mean()
        print(f"| {group} | {len(recall)} | {recall.mean():.1%} | {whole:.1%} | {wrong.mean():.2%} |")
    print("\n| image without drawn text | blanked |\n| --- | --- |")
    for kind in dict.fromkeys(k for k, _ in images):
        print(f"| {kind} | {np.mean([text_mask(i).mean() for k, i in images if k == kind]):.2%} |")


if __name__ == "__main__":
    main()
