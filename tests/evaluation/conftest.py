"""A small folder of results, as a suite leaves it: invented figures of invented images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unimedvl.evaluation.score import Score, share

PROTOCOL = {
    "split": "test, 24 of 451", "prompt": "the question, then 'Answer briefly.'", "extraction": "first yes or no",
    "closed": "the word is right", "open": "exact after normalisation", "judge": "none", "source": "LLaVA-Med",
}  # fmt: skip
SIDE = 24


@pytest.fixture
def write_results(tmp_path: Path) -> Callable[..., Path]:
    """Write a folder of results and give its path.

    name: of the folder and the model. right: of 24 questions, how many from the first on are right. psnr: of the six
    stained images. change: what to do to the content before it is written.
    """

    def write(
        name: str = "nano", right: int = 15, psnr: float = 20.0, change: Callable[[dict], object] | None = None
    ) -> Path:
        folder = tmp_path / name
        (folder / "items").mkdir(parents=True)
        benchmarks = [_questions(folder, right), _stains(folder, psnr), _drawings(folder)]
        content = {
            "suite": "small", "notice": "Simulated images. Not for clinical use.", "simulated": True,
            "model": {"name": name, "weights_sha256": "ab" * 32, "trained_on": "simulated studies"},
            "settings": {"name": "small", "batch": 16, "keep": 24, "steps": 20, "max_tokens": 64, "judge": None},
            "versions": {"unimedvl": "0.1.0", "torch": "2.13"},
            "command": f"unimedvl eval run small --model {name}", "seconds": 12.5, "benchmarks": benchmarks,
        }  # fmt: skip
        if change:
            change(content)
        (folder / "results.json").write_text(json.dumps(content))
        return folder

    return write


@pytest.fixture
def results_folder(write_results: Callable[..., Path]) -> Path:
    return write_results()


def _write_items(folder: Path, benchmark: str, lines: list[dict]) -> None:
    empty = {"question": "", "answers": [], "prediction": "", "confidence": None, "values": {}, "error": "",
             "images": [], "target": None, "drawn": None}  # fmt: skip
    text = "".join(json.dumps(empty | line) + "\n" for line in lines)
    (folder / "items" / f"{benchmark}.jsonl").write_text(text)


def _picture(folder: Path, benchmark: str, name: str, level: int) -> str:
    file = folder / "images" / benchmark / f"{name}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((SIDE, SIDE, 3), level, np.uint8)
    pixels[6:12, 6:12] = 255 - level
    Image.fromarray(pixels).save(file)
    return str(file.relative_to(folder))


def _questions(folder: Path, right: int) -> dict:
    """24 questions of two modalities; the last failed, the one before could not be read."""
    lines, hits = [], [k < right for k in range(24)]
    for k, hit in enumerate(hits):
        modality = ("ct", "cxr")[k % 2]
        line = {
            "id": f"q{k}", "kind": "closed", "groups": {"modality": modality, "answer type": "closed"},
            "question": "Is <b>fluid</b> seen | or air?", "answers": ["yes"], "prediction": "yes" if hit else "no",
            "confidence": 0.9 if hit else 0.6, "values": {"accuracy": float(hit)},
            "images": [_picture(folder, "vqa-rad", f"q{k}", 10 * k)],
        }  # fmt: skip
        lines.append(line)
    lines[22]["prediction"] = "perhaps"
    lines[23] |= {"prediction": "", "confidence": None, "error": "CUDA out of memory"}
    _write_items(folder, "vqa-rad", lines)
    scores = [
        share("accuracy", hits, unparsed=1, failed=1, target=0.6),
        share("accuracy", hits[::2], group="modality: ct", unparsed=1),
        share("accuracy", hits[1::2], group="modality: cxr", failed=1),
    ]
    broken = [{"where": "test.json:7", "reason": "no image | of that name"}]
    return _benchmark("vqa-rad", "VQA-RAD", "understanding", scores, 25, broken)


def _stains(folder: Path, psnr: float) -> dict:
    """Six H&E images stained; the last one failed."""
    values = [{"PSNR": psnr + 0.5 * k, "SSIM": 0.4 + 0.01 * k} for k in range(5)]
    lines = [
        {
            "id": f"s{k}", "kind": "image", "groups": {"modality": "his"}, "values": value,
            "images": [_picture(folder, "staining", f"s{k}-0", 40)],
            "target": _picture(folder, "staining", f"s{k}-target", 90),
            "drawn": _picture(folder, "staining", f"s{k}-drawn", 120),
        }
        for k, value in enumerate(values)
    ]  # fmt: skip
    lines.append({"id": "s5", "kind": "image", "groups": {"modality": "his"}, "error": "no such stain: 4+"})
    _write_items(folder, "staining", lines)
    middle = psnr + 1.0
    scores = [
        Score("PSNR", middle, middle - 0.6, middle + 0.6, 5, "dB", failed=1, target=22.0),
        Score("SSIM", 0.42, 0.41, 0.43, 5, failed=1),
    ]
    return _benchmark("staining", "H&E to HER2", "paired", scores, 6, [])


def _drawings(folder: Path) -> dict:
    """Fréchet distances of four drawings, of which one modality has too few for an interval, and one for a value."""
    lines = [
        {"id": f"d{k}", "kind": "image", "groups": {"modality": ("ct", "cxr")[k % 2]}, "question": "Chest CT",
         "drawn": _picture(folder, "text-to-image", f"d{k}", 60)}
        for k in range(4)
    ]  # fmt: skip
    _write_items(folder, "text-to-image", lines)
    nan, encoder = float("nan"), "nano features"
    scores = [
        Score("Fréchet distance", 41.5, 30.25, 55.0, 4, higher=False, beside=encoder, target=50.0),
        Score("Fréchet distance", 38.0, nan, nan, 2, group="modality: ct", higher=False, beside=encoder),
        Score("Fréchet distance", nan, nan, nan, 2, group="modality: cxr", higher=False, beside=encoder),
    ]
    return _benchmark("text-to-image", "Text to image", "generation", scores, 4, [])


def _benchmark(name: str, title: str, area: str, scores: list[Score], items: int, broken: list[dict]) -> dict:
    return {
        "name": name, "title": title, "area": area, "simulated": True,
        "data": {"folder": f"data/{name}", "items": items, "broken": broken},
        "protocol": PROTOCOL, "seconds": 4.0, "scores": [score.to_dict() for score in scores],
    }  # fmt: skip
