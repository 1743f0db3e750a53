"""What the invisible watermark survives, what it costs, and how often pictures without it are taken for marked.

    python -m benchmarks.watermark --json watermark.json --sheets sheets

Pictures are simulated studies of all ten kinds, drawn at each size; `--drawn` adds what the embedded model draws.
Every one is marked, worn in each way, and looked at. Pictures that are not marked are the same studies, pictures of
scikit-image and pydicom, crops of them, and noise.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from unimedvl.phantoms import SIMULATORS, simulate
from unimedvl.provenance.watermark import THRESHOLD, detect, embed

PAYLOAD = 0x5EED42
FIRST_SEED = 9000
Wear = Callable[[np.ndarray], np.ndarray]
B = Image.Resampling


def resized(filter: B, factor: float) -> Wear:
    def wear(a: np.ndarray) -> np.ndarray:
        size = (max(1, round(a.shape[1] * factor)), max(1, round(a.shape[0] * factor)))
        return np.asarray(Image.fromarray(a).resize(size, filter))

    return wear


def compressed(kind: str, quality: int) -> Wear:
    def wear(a: np.ndarray) -> np.ndarray:
        stream = io.BytesIO()
        options = {"subsampling": "4:2:0"} if kind == "JPEG" else {}
        Image.fromarray(a).save(stream, kind, quality=quality, **options)
        return np.asarray(Image.open(stream).convert("RGB"))

    return wear


def halved_and_back(a: np.ndarray) -> np.ndarray:
    small = Image.fromarray(a).resize((a.shape[1] // 2, a.shape[0] // 2), B.BICUBIC)
    return np.asarray(small.resize((a.shape[1], a.shape[0]), B.BICUBIC))


def levels(scale: float, shift: float = 0, power: float = 1) -> Wear:
    """Contrast about the middle grey, brightness in grey levels, gamma."""
    table = ((np.arange(256) / 255) ** power * 255 - 127.5) * scale + 127.5 + shift
    table = table.round().clip(0, 255).astype(np.uint8)
    return lambda a: table[a]


def grey(a: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(a).convert("L").convert("RGB"))


def noisy(a: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 5, a.shape)
    return (a + noise).round().clip(0, 255).astype(np.uint8)


def blurred(a: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(a).filter(ImageFilter.GaussianBlur(1)))


def cropped(share: float) -> Wear:
    def wear(a: np.ndarray) -> np.ndarray:
        y, x = (max(1, round(side * share)) for side in a.shape[:2])
        return a[y:-y, x:-x]

    return wear


def rotated(degrees: float) -> Wear:
    return lambda a: np.asarray(Image.fromarray(a).rotate(degrees, B.BICUBIC))


def shifted(a: np.ndarray) -> np.ndarray:
    """By two pixels."""
    return np.roll(a, 2, axis=1)


half, jpeg = resized(B.BILINEAR, 0.5), compressed("JPEG", 75)
# What must be survived, and is measured on every picture.
MUST: dict[str, Wear] = {
    "as it was (PNG)": lambda a: a,
    "JPEG, quality 75": jpeg,
    "half the size, bilinear": half,
    "half the size, bicubic": resized(B.BICUBIC, 0.5),
    "half the size, area": resized(B.BOX, 0.5),
    "half the size and back": halved_and_back,
    "half the size, then JPEG 75": lambda a: jpeg(half(a)),
    "JPEG 75, then half the size": lambda a: half(jpeg(a)),
    "grey": grey,
    "brightness + 10 levels": levels(1, 10),
    "contrast x 1.1": levels(1.1),
    "contrast x 0.85": levels(0.85),
}
# What may or may not be, measured on every fifth picture.
MAY: dict[str, Wear] = {
    "JPEG, quality 50": compressed("JPEG", 50),
    "JPEG, quality 30": compressed("JPEG", 30),
    "WebP, quality 75": compressed("WEBP", 75),
    "a quarter of the size, area": resized(B.BOX, 0.25),
    "twice the size": resized(B.BICUBIC, 2),
    "noise, sigma 5": noisy,
    "blur, sigma 1 px": blurred,
    "contrast x 1.3": levels(1.3),
    "gamma 1.2": levels(1, power=1.2),
    "mirrored": lambda a: np.ascontiguousarray(a[:, ::-1]),
    "turned by 90 degrees": lambda a: np.ascontiguousarray(np.rot90(a)),
    "inverted": lambda a: 255 - a,
    "cut by 1 % at each side": cropped(0.01),
    "cut by 5 % at each side": cropped(0.05),
    "turned by 1 degree": rotated(1),
    "moved by 2 px": shifted,
}


def studies(count: int, size: int) -> Iterator[tuple[str, np.ndarray]]:
    """So many pictures of each of ten kinds, [size, size, 3] uint8."""
    for modality in SIMULATORS:
        for seed in range(FIRST_SEED, FIRST_SEED + count):
            images = simulate(modality, seed, size).images
            shown = images.items() if modality == "his" else list(images.items())[seed % len(images) :][:1]
            for view, pixels in shown:
                kind = "ihc" if view == "ihc" else modality
                yield kind, pixels if pixels.ndim == 3 else pixels[..., None].repeat(3, axis=2)


def drawn(count: int) -> Iterator[tuple[str, np.ndarray]]:
    """What the embedded model draws of each kind."""
    from unimedvl import UniMedVL
    from unimedvl.phantoms.captions import caption

    model = UniMedVL.load()
    for modality in SIMULATORS:
        for seed in range(count):
            study = simulate(modality, FIRST_SEED + seed)
            words = caption(study, next(iter(study.images)), np.random.default_rng(seed))
            yield f"{modality}, drawn", model.generate(words, seed=seed).array


def unmarked(rounds: int) -> Iterator[tuple[str, np.ndarray]]:
    """Pictures that were never marked, cut at random out of real ones, and noise."""
    rng = np.random.default_rng(1)
    real = list(real_pictures())
    for _ in range(rounds):
        for name, picture in real:
            side = rng.integers(min(48, *picture.shape[:2]), min(picture.shape[:2]) + 1)
            y, x = (rng.integers(0, length - side + 1) for length in picture.shape[:2])
            part = Image.fromarray(picture[y : y + side, x : x + side])
            size = int(rng.choice([64, 96, 128, 200, 256, 333]))
            yield name, np.asarray(part.resize((size, int(size * rng.uniform(0.7, 1.4)))))
        for name, spread in (("white noise", 0), ("soft noise", 2), ("clouds", 8)):
            size = int(rng.choice([64, 128, 256]))
            noise = Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
            yield name, np.asarray(noise.filter(ImageFilter.GaussianBlur(spread)))


def real_pictures() -> Iterator[tuple[str, np.ndarray]]:
    """Photographs, micrographs and scans that scikit-image and pydicom ship, [H, W, 3] uint8."""
    import pydicom
    import skimage

    from unimedvl.imaging import ImagingError, read_image

    photographs = sorted(p for p in (Path(skimage.__file__).parent / "data").iterdir() if p.suffix in (".png", ".jpg"))
    scans = sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm"))
    for file in photographs + scans:
        try:
            pixels = read_image(file).pixels
        except ImagingError:
            continue  # test files of pydicom that are damaged on purpose, or hold no picture
        if min(pixels.shape[:2]) >= 48:
            yield file.name, np.rint(pixels * 255).astype(np.uint8)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.mean((one.astype(float) - other) ** 2), 1e-9)))


def worn(pictures: Iterator[tuple[str, np.ndarray]]) -> dict:
    """What happens to each: a row of measurements for each wear, and of the pictures as they were."""
    found: dict = {"wears": defaultdict(list), "psnr": [], "seconds": [], "unmarked": [], "kinds": defaultdict(list)}
    for number, (kind, picture) in enumerate(pictures):
        start = time.perf_counter()
        marked = embed(picture, PAYLOAD)
        found["seconds"].append(time.perf_counter() - start)
        found["psnr"].append(psnr(picture, marked))
        found["kinds"][kind].append(found["psnr"][-1])
        found["unmarked"].append(detect(picture).score)
        for name, wear in (MUST | MAY if number % 5 == 0 else MUST).items():
            seen = detect(wear(marked))
            found["wears"][name].append((seen.found, seen.payload == PAYLOAD, seen.score))
    return found


def sheet(file: Path, pictures: list[tuple[str, np.ndarray]], scale: int) -> None:
    """As it was, marked, and the difference twenty-fold about grey; two pictures a row."""
    rows = []
    for _, picture in pictures:
        marked = embed(picture, PAYLOAD)
        change = (128 + 20 * (marked.astype(int) - picture)).clip(0, 255).astype(np.uint8)
        rows.append(np.concatenate([picture, marked, change], axis=1))
    rows += [np.zeros_like(rows[0])] * (len(rows) % 2)
    both = np.concatenate([np.concatenate(rows[0::2], axis=0), np.concatenate(rows[1::2], axis=0)], axis=1)
    Image.fromarray(both).resize((both.shape[1] * scale, both.shape[0] * scale), B.NEAREST).save(file)


def table(results: dict[str, dict]) -> str:
    """Markdown: found, and payload read, in percent."""
    lines = ["| | " + " | ".join(results) + " |", "| --- |" + " --- |" * len(results)]
    counts = [str(len(r["psnr"])) for r in results.values()]
    lines.append("| pictures | " + " | ".join(counts) + " |")
    for name in MUST | MAY:
        cells = []
        for result in results.values():
            rows = np.array(result["wears"][name], float)
            cells.append(f"{rows[:, 0].mean():.1%} / {rows[:, 1].mean():.0%}" if len(rows) else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    told = [f"{np.mean(r['psnr']):.1f} ({np.min(r['psnr']):.1f})" for r in results.values()]
    lines.append("| PSNR in dB, mean (least) | " + " | ".join(told) + " |")
    medians = [f"{np.median(r['seconds']):.2f}" for r in results.values()]
    lines.append("| seconds to mark, median | " + " | ".join(medians) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=20, help="of each of ten kinds and each size")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--drawn", type=int, default=0, help="drawings of the embedded model of each kind")
    parser.add_argument("--rounds", type=int, default=30, help="of pictures that are not marked")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets")
    given = parser.parse_args()
    results = {f"{size} px": worn(studies(given.studies, size)) for size in given.sizes}
    if given.drawn:
        results["drawn, 128 px"] = worn(drawn(given.drawn))
    print(table(results))
    scores = [score for result in results.values() for score in result["unmarked"]]
    told = {"simulated and drawn": scores, "real, and noise": [detect(p).score for _, p in unmarked(given.rounds)]}
    for name, values in told.items():
        if not values:
            continue
        over = sum(v >= THRESHOLD for v in values)
        print(f"\nnot marked, {name}: {len(values)} pictures, {over} taken for marked; "
              f"score {np.mean(values):.2f} on average, {np.max(values):.2f} at most, {THRESHOLD} needed")  # fmt: skip
    if given.sheets:
        given.sheets.mkdir(parents=True, exist_ok=True)
        for size in given.sizes:
            sheet(given.sheets / f"watermark-{size}.png", list(studies(1, size)), max(1, 256 // size))
        if given.drawn:
            sheet(given.sheets / "watermark-drawn.png", list(drawn(1)), 2)
    if given.json:
        given.json.write_text(json.dumps(results | {"not marked": told}, indent=1))


if __name__ == "__main__":
    main()
