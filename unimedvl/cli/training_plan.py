"""`unimedvl train plan`: memory and time of a training, before it begins."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from unimedvl.cli.command import command
from unimedvl.cli.options import OutputOptions
from unimedvl.cli.terminal import Terminal

if TYPE_CHECKING:
    from unimedvl.training.expected import Typical
    from unimedvl.training.plan import Machines, Plan, StagePlan

# What a device's memory goes to: fields of `Memory`, and what they are called.
_ROWS = {
    "weights": "weights",
    "gradients": "gradients",
    "optimiser": "AdamW's two moments",
    "average": "moving average",
    "gathered": "gathered weights",
    "reducing": "gradients on their way",
    "kept": "activations kept",
    "working": "activations at work",
    "encoding": "autoencoder, before those",
}


@dataclass(frozen=True)
class MachineOptions:
    gpus: Annotated[
        int | None, Option(min=1, help="Devices, a rank each; 8, or nodes times per-node.", rich_help_panel="Machines")
    ] = None
    memory: Annotated[float, Option(help="Of a device, GB.", rich_help_panel="Machines")] = 80.0
    efficiency: Annotated[
        float, Option(help="Share of the peak that all computation reaches.", rich_help_panel="Machines")
    ] = 0.4
    peak: Annotated[
        float, Option(help="Of a device, TFLOP/s in bf16; 989 is an H100's.", rich_help_panel="Machines")
    ] = 989.0
    nodes: Annotated[int | None, Option(min=1, help="Machines.", rich_help_panel="Machines")] = None
    per_node: Annotated[int, Option(min=1, help="Devices of a machine.", rich_help_panel="Machines")] = 8

    def machines(self) -> Machines:
        """Raises ValueError for what can't be."""
        from unimedvl.training.plan import Machines

        of_nodes = None if self.nodes is None else self.nodes * self.per_node
        if None not in (self.gpus, of_nodes) and self.gpus != of_nodes:
            raise ValueError(f"--gpus {self.gpus}: {self.nodes} machines of {self.per_node} have {of_nodes}")
        return Machines(self.gpus or of_nodes or 8, self.memory, self.peak, self.efficiency, self.per_node)


@dataclass(frozen=True)
class SampleOptions:
    image: Annotated[
        int, Option(help="Side of a typical image, px, before the stage's own sizes.", rich_help_panel="Samples")
    ] = 512
    request: Annotated[int, Option(help="Tokens of a typical request.", rich_help_panel="Samples")] = 64
    answer: Annotated[int, Option(help="Tokens of a typical answer.", rich_help_panel="Samples")] = 128

    def typical(self) -> Typical:
        """Raises ValueError for what can't be."""
        from unimedvl.training.expected import Typical

        return Typical(self.image, self.request, self.answer)


def register(group: typer.Typer) -> None:
    command(group)(plan)


def plan(
    recipe: Annotated[Path, Argument(help="YAML file of a training.", show_default=False)],
    machine: MachineOptions,
    sample: SampleOptions,
    output: OutputOptions,
    overrides: Annotated[
        list[str] | None, Argument(metavar="[KEY=VALUE]...", help="Such as recompute=true stages.0.tokens=10000.")
    ] = None,
) -> None:
    """What a training will take: parameters, memory of each device, FLOPs and days, and what would make it fit.

    From the geometry alone: no weights are loaded or downloaded, and no records are read.
    """
    terminal = Terminal(output)
    from unimedvl.training.plan import make_plan
    from unimedvl.training.recipe import load_recipe

    made = make_plan(load_recipe(recipe, overrides or []), machine.machines(), sample.typical())
    if output.json:
        terminal.document(document(made))
        return
    for stage in made.stages:
        for note in stage.notes:
            terminal.note(f"{stage.name}: {note}", style="yellow")
    _show(made)


def document(made: Plan) -> dict:
    """A plan as JSON: bytes, FLOPs, seconds and days."""
    from unimedvl.training.plan import RESERVE

    return {
        "geometry": made.geometry,
        "machines": asdict(made.machines) | {"reserve": RESERVE, "usable_bytes": made.machines.usable},
        "typical_sample": asdict(made.typical),
        "setting": asdict(made.setting) | {"lora": made.setting.lora and made.setting.lora.model_dump(mode="json")},
        "stages": [_stage(stage) for stage in made.stages],
        "steps": sum(stage.steps for stage in made.stages),
        "flops": sum(stage.steps * stage.flops.model for stage in made.stages),
        "days": made.days,
        "fits": made.fits,
    }


