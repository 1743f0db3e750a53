"""What the embedded model can do, on held-out simulated studies: one table with its aims, and JSON with everything.

    python -m benchmarks.nano --json nano.json --sheets sheets

It runs the benchmarks of simulated studies (`unimedvl eval run phantoms` has them too), and beside them the autoencoder
alone. What was predicted is kept in the folder, so that a second run only scores.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.sheets import contact_sheet
from unimedvl import UniMedVL
from unimedvl.evaluation.benchmarks.phantoms import looks
from unimedvl.evaluation.metrics.images import psnr
from unimedvl.evaluation.predict import Asked
from unimedvl.evaluation.results import Results
from unimedvl.evaluation.run import SIMULATED, Told, run_suite
from unimedvl.evaluation.score import Score, mean
from unimedvl.evaluation.suite import Suite
from unimedvl.inference.results import NOT_CLINICAL
from unimedvl.phantoms.pixels import to_pixels

NOTICE = f"{SIMULATED} {NOT_CLINICAL}"
VAE = "autoencoder"


@dataclass(frozen=True)
class Aim:
    """A figure that nano has to reach: of which benchmark, metric and group, and at least how much."""

    name: str
    benchmark: str
    metric: str
    least: float
    group: str = ""


AIMS = (
    Aim("modality named, ten of them", "phantoms-modality", "accuracy", 0.99),
    Aim("closed and multiple-choice questions", "phantoms-closed", "accuracy", 0.92),
    Aim("open questions, exact or parsed", "phantoms-open", "accuracy", 0.80),
    Aim("findings in reports, F1", "phantoms-reports", "finding F1", 0.88),
    Aim("text to image: asked modality", "phantoms-text-to-image", "asked modality", 0.98),
    Aim("text to image: asked finding", "phantoms-text-to-image", "asked finding", 0.85),
    Aim("super-resolution 4x, over bicubic", "phantoms-super-resolution", "PSNR over bicubic", 3.0),
    Aim("T2 to FLAIR, over copying", "phantoms-translation", "PSNR over copying", 6.0, "way: T2 to FLAIR"),
    Aim("FLAIR to T2, over copying", "phantoms-translation", "PSNR over copying", 6.0, "way: FLAIR to T2"),
    Aim("MR to CT, over copying", "phantoms-translation", "PSNR over copying", 6.0, "way: MR to CT"),
    Aim("CT to MR, over copying", "phantoms-translation", "PSNR over copying", 6.0, "way: CT to MR"),
    Aim("H&E to IHC: asked level", "phantoms-staining", "level agreement", 0.92),
    Aim("counterfactual: asked change, all else unchanged", "phantoms-counterfactual",
        "asked change, all else unchanged", 0.80),
    Aim("segmentation by name, Dice", "phantoms-segmentation", "Dice", 0.75),
    Aim("VAE reconstruction", VAE, "PSNR", 33.0),
)  # fmt: skip
# Items of each, so that all take some minutes; of the autoencoder, images.
COUNTS = {
    "phantoms-modality": 390, "phantoms-closed": 1500, "phantoms-open": 800, "phantoms-reports": 260,
    "phantoms-text-to-image": 260, "phantoms-super-resolution": 36, "phantoms-translation": 96, "phantoms-staining": 64,
    "phantoms-counterfactual": 180, "phantoms-segmentation": 180, VAE: 195,
}  # fmt: skip


def measure(
    model: str, folder: Path, names: Sequence[str], count: int | None = None, steps: int | None = None,
    told=lambda news: None,
) -> dict[str, list[dict]]:  # fmt: skip
    """The scores of each named benchmark, as `Score.to_dict`. count: items of each, in place of its own number."""
    counts = {name: min(count or COUNTS[name], COUNTS[name]) for name in names}
    entries = [{"benchmark": n, "count": c} for n, c in counts.items() if n != VAE]
    scores: dict[str, list[dict]] = {}
    content: dict = {}
    if entries:
        suite = Suite.model_validate({"name": "nano", "benchmarks": entries, "steps": steps, "batch": 24})
        results: Results = run_suite(suite, Asked(model, suite.settings, batch=suite.batch), folder, told)
        content = results.content
        scores = {b["name"]: b["scores"] for b in content["benchmarks"]}
    if VAE in names:
        scores[VAE] = [s.to_dict() for s in autoencoder(model, counts[VAE], folder)]
    return {"scores": scores, "content": content}


@torch.inference_mode()
def autoencoder(model: str, count: int, folder: Path) -> list[Score]:
    """PSNR of images that went through the autoencoder and back, all views in turn."""
    loaded = UniMedVL.load(None if model == "nano" else model)
    net, values, names, rows = loaded.model, [], [], []
    for look in islice(looks(), count):
        pixels = loaded.prepare.latent(to_pixels(look.image)).pixels.to(net.device, net.dtype)
        again = net.vae.decode(net.vae.encode(pixels[None]))[0].float()
        again = ((again * 0.5 + 0.5).clamp(0, 1) * 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        values.append(psnr(again, look.image))
        names.append(f"{look.modality}, {look.view.name}")
        rows.append(([look.image, again], f"{names[-1]} {values[-1]:.1f} dB"))
    contact_sheet(folder / "sheets" / f"{VAE}.png", ("simulated", "reconstructed"), rows)
    parts = {name: [v for v, n in zip(values, names, strict=True) if n == name] for name in dict.fromkeys(names)}
    return [mean("PSNR", values, "dB"), *(mean("PSNR", v, "dB", group=f"view: {n}") for n, v in parts.items())]


def lines(scores: dict[str, list[dict]]) -> list[tuple[Aim, Score]]:
    """Each aim with its figure, of the benchmarks that were measured."""
    out = []
    for aim in AIMS:
        found = next(
            (s for s in scores.get(aim.benchmark, ()) if (s["metric"], s["group"]) == (aim.metric, aim.group)), None
        )
        if found is not None:
            fields = {k: float("nan") if v is None else v for k, v in found.items() if k not in ("met", "target")}
            out.append((aim, replace(Score(**fields), target=aim.least)))
    return out


def table(found: Sequence[tuple[Aim, Score]], name: str) -> Table:
    out = Table(title=f"{name} on held-out simulated studies", caption=NOTICE)
    for column in ("task", "measured (95 %)", "n", "at least", "met", "beside"):
        out.add_column(column, justify="right" if column == "n" else "left")
    for aim, score in found:
        least = f"{100 * aim.least:.0f} %" if score.unit == "%" else f"{aim.least:g} {score.unit}".strip()
        met = "[green]yes[/]" if score.met else "[red]no[/]"
        out.add_row(aim.name, score.text(), str(score.n), least, met, score.beside)
    return out


def sheets(results: Path, target: Path) -> None:
    """Contact sheets of what each benchmark drew, out of the results' own images."""
    for file in sorted((results / "items").glob("*.jsonl")):
        shown = [item for item in map(json.loads, file.read_text().splitlines()) if "drawn" in item]
        rows = []
        for item in shown:
            parts = [*item["images"][:1], item["drawn"], *([item["target"]] if "target" in item else [])]
            told = ", ".join(f"{k} {v:.2g}" for k, v in item["values"].items())
            words = f"{item['question'] or item['id']} | {told}"
            rows.append(([np.asarray(Image.open(results / part).convert("RGB")) for part in parts], words))
        columns = ("given", "drawn", "truth") if shown and shown[0]["images"] else ("drawn", "a simulated one")
        contact_sheet(target / f"{file.stem.removeprefix('phantoms-')}.png", columns, rows)
    if (results / "sheets").is_dir():
        shutil.copytree(results / "sheets", target, dirs_exist_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    args = _arguments(arguments)
    if args.threads:
        torch.set_num_threads(args.threads)
    console = Console(stderr=True)
    with console.status("") as status:

        def told(news: Told) -> None:
            status.update(f"{news.benchmark}: {news.done} of {news.total}")

        made = measure(args.model, args.folder, args.tasks, args.count, args.steps, told)
    found = lines(made["scores"])
    Console(width=None if sys.stdout.isatty() else 150).print(table(found, args.model))
    if args.sheets:
        sheets(args.folder, args.sheets)
    if args.json:
        rows = [{"name": aim.name, "at_least": aim.least, **score.to_dict()} for aim, score in found]
        content = {"notice": NOTICE, "table": rows, "scores": made["scores"], "results": made["content"]}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(content, indent=1) + "\n")
    return int(args.check and not all(score.met for _, score in found))


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano", help="a folder or hub id in the published layout; the embedded nano")
    parser.add_argument("--tasks", nargs="+", choices=list(COUNTS), default=list(COUNTS), metavar="TASK",
                        help=f"which of {', '.join(COUNTS)}")
    parser.add_argument("--count", type=int, help="items of each task, at most")
    parser.add_argument("--steps", type=int, help="points of the time grid of drawings; the model's own by default")
    parser.add_argument("--folder", type=Path, default=Path("runs/nano-table"), help="of results and predictions")
    parser.add_argument("--threads", type=int, help="of PyTorch")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    parser.add_argument("--sheets", type=Path, help="write contact sheets of the images to this folder")
    parser.add_argument("--check", action="store_true", help="exit with 1 where an aim is missed")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
