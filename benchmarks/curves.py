"""Draw the curves of a training, whose parts and whole may lie in folders of their own.

    python -m benchmarks.curves runs/nano-parts runs/nano docs/images/nano-curves.svg
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

WIDTH, HEIGHT, MARGIN = 300, 180, 36
# Log in a run's folder, value in it, and what it is called.
CURVES = (
    ("vae.jsonl", "psnr", "autoencoder, PSNR of crops (dB)"),
    ("vit.jsonl", "all_right", "ViT, images with every presence right"),
    ("log.jsonl", "ce", "whole model, next-token loss (log)"),
    ("log.jsonl", "mse", "whole model, flow loss (log)"),
    ("log.jsonl", "rate", "whole model, learning rate"),
)


def read(file: Path, value: str) -> list[tuple[float, float]]:
    """(step, value) of each line; a step that was run twice counts once, the last time."""
    points: dict[int, float] = {}
    for line in file.read_text().splitlines():
        record = json.loads(line)
        if value in record:
            points[record["step"]] = record[value]
    return sorted(points.items())


def panel(points: list[tuple[float, float]], title: str, x: int, y: int) -> str:
    """One curve as SVG, with its first, smallest, largest and last numbers written out."""
    log = "(log)" in title
    values = [math.log10(max(v, 1e-9)) if log else v for _, v in points]
    low, high = min(values), max(values)
    steps = [s for s, _ in points]
    inner_w, inner_h = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN
    span, length = (high - low) or 1.0, (steps[-1] - steps[0]) or 1
    line = " ".join(
        f"{x + MARGIN + inner_w * (s - steps[0]) / length:.1f},{y + HEIGHT - MARGIN - inner_h * (v - low) / span:.1f}"
        for s, v in zip(steps, values, strict=True)
    )
    shown = [v for _, v in points]
    return (
        f'<rect x="{x + MARGIN}" y="{y + MARGIN}" width="{inner_w}" height="{inner_h}" class="frame"/>'
        f'<polyline points="{line}" class="line"/>'
        f'<text x="{x + MARGIN}" y="{y + MARGIN - 10}">{title}</text>'
        f'<text x="{x + MARGIN}" y="{y + HEIGHT - MARGIN + 14}" class="small">'
        f"step {steps[0]} to {steps[-1]}, from {shown[0]:.4g} to {shown[-1]:.4g}</text>"
    )


def draw(folders: Sequence[Path]) -> str:
    """All curves that the folders have, two a row, as one SVG."""
    files = [(folder / f, v, t) for f, v, t in CURVES for folder in folders if (folder / f).is_file()]
    found = [(points, title) for file, value, title in files if (points := read(file, value))]
    panels = [panel(points, title, i % 2 * WIDTH, i // 2 * HEIGHT) for i, (points, title) in enumerate(found)]
    height = HEIGHT * math.ceil(len(found) / 2)
    style = (
        "svg{background:#fff}text{font:11px sans-serif;fill:#222}.small{font-size:9px;fill:#666}"
        ".frame{fill:none;stroke:#ccc}.line{fill:none;stroke:#1f5fa8;stroke-width:1.4}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {height}" width="{2 * WIDTH}">'
        f"<style>{style}</style>{''.join(panels)}</svg>\n"
    )


if __name__ == "__main__":
    *sources, target = map(Path, sys.argv[1:])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(draw(sources))