def _stage(stage: StagePlan) -> dict:
    names = ("name", "steps", "packs", "tokens", "samples", "seconds", "days", "mfu", "fits")
    flops = {"model": stage.flops.model, "hardware": stage.flops.hardware, "parts": stage.flops.parts}
    return {name: getattr(stage, name) for name in names} | {
        "pack": asdict(stage.load),
        "parameters": asdict(stage.counts),
        "memory": asdict(stage.memory) | {"peak": stage.memory.peak},
        "flops_per_step": flops,
        "remedies": [asdict(remedy) for remedy in stage.remedies],
        "notes": list(stage.notes),
    }


def _show(made: Plan) -> None:
    import sys

    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False, markup=False, width=None if sys.stdout.isatty() else 120)
    m, s = made.machines, made.setting
    lora = f", adapters of rank {s.lora.rank} over a base in {s.lora.base}" if s.lora else ""
    console.print(
        f"{made.geometry}; {m.gpus} devices of {m.memory:g} GB, {s.shard} to a copy of the weights"
        f"{', weights in the CPU memory' * s.offload}{', activations recomputed' * s.recompute}{lora}"
    )
    console.print(
        f"{m.efficiency:.0%} of {m.peak:g} TFLOP/s; typical sample: image {made.typical.image} px, request "
        f"{made.typical.request} and answer {made.typical.answer} tokens"
    )
    for table in (_parameters(made), _memory(made), _time(made)):
        console.print(table)
    for stage in made.stages:
        if not stage.fits:
            console.print(_remedies(made, stage))
    whole = "fits" if made.fits else "does not fit"
    console.print(f"{made.days:,.2f} days in all; it {whole} into {m.usable / 1e9:.1f} GB of each device.")


def _table(title: str, first: str, columns: list[str]):
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _parameters(made: Plan):
    table = _table("Parameters, millions (trained ones marked *)", "part", [s.name for s in made.stages])
    for part in made.stages[0].counts.parts:
        cells = [
            f"{s.counts.parts[part] / 1e6:,.2f}{'*' if part in s.counts.trained_parts else ' '}" for s in made.stages
        ]
        table.add_row(part, *cells)
    if made.setting.lora:
        table.add_row("adapters", *(f"{s.counts.adapters / 1e6:,.2f}*" for s in made.stages))
    for name in ("all", "trained", "frozen"):
        table.add_row(name, *(f"{getattr(s.counts, name) / 1e6:,.2f} " for s in made.stages), style="bold")
    return table


def _memory(made: Plan):
    table = _table("Memory of a device, GB", "what", [s.name for s in made.stages])
    for field, name in _ROWS.items():
        table.add_row(name, *(f"{getattr(s.memory, field) / 1e9:,.2f}" for s in made.stages))
    table.add_row("at most at once", *(f"{s.memory.peak / 1e9:,.2f}" for s in made.stages), style="bold")
    usable = made.machines.usable
    table.add_row("of those planned with", *[f"{usable / 1e9:,.2f}"] * len(made.stages))
    table.add_row("fits", *("yes" if s.fits else "NO" for s in made.stages), style="bold")
    if made.setting.offload:
        share = min(made.machines.per_node, made.machines.gpus)
        table.add_row("CPU memory of a machine", *(f"{share * s.memory.host / 1e9:,.1f}" for s in made.stages))
    return table


def _time(made: Plan):
    table = _table("Work and time", "what", [s.name for s in made.stages])
    rows = {
        "steps": lambda s: f"{s.steps:,}",
        "packs of a step": lambda s: f"{s.packs:,}",
        "tokens of a step, at most": lambda s: f"{s.tokens:,}",
        "samples of a pack": lambda s: f"{s.samples:,.1f}",
        "model PFLOP of a step": lambda s: f"{s.flops.model / 1e15:,.4g}",
        "with recomputation": lambda s: f"{s.flops.hardware / 1e15:,.4g}",
        "MFU": lambda s: f"{s.mfu:.1%}",
        "seconds of a step": lambda s: f"{s.seconds:,.3g}",
        "days": lambda s: f"{s.days:,.2f}",
    }
    for name, cell in rows.items():
        table.add_row(name, *(cell(s) for s in made.stages))
    return table


def _remedies(made: Plan, stage: StagePlan):
    table = _table(f"{stage.name}: what would make it fit", "change", ["GB of a device", "fits", "CPU GB of a machine"])
    share = min(made.machines.per_node, made.machines.gpus)
    for r in stage.remedies:
        host = f"{share * r.host / 1e9:,.1f}" if r.host else ""
        table.add_row(r.change, f"{r.needed / 1e9:,.2f}", "yes" if r.fits else "no", host)
    return table
