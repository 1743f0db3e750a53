"""How fast the trainer learns: its own loop on packed records, held against what this machine can multiply.

    python -m benchmarks.training --json training.json                   (on a CPU: hidden 1024, 12 layers)
    python -m benchmarks.training --geometry 14b                         (on a GPU: as many layers as fit)

Records are a small build of simulated studies, made in a temporary folder. The loop is a training's, with AdamW, the
clipping of gradients and the moving average; nothing is left out but checkpoints. Weights are random. The rate of
matrix products, in the type of the training's, is measured before and after the steps, and their mean is the peak.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from unittest.mock import patch

import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.breakdown import Breakdown, shares
from benchmarks.machine import processor
from benchmarks.passes import random_model
from unimedvl.data.build.recipe import BuildRecipe
from unimedvl.data.build.run import run_build
from unimedvl.inference.results import versions
from unimedvl.model.config import PRESETS, ModelConfig, SpecialTokens
from unimedvl.phantoms.corpus import corpus
from unimedvl.tokenizer import Tokenizer, train_tokenizer
from unimedvl.training.checkpoints import Checkpoints
from unimedvl.training.expected import Typical, pack_load
from unimedvl.training.footprint import Setting, memory, parameters
from unimedvl.training.loop import Stop, Told, run_stage
from unimedvl.training.memory import keep_freed_memory
from unimedvl.training.mixture import records_of
from unimedvl.training.parallel import World
from unimedvl.training.peak import peak_rate
from unimedvl.training.recipe import Recipe
from unimedvl.training.run import Place, Run
from unimedvl.training.start import Begun, trainable

# Steps before any is counted: workers start, and memory is asked for the first time.
WARM = 2
WAIT_AT_MOST, PEAK_SECONDS = 0.02, 1.0
# The share of a GPU's free memory that is planned with.
PLANNED = 0.85


@dataclass(frozen=True)
class Size:
    """What a geometry is measured with. side: largest of images, px. packs, tokens: of a step, and of each pack.

    aim: the least MFU.
    """

    side: int
    tokens: int
    packs: int
    aim: float | None = None


SIZES = {"nano": Size(128, 2000, 2), "mid": Size(256, 4096, 4, 0.70), "14b": Size(256, 8192, 4, 0.40)}


@dataclass(frozen=True)
class Measured:
    """mfu: model FLOPs over the peak, median of the steps, and its range. fill: of the packs' tokens.

    loader_wait: share of the time in which no batch was there. peak: FLOP/s of products, before and after.
    """

    geometry: str
    layers: int
    parameters: int
    dtype: str
    step_tokens: float
    step_seconds: float
    tokens_per_second: float
    mfu: float
    lowest: float
    highest: float
    aim: float | None
    fill: float
    loader_wait: float
    peak: tuple[float, float]
    why: Breakdown | None = None

    @property
    def met(self) -> dict[str, bool]:
        wanted = {} if self.aim is None else {"mfu": self.mfu >= self.aim}
        return wanted | {"loader wait": self.loader_wait < WAIT_AT_MOST}


# What is measured ---------------------------------------------------------------------------------


def build_records(folder: Path, studies: int, side: int) -> Path:
    """A data build of simulated studies, all for training."""
    inputs = folder / "phantoms"
    inputs.mkdir(parents=True)
    (inputs / "phantoms.json").write_text(json.dumps({"studies": studies, "size": side}))
    recipe = BuildRecipe.model_validate({
        "folder": folder / "data", "inputs": [{"name": "phantoms", "folder": inputs}],
        "alignment": {"instruments": "none"}, "splits": {"validation": 0, "test": 0, "keep_train": False},
    })  # fmt: skip
    run_build(recipe)
    return recipe.folder


def recipe_of(folder: Path, data: Path, size: Size, args: argparse.Namespace) -> Recipe:
    """Far more steps than are taken, all of one stage, and a line for each."""
    stage = {
        "name": "measured", "steps": 10**9, "mixture": {"image_to_text": 1, "text_to_image": 1, "interleaved": 1},
        "tokens": size.tokens, "packs": size.packs, "learning_rate": 1e-5, "warmup": 0,
        "vit_sides": [size.side, min(size.side, 64)], "vae_sides": [size.side, min(size.side, 64)],
    }  # fmt: skip
    return Recipe.model_validate({
        "folder": folder, "start": {"checkpoint": "nano"}, "data": {"folders": [data], "workers": args.workers},
        "stages": [stage], "bf16": args.dtype == "bf16", "compile": args.compile, "recompute": args.recompute,
        "save": {"every": 10**9}, "log": {"every": 1},
    })  # fmt: skip


def layers_that_fit(config: ModelConfig, recipe: Recipe, side: int, usable: float) -> int:
    """How many of the decoder's layers a GPU can train, with what else the geometry has.

    Raises:
        ValueError: not one.
    """
    stage = recipe.stages[0]
    setting = Setting(1, 1, recompute=recipe.recompute, bf16=recipe.bf16)
    for layers in range(config.decoder.num_layers, 0, -1):
        slice_of = replace(config, decoder=replace(config.decoder, num_layers=layers))
        load, _ = pack_load(stage, slice_of, Typical(side))
        if memory(slice_of, stage, load, setting).peak <= usable:
            return layers
    raise ValueError(f"not one layer of the geometry fits into {usable / 1e9:.1f} GB; give smaller --tokens")


def open_measured(recipe: Recipe, config: ModelConfig, tokenizer: Tokenizer, world: World) -> Run:
    """A run as a training opens it, but with random weights and nothing written to a disk."""
    keep_freed_memory()
    model = random_model(config, torch.float32, device=str(world.device)).train()
    model.vae.requires_grad_(False)
    model.stack.checkpointing = recipe.recompute
    if recipe.compile:
        for layer in model.stack.layers:
            layer.compile()
    sides = {"vit": recipe.stages[0].vit_sides, "vae": recipe.stages[0].vae_sides}
    return Run(
        recipe, world, Begun(model, tokenizer, {"sizes": sides}), trainable(model),
        records_of(recipe.data.folders, "train"), Checkpoints(recipe.folder, world, recipe.save), None, Place(), None,
        1.0,
    )  # fmt: skip


class _Enough(Exception):
    """Ends a run whose steps have been measured."""


def take_steps(
    run: Run, steps: int, told: Callable[[str], None], profiled: bool
) -> tuple[list[dict], Breakdown | None]:
    """Lines of so many steps of the loop after it is warm, and where the time of one more goes."""
    lines: list[dict] = []
    profiler = profile(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * (run.world.device.type == "cuda")])
    whole = record_function("the pass")
    done = WARM + steps

    def look(news: Told) -> None:
        if len(lines) < done:
            lines.append(dict(news.values))
            told(f"step {news.step}: {news.values['step seconds']:.1f} s")
        elif profiled:
            whole.__exit__(None, None, None)
            profiler.stop()
            raise _Enough
        if len(lines) == done:
            if not profiled:
                raise _Enough
            profiler.start()
            whole.__enter__()

    with suppress(_Enough):
        run_stage(run, 0, Stop(), look)
    return lines[WARM:], shares(profiler) if profiled else None


def measure(
    name: str, config: ModelConfig, recipe: Recipe, tokenizer: Tokenizer, args: argparse.Namespace,
    told: Callable[[str], None],
) -> Measured:  # fmt: skip
    """The loop on one device, between two measurements of its products."""
    size = _size(name, args)
    device = torch.device(args.device)
    world = World(0, 1, 0, device)
    if device.type == "cuda":
        usable = PLANNED * torch.cuda.mem_get_info(device)[0]
        layers = args.layers or layers_that_fit(config, recipe, size.side, usable)
        config = replace(config, decoder=replace(config.decoder, num_layers=layers))
    elif args.layers:
        config = replace(config, decoder=replace(config.decoder, num_layers=args.layers))
    config = replace(config, special=SpecialTokens(**vars(tokenizer.special)))
    told("random weights")
    run = open_measured(recipe, config, tokenizer, world)
    dtype = torch.bfloat16 if recipe.bf16 else torch.float32
    before = peak_rate(device, dtype, PEAK_SECONDS)
    lines, why = take_steps(run, args.steps, told, profiled=args.profile)
    after = peak_rate(device, dtype, PEAK_SECONDS)
    rates = sorted(line["mfu"] * 2 / (before + after) for line in lines)  # the run's own peak is 1
    seconds = sum(line["step seconds"] for line in lines)
    return Measured(
        geometry=name, layers=config.decoder.num_layers, parameters=sum(parameters(config).values()),
        dtype=args.dtype, step_tokens=sum(line["tokens"] for line in lines) / len(lines),
        step_seconds=median(line["step seconds"] for line in lines),
        tokens_per_second=sum(line["tokens"] for line in lines) / seconds,
        mfu=median(rates), lowest=rates[0], highest=rates[-1], aim=size.aim,
        fill=sum(line["fill"] for line in lines) / len(lines),
        loader_wait=sum(line["loader wait"] * line["step seconds"] for line in lines) / seconds,
        peak=(before, after), why=why,
    )  # fmt: skip


# What is shown ------------------------------------------------------------------------------------


def table(m: Measured, where: str) -> Table:
    out = Table(title=f"A training step on {where}", title_justify="left")
    for name in ("what", "measured", "aim"):
        out.add_column(name, justify="left" if name == "what" else "right")
    out.add_row("geometry", f"{m.geometry}, {m.layers} layers, {m.parameters / 1e6:,.0f} M parameters")
    out.add_row("type of products", m.dtype)
    out.add_row("tokens of a step", f"{m.step_tokens:,.0f}")
    out.add_row("seconds of a step", f"{m.step_seconds:.3g}")
    out.add_row("tokens a second", f"{m.tokens_per_second:,.0f}")
    out.add_row("products, TFLOP/s, before and after", f"{m.peak[0] / 1e12:.3g}, {m.peak[1] / 1e12:.3g}")
    aim = "" if m.aim is None else f"{m.aim:.2f}"
    out.add_row("MFU (range)", _coloured(m, "mfu", f"{m.mfu:.3f} ({m.lowest:.3f} to {m.highest:.3f})"), aim)
    out.add_row("fill of packs", f"{100 * m.fill:.1f} %")
    wait = _coloured(m, "loader wait", f"{100 * m.loader_wait:.2f} %")
    out.add_row("waiting for the loader", wait, f"under {100 * WAIT_AT_MOST:g} %")
    return out


def _coloured(m: Measured, name: str, text: str) -> str:
    return f"[{'green' if m.met[name] else 'red'}]{text}[/]" if name in m.met else text


def _size(name: str, args: argparse.Namespace) -> Size:
    given = {field: value for field in ("side", "tokens", "packs") if (value := getattr(args, field))}
    return replace(SIZES[name], **given)


def main(arguments: Sequence[str] | None = None) -> int:
    args = _arguments(arguments)
    if args.threads:
        torch.set_num_threads(args.threads)
    progress, out = Console(stderr=True), Console(width=None if sys.stdout.isatty() else 120)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's own log would run into the progress
    load = os.getloadavg()[0]
    size = _size(args.geometry, args)
    clock = patch.object(time, "perf_counter", time.process_time) if args.cpu_time else nullcontext()
    with tempfile.TemporaryDirectory() as name, progress.status("simulated studies") as status:
        folder = Path(name)
        data = build_records(folder, args.studies, size.side)
        tokenizer = train_tokenizer(corpus(2000, 0), PRESETS["nano"].decoder.vocab_size)
        recipe = recipe_of(folder / "run", data, size, args)
        with clock:
            found = measure(args.geometry, PRESETS[args.geometry], recipe, tokenizer, args, status.update)
    where = processor(args.device)
    out.print(table(found, where + ", by CPU seconds" * args.cpu_time))
    if found.why:
        out.print(f"Time of a step: {found.why.text()}.", markup=False)
    if load > 0.5 and not args.cpu_time:
        progress.print(f"[yellow]the load average was {load:.1f}: other work makes these figures too low[/]")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        machine = {"processor": where, "threads": torch.get_num_threads(), "load_average": load}
        machine["cpu_time"] = args.cpu_time
        content = {"machine": machine, "versions": versions(), "size": asdict(size), "measured": asdict(found)}
        args.json.write_text(json.dumps(content | {"met": found.met}, indent=1) + "\n")
    return int(args.check and not all(found.met.values()))


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--geometry", choices=list(SIZES), default="14b" if cuda else "mid")
    parser.add_argument("--layers", type=int, help="of the decoder; all, and on a GPU as many as fit")
    parser.add_argument("--device", default="cuda" if cuda else "cpu", help="cpu, cuda, cuda:1 ...")
    parser.add_argument("--dtype", choices=("bf16", "fp32"), default="bf16", help="of products")
    parser.add_argument("--steps", type=int, default=5, help=f"that are measured, after {WARM}")
    parser.add_argument("--studies", type=int, default=45, help="that are simulated; some nine records each")
    parser.add_argument("--side", type=int, help="of the studies, px")
    parser.add_argument("--tokens", type=int, help="of a pack")
    parser.add_argument("--packs", type=int, help="of a step")
    parser.add_argument("--workers", type=int, default=1, help="processes that make batches")
    parser.add_argument("--compile", action="store_true", help="the decoder's layers")
    parser.add_argument("--recompute", action="store_true", help="activations")
    parser.add_argument("--threads", type=int, help="of PyTorch")
    parser.add_argument(
        "--cpu-time", action="store_true",
        help="count this process's own CPU seconds: where other work runs, with --threads 1 --workers 0",
    )  # fmt: skip
    parser.add_argument("--profile", action="store_true", help="say where the time of one more step goes")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    parser.add_argument("--check", action="store_true", help="exit with 1 where an aim is missed")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
